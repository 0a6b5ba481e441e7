//! ipmitool as the client of our own board: what the driver is tested against speaks suites 3 and 17 as others do.

use std::time::Duration;

use nova_ext::power;
use tokio::process::Command;

use crate::bmc::Bmc;
use crate::udp::{Board, Line};
use crate::{output, peer};

async fn ask(board: &Board, more: &[&str]) -> (bool, String) {
    let port = board.address.port().to_string();
    let mut command = Command::new(peer("ipmitool"));
    command.args(["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-U", "fencer", "-L", "OPERATOR"]);
    output(command.args(more)).await
}

#[tokio::test]
async fn both_suites_with_and_without_a_key_of_the_board() {
    for suite in ["3", "17"] {
        for kg in [None, Some(b"a key of the board".to_vec())] {
            let board = Board::start(Bmc { kg: kg.clone(), ..Bmc::default() }, Line::Good).await;
            let key = if kg.is_some() { vec!["-k", "a key of the board"] } else { vec![] };
            let with = |last: &'static str| {
                [&["-C", suite, "-P", "hunter2"], &key[..], &["chassis", "power", last]].concat()
            };
            let (ok, text) = ask(&board, &with("status")).await;
            assert!(ok && text.contains("Chassis Power is on"), "suite {suite}, {kg:?}: {text}");
            let (ok, text) = ask(&board, &with("off")).await;
            assert!(ok && !board.on(), "suite {suite}, {kg:?}: {text}");
            assert_eq!(board.bmc.lock().unwrap().open_sessions(), 0);
        }
    }
}

#[tokio::test]
async fn it_takes_the_better_suite_as_we_do() {
    let board = Board::start(Bmc::default(), Line::Good).await;
    let (ok, text) = ask(&board, &["-P", "hunter2", "-v", "chassis", "power", "status"]).await;
    assert!(ok && text.contains("Using best available cipher suite 17"), "{text}");
    power::switch_off(&mut board.device(), Duration::from_secs(20)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_wrong_for_both() {
    let board = Board::start(Bmc::default(), Line::Good).await;
    for suite in ["3", "17"] {
        let (ok, text) =
            ask(&board, &["-C", suite, "-R", "1", "-P", "wrong", "chassis", "power", "status"]).await;
        assert!(!ok, "{text}");
    }
}

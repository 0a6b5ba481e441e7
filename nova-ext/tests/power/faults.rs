//! The whole driver against boards that lie, flap, answer late, lose, double, reorder, die, refuse, are full, or are
//! off already: never a proof without two readings of off.

use std::time::{Duration, Instant};

use nova_ext::power::{self, Device, PowerError, PowerState, Retry};
use nova_ext::proof::{Evidence, FenceProof};

use crate::bmc::{Bmc, Lists};
use crate::udp::{Board, Line};

/// More than any test of these needs.
const TIME: Duration = Duration::from_secs(20);

async fn off(board: &Board, within: Duration) -> Result<FenceProof, PowerError> {
    let mut device = board.device();
    let result = power::confirm_off(&mut device, &"compute-1".parse().unwrap(), within).await;
    drop(device);
    if let Ok(proof) = &result {
        let Evidence::PowerOff { readings, device } = proof.evidence() else { panic!("{proof:?}") };
        assert!(readings.len() >= 2 && device.starts_with("ipmi 127.0.0.1:"), "{proof:?}");
        assert!(!board.on(), "a proof, and the host is on");
    }
    result
}

#[tokio::test]
async fn a_healthy_board_is_confirmed_off_at_once() {
    for lists in [Lists::Yes, Lists::Silent] {
        let board = Board::start(Bmc { lists, ..Bmc::default() }, Line::Good).await;
        let started = Instant::now();
        off(&board, TIME).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(board.orders(), [0]);
        assert!(board.is_left().await);
    }
}

#[tokio::test]
async fn over_ipv6() {
    let board = Board::at("[::1]:0", Bmc::default(), Line::Good).await;
    let mut device = board.device();
    assert!(device.name().starts_with("ipmi [::1]:"));
    assert_eq!(power::switch_off(&mut device, TIME).await.unwrap().state, PowerState::Off);
}

#[tokio::test]
async fn already_off_needs_no_order() {
    let board = Board::start(Bmc { on: false, ..Bmc::default() }, Line::Good).await;
    off(&board, TIME).await.unwrap();
    assert!(board.orders().is_empty());
}

#[tokio::test]
async fn one_that_lies_proves_nothing() {
    let board = Board::start(Bmc { obeys: false, ..Bmc::default() }, Line::Good).await;
    assert!(matches!(off(&board, Duration::from_secs(3)).await, Err(PowerError::NotReached { .. })));
    assert_eq!(board.orders(), [0]);
    assert!(board.is_left().await);
}

#[tokio::test]
async fn one_that_flaps_proves_nothing() {
    let says = vec![true, false, true, false, false];
    let board = Board::start(Bmc { says, ..Bmc::default() }, Line::Good).await;
    assert!(matches!(off(&board, TIME).await, Err(PowerError::Unstable { .. })));
}

#[tokio::test]
async fn bad_lines_do_not_matter() {
    for line in [Line::Doubles, Line::Reorders, Line::Loses, Line::Late(400), Line::Late(1_200)] {
        let board = Board::start(Bmc::default(), line).await;
        let started = Instant::now();
        off(&board, TIME).await.unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert_eq!(board.orders(), [0], "{line:?}");
        assert!(started.elapsed() < TIME, "{line:?}");
    }
}

#[tokio::test]
async fn an_order_that_is_lost_is_not_sent_again() {
    let board = Board::start(Bmc { lost: Some(0), ..Bmc::default() }, Line::Good).await;
    let started = Instant::now();
    let error = off(&board, Duration::from_secs(8)).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("within 8 s (last reading: chassis power is on)"), "{said}");
    assert!(said.contains("the order was sent once and its answer did not come"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(9));
    assert_eq!((board.orders().len(), board.bmc.lock().unwrap().lost), (0, Some(1)));
    assert!(board.is_left().await);
}

#[tokio::test]
async fn one_that_dies_proves_nothing() {
    for line in [Line::DiesAtOrder, Line::DiesAfterOrder] {
        let board = Board::start(Bmc::default(), line).await;
        let started = Instant::now();
        let error = off(&board, Duration::from_secs(8)).await.unwrap_err();
        assert!(matches!(error, PowerError::NotReached { .. }), "{line:?}: {error}");
        assert_eq!(board.orders(), [0], "{line:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{line:?}");
    }
}

#[tokio::test]
async fn one_that_is_restarted_is_logged_in_to_again() {
    let board = Board::start(Bmc::default(), Line::Good).await;
    let mut device = board.device();
    let until = || tokio::time::Instant::now() + TIME;
    assert_eq!(device.status(until()).await.unwrap().state, PowerState::On);
    board.bmc.lock().unwrap().restart();
    let short = tokio::time::Instant::now() + Duration::from_millis(500);
    assert!(matches!(device.status(short).await, Err(PowerError::Silent { .. })));
    assert_eq!(device.status(until()).await.unwrap().state, PowerState::On);
}

#[tokio::test]
async fn one_that_refuses_is_understood() {
    for (bmc, says, retry) in [
        (Bmc { limit: 2, ..Bmc::default() }, "privilege level", Retry::Never),
        (Bmc { password: b"other".to_vec(), ..Bmc::default() }, "password", Retry::Never),
        (Bmc { user: "other".into(), ..Bmc::default() }, "no user", Retry::Never),
        (Bmc { slots: 0, ..Bmc::default() }, "no room for another session", Retry::Again),
        (Bmc { control_code: 0xD4, obeys: false, ..Bmc::default() }, "privlvl", Retry::Never),
        (Bmc { control_code: 0xD5, obeys: false, ..Bmc::default() }, "present state", Retry::Again),
        (Bmc { status_code: 0xC0, ..Bmc::default() }, "busy", Retry::Again),
    ] {
        let board = Board::start(bmc, Line::Good).await;
        let error = off(&board, Duration::from_secs(2)).await.unwrap_err();
        assert!(error.to_string().contains(says) && error.retry() == retry, "{says}: {error}");
        assert!(!error.to_string().contains("hunter2"));
        assert!(board.is_left().await, "{says}");
    }
    // It says that it cannot, and is off all the same.
    let board = Board::start(Bmc { control_code: 0xFF, ..Bmc::default() }, Line::Good).await;
    off(&board, TIME).await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let gone = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let board = Board { address: gone, bmc: std::sync::Arc::default() };
    let started = Instant::now();
    let error = off(&board, TIME).await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_no_session_behind() {
    let board = Board::start(Bmc { obeys: false, ..Bmc::default() }, Line::Good).await;
    for _ in 0..10 {
        // More often than the board has room for sessions.
        let mut device = board.device();
        let until = tokio::time::Instant::now() + TIME;
        device.status(until).await.unwrap();
        drop(device);
        assert!(board.is_left().await);
        let mut device = board.device();
        let host = "compute-1".parse().unwrap();
        let cut = power::confirm_off(&mut device, &host, TIME);
        assert!(tokio::time::timeout(Duration::from_millis(150), cut).await.is_err());
        drop(device);
        assert!(board.is_left().await);
    }
}

#[tokio::test]
async fn on_and_cycle_are_read_as_well() {
    let board = Board::start(Bmc { on: false, ..Bmc::default() }, Line::Good).await;
    assert_eq!(power::confirm_on(&mut board.device(), TIME).await.unwrap().state, PowerState::On);
    let outcome = power::cycle(&mut board.device(), TIME).await.unwrap();
    assert_eq!((outcome.state, outcome.readings.len()), (PowerState::On, 4));
    assert_eq!(board.orders(), [1, 0, 1]);
    assert!(board.is_left().await);
}

//! What misbehaving peers make us hold is freed. Alone in its process, because it looks at the process's
//! memory.
//!
//! The test runs itself again with one arena and a fixed threshold for mappings. Otherwise what glibc keeps
//! for later hides what is lost, and even so it keeps some: small pieces between freed ones. So this shows
//! that memory stops growing, not that all of it goes back to the system.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(
    clippy::print_stdout,
    clippy::format_push_string,
    dead_code,
    reason = "a test, and parts of its helpers"
)]

use std::time::Duration;

#[path = "net/support.rs"]
mod support;

use pcmk_proto::frame::{self, ByteOrder};
use pcmk_remote::net::ServerOptions;
use support::*;

/// Less than one round would leave behind if any part of it were not freed.
const TOLERANCE: u64 = 4 << 20;

#[tokio::test]
async fn memory_stops_growing() {
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "memory_stops_growing", "--nocapture"]).kill_on_drop(true);
        command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "131072");
        let mut child = command.spawn().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(300), child.wait()).await;
        assert!(ended.unwrap().unwrap().success());
        return;
    }
    let rig = Rig::with(ServerOptions { outbox_bytes: 8 << 20, ..ServerOptions::default() }).await;
    let mut cluster = rig.client().await;
    let bomb = frame::encode_compressed(ByteOrder::NATIVE, 1, &" ".repeat((20 << 20) - 100)).unwrap();
    let mut resident_after = Vec::new();
    for _ in 0..6 {
        round(&rig, &bomb.to_vec()).await;
        settled(&rig).await;
        resident_after.push(resident() >> 10);
    }
    println!("resident KiB after each round: {resident_after:?}");
    // The first rounds set up what is set up once.
    assert!((resident_after[5] << 10) < (resident_after[2] << 10) + TOLERANCE, "{resident_after:?}");
    ask(&mut cluster, 1).await;
}

/// Everything that makes us hold much, once.
async fn round(rig: &Rig, bomb: &[u8]) {
    // A large document, whole and cut off.
    let large = poke(1, 0).replace(" lrmd_op", &format!(" pad=\"{}\" lrmd_op", "p".repeat(8 << 20)));
    let mut client = rig.client().await;
    client.send(large.as_str()).await.unwrap();
    assert_eq!(recv(&mut client).await.payload, reply(1, 0));
    let bytes = frame::encode(1, large.as_str()).unwrap().to_vec();
    let _ = client.send_record(&bytes[..bytes.len() - 1]).await;
    drop(client);
    // Many elements, a bomb, answers that nobody reads.
    let mut client = rig.client().await;
    client.send(format!("<a>{}</a>", "<b c=\"d\"/>".repeat(100_000))).await.unwrap();
    assert_eq!(recv(&mut client).await.payload, reply(0, 0));
    client.send_record(bomb).await.unwrap();
    ask(&mut client, 3).await;
    for number in 0..64 {
        if client.send(poke(number, 1 << 20)).await.is_err() {
            break;
        }
    }
    let closed = rig.look(|seen| seen.closed.len());
    drop(client);
    rig.until("its end", |seen| {
        (seen.closed.len() > closed || seen.closed.len() + 1 == seen.connected.len()).then_some(())
    })
    .await;
    // Half-open handshakes.
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(rig.raw().await);
    }
}

/// All connections but the first have ended.
async fn settled(rig: &Rig) {
    rig.until("the end of all others", |seen| (seen.outboxes.len() == 1).then_some(())).await;
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

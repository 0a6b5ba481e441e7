//! What misbehaving peers make us hold goes back to the system. Alone in its process, because it looks at the
//! process's memory, with the daemon's own allocator settings.
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

/// More than a round leaves in small pieces here and there, far less than what it makes us hold.
const TOLERANCE: u64 = 8 << 20;

#[tokio::test]
async fn memory_returns_to_its_level() {
    pcmk_remote::sys::keep_little_memory();
    let rig = Rig::with(ServerOptions { outbox_bytes: 8 << 20, ..ServerOptions::default() }).await;
    let mut cluster = rig.client().await;
    let bomb = frame::encode_compressed(ByteOrder::NATIVE, 1, &" ".repeat((20 << 20) - 100)).unwrap();
    // What is set up once is set up by the first round.
    let mut level = 0;
    for number in 0..4 {
        round(&rig, &bomb.to_vec()).await;
        settled(&rig).await;
        let after = resident();
        if number == 0 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            level = resident();
        }
        println!("round {number}: {} KiB, level {} KiB", after >> 10, level >> 10);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while resident() > level + TOLERANCE {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} KiB, level {} KiB",
            resident() >> 10,
            level >> 10
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("finally {} KiB", resident() >> 10);
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

//! Peers that have the key and misbehave: they concern nobody but themselves.

use std::time::Duration;

use pcmk_proto::frame::{self, ByteOrder};
use pcmk_remote::net::test_client::Client;
use pcmk_remote::net::{CloseReason, ServerOptions};
use tokio::io::AsyncWriteExt as _;

use super::*;

#[tokio::test]
async fn each_wrong_field_of_a_header_ends_the_connection() {
    let (log, _guard) = Log::capture();
    let rig = Rig::start().await;
    let mut other = rig.client().await;
    let field = |offset: usize, value: u32| (offset, value.to_ne_bytes());
    for (what, changes) in [
        ("marker", vec![field(0, 0xDEAD_BEEF)]),
        ("total of 4 GiB", vec![field(24, u32::MAX)]),
        ("total and text of 4 GiB", vec![field(24, u32::MAX), field(36, u32::MAX - 40)]),
        ("total above the limit", vec![field(24, (20 << 20) + 1), field(36, (20 << 20) - 39)]),
        ("total too short", vec![field(24, 39)]),
        ("total of nothing", vec![field(24, 0)]),
        ("total too long", vec![field(24, 1000)]),
        ("offset inside the header", vec![field(28, 39)]),
        ("offset beyond the end", vec![field(28, 5000)]),
        ("offset of 4 GiB", vec![field(28, u32::MAX)]),
        ("compressed although it is not", vec![field(32, 10)]),
        ("compressed 4 GiB", vec![field(32, u32::MAX)]),
        ("text of nothing", vec![field(36, 0), field(24, 40)]),
        ("text of 4 GiB", vec![field(36, u32::MAX)]),
        ("text too short", vec![field(36, 5)]),
    ] {
        let mut client = rig.client().await;
        let mut bytes = frame::encode(1, poke(1, 0)).unwrap().to_vec();
        for (offset, value) in changes {
            bytes[offset..offset + 4].copy_from_slice(&value);
        }
        client.send_record(&bytes).await.unwrap();
        served_during(&mut other, expect_end(&mut client)).await;
        let reason = rig.until(what, |seen| seen.closed.last().cloned()).await.1;
        assert!(matches!(reason, CloseReason::Protocol(_)), "{what}: {reason}");
        log.line_with(&["WARN Closed the connection", &reason.to_string()]).await;
        rig.look(|seen| assert_eq!(seen.closed.len(), seen.connected.len() - 1, "{what}"));
    }
}

#[tokio::test]
async fn unknown_versions_and_flags_are_no_reason_to_refuse() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let mut bytes = frame::encode(1, poke(1, 0)).unwrap().to_vec();
    bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
    bytes[16..24].copy_from_slice(&u64::MAX.to_ne_bytes());
    client.send_record(&bytes).await.unwrap();
    assert_eq!(recv(&mut client).await.payload, reply(1, 0));
}

#[tokio::test]
async fn compressed_bombs_are_cut_short() {
    let rig = Rig::start().await;
    let mut other = rig.client().await;
    let bomb = frame::encode_compressed(ByteOrder::NATIVE, 1, &" ".repeat(64 << 20)).unwrap();
    // Promises what it holds, and promises little.
    for length in [(64 << 20) + 1, 1000_u32] {
        let mut client = rig.client().await;
        let mut bytes = bomb.to_vec();
        bytes[36..40].copy_from_slice(&length.to_ne_bytes());
        served_during(&mut other, async {
            client.send_record(&bytes).await.unwrap();
            expect_end(&mut client).await;
        })
        .await;
        let reason = rig.until("its end", |seen| seen.closed.last().cloned()).await.1;
        assert!(matches!(reason, CloseReason::Protocol(_)), "{reason}");
    }
    // The largest that is allowed takes a while to unpack, on another thread.
    let mut client = rig.client().await;
    let allowed = frame::encode_compressed(ByteOrder::NATIVE, 1, &" ".repeat((20 << 20) - 100)).unwrap();
    served_during(&mut other, async {
        client.send_record(&allowed.to_vec()).await.unwrap();
        ask(&mut client, 1).await; // it was no XML: ignored, and the connection lives
    })
    .await;
}

#[tokio::test]
async fn a_text_without_its_nul_ends_the_connection() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let mut bytes = frame::encode(1, poke(1, 0)).unwrap().to_vec();
    *bytes.last_mut().unwrap() = b'>';
    client.send_record(&bytes).await.unwrap();
    expect_end(&mut client).await;
    assert!(matches!(rig.last_close().await, CloseReason::Protocol(_)));
}

#[tokio::test]
async fn a_cut_off_message_is_an_end_like_any_other() {
    let (log, _guard) = Log::capture();
    let rig = Rig::start().await;
    let bytes = frame::encode(1, poke(1, 0)).unwrap().to_vec();
    for keep in [1, 39, 40, 41, bytes.len() - 1] {
        let mut client = rig.client().await;
        client.send_record(&bytes[..keep]).await.unwrap();
        client.close().await.unwrap();
        assert_eq!(rig.last_close().await, CloseReason::PeerClosed);
        rig.look(|seen| assert!(seen.requests.is_empty()));
    }
    log.line_with(&["left in the middle of a message"]).await;
}

#[tokio::test]
async fn documents_that_make_no_sense_are_ignored() {
    let (log, _guard) = Log::capture();
    let rig = Rig::start().await;
    let (mut client, mut other) = (rig.client().await, rig.client().await);
    let attributes: String = (0..100_000).map(|i| format!(" a{i}=\"\"")).collect();
    let laughs = "<!DOCTYPE l [<!ENTITY a \"lol\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let nonsense = [
        String::new(),
        "no XML".into(),
        "<open".into(),
        "<a><b></a></b>".into(),
        "<a b=\"1\" b=\"2\"/>".into(),
        "<a/><b/>".into(),
        "<a>&undefined;</a>".into(),
        "<a b=\"&#0;\"/>".into(),
        format!("{laughs}<a>&b;</a>"),
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>".into(),
        "<a>".repeat(100_000),
        format!("{}{}", "<a>".repeat(1000), "</a>".repeat(1000)),
        format!("<lrmd_command t=\"lrmd\"{attributes}/>"),
        format!("<a>{}</a>", "<b/>".repeat(1_000_000)),
        poke(1, 0).replace("lrmd_remote_msg_id=\"1\"", "lrmd_remote_msg_id=\"one\""),
    ];
    served_during(&mut other, async {
        for (number, text) in (1..).zip(&nonsense) {
            soon("send", client.send(text.as_str())).await.unwrap();
            ask(&mut client, number).await;
        }
        // Invalid UTF-8 cannot be in a string.
        let mut bytes = frame::encode(1, "<a b=\"xx\"/>").unwrap().to_vec();
        bytes[46..48].copy_from_slice(&[0xff, 0xfe]);
        client.send_record(&bytes).await.unwrap();
        ask(&mut client, 99).await;
    })
    .await;
    assert_eq!(log.count("WARN Ignored message"), nonsense.len() + 1);
    rig.look(|seen| assert!(seen.closed.is_empty()));
}

#[tokio::test]
async fn a_peer_that_stops_in_the_middle_is_dropped_after_a_while() {
    let options = ServerOptions { stall_timeout: Duration::from_millis(300), ..ServerOptions::default() };
    let rig = Rig::with(options).await;
    let mut other = rig.client().await;
    let bytes = frame::encode(1, poke(1, 0)).unwrap().to_vec();
    for keep in [1, 40, bytes.len() - 1] {
        let mut client = rig.client().await;
        client.send_record(&bytes[..keep]).await.unwrap();
        served_during(&mut other, expect_end(&mut client)).await;
        assert_eq!(rig.last_close().await, CloseReason::PeerStalled);
    }
    // Between messages silence is normal.
    tokio::time::sleep(Duration::from_millis(600)).await;
    ask(&mut other, 1).await;
}

#[tokio::test]
async fn one_byte_at_a_time_is_slow_for_the_sender_only() {
    let rig = Rig::start().await;
    let (mut client, mut other) = (rig.client().await, rig.client().await);
    client.stream().get_ref().0.set_nodelay(true).unwrap();
    served_during(&mut other, async {
        for number in 1..=3 {
            for byte in frame::encode(1, poke(number, 0)).unwrap().to_vec() {
                client.send_record(&[byte]).await.unwrap();
            }
            assert_eq!(recv(&mut client).await.payload, reply(number, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_dropped_when_too_much_waits_for_it() {
    let rig = Rig::with(ServerOptions { outbox_bytes: 4 << 20, ..ServerOptions::default() }).await;
    let (mut client, mut other) = (rig.client().await, rig.client().await);
    served_during(&mut other, async {
        // Answers of 1 MiB that nobody reads: some fit into the sockets, then the outbox fills.
        for number in 1..=200 {
            if client.send(poke(number, 1 << 20)).await.is_err() {
                break;
            }
            if rig.look(|seen| !seen.closed.is_empty()) {
                break;
            }
        }
        let reason = rig.until("its end", |seen| seen.closed.last().cloned()).await.1;
        assert_eq!(reason, CloseReason::PeerStoppedReading);
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_dropped_after_a_while_even_if_little_waits() {
    let options = ServerOptions { stall_timeout: Duration::from_millis(300), ..ServerOptions::default() };
    let rig = Rig::with(options).await;
    let mut client = rig.client().await;
    client.send(poke(1, 16 << 20)).await.unwrap();
    assert_eq!(rig.last_close().await, CloseReason::PeerStoppedReading);
}

/// The flooder has a thread of its own, as it would have a machine of its own.
#[tokio::test]
async fn a_flood_of_requests_does_not_delay_others() {
    let rig = Rig::start().await;
    let mut other = rig.client().await;
    let (address, key) = (rig.address, rig.key.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(flood(address, &key));
    });
    let flooder = rig.until("the flooder", |seen| seen.connected.get(1).copied()).await;
    served_during(&mut other, async {
        rig.until("many requests", |seen| (*seen.requests.get(&flooder)? > 5000).then_some(())).await;
        rig.look(|seen| seen.outboxes[&flooder].close());
        rig.last_close().await;
    })
    .await;
    thread.join().unwrap();
}

/// Sends requests as fast as they are taken, until the connection ends.
async fn flood(address: std::net::SocketAddr, key: &[u8]) {
    let mut client = Client::connect(address, key).await.unwrap();
    let burst: Vec<u8> = (0..100).flat_map(|n| frame::encode(1, poke(n, 0)).unwrap().to_vec()).collect();
    let (mut read, mut write) = tokio::io::split(client.stream());
    let drain = async { tokio::io::copy(&mut read, &mut tokio::io::sink()).await.map(drop) };
    let send = async {
        loop {
            write.write_all(&burst).await?;
            write.flush().await?;
        }
    };
    let ended: std::io::Result<()> = tokio::select! { r = drain => r, r = send => r };
    drop(ended);
}

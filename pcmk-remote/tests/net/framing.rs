//! What goes over the wire: records, byte orders, sizes.

use pcmk_proto::frame::{self, ByteOrder};
use pcmk_remote::net::ServerOptions;
use pcmk_remote::net::test_client::{Client, Suite};

use super::*;

/// Stock peers lose or hang on what shares a TLS record with a header or with another message.
#[tokio::test]
async fn header_and_payload_have_records_of_their_own() {
    const OVERHEAD: usize = 17; // content type and tag
    let rig = Rig::start().await;
    for suite in [Suite::Aes128Gcm, Suite::ChaCha20Poly1305] {
        for length in [0, 1000, 16_300, 16_384, 40_000, 300_000] {
            let (proxy, records) = record_proxy(rig.address).await;
            let mut client =
                soon("connect", Client::connect_as(proxy, "lrmd", &rig.key, suite)).await.unwrap();
            records.lock().unwrap().clear();
            // Two requests in one record: the answers are queued together.
            let mut both = Vec::new();
            for number in 1..=2 {
                both.extend(frame::encode(1, poke(number, length)).unwrap().to_vec());
            }
            client.send_record(&both).await.unwrap();
            let mut expected = Vec::new();
            for number in 1..=2 {
                let text = reply(number, length);
                assert_eq!(recv(&mut client).await.payload, text);
                let payload = text.len() + 1;
                expected.push((23, 40 + OVERHEAD));
                expected.extend(std::iter::repeat_n((23, 16_384 + OVERHEAD), payload / 16_384));
                if !payload.is_multiple_of(16_384) {
                    expected.push((23, payload % 16_384 + OVERHEAD));
                }
            }
            // Nothing else: a session ticket or key update would be one more.
            assert_eq!(*records.lock().unwrap(), expected, "{length} bytes");
        }
    }
}

#[tokio::test]
async fn both_byte_orders_and_bzip2_are_read() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    for (number, order) in (1..).zip([ByteOrder::Little, ByteOrder::Big]) {
        let frame = frame::encode_as(order, 9, poke(number, 0)).unwrap();
        client.send_record(&frame.to_vec()).await.unwrap();
        assert_eq!(recv(&mut client).await.payload, reply(number, 0));
        let frame = frame::encode_compressed(order, 9, &poke(number + 10, 0)).unwrap();
        client.send_record(&frame.header).await.unwrap();
        client.send_record(&frame.payload).await.unwrap();
        assert_eq!(recv(&mut client).await.payload, reply(number + 10, 0));
    }
}

#[tokio::test]
async fn boundaries_of_the_peer_do_not_matter() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let three: Vec<u8> =
        (1..=3).flat_map(|number| frame::encode(1, poke(number, 0)).unwrap().to_vec()).collect();
    for size in [three.len(), 1, 7, 41, 100] {
        for piece in three.chunks(size) {
            client.send_record(piece).await.unwrap();
        }
        for number in 1..=3 {
            assert_eq!(recv(&mut client).await.payload, reply(number, 0), "in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn frames_are_numbered_upwards_for_the_whole_process() {
    let rig = Rig::start().await;
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    let mut last = 0;
    for _ in 0..5 {
        for client in [&mut one, &mut two] {
            client.send(poke(1, 0)).await.unwrap();
            let id = recv(client).await.id;
            assert!(id > last);
            last = id;
        }
    }
}

#[tokio::test]
async fn large_messages_pass_while_another_peer_is_served() {
    const LARGE: usize = 8 << 20;
    let rig = Rig::start().await;
    let (mut bulk, mut other) = (rig.client().await, rig.client().await);
    served_during(&mut other, async {
        for number in 1..=3 {
            let padded =
                poke(number, LARGE).replace(" lrmd_op", &format!(" pad=\"{}\" lrmd_op", "p".repeat(LARGE)));
            assert!(padded.len() > LARGE);
            soon("send", bulk.send(padded)).await.unwrap();
            assert_eq!(recv(&mut bulk).await.payload, reply(number, LARGE));
        }
    })
    .await;
}

#[tokio::test]
async fn a_close_of_ours_lets_answers_out_and_says_goodbye() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    ask(&mut client, 1).await;
    rig.look(|seen| {
        let outbox = seen.outboxes.values().next().unwrap();
        outbox.send(reply(2, 100_000));
        outbox.close();
        outbox.send("<late/>");
    });
    assert_eq!(recv(&mut client).await.payload, reply(2, 100_000));
    // A close_notify: without it this would be an error.
    assert!(soon("the end", client.recv()).await.unwrap().is_none());
    assert_eq!(rig.last_close().await, pcmk_remote::net::CloseReason::Requested);
}

#[tokio::test]
async fn every_way_to_leave_is_a_normal_end() {
    use pcmk_remote::net::CloseReason;
    let rig = Rig::with(ServerOptions::default()).await;
    let mut client = rig.client().await;
    ask(&mut client, 1).await;
    client.close().await.unwrap();
    assert_eq!(rig.last_close().await, CloseReason::PeerClosed);

    let mut client = rig.client().await;
    ask(&mut client, 2).await;
    drop(client); // no close_notify
    assert_eq!(rig.last_close().await, CloseReason::PeerClosed);
    rig.look(|seen| assert_eq!((seen.connected.len(), seen.closed.len()), (2, 2)));
}

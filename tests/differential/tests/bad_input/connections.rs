//! Bytes, TLS and frames that are not what they should be.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pcmk_differential::client::{Client, Manner, header};

use crate::trial::*;

#[test]
fn garbage_before_tls() {
    let trial = Trial::start("garbage before TLS");
    let noise: Vec<u8> = (0..20_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for _ in 0..5 {
        raw(&trial.node, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        raw(&trial.node, &noise);
        raw(&trial.node, &header(1, 10));
        // A record that promises a handshake of another kind.
        raw(&trial.node, b"\x16\x03\x01\x00\x04\x01\xff\xff\xff");
        raw(&trial.node, b"\x15\x03\x03\x00\x02\x02\x28");
    }
    // Begun and given up.
    for length in [0, 1, 4, 5, 6, 9] {
        let mut tcp = trial.node.tcp().unwrap();
        tcp.write_all(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..length]).unwrap();
    }
    trial.finish();
}

#[test]
fn a_wrong_key() {
    let trial = Trial::start("wrong key");
    let file = std::env::temp_dir().join(format!("pcmk-wrong-key-{}", std::process::id()));
    std::fs::write(&file, [7; 4096]).unwrap();
    let manner = Manner { key: Some(file.clone()), ..Manner::default() };
    let errors: Vec<_> = (0..10).map(|_| Client::connect_as(&trial.node, &manner).map(drop)).collect();
    std::fs::remove_file(file).unwrap();
    for error in errors {
        assert!(error.unwrap_err().starts_with("alert"));
    }
    trial.finish();
}

#[test]
fn a_wrong_identity() {
    let trial = Trial::start("wrong identity");
    for identity in ["hacluster", "LRMD", "lrmd ", "l"] {
        let manner = Manner { identity: Some(identity), ..Manner::default() };
        assert!(Client::connect_as(&trial.node, &manner).is_err(), "{identity}");
    }
    trial.finish();
}

#[test]
fn other_kinds_of_tls() {
    let trial = Trial::start("TLS 1.2 only, anonymous, certificate");
    for priority in [
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:+DHE-PSK:+PSK",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:+ANON-ECDH:+ANON-DH:-KX-ALL:+ANON-ECDH:+ANON-DH",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        "NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0:+DHE-PSK:+PSK",
        "NORMAL:-CIPHER-ALL:+AES-256-GCM:+DHE-PSK:+PSK",
    ] {
        let manner = Manner { priority: Some(priority), ..Manner::default() };
        assert!(Client::connect_as(&trial.node, &manner).is_err(), "{priority}");
    }
    trial.finish();
}

#[test]
fn five_hundred_half_open_handshakes() {
    let trial = Trial::start("500 half-open handshakes");
    let open: Vec<TcpStream> = (0..500)
        .map(|number| {
            let mut tcp = trial.node.tcp().unwrap();
            if number % 2 == 0 {
                tcp.write_all(b"\x16\x03\x01").unwrap();
            }
            tcp
        })
        .collect();
    // Served meanwhile: a client that connects now.
    let begin = Instant::now();
    drop(trial.client());
    println!("a new client got in after {:.1?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5), "a controller would have given up");
    // The daemon ends them all by itself.
    for mut tcp in open {
        tcp.set_read_timeout(Some(SOON)).unwrap();
        let mut sink = Vec::new();
        match tcp.read_to_end(&mut sink) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
    trial.finish();
}

#[test]
fn headers_with_each_field_wrong() {
    let trial = Trial::start("wrong headers");
    let text = request("lrmd_rsc_info", 5, "<lrmd_rsc lrmd_rsc_id=\"none\"/>");
    let mut payload = text.clone().into_bytes();
    payload.push(0);
    let length = text.len();
    let total = u32::try_from(length + 41).unwrap();
    // Fields without a meaning for us.
    for (name, offset, value) in [("version", 4, 2), ("id", 8, u32::MAX), ("flags", 16, u32::MAX)] {
        assert!(!refused(&trial, &patched(offset, value, length), &payload), "{name}");
    }
    for (name, offset, value) in [
        ("marker", 0, 0),
        ("marker", 0, 0x3c21_444f),
        ("total of 0", 24, 0),
        ("total below the header", 24, 39),
        ("total without payload", 24, 40),
        ("total too small", 24, total - 1),
        ("total too large", 24, total + 1),
        ("total above the limit", 24, (20 << 20) + 1),
        ("total of 4 GiB", 24, u32::MAX),
        ("offset of 0", 28, 0),
        ("offset inside the header", 28, 39),
        ("offset inside the payload", 28, 41),
        ("offset of 4 GiB", 28, u32::MAX),
        ("compressed, but is not", 32, 1),
        ("compressed, 4 GiB", 32, u32::MAX),
        ("payload of 0", 36, 0),
        ("payload too small", 36, total - 41),
        ("payload too large", 36, total - 39),
        ("payload of 4 GiB", 36, u32::MAX),
    ] {
        assert!(refused(&trial, &patched(offset, value, length), &payload), "{name} was accepted");
    }
    trial.finish();
}

#[test]
fn a_length_of_four_gibibytes_reserves_nothing() {
    let trial = Trial::start("4 GiB promised");
    let mut head = header(1, 10).to_vec();
    head[24..28].copy_from_slice(&u32::MAX.to_ne_bytes());
    head[36..40].copy_from_slice(&(u32::MAX - 40).to_ne_bytes());
    let clients: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = trial.client();
            client.send_record(&head).unwrap();
            client
        })
        .collect();
    // The largest that is allowed, promised by several and never sent.
    let most = (20 << 20) - 41;
    let slow: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = trial.client();
            client.send_record(&header(1, most)).unwrap();
            client.send_record(b"<a").unwrap();
            client
        })
        .collect();
    // A request of another client is answered behind them.
    drop(trial.client());
    let rss = trial.node.rss_kib().unwrap();
    assert!(rss < trial.rss + (16 << 10), "{} KiB, then {rss} KiB", trial.rss);
    drop((clients, slow));
    trial.finish();
}

#[test]
fn compressed_messages_and_bombs() {
    let trial = Trial::start("bzip2");
    let pack = |bytes: &[u8]| {
        let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let compressed = |packed: &[u8], claimed: u32| {
        let size = u32::try_from(packed.len()).unwrap();
        let mut head = header(1, 0).to_vec();
        head[24..28].copy_from_slice(&(40 + size).to_ne_bytes());
        head[32..36].copy_from_slice(&size.to_ne_bytes());
        head[36..40].copy_from_slice(&claimed.to_ne_bytes());
        head
    };
    // A compressed request is answered.
    let mut text = request("lrmd_rsc_info", 5, "<lrmd_rsc lrmd_rsc_id=\"none\"/>").into_bytes();
    text.push(0);
    let packed = pack(&text);
    let mut client = trial.client();
    client.send_record(&compressed(&packed, u32::try_from(text.len()).unwrap())).unwrap();
    client.send_record(&packed).unwrap();
    assert_eq!(reply(&mut client, 5).as_deref(), Some("-19"));
    // 200 MiB in a few hundred bytes, whatever the header claims.
    let bomb = pack(&vec![b' '; 200 << 20]);
    for claimed in [200 << 20, 1000, 20 << 20, (20 << 20) - 40, u32::MAX] {
        assert!(refused(&trial, &compressed(&bomb, claimed), &bomb), "bomb that claims {claimed}");
    }
    // Damaged.
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(refused(&trial, &compressed(&damaged, u32::try_from(text.len()).unwrap()), &damaged));
    drop(client);
    trial.finish();
}

#[test]
fn a_truncated_payload() {
    let trial = Trial::start("truncated payload");
    for _ in 0..20 {
        let mut client = trial.client();
        client.send_record(&header(1, 1000)).unwrap();
        client.send_record(&[b'<'; 500]).unwrap();
    }
    trial.finish();
}

#[test]
fn a_sender_of_one_byte_at_a_time() {
    let trial = Trial::start("one byte per record");
    let text = request("lrmd_rsc_info", 5, "<lrmd_rsc lrmd_rsc_id=\"none\"/>");
    let mut client = trial.client();
    for byte in header(1, text.len()).iter().chain(text.as_bytes()).chain(&[0]) {
        client.send_record(&[*byte]).unwrap();
    }
    assert_eq!(reply(&mut client, 5).as_deref(), Some("-19"));
    drop(client);
    trial.finish();
}

#[test]
fn several_messages_in_one_record() {
    let trial = Trial::start("messages that share a record");
    let mut bytes = Vec::new();
    for id in 5..15 {
        let text = request("lrmd_rsc_info", id, "<lrmd_rsc lrmd_rsc_id=\"none\"/>");
        bytes.extend(header(1, text.len()));
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    let mut client = trial.client();
    client.send_record(&bytes).unwrap();
    for id in 5..15 {
        assert_eq!(reply(&mut client, id).as_deref(), Some("-19"));
    }
    drop(client);
    trial.finish();
}

#[test]
fn garbage_instead_of_a_tls_record() {
    let trial = Trial::start("garbage after the handshake");
    for _ in 0..10 {
        let mut client = trial.client();
        client.send_below_tls(&[0x17, 3, 3, 0, 40]).unwrap();
        client.send_below_tls(&[9; 40]).unwrap();
        assert!(client.ends_by(soon()).unwrap().is_some());
    }
    trial.finish();
}

#[test]
fn a_peer_that_stops_reading() {
    let trial = Trial::start("peer that stops reading");
    let client = Arc::new(Mutex::new(trial.client()));
    // Asks and asks and never reads an answer: its own queue fills up and blocks it.
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (writer, counter) = (Arc::clone(&client), Arc::clone(&sent));
    let thread = std::thread::spawn(move || {
        let mut client = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = client.write_timeout(Duration::from_secs(2));
        let text = request("lrmd_rsc_info", 5, "<lrmd_rsc lrmd_rsc_id=\"none\"/>");
        while client.send(&text).is_ok() && counter.fetch_add(1, Ordering::Relaxed) < 300_000 {}
    });
    thread.join().unwrap();
    let rss = trial.node.rss_kib().unwrap();
    println!("{} requests taken; memory {} KiB, then {rss} KiB", sent.load(Ordering::Relaxed), trial.rss);
    assert!(rss < trial.rss + (48 << 10), "memory grew from {} KiB to {rss} KiB", trial.rss);
    drop(client);
    trial.finish();
}

#[test]
fn a_peer_that_stops_in_the_middle_of_a_message() {
    let trial = Trial::start("peer that stops mid-message");
    let mut hanging = Vec::new();
    for count in [0, 1, 39, 40, 41, 500] {
        let text = [b' '; 1000];
        let bytes: Vec<u8> = header(1, text.len()).iter().chain(&text).copied().take(count).collect();
        let mut client = trial.client();
        if !bytes.is_empty() {
            client.send_record(&bytes).unwrap();
        }
        hanging.push(client);
    }
    for _ in 0..20 {
        drop(trial.client());
    }
    drop(hanging);
    trial.finish();
}

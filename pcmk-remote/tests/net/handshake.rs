//! Who gets in, who does not, and what the operator reads about it.

use std::net::SocketAddr;
use std::time::Duration;

use pcmk_remote::net::test_client::{Client, Suite};
use pcmk_remote::net::{NetError, ServerOptions, bind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const FAILED: &str = "TLS handshake with remote client failed: 127.0.0.1:";

#[tokio::test]
async fn a_cluster_node_gets_in_with_either_suite() {
    let (log, _guard) = Log::capture();
    let rig = Rig::start().await;
    for suite in [Suite::Aes128Gcm, Suite::ChaCha20Poly1305] {
        let mut client = rig.client_as("lrmd", suite).await.unwrap();
        ask(&mut client, 1).await;
    }
    log.line_with(&["Remote client pending authentication"]).await;
    log.line_with(&["Remote client connection accepted"]).await;
}

#[tokio::test]
async fn a_wrong_key_is_named_once_with_our_fingerprint() {
    let (log, _guard) = Log::capture();
    let rig = Rig::start().await;
    for _ in 0..5 {
        assert!(rig.client_with_key(&key(8, 4096)).await.is_err());
    }
    // sha256sum of the key file.
    let sum = std::process::Command::new("sha256sum")
        .arg(&rig.key_file)
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut sum.unwrap().stdout.take().unwrap(), &mut text).unwrap();
    let sum = text.split_whitespace().next().unwrap();
    log.line_with(&[FAILED, "wrong key: compare the sha256 of the key file on both sides", sum]).await;
    ask(&mut rig.client().await, 1).await;
    assert_eq!(log.count("wrong key"), 1);
    rig.look(|seen| assert_eq!(seen.connected.len(), 1));
}

#[tokio::test]
async fn only_the_exact_identity_is_accepted() {
    for identity in ["hacluster", "LRMD", "lrmd ", "lrm"] {
        let (log, _guard) = Log::capture();
        let rig = Rig::start().await;
        assert!(rig.client_as(identity, Suite::Aes128Gcm).await.is_err());
        log.line_with(&[FAILED, &format!("\"{identity}\" instead of \"lrmd\"")]).await;
        rig.look(|seen| assert!(seen.connected.is_empty()));
    }
}

#[tokio::test]
async fn garbage_before_tls_is_refused_and_named() {
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"\xbd\xdb\xda\xba\x01\0\0\0\x01\0\0\0\0\0\0\0".to_vec(),
        vec![0; 1000],
        vec![0xff; 100_000],
        [b"\x16\x03\x01\x00\x10".to_vec(), vec![0xee; 16]].concat(),
    ] {
        let (log, _guard) = Log::capture();
        let rig = Rig::start().await;
        let mut other = rig.client().await;
        served_during(&mut other, async {
            let mut raw = rig.raw().await;
            let _ = raw.write_all(&garbage).await;
            log.line_with(&[FAILED, "is not TLS"]).await;
            let mut rest = Vec::new();
            let _ = soon("the end", raw.read_to_end(&mut rest)).await;
            assert!(rest.len() < 16, "at most an alert: {rest:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn early_ends_are_told_apart() {
    let (log, _guard) = Log::capture();
    let rig = Rig::start().await;
    drop(rig.raw().await);
    let line = log.line_with(&[FAILED, "before it sent anything"]).await;
    assert!(line.starts_with("INFO"), "a port check is no reason for concern: {line}");

    let mut raw = rig.raw().await;
    raw.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.unwrap();
    drop(raw);
    log.line_with(&["WARN", FAILED, "in the middle of the handshake"]).await;
}

#[tokio::test]
async fn a_silent_peer_is_dropped_after_the_time_for_the_whole_handshake() {
    let (log, _guard) = Log::capture();
    let options = ServerOptions { handshake_timeout: Duration::from_millis(300), ..ServerOptions::default() };
    let rig = Rig::with(options).await;
    let mut silent = rig.raw().await;
    let mut trickling = rig.raw().await;
    let mut byte = [0; 1];
    // Each byte is progress; the deadline is for all of them together.
    let trickle = async {
        let _ = trickling.write_all(b"\x16\x03\x01\x10\x00").await;
        while trickling.write_all(&[1]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("both to be dropped", async { tokio::join!(trickle, silent.read(&mut byte)) }).await.1.unwrap_or(0);
    log.line_with(&["Remote client authentication timed out: 127.0.0.1:"]).await;
}

/// The served connection stays served, and a new cluster node gets in, although both come from the
/// address that floods us.
#[tokio::test]
async fn five_hundred_half_open_handshakes_concern_nobody_else() {
    let (log, _guard) = Log::capture();
    let rig = Rig::start().await;
    let mut cluster = rig.client().await;
    let held = served_during(&mut cluster, async {
        let mut held: Vec<TcpStream> = Vec::new();
        for i in 0..500 {
            let mut raw = rig.raw().await;
            if i % 2 == 0 {
                let _ = raw.write_all(b"\x16\x03\x01\x02\x00\x01").await;
            }
            held.push(raw);
        }
        held
    })
    .await;
    log.line_with(&[FAILED, "too many unfinished handshakes"]).await;
    assert_eq!(log.count("too many unfinished handshakes"), 1);
    let mut second = rig.client().await;
    ask(&mut second, 1).await;
    ask(&mut cluster, 2).await;
    // The most recent ones are still held: the bound is a bound, not a ban.
    let open = held.iter().filter(|raw| matches!(raw.try_read(&mut [0; 8]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)).count();
    assert!((1..=ServerOptions::default().max_handshakes).contains(&open), "{open} still open");
}

#[tokio::test]
async fn after_stop_listening_new_peers_are_refused_and_old_ones_served() {
    let mut rig = Rig::start().await;
    let mut client = rig.client().await;
    rig.handle.stop_listening();
    let refused = TcpStream::connect(rig.address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    ask(&mut client, 1).await;
    rig.handle.stop_listening();
    ask(&mut client, 2).await;
}

#[tokio::test]
async fn without_an_address_both_families_are_listened_on() {
    let listener = bind(None, 0).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "::1"] {
        let target = SocketAddr::new(host.parse().unwrap(), port);
        if target.is_ipv6() && listener.local_addr().unwrap().is_ipv4() {
            continue; // no IPv6 on this machine
        }
        soon("connect", TcpStream::connect(target)).await.unwrap();
        soon("accept", listener.accept()).await.unwrap();
    }
}

#[tokio::test]
async fn one_address_is_chosen_by_name() {
    let listener = bind(Some("localhost"), 0).await.unwrap();
    let address = listener.local_addr().unwrap();
    assert!(address.ip().is_loopback());
    let busy = bind(Some("127.0.0.1"), 0).await.unwrap();
    let port = busy.local_addr().unwrap().port();
    let error = bind(Some("127.0.0.1"), port).await.unwrap_err();
    assert!(matches!(&error, NetError::Bind { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("Could not listen on 127.0.0.1 port {port}: ")));

    let error = bind(Some("no such host"), 0).await.unwrap_err();
    assert!(
        error.to_string().starts_with("Could not resolve PCMK_remote_address \"no such host\": "),
        "{error}"
    );
}

#[tokio::test]
async fn many_handshakes_at_once_all_succeed() {
    let rig = Rig::start().await;
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let (address, key) = (rig.address, rig.key.clone());
            tokio::spawn(async move { Client::connect(address, &key).await.unwrap() })
        })
        .collect();
    for (number, client) in (1..).zip(clients) {
        ask(&mut soon("connect", client).await.unwrap(), number).await;
    }
}

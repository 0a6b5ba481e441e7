use rustls::server::Acceptor;
use rustls::{Error, PeerIncompatible, PeerMisbehaved};

use super::*;

#[test]
fn every_length_of_key_works_with_both_suites() {
    for length in [1_usize, 8, 16, 31, 32, 33, 64, 255, 256, 257, 512, 513, 4096, 65535] {
        let psk = psk(IDENTITY, &key(length));
        let server = PskServer::new(Arc::clone(&psk)).unwrap();
        for suite in 0..2 {
            let (client, connection) = run(&server, client_for_connection(&psk, suite).unwrap()).unwrap();
            assert!(PskServer::authenticated(&connection), "{length} bytes, suite {suite}");
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Resumed));
            assert_eq!(client.negotiated_cipher_suite(), connection.negotiated_cipher_suite());
        }
    }
}

#[test]
fn an_empty_key_is_refused() {
    assert!(matches!(Psk::new(IDENTITY, Zeroizing::default()), Err(PskError::Empty)));
}

#[test]
fn wrong_keys_and_identities_fail_in_their_own_way() {
    let right = psk(IDENTITY, &[1; 256]);
    let server = PskServer::new(Arc::clone(&right)).unwrap();
    let fail = |client: &Psk| run(&server, client_for_connection(client, 0).unwrap()).map(drop).unwrap_err();
    assert_eq!(fail(&psk(IDENTITY, &[2; 256])), Error::PeerMisbehaved(PeerMisbehaved::IncorrectBinder));
    for other in [b"root".as_slice(), b"LRMD", b"lrmd ", b"lrm"] {
        let error = fail(&psk(other, &[1; 256]));
        assert_eq!(error, Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon), "{other:?}");
    }
    assert!(run(&server, client_for_connection(&right, 0).unwrap()).is_ok());
}

#[test]
fn a_new_key_takes_over_and_the_old_one_is_forgotten() {
    let (old, new) = (psk(IDENTITY, &[1; 256]), psk(IDENTITY, &[2; 256]));
    let before = PskServer::new(Arc::clone(&old)).unwrap();
    let after = PskServer::new(Arc::clone(&new)).unwrap();
    let ok = |server, key: &Psk| run(server, client_for_connection(key, 0).unwrap()).is_ok();
    assert!(ok(&before, &old) && ok(&after, &new));
    assert!(!ok(&before, &new) && !ok(&after, &old));
    let (slot, config) = (Arc::downgrade(&old.slot), client_for_connection(&old, 0).unwrap());
    drop((before, old));
    assert!(slot.upgrade().is_none());
    assert!(run(&after, config).is_err());
}

#[test]
fn the_server_sends_no_ticket() {
    let psk = psk(IDENTITY, &[1; 256]);
    let server = PskServer::new(Arc::clone(&psk)).unwrap();
    let (mut client, _) = run(&server, client_for_connection(&psk, 0).unwrap()).unwrap();
    assert_eq!(client.tls13_tickets_received(), 0);
    assert_eq!(client.process_new_packets().unwrap().plaintext_bytes_to_read(), 0);
}

/// A server that has no key of ours cannot pass itself off with its certificate.
#[test]
fn the_client_refuses_a_server_without_the_key() {
    let (ours, theirs) = (psk(IDENTITY, &[1; 256]), psk(b"other", &[1; 256]));
    let config = client_for_connection(&ours, 0).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider(suites()[0]))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate { sign: true }));
    server.send_tls13_tickets = 0;
    assert!(talk(config, Arc::new(server)).is_err());
    drop(theirs);
}

#[test]
fn the_fingerprint_is_that_of_the_file() {
    let server = PskServer::new(psk(IDENTITY, b"abc")).unwrap();
    assert_eq!(server.sha256(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/// A hello recorded from gnutls-cli 3.7.9 (`NORMAL:+DHE-PSK:+PSK`, user lrmd, 4096-byte key): its binder
/// was computed by the other side.
#[test]
fn a_recorded_gnutls_binder_is_accepted_and_a_changed_one_is_not() {
    let text: String = include_str!("gnutls_client_hello.hex").split_whitespace().collect();
    let bytes = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    let recorded: Vec<u8> = (0..text.len()).step_by(2).map(bytes).collect();
    let recorded_key: Vec<u8> = (0..4096_u32).map(|i| u8::try_from(i * 7 % 256).unwrap()).collect();
    let server = PskServer::new(psk(IDENTITY, &recorded_key)).unwrap();

    let (mut connection, offer) = accept(&server, &recorded).unwrap();
    connection.process_new_packets().unwrap();
    assert!(offer.matched());
    assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Resumed));

    let mut changed = recorded.clone();
    *changed.last_mut().unwrap() ^= 1;
    let error = accept(&server, &changed).map(drop).unwrap_err();
    assert_eq!(error, Error::PeerMisbehaved(PeerMisbehaved::IncorrectBinder));

    let other = PskServer::new(psk(IDENTITY, &recorded_key[1..])).unwrap();
    let error = accept(&other, &recorded).map(drop).unwrap_err();
    assert_eq!(error, Error::PeerMisbehaved(PeerMisbehaved::IncorrectBinder));
}

#[test]
fn the_identity_of_a_stranger_is_shown_bounded_and_printable() {
    let right = psk(IDENTITY, &[1; 32]);
    let server = PskServer::new(Arc::clone(&right)).unwrap();
    let long = [b'\n'; 200];
    let stranger = psk(&long, &[1; 32]);
    let mut client = ClientConnection::new(client_for_connection(&stranger, 0).unwrap(), name()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut hello.as_slice()).unwrap();
    let accepted = acceptor.accept().map_err(|(error, _)| error).unwrap().unwrap();
    let (config, offer) = server.config_for(&accepted.client_hello()).unwrap();
    let (error, _) = accepted.into_connection(config).err().unwrap();
    assert_eq!(error, Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon));
    assert_eq!(offer.other_identity(), Some("\\n".repeat(64)));
}

fn key(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i * 7 % 256).unwrap()).collect()
}

fn psk(identity: &[u8], key: &[u8]) -> Arc<Psk> {
    Arc::new(Psk::new(identity, Zeroizing::new(key.to_vec())).unwrap())
}

fn name() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::LOCALHOST.into())
}

fn accept(server: &PskServer, hello: &[u8]) -> Result<(ServerConnection, Arc<Offer>), Error> {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut &*hello).unwrap();
    let accepted = acceptor.accept().map_err(|(error, _)| error)?.unwrap();
    let (config, offer) = server.config_for(&accepted.client_hello()).unwrap();
    Ok((accepted.into_connection(config).map_err(|(error, _)| error)?, offer))
}

fn run(server: &PskServer, config: Arc<ClientConfig>) -> Result<(ClientConnection, ServerConnection), Error> {
    let mut client = ClientConnection::new(config, name()).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    let (mut connection, _) = accept(server, &wire)?;
    for _ in 0..4 {
        wire.clear();
        connection.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
        wire.clear();
        client.write_tls(&mut wire).unwrap();
        connection.read_tls(&mut wire.as_slice()).unwrap();
        connection.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !connection.is_handshaking());
    Ok((client, connection))
}

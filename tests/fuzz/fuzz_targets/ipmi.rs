//! What comes back from a power device over RMCP+: single packets, and datagrams at any moment of a session.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use nova_ext::power::ipmi::message::{Command, Message};
use nova_ext::power::ipmi::packet::{self, OpenResponse, Packet, Payload, Rakp2, Rakp4};
use nova_ext::power::ipmi::session::{Event, Login, Session};
use nova_ext::secret::Secret;

// The first byte says what the rest is.
fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 2 {
        0 => parts(rest),
        _ => talk(rest),
    }
});

/// Every parser, and what it says is inside its input.
fn parts(bytes: &[u8]) {
    for code in [0, 12, 16] {
        if let Ok(packet) = Packet::parse(bytes, code) {
            assert!(packet.body.len() <= bytes.len());
            if let Some((covered, end)) = packet.signed {
                assert_eq!((covered.len() + end.len() + 4, end.len()), (bytes.len(), code));
            }
        }
    }
    let _ = (OpenResponse::parse(bytes), Rakp2::parse(bytes), Rakp4::parse(bytes));
    if let Ok(message) = Message::parse(bytes) {
        assert!(message.data.len() < bytes.len());
    }
    // What we send comes back as it was.
    let body = bytes.get(..bytes.len().min(512)).unwrap_or_default();
    let plain = packet::plain(Payload::Rakp(1), body);
    let read = Packet::parse(&plain, 0).expect("our own packet");
    assert_eq!((read.payload, read.body, read.session), (Payload::Rakp(1), body, 0));
}

/// A session, and a device that sends these pieces: length, then bytes; a length of 0 is time that passes.
fn talk(mut bytes: &[u8]) {
    let login = Login {
        user: "fencer".into(),
        password: Secret::new("hunter2".into()),
        board_key: None,
        level: 3,
        suite: None,
    };
    let mut session = Session::new(login, Box::new(|bytes| {
        bytes.fill(7);
        true
    }));
    let mut now = Instant::now();
    let until = now + Duration::from_secs(60);
    session.log_in(now, until);
    let (mut sent, mut ended) = (0_u32, false);
    while let Some((length, rest)) = bytes.split_first() {
        let (piece, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        if piece.is_empty() {
            now = session.wake().unwrap_or(now);
            session.tick(now);
        } else {
            session.hear(piece, now);
        }
        while let Some(datagram) = session.datagram() {
            sent += 1;
            assert!(datagram.len() <= packet::LONGEST);
        }
        while let Some(event) = session.event() {
            // Nobody here knows the password.
            assert!(matches!(event, Event::Failed(_)), "{event:?}");
            ended = true;
        }
    }
    assert!(ended || session.wake().is_some(), "it waits for something or has ended");
    assert!(sent < 200, "{sent} datagrams within a minute");
    // What is on its way already is the login's.
    while session.datagram().is_some() {}
    session.request(Command::ChassisControl(0), true, now, until);
    assert!(session.datagram().is_none(), "no order without a session");
}

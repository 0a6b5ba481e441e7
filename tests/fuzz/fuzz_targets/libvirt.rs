//! What a libvirt daemon sends: answers, pings and events in any order and cut; and bodies of answers.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use libvirt_probe::rpc::codec::{Decoder, Header, Kind};
use libvirt_probe::rpc::message::{
    AllStates, AuthList, AuthPolkit, DomainState, Event, GetControl, GetState, HasPings, LibVersion, ListDomains,
    Name, Open, Procedure, Refusal, Subscribe,
};
use libvirt_probe::rpc::session::{EVENTS_MAX, IN_FLIGHT};
use libvirt_probe::rpc::xdr::{Reader, Writer};
use libvirt_probe::rpc::{CallError, PeerError, Session};

// The first byte says what the rest is, the second how it is cut.
fuzz_target!(|data: &[u8]| {
    let Some((&[kind, step], rest)) = data.split_first_chunk::<2>() else { return };
    match kind % 2 {
        0 => {
            let whole = talk(rest, rest.len().max(1));
            assert_eq!(talk(rest, usize::from(step).max(1)), whole);
        }
        _ => bodies(rest),
    }
});

/// What came of a talk, to compare.
#[derive(Debug, PartialEq)]
struct Outcome {
    end: Result<(), PeerError>,
    answers: Vec<String>,
    events: Vec<Event>,
    pongs: u64,
}

/// A session with calls of all kinds, and a daemon that sends these bytes.
fn talk(stream: &[u8], step: usize) -> Outcome {
    let mut session = Session::new();
    let now = Instant::now();
    let name = Name { name: "instance-1".into(), uuid: [7; 16], id: 3 };
    session.ping(now);
    let ways = session.call(&AuthList, now);
    let version = session.call(&LibVersion, now);
    let states = session.call(&AllStates { active: true }, now);
    let forgotten = session.call(&GetControl(name.clone()), now);
    let names = session.call(&ListDomains { active: false }, now + Duration::from_secs(1));
    let state = session.call(&GetState(name), now);
    session.forget(forgotten);
    assert_eq!(calls_in(session.outgoing()), IN_FLIGHT);

    let mut end = Ok(());
    for piece in stream.chunks(step) {
        session.buffer().extend_from_slice(piece);
        end = session.received();
        if end.is_err() {
            assert!(session.received().is_err(), "an error lasts");
            break;
        }
    }
    let mut answers = Vec::new();
    let mut add = |answer: Option<String>| answers.extend(answer);
    add(session.answer(ways).map(text));
    add(session.answer(version).map(text));
    add(session.answer(states).map(text));
    add(session.answer(names).map(text));
    add(session.answer(state).map(text));
    assert!(session.answer(forgotten).is_none());
    assert!(session.answer(ways).is_none(), "there is one answer");
    // Each call that was answered made room for one of the other two, and no more than that.
    let asked = calls_in(session.outgoing());
    assert!((IN_FLIGHT..=6).contains(&asked), "{asked}");
    let mut events = Vec::new();
    while let Some(event) = session.event() {
        let _ = event.is_bad();
        events.push(event);
    }
    assert!(events.len() <= EVENTS_MAX);
    Outcome { end, answers, events, pongs: session.pongs() }
}

fn text<T: std::fmt::Debug>(answer: Result<T, CallError>) -> String {
    format!("{answer:?}")
}

fn calls_in(outgoing: &[u8]) -> usize {
    let mut decoder = Decoder::new();
    decoder.push(outgoing);
    let mut calls = 0;
    while let Some(message) = decoder.next().expect("what we send is well made") {
        let Header { kind, failed, .. } = message.header;
        assert!(!failed && kind != Kind::Reply);
        calls += usize::from(kind == Kind::Call);
    }
    assert_eq!(decoder.pending(), 0);
    calls
}

/// Bodies that arrive as the answer to anything.
fn bodies(body: &[u8]) {
    let at = || Reader::new(body);
    let _ = AuthList::read(&mut at());
    let _ = AuthPolkit::read(&mut at());
    let _ = HasPings::read(&mut at());
    let _ = Open::read(&mut at());
    let _ = LibVersion::read(&mut at());
    let _ = Subscribe::read(&mut at());
    let _ = GetState::read(&mut at());
    let _ = GetControl::read(&mut at());
    let _ = Refusal::read(&mut at());
    for procedure in [107, 318, 322] {
        let _ = Event::read(procedure, &mut at());
    }
    if let Ok(names) = ListDomains::read(&mut at()) {
        assert!(names.len() * 24 <= body.len());
        assert_eq!(ListDomains::read(&mut Reader::new(&written(&names))).expect("it was read"), names);
    }
    if let Ok(states) = AllStates::read(&mut at()) {
        assert!(states.len() * 28 <= body.len());
        assert_eq!(AllStates::read(&mut Reader::new(&told(&states))).expect("it was read"), states);
    }
}

/// A list as a daemon writes it.
fn written(names: &[Name]) -> Vec<u8> {
    let mut bytes = Default::default();
    let mut to = Writer::new(&mut bytes);
    to.u32(u32::try_from(names.len()).expect("few"));
    for name in names {
        domain(&mut to, name);
    }
    to.u32(0);
    bytes.to_vec()
}

fn told(states: &[DomainState]) -> Vec<u8> {
    let mut bytes = Default::default();
    let mut to = Writer::new(&mut bytes);
    to.u32(u32::try_from(states.len()).expect("few"));
    for DomainState { domain: name, state } in states {
        domain(&mut to, name);
        to.u32(2);
        for (field, value) in [("state.state", state.state), ("state.reason", state.reason)] {
            to.string(field);
            to.u32(1);
            to.i32(value);
        }
    }
    bytes.to_vec()
}

fn domain(to: &mut Writer<'_>, name: &Name) {
    to.string(&name.name);
    to.uuid(&name.uuid);
    to.i32(name.id);
}

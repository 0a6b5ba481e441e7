use std::time::Duration;

use bytes::BytesMut;

use super::*;
use crate::rpc::message::{AllStates, AuthList, GetControl, LibVersion, Name, Version};

/// What the session has sent since it was last asked.
fn sent(session: &mut Session) -> Vec<Header> {
    let mut decoder = Decoder::new();
    decoder.push(session.outgoing());
    let count = session.outgoing().len();
    session.sent(count);
    std::iter::from_fn(|| decoder.next().unwrap()).map(|message| message.header).collect()
}

fn receive(session: &mut Session, bytes: &[u8]) -> Result<(), PeerError> {
    session.buffer().extend_from_slice(bytes);
    session.received()
}

fn message(header: Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode(&mut bytes, header, |to| to.extend_from_slice(body));
    bytes.to_vec()
}

fn reply(call: Header, body: &[u8]) -> Vec<u8> {
    message(Header { kind: Kind::Reply, ..call }, body)
}

const KEPT_ALIVE: Header =
    Header { program: KEEPALIVE, procedure: PING, kind: Kind::Message, serial: 0, failed: false };

#[test]
fn answers_find_their_calls_in_any_order() {
    let mut session = Session::new();
    let now = Instant::now();
    let first = session.call(&LibVersion, now);
    let second = session.call(&LibVersion, now);
    let calls = sent(&mut session);
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0].serial, calls[1].serial);
    receive(&mut session, &reply(calls[1], &9_000_002_u64.to_be_bytes())).unwrap();
    assert_eq!(session.answer(first), None);
    assert_eq!(session.answer(second), Some(Ok(Version(9_000_002))));
    assert_eq!(session.answer(second), None, "there is one answer");
    receive(&mut session, &reply(calls[0], &9_000_001_u64.to_be_bytes())).unwrap();
    assert_eq!(session.answer(first), Some(Ok(Version(9_000_001))));
}

#[test]
fn the_fifth_call_waits_for_an_answer_also_to_a_forgotten_one() {
    let mut session = Session::new();
    let start = Instant::now();
    let tickets: Vec<_> = (0..6).map(|_| session.call(&LibVersion, start)).collect();
    let calls = sent(&mut session);
    assert_eq!(calls.len(), IN_FLIGHT);
    session.forget(tickets[0]);
    // The fifth was never asked, so nothing remains of it.
    session.forget(tickets[4]);
    assert!(sent(&mut session).is_empty(), "the daemon still works at the first");
    receive(&mut session, &reply(calls[0], &[0; 8])).unwrap();
    let next = sent(&mut session);
    assert_eq!(next.iter().map(|call| call.serial).collect::<Vec<_>>(), [tickets[5].serial()]);
    assert_eq!(session.answer(tickets[0]), None);
}

#[test]
fn answers_are_taken_alike_however_they_are_cut() {
    for step in [1, 7, 1000] {
        let mut session = Session::new();
        let tickets: Vec<_> = (0..5).map(|_| session.call(&LibVersion, Instant::now())).collect();
        let calls = sent(&mut session);
        let fifth = Header { serial: tickets[4].serial(), ..calls[0] };
        let stream = [reply(calls[0], &[0; 8]), reply(fifth, &[0; 8])].concat();
        for piece in stream.chunks(step) {
            receive(&mut session, piece).unwrap();
        }
        assert_eq!(session.answer(tickets[4]), Some(Ok(Version(0))), "{step}");
    }
}

#[test]
fn only_those_that_are_kept_are_waited_for() {
    let mut session = Session::new();
    let start = Instant::now();
    let kept = session.call(&AllStates { active: true }, start);
    let other = session.call(&LibVersion, start);
    let calls = sent(&mut session);
    session.forget_all_but(&[kept.serial()]);
    for (call, body) in calls.iter().zip([&[0; 4][..], &[0; 8]]) {
        receive(&mut session, &reply(*call, body)).unwrap();
    }
    assert_eq!(session.answer(other), None);
    assert_eq!(session.answer(kept), Some(Ok(vec![])));
    assert_eq!(session.calls.len(), 0);
}

#[test]
fn it_is_known_since_when_an_answer_is_missing() {
    let mut session = Session::new();
    let start = Instant::now();
    let later = start + Duration::from_secs(7);
    let ticket = session.call(&AuthList, start);
    let other = session.call(&LibVersion, later);
    assert_eq!((session.unanswered(ticket), session.unanswered(other)), (Some(start), Some(later)));
    let calls = sent(&mut session);
    receive(&mut session, &reply(calls[0], &[0; 4])).unwrap();
    assert_eq!((session.unanswered(ticket), session.unanswered(other)), (None, Some(later)));
    session.forget(other);
    assert_eq!(session.answer(ticket), Some(Ok(vec![])));
}

#[test]
fn pings_are_counted_and_answered() {
    let mut session = Session::new();
    let start = Instant::now();
    let later = start + Duration::from_secs(1);
    session.ping(start);
    session.ping(later);
    assert_eq!(sent(&mut session), [KEPT_ALIVE; 2]);
    assert_eq!((session.unanswered_ping(), session.pongs()), (Some(start), 0));
    receive(&mut session, &message(Header { procedure: PONG, ..KEPT_ALIVE }, &[])).unwrap();
    assert_eq!((session.unanswered_ping(), session.pongs()), (Some(later), 1));
    receive(&mut session, &message(KEPT_ALIVE, &[])).unwrap();
    assert_eq!(sent(&mut session), [Header { procedure: PONG, ..KEPT_ALIVE }]);
    // One that nobody asked for does no harm.
    for _ in 0..2 {
        receive(&mut session, &message(Header { procedure: PONG, ..KEPT_ALIVE }, &[])).unwrap();
    }
    assert_eq!(session.unanswered_ping(), None);
}

#[test]
fn who_pings_and_does_not_read_is_cut_off() {
    let mut session = Session::new();
    let pings = message(KEPT_ALIVE, &[]).repeat(100);
    let mut rounds = 0;
    while receive(&mut session, &pings).is_ok() {
        rounds += 1;
        assert!(rounds < 1000);
    }
    assert!(session.outgoing().len() < 2 * PONGS_MAX);
}

#[test]
fn an_error_is_an_answer() {
    let mut session = Session::new();
    let ticket = session.call(&GetControl(Name { name: "x".into(), uuid: [1; 16], id: 1 }), Instant::now());
    let call = sent(&mut session)[0];
    let mut body = BytesMut::new();
    let mut writer = crate::rpc::xdr::Writer::new(&mut body);
    writer.i32(42);
    writer.i32(10);
    writer.optional_string(Some("Domain not found"));
    writer.i32(2);
    receive(&mut session, &reply(Header { failed: true, ..call }, &body)).unwrap();
    let Some(Err(CallError::Refused(refusal))) = session.answer(ticket) else { panic!("refused") };
    assert!(refusal.is_gone() && !refusal.is_permission());
    assert_eq!(refusal.to_string(), "Domain not found (libvirt's error 42)");
}

#[test]
fn what_nobody_asked_is_refused() {
    let mut session = Session::new();
    session.call(&LibVersion, Instant::now());
    let call = sent(&mut session)[0];
    let serial = call.serial + 1;
    let mut fresh = |bytes: &[u8]| {
        session.decoder = Decoder::new();
        session.failed = None;
        let result = receive(&mut session, bytes);
        assert_eq!(session.received(), result, "an error lasts");
        result
    };
    assert_eq!(fresh(&reply(Header { serial, ..call }, &[])), Err(PeerError::Serial { serial }));
    let found = fresh(&reply(Header { procedure: 1, ..call }, &[]));
    assert_eq!(found, Err(PeerError::Procedure { expected: 157, found: 1 }));
    assert_eq!(fresh(&message(call, &[])), Err(PeerError::Call { procedure: 157 }));
    fresh(&reply(call, &[0; 8])).unwrap();
    let again = fresh(&reply(call, &[0; 8]));
    assert_eq!(again, Err(PeerError::Serial { serial: call.serial }), "there is one answer");
}

#[test]
fn events_are_kept_up_to_a_limit() {
    let mut session = Session::new();
    let mut body = BytesMut::new();
    let mut writer = crate::rpc::xdr::Writer::new(&mut body);
    writer.i32(1);
    writer.string("instance-1");
    writer.uuid(&[1; 16]);
    writer.i32(7);
    writer.i32(5);
    writer.i32(5);
    let header = Header { program: REMOTE, procedure: 318, kind: Kind::Message, serial: 0, failed: false };
    let event = message(header, &body);
    receive(&mut session, &event).unwrap();
    let first = session.event().unwrap();
    assert!(first.is_bad() && matches!(first, Event::Lifecycle { event: 5, detail: 5, .. }));
    for _ in 0..EVENTS_MAX + 3 {
        receive(&mut session, &event).unwrap();
    }
    assert_eq!((session.events.len(), session.missed_events(), session.missed_events()), (EVENTS_MAX, 3, 0));
    // Others are passed over.
    receive(&mut session, &message(Header { procedure: 330, ..header }, &[1, 2, 3])).unwrap();
}

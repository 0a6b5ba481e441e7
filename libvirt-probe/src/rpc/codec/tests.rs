use proptest::prelude::*;

use super::*;
use crate::rpc::message::{
    AllStates, Auth, AuthList, DomainState, Event, GetControl, GetState, HasPings, LibVersion, ListDomains,
    Name, Open, Procedure, Refusal, State, Subscribe,
};
use crate::rpc::xdr::{STRING_MAX, Writer};

const REPLY: Header = Header { program: REMOTE, procedure: 344, kind: Kind::Reply, serial: 9, failed: false };

fn message(header: Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode(&mut bytes, header, |to| to.extend_from_slice(body));
    bytes.to_vec()
}

fn decode(stream: &[u8], step: usize) -> (Vec<Message>, Result<(), PeerError>) {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    for piece in stream.chunks(step) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error.clone()), "an error lasts");
                    assert_eq!(decoder.pending(), 0);
                    return (messages, Err(error));
                }
            }
        }
    }
    (messages, Ok(()))
}

/// As a daemon writes a domain.
fn write_name(to: &mut Writer<'_>, name: &Name) {
    to.string(&name.name);
    to.uuid(&name.uuid);
    to.i32(name.id);
}

#[test]
fn the_first_words_of_a_connection_are_as_on_the_wire() {
    // As virsh 9.0 sends them.
    let mut bytes = BytesMut::new();
    let header = Header { program: REMOTE, procedure: 66, kind: Kind::Call, serial: 0, failed: false };
    encode(&mut bytes, header, |_| {});
    let words =
        [0, 0, 0, 0x1c, 0x20, 0, 0x80, 0x86, 0, 0, 0, 1, 0, 0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(&bytes[..], words);
    let mut open = BytesMut::new();
    Open { uri: "qemu:///system".into(), read_only: false }.write(&mut Writer::new(&mut open));
    assert_eq!(&open[..], b"\0\0\0\x01\0\0\0\x0eqemu:///system\0\0\0\0\0\0");
    let mut states = BytesMut::new();
    AllStates { active: true }.write(&mut Writer::new(&mut states));
    assert_eq!(&states[..], b"\0\0\0\0\0\0\0\x01\0\0\0\x01");
    let mut events = BytesMut::new();
    Subscribe::IoError.write(&mut Writer::new(&mut events));
    assert_eq!(&events[..], b"\0\0\0\x04\0\0\0\0");
}

#[test]
fn bad_headers_are_named_before_their_body_has_come() {
    let good = message(REPLY, &[0; 400]);
    let wrong = |at: usize, value: u32| {
        let mut bytes = good[..HEADER_LEN].to_vec();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        decode(&bytes, 1).1.unwrap_err()
    };
    assert_eq!(wrong(0, 27), PeerError::Short { length: 27 });
    assert_eq!(wrong(0, 0), PeerError::Short { length: 0 });
    assert_eq!(wrong(0, u32::MAX), PeerError::TooLarge { length: u32::MAX, limit: MESSAGE_MAX });
    assert_eq!(wrong(4, 7), PeerError::Program { program: 7 });
    assert_eq!(wrong(8, 2), PeerError::Version { program: REMOTE, version: 2 });
    assert_eq!(wrong(16, 3), PeerError::Value { what: "type", value: 3 });
    assert_eq!(wrong(24, 2), PeerError::Value { what: "status", value: 2 });
}

#[test]
fn what_is_only_promised_takes_no_memory() {
    let mut decoder = Decoder::new();
    let mut bytes = message(REPLY, &[]);
    bytes[..4].copy_from_slice(&u32::try_from(MESSAGE_MAX).unwrap().to_be_bytes());
    decoder.push(&bytes);
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.capacity() < 1024, "{}", decoder.capacity());
    // A list of domains that are not there, a string that is not there.
    let count = u32::try_from(crate::rpc::message::DOMAINS_MAX).unwrap().to_be_bytes();
    let truncated = PeerError::Truncated { what: "list of domains" };
    assert_eq!(AllStates::read(&mut Reader::new(&count)).unwrap_err(), truncated);
    assert_eq!(ListDomains::read(&mut Reader::new(&count)).unwrap_err(), truncated);
    let length = u32::try_from(STRING_MAX).unwrap().to_be_bytes();
    assert_eq!(Reader::new(&length).string("it").unwrap_err(), PeerError::Truncated { what: "it" });
}

#[test]
fn a_large_message_leaves_a_small_buffer() {
    let mut decoder = Decoder::new();
    decoder.push(&message(REPLY, &vec![7; 4 << 20]));
    assert_eq!(decoder.next().unwrap().unwrap().body.len(), 4 << 20);
    assert!(decoder.capacity() <= KEEP, "{}", decoder.capacity());
}

fn names() -> impl Strategy<Value = Name> {
    (".{0,40}", any::<[u8; 16]>(), any::<i32>()).prop_map(|(name, uuid, id)| Name { name, uuid, id })
}

proptest! {
    #[test]
    fn messages_survive_every_cut(
        bodies in prop::collection::vec((any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..200)), 0..8),
        step in 1..300_usize,
    ) {
        let mut stream = Vec::new();
        for (procedure, serial, body) in &bodies {
            stream.extend(message(Header { procedure: *procedure, serial: *serial, ..REPLY }, body));
        }
        let (messages, end) = decode(&stream, step);
        prop_assert_eq!(end, Ok(()));
        let seen: Vec<_> = messages
            .into_iter()
            .map(|message| (message.header.procedure, message.header.serial, message.body.to_vec()))
            .collect();
        prop_assert_eq!(seen, bodies);
    }

    #[test]
    fn garbage_never_panics_and_takes_no_more_than_it_is(
        stream in prop::collection::vec(any::<u8>(), 0..600),
        step in 1..100_usize,
    ) {
        let (messages, _) = decode(&stream, step);
        prop_assert!(messages.len() * HEADER_LEN <= stream.len());
    }

    #[test]
    fn no_reader_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let at = || Reader::new(&body);
        let _ = AuthList::read(&mut at());
        let _ = HasPings::read(&mut at());
        let _ = LibVersion::read(&mut at());
        let _ = GetState::read(&mut at());
        let _ = GetControl::read(&mut at());
        let _ = Refusal::read(&mut at());
        for procedure in [318, 322, 1] {
            let _ = Event::read(procedure, &mut at());
        }
        if let Ok(list) = ListDomains::read(&mut at()) {
            prop_assert!(list.len() * 24 <= body.len());
        }
        if let Ok(list) = AllStates::read(&mut at()) {
            prop_assert!(list.len() * 28 <= body.len());
        }
    }

    #[test]
    fn states_are_read_as_they_were_written(
        list in prop::collection::vec((names(), any::<i32>(), any::<i32>()), 0..20),
    ) {
        let mut body = BytesMut::new();
        let mut to = Writer::new(&mut body);
        to.u32(u32::try_from(list.len()).unwrap());
        for (name, state, reason) in &list {
            write_name(&mut to, name);
            to.u32(4);
            // Every type there is, and in between what is looked for.
            to.string("some.text");
            to.u32(7);
            to.string("value");
            to.string("state.state");
            to.u32(1);
            to.i32(*state);
            to.string("some.size");
            to.u32(4);
            to.u64(7);
            to.string("state.reason");
            to.u32(1);
            to.i32(*reason);
        }
        let mut reader = Reader::new(&body);
        let read = AllStates::read(&mut reader).unwrap();
        reader.end().unwrap();
        let expected: Vec<_> = list
            .into_iter()
            .map(|(domain, state, reason)| DomainState { domain, state: State { state, reason } })
            .collect();
        prop_assert_eq!(read, expected);
        // It never ends well when it ends early.
        for end in 0..body.len().min(200) {
            let mut reader = Reader::new(&body[..end]);
            prop_assert!(AllStates::read(&mut reader).is_err());
        }
    }

    #[test]
    fn lists_and_ways_are_read_as_they_were_written(list in prop::collection::vec(names(), 0..20), ways in prop::collection::vec(0..3_i32, 0..20)) {
        let mut body = BytesMut::new();
        let mut to = Writer::new(&mut body);
        to.u32(u32::try_from(list.len()).unwrap());
        for name in &list {
            write_name(&mut to, name);
        }
        to.u32(7);
        let mut reader = Reader::new(&body);
        prop_assert_eq!(ListDomains::read(&mut reader).unwrap(), list);
        reader.end().unwrap();
        let mut body = BytesMut::new();
        let mut to = Writer::new(&mut body);
        to.u32(u32::try_from(ways.len()).unwrap());
        for way in &ways {
            to.i32(*way);
        }
        let known = [Auth::None, Auth::Sasl, Auth::Polkit];
        let expected: Vec<_> = ways.iter().map(|way| known[usize::try_from(*way).unwrap()]).collect();
        prop_assert_eq!(AuthList::read(&mut Reader::new(&body)).unwrap(), expected);
    }

    #[test]
    fn strings_are_padded_and_read_back(text in ".{0,64}", more in any::<u32>()) {
        let mut body = BytesMut::new();
        let mut to = Writer::new(&mut body);
        to.optional_string(Some(&text));
        to.optional_string(None);
        to.u32(more);
        prop_assert_eq!(body.len() % 4, 0);
        let mut reader = Reader::new(&body);
        prop_assert_eq!(reader.optional_string("text").unwrap(), Some(text));
        prop_assert_eq!(reader.optional_string("text").unwrap(), None);
        prop_assert_eq!(reader.u32("more").unwrap(), more);
        reader.end().unwrap();
    }
}

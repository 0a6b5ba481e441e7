//! Every message of three recorded life cycles, as real peers sent them, becomes typed and is written
//! back byte for byte.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use pcmk_proto::frame::{ByteOrder, Decoder, encode_as};
use pcmk_proto::limits::Limits;
use pcmk_proto::lrmd::{Message, Operation, Request};
use pcmk_proto::xml::{Element, WriteXml};

const RECORDINGS: [(&str, &str); 3] = [
    ("2.0.5", include_str!("data/wire/2.0.5.txt")),
    ("2.1.5", include_str!("data/wire/2.1.5.txt")),
    ("3.0.0", include_str!("data/wire/3.0.0.txt")),
];

/// One recorded message: seen from the daemon.
struct Recorded {
    release: &'static str,
    received: bool,
    id: u64,
    xml: &'static str,
}

fn recorded() -> impl Iterator<Item = Recorded> {
    RECORDINGS.iter().flat_map(|(release, text)| {
        text.lines().map(move |line| {
            let (direction, rest) = line.split_once(' ').unwrap();
            let (id, xml) = rest.split_once(' ').unwrap();
            Recorded { release, received: direction == "received", id: id.parse().unwrap(), xml }
        })
    })
}

fn parse(xml: &str) -> Element {
    Element::parse(xml.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{e}: {xml}"))
}

/// Up to 2.1.7 a peer writes an apostrophe as an entity and a newline as two characters; we do not.
fn current_escaping(xml: &str) -> String {
    xml.replace("&apos;", "'")
}

#[test]
fn every_message_is_written_back_as_it_came() {
    let mut count = 0;
    for message in recorded() {
        let tree = parse(message.xml);
        let expected = current_escaping(message.xml);
        assert_eq!(tree.to_xml(), expected, "the tree alone");
        let (text, same_tree) = if message.received {
            let request = Request::from_element(&tree).unwrap();
            assert!(!matches!(request.operation, Operation::Other(_)), "{}", message.xml);
            assert_eq!(Request::parse(tree.clone()).unwrap(), request);
            (request.to_xml(), request.to_element())
        } else {
            let answer = Message::from_element(&tree).unwrap();
            (answer.to_xml(), answer.to_element())
        };
        assert_eq!(text, expected, "{}", message.release);
        assert_eq!(same_tree, tree, "{}", message.release);
        count += 1;
    }
    assert_eq!(count, 1641);
}

#[test]
fn releases_are_told_apart_by_their_style() {
    for message in recorded().filter(|m| m.received) {
        let request = Request::from_element(&parse(message.xml)).unwrap();
        let forwarded = matches!(request.operation, Operation::IpcForward(_));
        let hello = matches!(request.operation, Operation::Register { .. });
        let old = message.release != "3.0.0";
        assert_eq!(request.style.t_attribute, !forwarded);
        assert_eq!(request.style.name_attribute, old && !forwarded && !hello);
        assert_eq!(request.token.is_some(), old && !forwarded && !hello);
    }
}

#[test]
fn a_recorded_stream_in_either_byte_order_survives_every_cut() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let stream: Vec<u8> =
            recorded().flat_map(|m| encode_as(order, m.id, m.xml).unwrap().to_vec()).collect();
        for step in [1, 39, 40, 41, 1000, 16384, stream.len()] {
            let mut decoder = Decoder::new(Limits::default());
            let mut expected = recorded();
            for piece in stream.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    let message = expected.next().unwrap();
                    assert_eq!((frame.id, frame.byte_order), (message.id, order));
                    assert_eq!(frame.payload, message.xml.as_bytes());
                }
            }
            assert_eq!(decoder.pending(), 0);
            assert!(expected.next().is_none());
        }
    }
}

//! One message at the beginning of a recording: of the remote protocol, or of local IPC.

use bytes::Bytes;
use pcmk_proto::frame::{ByteOrder, Decoder, HEADER_LEN};
use pcmk_proto::limits::Limits;
use pcmk_proto::qb::{self, Assembler, Incoming, Layout};
use pcmk_proto::xml::Element;
use serde::Serialize;

use super::{MOST, indented};

/// What a remote message begins with, in both byte orders.
const MARKS: [[u8; 4]; 2] = [[0xbd, 0xdb, 0xda, 0xba], [0xba, 0xda, 0xdb, 0xbd]];

/// What stands there.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// A message between a cluster node and a remote node.
    Remote { id: u64, byte_order: &'static str, xml: String },
    /// A message between a local tool and a daemon.
    Ipc { id: i32, flags: u32, xml: String },
    /// Bytes that are no message, and why.
    Problem { bytes: usize, reason: String },
}

/// The message at the beginning, or why there is none, and how many bytes that takes.
pub(super) fn first(bytes: &[u8]) -> (usize, What) {
    if starts_remote(bytes) {
        remote(bytes)
    } else if starts_ipc(bytes) {
        ipc(bytes)
    } else {
        let next = (1..bytes.len()).find(|at| {
            let rest = bytes.get(*at..).unwrap_or_default();
            starts_remote(rest) || starts_ipc(rest)
        });
        let skipped = next.unwrap_or(bytes.len());
        let reason = if matches!(bytes, [0x14..=0x17, 3, 0..=4, ..]) {
            "this is TLS: only what was recorded after decryption can be decoded"
        } else {
            "not a message"
        };
        (skipped, problem(skipped, reason))
    }
}

/// Larger than any peer may send: this is a microscope, not a peer.
fn limits() -> Limits {
    Limits { message: usize::try_from(MOST).unwrap_or(usize::MAX), ..Limits::default() }
}

fn problem(bytes: usize, reason: impl Into<String>) -> What {
    What::Problem { bytes, reason: reason.into() }
}

fn starts_remote(bytes: &[u8]) -> bool {
    MARKS.iter().any(|mark| bytes.starts_with(mark))
}

fn remote(bytes: &[u8]) -> (usize, What) {
    let mut decoder = Decoder::new(limits());
    decoder.push(bytes);
    match decoder.next() {
        Ok(Some(frame)) => {
            let byte_order = match frame.byte_order {
                ByteOrder::Little => "little",
                ByteOrder::Big => "big",
            };
            let used = bytes.len().saturating_sub(decoder.pending());
            let what = match Element::parse(&frame.payload, &limits()) {
                Ok(document) => What::Remote { id: frame.id, byte_order, xml: indented(&document) },
                Err(error) => problem(used, format!("message {} holds no proper XML: {error}", frame.id)),
            };
            (used, what)
        }
        Ok(None) => (bytes.len(), problem(bytes.len(), "the recording ends in the middle of a message")),
        Err(error) => {
            let header = HEADER_LEN.min(bytes.len());
            (header, problem(header, error.to_string()))
        }
    }
}

/// IPC headers have no mark: everything in one must fit.
fn starts_ipc(bytes: &[u8]) -> bool {
    let zero = |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(|b| *b == 0));
    let holds = |layout| match layout {
        Layout::Whole => zero(37, 40),
        Layout::Parts => zero(33, 34) && zero(37, 40),
    };
    Layout::of(bytes).is_some_and(holds)
        && zero(4, 8)
        && zero(12, 16)
        && zero(20, 24)
        && piece_size(bytes).is_some_and(|size| size > qb::HEADER_LEN)
        && bytes.get(qb::HEADER_LEN).is_some_and(|first| matches!(first, b'<' | b'B'))
}

/// Size of header and payload, as the sender says: always in the machine's own byte order.
fn piece_size(bytes: &[u8]) -> Option<usize> {
    let size = bytes.get(8..12)?.first_chunk()?;
    usize::try_from(i32::from_ne_bytes(*size)).ok()
}

fn ipc(bytes: &[u8]) -> (usize, What) {
    let mut assembler = Assembler::new(limits().message);
    let mut used = 0_usize;
    loop {
        let rest = bytes.get(used..).unwrap_or_default();
        let Some(piece) = piece_size(rest).and_then(|size| rest.get(..size)) else {
            return (bytes.len(), problem(bytes.len(), "the recording ends in the middle of a message"));
        };
        used = used.saturating_add(piece.len());
        match assembler.push(Bytes::copy_from_slice(piece)) {
            Ok(Incoming::More) => {}
            Ok(Incoming::Disconnect) => return (used, problem(used, "the tool says goodbye")),
            Ok(Incoming::Message { id, flags, text }) => {
                let document = text
                    .unpack()
                    .map_err(|error| error.to_string())
                    .and_then(|text| Element::parse(&text, &limits()).map_err(|error| error.to_string()));
                let what = match document {
                    Ok(document) => What::Ipc { id, flags, xml: indented(&document) },
                    Err(error) => problem(used, format!("message {id} holds no proper XML: {error}")),
                };
                return (used, what);
            }
            Err(error) => return (used, problem(used, error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use pcmk_proto::qb::Outgoing;

    use super::*;

    fn recorded(layout: Layout, buffer: usize, text: &str) -> Vec<u8> {
        let mut message =
            Outgoing::new(layout, buffer, 7, 0x200, Bytes::copy_from_slice(text.as_bytes())).unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = message.piece() {
            bytes.extend(piece.slices().concat());
            message.sent();
        }
        bytes
    }

    #[test]
    fn local_messages_of_both_layouts_are_read_packed_or_in_parts() {
        let long = format!("<cib_command a=\"{}\"/>", "x".repeat(300_000));
        for (layout, text) in [
            (Layout::Whole, "<cib_command/>"),
            (Layout::Whole, &long),
            (Layout::Parts, "<cib_command/>"),
            (Layout::Parts, &long),
        ] {
            let mut bytes = recorded(layout, 131_072, text);
            let length = bytes.len();
            bytes.extend(recorded(layout, 131_072, "<next/>"));
            let (used, what) = first(&bytes);
            let expected = What::Ipc { id: 7, flags: 0x200, xml: format!("{text}\n") };
            assert!(used == length && what == expected, "{layout:?}: {used} of {length}");
            assert!(matches!(first(&bytes[used..]).1, What::Ipc { .. }));
        }
    }

    #[test]
    fn a_local_message_that_is_cut_off_is_told() {
        let bytes = recorded(Layout::Whole, 131_072, "<cib_command/>");
        let (used, what) = first(&bytes[..bytes.len() - 1]);
        assert!(used == bytes.len() - 1 && matches!(what, What::Problem { .. }), "{what:?}");
    }
}

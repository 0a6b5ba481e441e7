//! A byte stream gives the same frames however it is cut, and each can be encoded and decoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcmk_proto::frame::{ByteOrder, Decoder, Frame, FrameError, HEADER_LEN, encode_as};
use pcmk_proto::limits::Limits;

// First byte: how long the pieces are. Second: what is in front of the rest.
fuzz_target!(|data: &[u8]| {
    let Some((&[step, kind], rest)) = data.split_first_chunk::<2>() else { return };
    let stream = match kind {
        0 => compressed(rest),
        _ => rest.to_vec(),
    };
    let whole = decode(&stream, stream.len().max(1));
    assert_eq!(decode(&stream, usize::from(step).max(1)), whole);
    for frame in &whole.0 {
        let Ok(text) = std::str::from_utf8(&frame.payload) else { continue };
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let again = encode_as(order, frame.id, text).expect("it was short enough");
            let (frames, end) = decode(&again.to_vec(), 7);
            assert_eq!(end, Ok(()));
            assert_eq!(frames.len(), 1);
            assert_eq!((&frames[0].payload, frames[0].id), (&frame.payload, frame.id));
            assert_eq!(frames[0].byte_order, order);
        }
    }
});

fn decode(stream: &[u8], step: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut frames = Vec::new();
    for piece in stream.chunks(step) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(decoder.pending() <= stream.len());
        assert!(decoder.capacity() <= 4 * stream.len() + 1024, "capacity follows what arrived");
    }
    (frames, Ok(()))
}

/// The bytes as the compressed payload of one frame; their first two are the promised length.
fn compressed(bytes: &[u8]) -> Vec<u8> {
    let Some((length, packed)) = bytes.split_first_chunk::<2>() else { return Vec::new() };
    let mut frame = encode_as(ByteOrder::Little, 1, "").expect("short").header.to_vec();
    let size = u32::try_from(packed.len()).expect("short");
    let total = u32::try_from(HEADER_LEN).expect("short") + size;
    for (at, value) in [(24, total), (32, size), (36, u16::from_le_bytes(*length).into())] {
        frame[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    frame.extend_from_slice(packed);
    frame
}

const LIMITS: Limits = Limits { message: 1 << 16, depth: 64, attributes: 64, elements: 1000 };

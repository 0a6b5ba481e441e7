//! Frames from friends and enemies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Write as _;

use pcmk_proto::frame::{
    ByteOrder, Decoder, Frame, FrameError, HEADER_LEN, encode, encode_as, encode_compressed,
};
use pcmk_proto::limits::Limits;
use proptest::prelude::*;

const XML: &str = "<lrmd_reply lrmd_rc=\"0\"/>";

fn decoder(message: usize) -> Decoder {
    Decoder::new(Limits { message, ..Limits::default() })
}

fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(bytes);
    decoder.next()
}

/// A frame with one 32-bit field of its header replaced.
fn with(field: usize, value: u32) -> Vec<u8> {
    let mut bytes = encode_as(ByteOrder::Little, 7, XML).unwrap().to_vec();
    bytes[field..field + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn pack(text: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    writer.write_all(text).unwrap();
    writer.finish().unwrap()
}

/// A compressed frame that promises `length` bytes and claims `total` in all.
fn packed_frame(packed: &[u8], total: usize, length: usize) -> Vec<u8> {
    let mut bytes = with(24, u32::try_from(total).unwrap());
    bytes[32..36].copy_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
    bytes[36..40].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    bytes.truncate(HEADER_LEN);
    bytes.extend_from_slice(packed);
    bytes.resize(total.max(bytes.len()), 0xAA);
    bytes
}

const VERSION: usize = 4;
const FLAGS: usize = 16;
const TOTAL: usize = 24;
const OFFSET: usize = 28;
const COMPRESSED: usize = 32;
const LENGTH: usize = 36;

#[test]
fn a_real_register_reply_has_this_header() {
    let xml = "x".repeat(227);
    let frame = encode_as(ByteOrder::Little, 1, xml.as_str()).unwrap();
    let expected = [
        0xbd, 0xdb, 0xda, 0xba, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0c, 1, 0, 0,
        0x28, 0, 0, 0, 0, 0, 0, 0, 0xe4, 0, 0, 0,
    ];
    assert_eq!(frame.header, expected);
    assert_eq!(frame.payload.len(), 228);
    assert_eq!(frame.payload.last(), Some(&0));
}

#[test]
fn the_other_byte_order_is_the_mirror_image() {
    let little = encode_as(ByteOrder::Little, 0x0102_0304_0506_0708, XML).unwrap();
    let big = encode_as(ByteOrder::Big, 0x0102_0304_0506_0708, XML).unwrap();
    let mut mirrored = big.header;
    for (start, width) in [(0, 4), (4, 4), (8, 8), (16, 8), (24, 4), (28, 4), (32, 4), (36, 4)] {
        mirrored[start..start + width].reverse();
    }
    assert_eq!(mirrored, little.header);
    assert_eq!(big.payload, little.payload);
    assert_eq!(decode(&big.to_vec()).unwrap().unwrap().byte_order, ByteOrder::Big);
    assert_eq!(encode(1, XML).unwrap(), encode_as(ByteOrder::NATIVE, 1, XML).unwrap());
}

#[test]
fn each_wrong_field_of_the_header_has_its_error() {
    let total = u32::try_from(HEADER_LEN + XML.len() + 1).unwrap();
    let limit = Limits::default().message;
    let table = [
        (with(0, 0x2054_4547), FrameError::BadEndianTag { found: 0x2054_4547 }),
        (with(0, 0), FrameError::BadEndianTag { found: 0 }),
        (with(TOTAL, total - 1), FrameError::SizeMismatch { total: total - 1, expected: total.into() }),
        (with(TOTAL, total + 1), FrameError::SizeMismatch { total: total + 1, expected: total.into() }),
        (with(TOTAL, 0), FrameError::PayloadOutsideFrame { offset: 40, total: 0 }),
        (with(TOTAL, u32::MAX), FrameError::TooLarge { size: u32::MAX.into(), limit }),
        (with(OFFSET, 39), FrameError::PayloadOutsideFrame { offset: 39, total }),
        (with(OFFSET, 0), FrameError::PayloadOutsideFrame { offset: 0, total }),
        (with(OFFSET, 41), FrameError::SizeMismatch { total, expected: u64::from(total) + 1 }),
        (with(OFFSET, u32::MAX), FrameError::PayloadOutsideFrame { offset: u32::MAX, total }),
        (with(COMPRESSED, u32::MAX), FrameError::LengthOverflow { offset: 40, payload: u32::MAX }),
        (with(COMPRESSED, 7), FrameError::SizeMismatch { total, expected: 47 }),
        (with(LENGTH, 0), FrameError::Empty),
        (with(LENGTH, 1), FrameError::SizeMismatch { total, expected: 41 }),
        (with(LENGTH, u32::MAX), FrameError::TooLarge { size: u32::MAX.into(), limit }),
    ];
    for (bytes, error) in table {
        assert_eq!(decode(&bytes), Err(error.clone()), "{error}");
        assert_eq!(decode(&bytes[..HEADER_LEN]), Err(error), "the header is enough");
    }
}

#[test]
fn version_and_flags_are_not_a_reason_to_refuse() {
    for bytes in [with(VERSION, 0), with(VERSION, 2), with(VERSION, u32::MAX), with(FLAGS, u32::MAX)] {
        assert_eq!(decode(&bytes).unwrap().unwrap().payload, XML);
    }
}

#[test]
fn a_payload_further_back_is_found() {
    let mut bytes = with(OFFSET, 48);
    let total = u32::try_from(bytes.len() + 8).unwrap();
    bytes[TOTAL..TOTAL + 4].copy_from_slice(&total.to_le_bytes());
    bytes.splice(HEADER_LEN..HEADER_LEN, [0xAA; 8]);
    assert_eq!(decode(&bytes).unwrap().unwrap().payload, XML);
}

#[test]
fn the_text_must_end_with_a_nul() {
    let mut bytes = encode(9, XML).unwrap().to_vec();
    *bytes.last_mut().unwrap() = b' ';
    assert_eq!(decode(&bytes), Err(FrameError::NotNulTerminated { id: 9 }));
}

#[test]
fn an_error_is_final() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(&with(LENGTH, 0));
    assert_eq!(decoder.next(), Err(FrameError::Empty));
    decoder.push(&encode(1, XML).unwrap().to_vec());
    assert_eq!(decoder.next(), Err(FrameError::Empty));
    assert_eq!((decoder.pending(), decoder.capacity()), (0, 0));
}

#[test]
fn the_size_limit_is_exact() {
    let frame = encode(1, "x".repeat(999)).unwrap().to_vec();
    for (limit, fits) in [(frame.len() - 1, false), (frame.len(), true), (frame.len() + 1, true)] {
        let mut decoder = decoder(limit);
        decoder.push(&frame);
        match decoder.next() {
            Ok(Some(_)) => assert!(fits),
            Err(FrameError::TooLarge { size, limit: said }) => {
                assert_eq!((size, said, fits), (frame.len() as u64, limit, false));
            }
            other => unreachable!("{other:?}"),
        }
    }
}

#[test]
fn the_limit_holds_for_what_bzip2_unpacks_to() {
    let text = [vec![b'x'; 4999], vec![0]].concat();
    let packed = pack(&text);
    let frame = packed_frame(&packed, HEADER_LEN + packed.len(), text.len());
    for (limit, fits) in [(4999, false), (5000, true), (5001, true)] {
        let mut decoder = decoder(limit);
        decoder.push(&frame);
        assert_eq!(decoder.next().is_ok(), fits, "{limit}");
    }
}

#[test]
fn both_rules_for_the_size_of_a_compressed_frame_are_accepted() {
    let text = format!("{XML}\0");
    let packed = pack(text.as_bytes());
    let short = HEADER_LEN + packed.len();
    for total in [short, short + text.len()] {
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(&packed_frame(&packed, total, text.len()));
        assert_eq!(decoder.next().unwrap().unwrap().payload, XML);
        assert_eq!(decoder.pending(), 0);
    }
    let between = packed_frame(&packed, short + 1, text.len());
    assert!(matches!(decode(&between), Err(FrameError::SizeMismatch { .. })));
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let frame = encode_compressed(order, 3, XML).unwrap().to_vec();
        assert_eq!(decode(&frame).unwrap().unwrap().payload, XML);
    }
}

#[test]
fn damaged_or_lying_compression_is_refused() {
    let text = [vec![b'x'; 9999], vec![0]].concat();
    let packed = pack(&text);
    let frame = |packed: &[u8], length| packed_frame(packed, HEADER_LEN + packed.len(), length);
    let reason = |bytes: &[u8]| match decode(bytes) {
        Err(FrameError::Decompress { reason, .. }) => reason,
        other => unreachable!("{other:?}"),
    };
    assert!(decode(&frame(&packed, 10_000)).is_ok());
    assert_eq!(reason(&frame(&packed, 9999)), "it is longer");
    assert_eq!(reason(&frame(&packed, 10_001)), "it is shorter");
    assert_eq!(reason(&frame(&packed[..packed.len() - 1], 10_000)), "it ends too early");
    assert_eq!(reason(&frame(&[packed.as_slice(), b"!"].concat(), 10_000)), "something follows it");
    assert_eq!(reason(&frame(b"not bzip2", 10_000)), "not bzip2, or damaged");
    let mut flipped = packed.clone();
    flipped[packed.len() / 2] ^= 0x40;
    assert_eq!(reason(&frame(&flipped, 10_000)), "not bzip2, or damaged");
    let unfinished = pack(&[b'x'; 100]);
    assert_eq!(
        decode(&frame(&unfinished, 100)),
        Err(FrameError::NotNulTerminated { id: 7 }),
        "the NUL is part of what is packed"
    );
}

#[test]
fn a_header_reserves_nothing_for_what_it_promises() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(&encode(1, "x".repeat(20_000_000)).unwrap().header);
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.capacity() < 1024, "{}", decoder.capacity());
    for _ in 0..1000 {
        decoder.push(b"x");
        assert_eq!(decoder.next(), Ok(None));
    }
    assert_eq!(decoder.pending(), HEADER_LEN + 1000);
    assert!(decoder.capacity() < 4096, "{}", decoder.capacity());
}

#[test]
fn the_buffer_is_small_again_after_something_large() {
    let small = encode(2, XML).unwrap().to_vec();
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(&encode(1, "x".repeat(10_000_000)).unwrap().to_vec());
    decoder.push(&small);
    assert_eq!(decoder.next().unwrap().unwrap().payload.len(), 10_000_000);
    assert!(decoder.capacity() < 1024, "{}", decoder.capacity());
    assert_eq!(decoder.next().unwrap().unwrap().id, 2);

    let many: Vec<u8> = small.repeat(10_000);
    decoder.push(&many);
    let mut count = 0;
    while decoder.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 10_000);
    decoder.buffer();
    assert!(decoder.capacity() < 256 << 10, "{}", decoder.capacity());
}

#[test]
fn a_reader_may_append_to_the_buffer_itself() {
    let bytes = encode(5, XML).unwrap().to_vec();
    let mut decoder = Decoder::new(Limits::default());
    for piece in bytes.chunks(11) {
        assert_eq!(decoder.next(), Ok(None));
        let room = decoder.buffer();
        assert!(room.capacity() - room.len() >= 16 << 10);
        room.extend_from_slice(piece);
    }
    assert_eq!(decoder.next().unwrap().unwrap().payload, XML);
}

prop_compose! {
    fn message()(
        id: u64,
        big: bool,
        packed in proptest::bool::weighted(0.1),
        xml in "\\PC{0,300}",
    ) -> (u64, ByteOrder, bool, String) {
        (id, if big { ByteOrder::Big } else { ByteOrder::Little }, packed, xml)
    }
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_frames(
        messages in prop::collection::vec(message(), 1..8),
        cuts in prop::collection::vec(1..200_usize, 1..20),
    ) {
        let mut stream = Vec::new();
        for (id, order, packed, xml) in &messages {
            let make = if *packed { encode_compressed } else { |order, id, xml: &str| encode_as(order, id, xml) };
            stream.extend(make(*order, *id, xml).unwrap().to_vec());
        }
        let mut decoder = Decoder::new(Limits::default());
        let mut frames = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            decoder.push(piece);
            rest = after;
            while let Some(frame) = decoder.next().unwrap() {
                frames.push(frame);
            }
        }
        prop_assert_eq!(decoder.pending(), 0);
        prop_assert_eq!(frames.len(), messages.len());
        for (frame, (id, order, _, xml)) in frames.iter().zip(&messages) {
            prop_assert_eq!((frame.id, frame.byte_order), (*id, *order));
            prop_assert_eq!(&frame.payload[..], xml.as_bytes());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_nor_grow(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(&[0xBD, 0xDB, 0xDA, 0xBA]);
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next() {}
        prop_assert!(decoder.capacity() < 4096);
    }
}

//! What local tools send: the set-up, messages in both layouts, and rings whose other side writes anything.
#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use pcmk_proto::qb::ring::Ring;
use pcmk_proto::qb::{
    Assembler, HEADER_LEN, Incoming, Layout, Outgoing, PART_SIZE, SETUP_REPLY_LEN, SETUP_REQUEST_LEN,
    SetupReply, SetupRequest, Text, flags,
};

// The first byte says what the rest is.
fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => setup(rest),
        1 => pieces(rest),
        2 => document(rest),
        _ => ring(rest),
    }
});

/// What is read as a set-up says the same when it is written again.
fn setup(bytes: &[u8]) {
    if let Some(request) =
        bytes.first_chunk::<SETUP_REQUEST_LEN>().and_then(|bytes| SetupRequest::parse(bytes).ok())
    {
        assert_eq!(SetupRequest::parse(&request.to_bytes()), Ok(request));
    }
    let mut whole = [0; SETUP_REPLY_LEN];
    for (target, source) in whole.iter_mut().zip(bytes) {
        *target = *source;
    }
    let Ok(reply) = SetupReply::parse(&whole) else { return };
    // A name that is not UTF-8 gets longer when it is read, and may no longer fit.
    if let Ok(written) = reply.to_bytes() {
        assert_eq!(SetupReply::parse(written.first_chunk().expect("as long")), Ok(reply));
    }
}

/// Pieces, each with its length in two bytes before it, from a tool that may say anything.
fn pieces(mut rest: &[u8]) {
    let mut assembler = Assembler::new(LIMIT);
    let mut known = None;
    while let Some((length, bytes)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length) % 1024).min(bytes.len());
        let (piece, others) = bytes.split_at(length);
        rest = others;
        let result = assembler.push(piece.to_vec().into());
        let layout = assembler.layout();
        assert!(known.is_none() || layout == known, "a connection keeps its layout");
        known = layout;
        let Ok(Incoming::Message { id, flags, text }) = result else { continue };
        let layout = layout.expect("it has said something");
        assert_eq!(flags & flags::TRANSPORT, 0);
        assert!(text.len() <= LIMIT, "{}", text.len());
        let promised = match text {
            Text::Plain(_) => Some(text.len()),
            Text::Packed { expected, .. } => expected.checked_sub(1),
        };
        let Ok(text) = text.unpack() else { continue };
        assert_eq!(Some(text.len()), promised);
        let written =
            Outgoing::new(layout, PART_SIZE, id, flags, text.clone()).expect("it came in like that");
        assert_eq!(read(written, None), Some((id, flags, text.to_vec())));
    }
}

/// A document of any length is read as it was written, and a piece with one wrong byte does no harm.
fn document(bytes: &[u8]) {
    let Some((&[kind, low, high, repeat, at_low, at_high, wrong, id], text)) = bytes.split_first_chunk::<8>()
    else {
        return;
    };
    let (layout, longest) =
        if kind % 2 == 0 { (Layout::Whole, 4000) } else { (Layout::Parts, PART_SIZE + 1000) };
    let mut text = text.repeat(usize::from(repeat));
    text.truncate(longest);
    let buffer = usize::from(u16::from_le_bytes([low, high])).max(HEADER_LEN + 1);
    let (id, said) =
        (i32::from(id), if kind % 3 == 0 { flags::CLIENT_RESPONSE } else { flags::SERVER_EVENT });
    let Ok(message) = Outgoing::new(layout, buffer, id, said, text.clone().into()) else {
        assert!(
            layout == Layout::Whole && text.len() + HEADER_LEN + 1 >= buffer,
            "nothing is too long for parts"
        );
        return;
    };
    assert_eq!(read(message.clone(), None), Some((id, said, text)));
    if wrong != 0 {
        let _ = read(message, Some((usize::from(u16::from_le_bytes([at_low, at_high])), wrong)));
    }
}

/// Reads all pieces of a message, in one of which a byte may be wrong; the last message that came of it.
fn read(mut message: Outgoing, wrong: Option<(usize, u8)>) -> Option<(i32, u32, Vec<u8>)> {
    let mut assembler = Assembler::new(1 << 20);
    let mut last = None;
    let mut at = wrong.map(|(at, _)| at);
    while let Some(piece) = message.piece() {
        let mut bytes = piece.slices().concat();
        assert_eq!(bytes.len(), piece.size());
        assert!(wrong.is_some() || last.is_none(), "the message was over before");
        if let (Some(here), Some((_, wrong))) = (at, wrong) {
            match bytes.get_mut(here) {
                Some(byte) => {
                    *byte ^= wrong;
                    at = None;
                }
                None => at = Some(here - bytes.len()),
            }
        }
        match assembler.push(bytes.into()) {
            Ok(Incoming::Message { id, flags, text }) => {
                last = text.unpack().ok().map(|text| (id, flags, text.to_vec()));
            }
            Ok(Incoming::More | Incoming::Disconnect) => {}
            Err(error) => assert!(wrong.is_some(), "{error}"),
        }
        message.sent();
    }
    last
}

/// Two ends of a ring, and what one of them may write into it.
fn ring(bytes: &[u8]) {
    let Some((&[low, high], mut steps)) = bytes.split_first_chunk::<2>() else { return };
    let Some(ring) = Ring::for_messages((u16::from_le_bytes([low, high]) % 1024).into(), 64) else { return };
    let size = usize::try_from(ring.bytes()).expect("small");
    let mut shared = vec![0u8; size];
    let (mut write, mut read) = (0, 0);
    let mut waiting = VecDeque::new();
    let mut filler = 0u8;
    while let Some((&[kind, a, b, c, d], rest)) = steps.split_first_chunk::<5>() {
        steps = rest;
        let number = u32::from_le_bytes([a, b, c, d]);
        match kind % 3 {
            // A message, if there is room: what waits must not be touched.
            0 => {
                let length = usize::from(u16::from_le_bytes([a, b]) % 1024);
                let count = u32::try_from(waiting.len()).expect("few");
                if !ring.has_room(write, read, count, length) {
                    continue;
                }
                filler = filler.wrapping_add(1);
                copy(ring, ring.byte(write, 2), length, |at, count| shared[at..at + count].fill(filler));
                waiting.push_back((length, filler));
                write = ring.after(write, u32::try_from(length).expect("short"));
            }
            1 => {
                let Some((length, filler)) = waiting.pop_front() else { continue };
                copy(ring, ring.byte(read, 2), length, |at, count| {
                    assert!(shared[at..at + count].iter().all(|byte| *byte == filler), "overwritten");
                });
                read = ring.after(read, u32::try_from(length).expect("short"));
            }
            // Numbers of one who lies: nothing outside the ring is touched.
            _ => {
                let Some(position) = ring.position(number) else { continue };
                let length = usize::from(u16::from_le_bytes([d, c]) % 2048);
                if ring.has_room(write, position, number.rotate_left(7), length) {
                    copy(ring, ring.byte(write, 2), length, |at, count| assert!(at + count <= size));
                }
                for words in [0, 1, 2, number] {
                    assert!(ring.byte(position, words) + 4 <= ring.bytes());
                }
                assert!(ring.position(ring.after(position, number)).is_some());
            }
        }
    }
}

fn copy(ring: Ring, from: u64, length: usize, mut piece: impl FnMut(usize, usize)) {
    let mut done = 0;
    for (at, count) in ring.pieces(from, length) {
        piece(usize::try_from(at).expect("small"), count);
        done += count;
    }
    assert_eq!(done, length);
}

const LIMIT: usize = 4096;

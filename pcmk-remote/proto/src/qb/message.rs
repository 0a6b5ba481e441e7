//! Messages after the set-up: from a tool in pieces, and to it in pieces.

use bytes::Bytes;

use super::header::{HEADER_LEN, Header, Layout, PART_SIZE, flags};
use super::{DISCONNECT_ID, QbError};
use crate::pack::{pack, unpack};

/// What a tool said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A whole message.
    Message {
        /// Its number, which a response must carry.
        id: i32,
        /// [flags], less what concerns the transport.
        flags: u32,
        /// Its text.
        text: Text,
    },
    /// A part: more is to come.
    More,
    /// Good-bye.
    Disconnect,
}

/// The text of a message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// As it is, without its NUL.
    Plain(Bytes),
    /// Packed.
    Packed {
        /// The number of its message.
        id: i32,
        /// The packed text.
        bytes: Bytes,
        /// Length that the header promises, NUL included.
        expected: usize,
    },
}

impl Text {
    /// Length of the text, or what is said of it.
    pub fn len(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Packed { expected, .. } => *expected,
        }
    }

    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text itself. Takes time if it is packed.
    pub fn unpack(self) -> Result<Bytes, QbError> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Packed { id, bytes, expected } => {
                let mut text =
                    unpack(&bytes, expected).map_err(|reason| QbError::Unpack { id, expected, reason })?;
                match text.pop() {
                    Some(0) => Ok(text.into()),
                    _ => Err(QbError::NotNulTerminated { id }),
                }
            }
        }
    }
}

/// Puts a tool's messages together, and learns from the first one how to answer.
#[derive(Debug)]
pub struct Assembler {
    layout: Option<Layout>,
    limit: usize,
    parts: Option<Parts>,
}

/// The beginning of a message in parts.
#[derive(Debug)]
struct Parts {
    id: i32,
    flags: u32,
    next: u16,
    text: Vec<u8>,
}

impl Assembler {
    /// For messages up to this size.
    pub fn new(limit: usize) -> Self {
        Self { layout: None, limit, parts: None }
    }

    /// How this tool's messages are laid out; unknown until it has said something.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Takes one piece. After an error the next piece starts anew.
    pub fn push(&mut self, mut piece: Bytes) -> Result<Incoming, QbError> {
        if piece.is_empty() || (piece.len() >= 16 && super::setup::signed(&piece, 0) == DISCONNECT_ID) {
            return Ok(Incoming::Disconnect);
        }
        let parts = self.parts.take();
        if piece.len() < HEADER_LEN {
            return Err(QbError::Short { size: piece.len() });
        }
        let layout = self.layout.or_else(|| Layout::of(&piece)).ok_or(QbError::UnknownLayout)?;
        let header = Header::read(&piece, layout)?;
        self.layout = Some(layout);
        let size = header.text as usize;
        if size > self.limit {
            return Err(QbError::TooLarge { size, limit: self.limit });
        }
        let id = header.id;
        let mut body = piece.split_off(HEADER_LEN);
        let flags = header.flags & !flags::TRANSPORT;
        if header.packed != 0 {
            let text = Text::Packed { id, bytes: body, expected: size };
            return Ok(Incoming::Message { id, flags, text });
        }
        if body.last() != Some(&0) {
            return Err(QbError::NotNulTerminated { id });
        }
        body.truncate(body.len() - 1);
        if layout == Layout::Parts && header.flags & (flags::MULTIPART | flags::MULTIPART_END) != 0 {
            return self.part(parts, header, flags, &body);
        }
        Ok(Incoming::Message { id, flags, text: Text::Plain(body) })
    }

    fn part(
        &mut self,
        parts: Option<Parts>,
        header: Header,
        flags: u32,
        body: &[u8],
    ) -> Result<Incoming, QbError> {
        let id = header.id;
        let astray = QbError::Parts { id, part: header.part };
        let mut parts = match (parts, header.part) {
            (_, 0) => Parts { id, flags, next: 0, text: Vec::new() },
            (Some(parts), part) if parts.id == id && parts.next == part => parts,
            _ => return Err(astray),
        };
        let size = parts.text.len().saturating_add(body.len());
        if size > self.limit {
            return Err(QbError::TooLarge { size, limit: self.limit });
        }
        parts.text.extend_from_slice(body);
        if header.flags & flags::MULTIPART_END != 0 {
            let text = Text::Plain(parts.text.into());
            return Ok(Incoming::Message { id, flags: parts.flags, text });
        }
        parts.next = parts.next.checked_add(1).ok_or(astray)?;
        self.parts = Some(parts);
        Ok(Incoming::More)
    }
}

/// Must a text of this length be packed? That takes time.
pub fn needs_packing(layout: Layout, buffer: usize, text: usize) -> bool {
    layout == Layout::Whole && text.saturating_add(HEADER_LEN + 1) >= buffer
}

/// A message on its way to a tool, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    layout: Layout,
    id: i32,
    flags: u32,
    /// Length of the text and its NUL.
    length: u32,
    /// What is still to go: text, or the packed text whole.
    rest: Bytes,
    packed: bool,
    part: u16,
    done: bool,
}

impl Outgoing {
    /// Lays a text out for one who takes messages up to the size of its buffer.
    pub fn new(layout: Layout, buffer: usize, id: i32, flags: u32, text: Bytes) -> Result<Self, QbError> {
        let too_large = QbError::TooLarge { size: text.len(), limit: buffer };
        let Some(length) = u32::try_from(text.len()).ok().and_then(|length| length.checked_add(1)) else {
            return Err(too_large);
        };
        let mut message = Self { layout, id, flags, length, rest: text, packed: false, part: 0, done: false };
        match layout {
            Layout::Whole if needs_packing(layout, buffer, message.rest.len()) => {
                let packed = pack(&[&message.rest, &[0]], LEVEL).map_err(|_| too_large.clone())?;
                if packed.len().saturating_add(HEADER_LEN) > buffer {
                    return Err(too_large);
                }
                message.rest = packed.into();
                message.packed = true;
                message.flags |= flags::COMPRESSED;
            }
            Layout::Parts if message.rest.len() / PART_TEXT > usize::from(u16::MAX) => return Err(too_large),
            _ => {}
        }
        Ok(message)
    }

    /// The next piece; none if all have gone.
    pub fn piece(&self) -> Option<Part<'_>> {
        if self.done {
            return None;
        }
        let last = self.layout == Layout::Whole || self.rest.len() <= PART_TEXT;
        let text = if last { &self.rest[..] } else { self.rest.get(..PART_TEXT).unwrap_or_default() };
        let mut flags = self.flags;
        if self.part > 0 || !last {
            flags |= flags::MULTIPART;
        }
        if self.part > 0 && last {
            flags |= flags::MULTIPART_END;
        }
        let nul: &[u8] = if self.packed { &[] } else { &[0] };
        let body = text.len() + nul.len();
        let said = u32::try_from(body).unwrap_or(u32::MAX);
        let header = Header {
            layout: self.layout,
            id: self.id,
            size: HEADER_LEN + body,
            flags,
            text: if self.packed { self.length } else { said },
            packed: if self.packed { said } else { 0 },
            part: self.part,
        };
        Some(Part { header: header.to_bytes(), text, nul })
    }

    /// That piece has gone.
    pub fn sent(&mut self) {
        if self.layout == Layout::Whole || self.rest.len() <= PART_TEXT {
            self.done = true;
            self.rest = Bytes::new();
        } else {
            self.rest = self.rest.split_off(PART_TEXT);
            self.part = self.part.saturating_add(1);
        }
    }
}

/// One piece: what one datagram or one chunk of a ring carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    header: [u8; HEADER_LEN],
    text: &'a [u8],
    nul: &'a [u8],
}

impl Part<'_> {
    /// In the order in which they are written.
    pub fn slices(&self) -> [&[u8]; 3] {
        [&self.header, self.text, self.nul]
    }

    /// Length of all together.
    pub fn size(&self) -> usize {
        HEADER_LEN + self.text.len() + self.nul.len()
    }
}

/// Text in one part.
const PART_TEXT: usize = PART_SIZE - HEADER_LEN - 1;
/// As the C library packs.
const LEVEL: u32 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    /// The headers of the first requests of `cibadmin` 2.1.5 and 3.0.3.
    const OLD: &str =
        "01000000 00000000 7e000000 00000000 00000000 00000000 56000000 00000000 00020000 01000000";
    const NEW: &str =
        "01000000 00000000 8d000000 00000000 00000000 00000000 65000000 00020000 01000000 00000000";

    fn sample(header: &str, size: usize) -> Bytes {
        let mut bytes = hex(header);
        let text = "<cib_command ".bytes().chain(std::iter::repeat(b'x'));
        bytes.extend(text.take(size - HEADER_LEN - 1));
        bytes.push(0);
        bytes.into()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn both_layouts_are_told_apart_by_the_first_request() {
        for (header, size, layout) in [(OLD, 0x7e, Layout::Whole), (NEW, 0x8d, Layout::Parts)] {
            let mut assembler = Assembler::new(1 << 20);
            assert_eq!(assembler.layout(), None);
            let incoming = assembler.push(sample(header, size)).unwrap();
            let Incoming::Message { id: 1, flags: flags::CLIENT_RESPONSE, text: Text::Plain(text) } =
                incoming
            else {
                panic!("{incoming:?}");
            };
            assert!(text.starts_with(b"<cib_command "));
            assert_eq!(text.len(), size - 41);
            assert_eq!(assembler.layout(), Some(layout));
            // What we would write is what the tool wrote.
            let again = Outgoing::new(layout, 131_072, 1, flags::CLIENT_RESPONSE, text).unwrap();
            assert_eq!(again.piece().unwrap().slices().concat(), sample(header, size));
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_connection_keeps_its_layout() {
        let mut assembler = Assembler::new(1 << 20);
        assembler.push(sample(OLD, 0x7e)).unwrap();
        assert_eq!(assembler.push(sample(NEW, 0x8d)), Err(QbError::UnknownLayout));
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        let mut assembler = Assembler::new(1 << 20);
        let mut broken = |at: usize, value: u32| {
            let message = Outgoing::new(Layout::Whole, 131_072, 7, 0, Bytes::from_static(b"<a/>")).unwrap();
            let mut bytes = message.piece().unwrap().slices().concat();
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            assembler.push(bytes.into())
        };
        for value in [0, 1, 40, 44, 46, 1 << 31, u32::MAX] {
            assert!(matches!(broken(8, value), Err(QbError::Size { .. })), "{value}");
            assert!(matches!(broken(24, value), Err(QbError::Size { .. })), "{value}");
        }
        for value in [1, 4, 6, 1 << 31, u32::MAX] {
            assert!(matches!(broken(28, value), Err(QbError::Size { .. })), "{value}");
        }
        assert_eq!(broken(0, (-3i32).cast_unsigned()), Ok(Incoming::Disconnect));
        assert_eq!(assembler.push(Bytes::from_static(&[0; 39])), Err(QbError::Short { size: 39 }));
        assert_eq!(assembler.push(Bytes::from_static(&[0; 40])), Err(QbError::UnknownLayout));
        assert_eq!(assembler.push(Bytes::new()), Ok(Incoming::Disconnect));
    }

    #[test]
    fn a_text_without_its_nul_is_refused() {
        for layout in [Layout::Whole, Layout::Parts] {
            let message = Outgoing::new(layout, 131_072, 7, 0, Bytes::from_static(b"<a/>")).unwrap();
            let mut bytes = message.piece().unwrap().slices().concat();
            *bytes.last_mut().unwrap() = b'!';
            let result = Assembler::new(1 << 20).push(bytes.into());
            assert_eq!(result, Err(QbError::NotNulTerminated { id: 7 }));
        }
    }

    /// What a bomb unpacks to is bounded by what it promises, and that by the limit.
    #[test]
    fn a_bomb_does_not_go_off() {
        let text = Bytes::from(vec![b' '; 8 << 20]);
        let message = Outgoing::new(Layout::Whole, 131_072, 1, 0, text).unwrap();
        let bytes = message.piece().unwrap().slices().concat();
        assert!(bytes.len() < 2000);
        let refused = Assembler::new(1 << 20).push(bytes.clone().into());
        assert!(matches!(refused, Err(QbError::TooLarge { .. })));
        let mut lying = bytes;
        lying[24..28].copy_from_slice(&1000u32.to_ne_bytes());
        let Ok(Incoming::Message { text, .. }) = Assembler::new(1 << 20).push(lying.into()) else { panic!() };
        assert!(matches!(text.unpack(), Err(QbError::Unpack { expected: 1000, .. })));
    }

    #[test]
    fn what_does_not_fit_even_packed_is_an_error() {
        let mut state = 1u32;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        };
        let noise: Vec<u8> = (0..300_000).map(|_| random()).collect();
        let refused = Outgoing::new(Layout::Whole, 131_072, 1, 0, noise.clone().into());
        assert_eq!(refused, Err(QbError::TooLarge { size: 300_000, limit: 131_072 }));
        assert!(Outgoing::new(Layout::Parts, 131_072, 1, 0, noise.into()).is_ok());
    }

    #[test]
    fn parts_must_follow_each_other() {
        let piece = |id, part: u16, more: u32| {
            let header = Header {
                layout: Layout::Parts,
                id,
                size: 42,
                flags: flags::MULTIPART | more,
                text: 2,
                packed: 0,
                part,
            };
            Bytes::from([&header.to_bytes()[..], b"x\0"].concat())
        };
        let mut assembler = Assembler::new(4);
        let astray = |id, part| Err(QbError::Parts { id, part });
        assert_eq!(assembler.push(piece(1, 1, 0)), astray(1, 1), "no beginning");
        assert_eq!(assembler.push(piece(1, 0, 0)), Ok(Incoming::More));
        assert_eq!(assembler.push(piece(1, 2, 0)), astray(1, 2), "a gap");
        assert_eq!(assembler.push(piece(1, 0, 0)), Ok(Incoming::More));
        assert_eq!(assembler.push(piece(2, 1, 0)), astray(2, 1), "another message's");
        for part in 0..4 {
            assert_eq!(assembler.push(piece(1, part, 0)), Ok(Incoming::More));
        }
        assert_eq!(assembler.push(piece(1, 4, 0)), Err(QbError::TooLarge { size: 5, limit: 4 }));
        assert_eq!(assembler.push(piece(1, 0, 0)), Ok(Incoming::More));
        assert!(matches!(assembler.push(piece(1, 1, flags::MULTIPART_END)), Ok(Incoming::Message { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read(
            layout in prop_oneof![Just(Layout::Whole), Just(Layout::Parts)],
            id in 0..i32::MAX,
            length in prop_oneof![0usize..200, 130_900usize..131_100, 262_000usize..262_200, 400_000usize..500_000],
        ) {
            let text: Bytes = "<a b='ü'/>".bytes().cycle().take(length).collect::<Vec<_>>().into();
            let mut message =
                Outgoing::new(layout, 131_072, id, flags::CLIENT_RESPONSE, text.clone()).unwrap();
            let mut assembler = Assembler::new(1 << 20);
            let mut pieces = 0;
            let read = loop {
                let piece = message.piece().unwrap();
                let bytes = Bytes::from(piece.slices().concat());
                prop_assert_eq!(bytes.len(), piece.size());
                prop_assert!(bytes.len() <= 131_072);
                let incoming = assembler.push(bytes).unwrap();
                message.sent();
                pieces += 1;
                if incoming != Incoming::More {
                    break incoming;
                }
            };
            prop_assert!(message.piece().is_none());
            prop_assert_eq!(pieces, if layout == Layout::Whole { 1 } else { length.max(1).div_ceil(PART_TEXT) });
            let Incoming::Message { id: read_id, flags, text: read } = read else { panic!("{read:?}") };
            prop_assert_eq!((read_id, flags), (id, flags::CLIENT_RESPONSE));
            prop_assert_eq!(read.unpack().unwrap(), text);
        }

        #[test]
        fn nothing_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let mut assembler = Assembler::new(1000);
            for piece in pieces {
                if let Ok(Incoming::Message { text, .. }) = assembler.push(piece.into()) {
                    let _ = text.unpack();
                }
            }
        }
    }
}

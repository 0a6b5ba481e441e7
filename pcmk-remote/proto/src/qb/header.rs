//! The 40 bytes before every text.

use super::QbError;
use super::setup::{put, signed, unsigned};

/// Length of the header in both layouts.
pub const HEADER_LEN: usize = 40;
/// Most bytes of one part, header and NUL included, in the newer layout.
pub const PART_SIZE: usize = 131_072;
/// A request of this number says good-bye.
pub const DISCONNECT_ID: i32 = -3;

/// What a message says of itself besides its text.
pub mod flags {
    /// The text is packed (older layout).
    pub const COMPRESSED: u32 = 0x01;
    /// The sender speaks for another, and wants all answers as events.
    pub const PROXIED: u32 = 0x100;
    /// The sender waits for a response.
    pub const CLIENT_RESPONSE: u32 = 0x200;
    /// It travels on the event channel.
    pub const SERVER_EVENT: u32 = 0x1_0000;
    /// Meaningless on the wire.
    pub const SERVER_FREE: u32 = 0x2_0000;
    /// An event that really is a response.
    pub const RELAYED_RESPONSE: u32 = 0x4_0000;
    /// A part of a longer message (newer layout).
    pub const MULTIPART: u32 = 0x8_0000;
    /// The last part.
    pub const MULTIPART_END: u32 = 0x10_0000;
    /// What concerns the transport alone.
    pub const TRANSPORT: u32 = COMPRESSED | SERVER_FREE | MULTIPART | MULTIPART_END;
}

/// The two layouts. They have the same version number, and only tell apart by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Up to Pacemaker 3.0.0: one message, packed if it is long.
    Whole,
    /// Since 3.0.1: as many parts as it takes.
    Parts,
}

impl Layout {
    /// Which one a message has.
    pub fn of(message: &[u8]) -> Option<Self> {
        match (message.get(32), message.get(36)) {
            (_, Some(&VERSION)) => Some(Self::Whole),
            (Some(&VERSION), Some(0)) => Some(Self::Parts),
            _ => None,
        }
    }
}

/// A header in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) layout: Layout,
    pub(super) id: i32,
    /// Of header and what follows it.
    pub(super) size: usize,
    pub(super) flags: u32,
    /// Of the text and its NUL.
    pub(super) text: u32,
    /// Of the packed text, or 0.
    pub(super) packed: u32,
    pub(super) part: u16,
}

impl Header {
    /// Reads a header and checks its size against the message's.
    pub(super) fn read(message: &[u8], layout: Layout) -> Result<Self, QbError> {
        let found = message.len();
        if found < HEADER_LEN {
            return Err(QbError::Short { size: found });
        }
        if Layout::of(message) != Some(layout) {
            return Err(QbError::UnknownLayout);
        }
        let said = signed(message, 8);
        let size = usize::try_from(said).unwrap_or(0);
        if size != found {
            return Err(QbError::Size { said: said.into(), found });
        }
        let (id, text) = (signed(message, 0), unsigned(message, 24));
        let (flags, packed, part) = match layout {
            Layout::Whole => (unsigned(message, 32), unsigned(message, 28), 0),
            Layout::Parts => {
                let part = message.get(34..).and_then(|rest| rest.first_chunk());
                (unsigned(message, 28), 0, part.map_or(0, |field| u16::from_ne_bytes(*field)))
            }
        };
        let body = if packed == 0 { text } else { packed };
        if found - HEADER_LEN != body as usize {
            return Err(QbError::Size { said: i64::from(body) + 40, found });
        }
        Ok(Self { layout, id, size, flags, text, packed, part })
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        put(&mut bytes, 0, &self.id.to_ne_bytes());
        put(&mut bytes, 8, &u32::try_from(self.size).unwrap_or(u32::MAX).to_ne_bytes());
        put(&mut bytes, 24, &self.text.to_ne_bytes());
        match self.layout {
            Layout::Whole => {
                put(&mut bytes, 28, &self.packed.to_ne_bytes());
                put(&mut bytes, 32, &self.flags.to_ne_bytes());
                put(&mut bytes, 36, &[VERSION]);
            }
            Layout::Parts => {
                put(&mut bytes, 28, &self.flags.to_ne_bytes());
                put(&mut bytes, 32, &[VERSION]);
                put(&mut bytes, 34, &self.part.to_ne_bytes());
            }
        }
        bytes
    }
}

const VERSION: u8 = 1;

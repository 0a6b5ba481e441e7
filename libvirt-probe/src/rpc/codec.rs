//! Messages as libvirt puts them on a stream: a length, six words of header, a body.
//!
//! What a slow peer makes us hold grows with what arrived, not with what it promised. After an error the
//! stream has lost its place: the decoder repeats the error, the connection must go.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::PeerError;
use super::xdr::Reader;

/// Largest message that is read. libvirt's own limit is 32 MiB; the largest answer asked for here (the states
/// of 16384 domains) stays below 8 MiB.
pub const MESSAGE_MAX: usize = 8 << 20;
/// Length of the length and the header.
pub const HEADER_LEN: usize = 28;
/// Program number of libvirt's calls.
pub const REMOTE: u32 = 0x2000_8086;
/// Program number of pings.
pub const KEEPALIVE: u32 = 0x6b65_6570;
/// Version of both programs.
pub const VERSION: u32 = 1;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A question.
    Call,
    /// Its answer.
    Reply,
    /// Something that nobody asked for.
    Message,
}

/// The six words before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which program.
    pub program: u32,
    /// Which of its procedures.
    pub procedure: u32,
    /// What it is.
    pub kind: Kind,
    /// Which call it belongs to.
    pub serial: u32,
    /// An error is in the body.
    pub failed: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Bytes,
}

/// Appends a message; `body` writes what follows the header.
pub fn encode(to: &mut BytesMut, header: Header, body: impl FnOnce(&mut BytesMut)) {
    let start = to.len();
    let kind = match header.kind {
        Kind::Call => 0,
        Kind::Reply => 1,
        Kind::Message => 2,
    };
    let words = [0, header.program, VERSION, header.procedure, kind, header.serial, header.failed.into()];
    for word in words {
        to.put_u32(word);
    }
    body(to);
    let length = u32::try_from(to.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = to.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Most that the buffer held since it was last replaced.
    peak: usize,
    failed: Option<PeerError>,
}

impl Decoder {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// The buffer itself with some room at its end, for a reader that appends to it without a copy.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(ROOM);
        &mut self.buffer
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that are waiting for the rest of their message.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that are kept reserved.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next whole message; `None` until more bytes arrive.
    #[allow(clippy::should_implement_trait, reason = "an iterator would end at the first None")]
    pub fn next(&mut self) -> Result<Option<Message>, PeerError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.take();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        result
    }

    fn take(&mut self) -> Result<Option<Message>, PeerError> {
        self.peak = self.peak.max(self.buffer.len());
        let Some(&length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(length);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size < HEADER_LEN {
            return Err(PeerError::Short { length });
        }
        if size > MESSAGE_MAX {
            return Err(PeerError::TooLarge { length, limit: MESSAGE_MAX });
        }
        // A stranger is found out by the header, before the rest of what it promises has come.
        let Some(&start) = self.buffer.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let header = Header::read(&mut Reader::new(&start))?;
        if self.buffer.len() < size {
            return Ok(None);
        }
        let mut body = self.buffer.split_to(size);
        body.advance(HEADER_LEN);
        let body = body.freeze();
        self.shrink();
        Ok(Some(Message { header, body }))
    }

    /// After something large, goes back to a small buffer; the large one ends with its last message.
    fn shrink(&mut self) {
        if self.peak > KEEP && self.buffer.len() <= KEEP {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.peak = self.buffer.len();
        }
    }
}

impl Header {
    fn read(from: &mut Reader<'_>) -> Result<Self, PeerError> {
        from.u32("length")?;
        let program = from.u32("program")?;
        if program != REMOTE && program != KEEPALIVE {
            return Err(PeerError::Program { program });
        }
        let version = from.u32("version")?;
        if version != VERSION {
            return Err(PeerError::Version { program, version });
        }
        let procedure = from.u32("procedure")?;
        let kind = match from.u32("type")? {
            0 => Kind::Call,
            1 => Kind::Reply,
            2 => Kind::Message,
            value => return Err(PeerError::Value { what: "type", value }),
        };
        let serial = from.u32("serial")?;
        let failed = match from.u32("status")? {
            0 => false,
            1 => true,
            value => return Err(PeerError::Value { what: "status", value }),
        };
        Ok(Self { program, procedure, kind, serial, failed })
    }
}

/// Room for a reader that appends.
const ROOM: usize = 16 << 10;
/// A buffer that held more than this is given back once it is read.
const KEEP: usize = 64 << 10;

#[cfg(test)]
mod tests;

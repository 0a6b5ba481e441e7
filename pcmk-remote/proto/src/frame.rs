//! Frames: a 40-byte header, then one XML document with a trailing NUL.
//!
//! Both byte orders are read, the sender's own is detected from the marker. Peers never compress what
//! they send, but they read bzip2, so we do too. A header is checked before anything is reserved for
//! its payload, and what a slow sender makes us hold grows with what arrived, not with what it promised.
//!
//! After an error the stream has lost its place: the decoder repeats the error, the connection must go.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::limits::Limits;
use crate::pack::{pack, unpack};

/// Length of the header.
pub const HEADER_LEN: usize = 40;

/// Why a frame was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Not this protocol at all.
    #[error("not a Pacemaker Remote message: it begins with {found:#010x} instead of 0xbadadbbd")]
    BadEndianTag {
        /// First four bytes, read in our byte order.
        found: u32,
    },
    /// Lengths that cannot be added up.
    #[error("impossible lengths in a message header: offset {offset}, payload {payload}")]
    LengthOverflow {
        /// Where the payload begins.
        offset: u32,
        /// Its length.
        payload: u32,
    },
    /// More than we accept.
    #[error("message of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Size of the frame or of the decompressed payload.
        size: u64,
        /// The limit.
        limit: usize,
    },
    /// The header says that the payload lies elsewhere.
    #[error("payload at offset {offset} does not lie inside a message of {total} bytes")]
    PayloadOutsideFrame {
        /// Where the payload begins.
        offset: u32,
        /// Size of the frame.
        total: u32,
    },
    /// The parts do not make the whole.
    #[error("message header contradicts itself: {total} bytes in all, but {expected} by its parts")]
    SizeMismatch {
        /// Size of the frame as the header has it.
        total: u32,
        /// Size of the frame by its parts.
        expected: u64,
    },
    /// Nothing in it.
    #[error("message without a payload")]
    Empty,
    /// The text does not end where the header says.
    #[error("message {id} does not end with a NUL byte")]
    NotNulTerminated {
        /// Number of the frame.
        id: u64,
    },
    /// The compressed payload is damaged or not as long as promised. The version is the peer's: above
    /// 1, this error may be its only symptom.
    #[error("message {id} (version {version}) does not decompress to its {expected} bytes: {reason}")]
    Decompress {
        /// Number of the frame.
        id: u64,
        /// Version in the header.
        version: u32,
        /// Length that the header promises.
        expected: u32,
        /// What went wrong.
        reason: &'static str,
    },
}

/// Byte order of a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// What this machine uses, and so what it sends.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

/// One received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The sender's counter of messages: not for matching, only for logs.
    pub id: u64,
    /// How the sender writes numbers.
    pub byte_order: ByteOrder,
    /// The text without its NUL.
    pub payload: Bytes,
}

/// One message to send.
///
/// In two parts, because stock peers need header and payload in different TLS records: write and flush
/// one, then the other, with nothing of another message in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    /// First record.
    pub header: [u8; HEADER_LEN],
    /// Following records: the text and its NUL.
    pub payload: Bytes,
}

impl EncodedFrame {
    /// Both parts in one buffer, for tests and for clients that do not need the boundary.
    pub fn to_vec(&self) -> Vec<u8> {
        [self.header.as_slice(), &self.payload].concat()
    }
}

/// Makes a frame of a document, in this machine's byte order.
pub fn encode(id: u64, xml: impl Into<String>) -> Result<EncodedFrame, FrameError> {
    encode_as(ByteOrder::NATIVE, id, xml)
}

/// Makes a frame of a document, in the given byte order.
pub fn encode_as(order: ByteOrder, id: u64, xml: impl Into<String>) -> Result<EncodedFrame, FrameError> {
    let mut text = xml.into().into_bytes();
    text.reserve_exact(1);
    text.push(0);
    let (length, total) = wire_lengths(text.len())?;
    let header = Header { order, version: VERSION, id, total, offset: OFFSET, compressed: 0, length };
    Ok(EncodedFrame { header: header.to_bytes(), payload: text.into() })
}

/// Makes a compressed frame, which no stock sender does: for tests.
pub fn encode_compressed(order: ByteOrder, id: u64, xml: &str) -> Result<EncodedFrame, FrameError> {
    let fail = |reason| FrameError::Decompress { id, version: VERSION, expected: 0, reason };
    let (length, _) = wire_lengths(xml.len().saturating_add(1))?;
    let packed = pack(&[xml.as_bytes(), &[0]], 1).map_err(fail)?;
    let (compressed, total) = wire_lengths(packed.len())?;
    let header = Header { order, version: VERSION, id, total, offset: OFFSET, compressed, length };
    Ok(EncodedFrame { header: header.to_bytes(), payload: packed.into() })
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limits: Limits,
    /// Most that the buffer held since it was last replaced.
    peak: usize,
    failed: Option<FrameError>,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { buffer: BytesMut::new(), limits, peak: 0, failed: None }
    }

    /// Adds received bytes. The caller bounds one piece, and calls [`Self::next`] until it has no more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The buffer itself with some room at its end, for a reader that appends to it without a copy.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(ROOM);
        &mut self.buffer
    }

    /// Bytes that are waiting for the rest of their frame. Not zero at the end of a stream means that
    /// the peer stopped in the middle of a message.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that the decoder keeps reserved.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next whole frame; `None` until more bytes arrive.
    #[allow(clippy::should_implement_trait, reason = "an iterator would end at the first None")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.take_frame();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        result
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.peak = self.peak.max(self.buffer.len());
        let Some(&bytes) = self.buffer.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let header = Header::read(bytes)?;
        let size = header.check(&self.limits)?;
        if self.buffer.len() < size {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(size).freeze();
        self.shrink();

        let start = (header.offset as usize).min(frame.len());
        let mut payload = frame.split_off(start);
        if header.compressed != 0 {
            payload.truncate(header.compressed as usize);
            payload = decompress(&payload, &header)?.into();
        }
        if payload.last() != Some(&0) {
            return Err(FrameError::NotNulTerminated { id: header.id });
        }
        payload.truncate(payload.len().saturating_sub(1));
        Ok(Some(Frame { id: header.id, byte_order: header.order, payload }))
    }

    /// After something large, goes back to a small buffer; the large one ends with its last frame.
    fn shrink(&mut self) {
        if self.peak > KEEP && self.buffer.len() <= KEEP {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.peak = self.buffer.len();
        }
    }
}

/// A header in numbers.
#[derive(Debug, Clone, Copy)]
struct Header {
    order: ByteOrder,
    version: u32,
    id: u64,
    total: u32,
    offset: u32,
    compressed: u32,
    /// Length of the text and its NUL.
    length: u32,
}

impl Header {
    fn read(bytes: [u8; HEADER_LEN]) -> Result<Self, FrameError> {
        // The array type leaves no way for a field to be outside.
        let [
            t0,
            t1,
            t2,
            t3,
            v0,
            v1,
            v2,
            v3,
            i0,
            i1,
            i2,
            i3,
            i4,
            i5,
            i6,
            i7,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            o0,
            o1,
            o2,
            o3,
            c0,
            c1,
            c2,
            c3,
            u0,
            u1,
            u2,
            u3,
        ] = bytes;
        let tag = [t0, t1, t2, t3];
        let order = if u32::from_le_bytes(tag) == ENDIAN_TAG {
            ByteOrder::Little
        } else if u32::from_be_bytes(tag) == ENDIAN_TAG {
            ByteOrder::Big
        } else {
            return Err(FrameError::BadEndianTag { found: u32::from_ne_bytes(tag) });
        };
        let word = |bytes| match order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        };
        let id = [i0, i1, i2, i3, i4, i5, i6, i7];
        Ok(Self {
            order,
            version: word([v0, v1, v2, v3]),
            id: match order {
                ByteOrder::Little => u64::from_le_bytes(id),
                ByteOrder::Big => u64::from_be_bytes(id),
            },
            total: word([s0, s1, s2, s3]),
            offset: word([o0, o1, o2, o3]),
            compressed: word([c0, c1, c2, c3]),
            length: word([u0, u1, u2, u3]),
        })
    }

    /// Size of the frame, if everything in the header agrees.
    ///
    /// Two rules for the size of a compressed frame exist among the releases; both are accepted, and in
    /// both the frame is as long as the header says.
    fn check(&self, limits: &Limits) -> Result<usize, FrameError> {
        let Self { total, offset, compressed, length, .. } = *self;
        let too_large = |size: u32| FrameError::TooLarge { size: size.into(), limit: limits.message };
        if total as usize > limits.message {
            return Err(too_large(total));
        }
        if length as usize > limits.message {
            return Err(too_large(length));
        }
        if (offset as usize) < HEADER_LEN || offset > total {
            return Err(FrameError::PayloadOutsideFrame { offset, total });
        }
        if length == 0 {
            return Err(FrameError::Empty);
        }
        let stored = if compressed == 0 { length } else { compressed };
        let expected =
            offset.checked_add(stored).ok_or(FrameError::LengthOverflow { offset, payload: stored })?;
        let both = u64::from(offset) + u64::from(compressed) + u64::from(length);
        if total != expected && (compressed == 0 || u64::from(total) != both) {
            return Err(FrameError::SizeMismatch { total, expected: expected.into() });
        }
        Ok(total as usize)
    }

    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let word = |value: u32| match self.order {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        };
        let id = match self.order {
            ByteOrder::Little => self.id.to_le_bytes(),
            ByteOrder::Big => self.id.to_be_bytes(),
        };
        let words = [
            word(ENDIAN_TAG),
            word(self.version),
            [id[0], id[1], id[2], id[3]],
            [id[4], id[5], id[6], id[7]],
            word(0),
            word(0),
            word(self.total),
            word(self.offset),
            word(self.compressed),
            word(self.length),
        ];
        let mut bytes = [0; HEADER_LEN];
        for (target, source) in bytes.iter_mut().zip(words.iter().flatten()) {
            *target = *source;
        }
        bytes
    }
}

/// Length of a payload and of its frame as the header has them.
fn wire_lengths(payload: usize) -> Result<(u32, u32), FrameError> {
    let too_large = FrameError::TooLarge { size: payload as u64, limit: u32::MAX as usize };
    let Ok(length) = u32::try_from(payload) else { return Err(too_large) };
    let Some(total) = length.checked_add(OFFSET) else { return Err(too_large) };
    Ok((length, total))
}

/// Unpacks at most what the header promises.
fn decompress(packed: &[u8], header: &Header) -> Result<Vec<u8>, FrameError> {
    unpack(packed, header.length as usize).map_err(|reason| FrameError::Decompress {
        id: header.id,
        version: header.version,
        expected: header.length,
        reason,
    })
}

const ENDIAN_TAG: u32 = 0xBADA_DBBD;
const VERSION: u32 = 1;
const OFFSET: u32 = 40;
/// Room for a reader that appends: one TLS record and some.
const ROOM: usize = 16 << 10;
/// A buffer that held more than this is given back once it is read.
const KEEP: usize = 64 << 10;

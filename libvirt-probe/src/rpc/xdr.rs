//! XDR as libvirt uses it: big-endian words, everything padded to four bytes.
//!
//! Nothing is reserved for what a peer only promises: each length is held against a limit and against the
//! bytes that are there.

use bytes::{BufMut, BytesMut};

use super::PeerError;

/// Longest string.
pub const STRING_MAX: usize = 4 << 20;
/// Length of a UUID.
pub const UUID_LEN: usize = 16;

/// Reads values from a message's body.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// At the beginning of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// An unsigned word.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, PeerError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// A signed word.
    pub fn i32(&mut self, what: &'static str) -> Result<i32, PeerError> {
        self.array(what).map(i32::from_be_bytes)
    }

    /// Two words as one number.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, PeerError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// A UUID.
    pub fn uuid(&mut self, what: &'static str) -> Result<[u8; UUID_LEN], PeerError> {
        self.array(what)
    }

    /// Whether an optional value follows.
    pub fn present(&mut self, what: &'static str) -> Result<bool, PeerError> {
        match self.u32(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(PeerError::Value { what, value }),
        }
    }

    /// A string; bytes that are not UTF-8 are replaced.
    pub fn string(&mut self, what: &'static str) -> Result<String, PeerError> {
        let length = self.length(what, STRING_MAX)?;
        let padded = length.next_multiple_of(4);
        let Some((text, _)) = self.rest.split_at_checked(length) else {
            return Err(PeerError::Truncated { what });
        };
        let Some((_, rest)) = self.rest.split_at_checked(padded) else {
            return Err(PeerError::Truncated { what });
        };
        self.rest = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// A string that may be missing.
    pub fn optional_string(&mut self, what: &'static str) -> Result<Option<String>, PeerError> {
        if self.present(what)? { self.string(what).map(Some) } else { Ok(None) }
    }

    /// How many values of at least `size` bytes follow; never more than could be there.
    pub fn count(&mut self, what: &'static str, limit: usize, size: usize) -> Result<usize, PeerError> {
        let count = self.length(what, limit)?;
        if count.saturating_mul(size) > self.rest.len() {
            return Err(PeerError::Truncated { what });
        }
        Ok(count)
    }

    /// Ends the reading; nothing may be left.
    pub fn end(self) -> Result<(), PeerError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(PeerError::Trailing { count }),
        }
    }

    fn length(&mut self, what: &'static str, limit: usize) -> Result<usize, PeerError> {
        let length = self.u32(what)?;
        match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(length),
            _ => Err(PeerError::TooLong { what, length, limit }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], PeerError> {
        let Some((&bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(PeerError::Truncated { what });
        };
        self.rest = rest;
        Ok(bytes)
    }
}

/// Writes values into a message's body.
#[derive(Debug)]
pub struct Writer<'a> {
    to: &'a mut BytesMut,
}

impl<'a> Writer<'a> {
    /// Appends to these bytes.
    pub fn new(to: &'a mut BytesMut) -> Self {
        Self { to }
    }

    /// An unsigned word.
    pub fn u32(&mut self, value: u32) {
        self.to.put_u32(value);
    }

    /// A signed word.
    pub fn i32(&mut self, value: i32) {
        self.to.put_i32(value);
    }

    /// Two words as one number.
    pub fn u64(&mut self, value: u64) {
        self.to.put_u64(value);
    }

    /// Bytes as they are; a multiple of four.
    pub fn uuid(&mut self, value: &[u8; UUID_LEN]) {
        self.to.put_slice(value);
    }

    /// A string. What is longer than any peer reads is cut.
    pub fn string(&mut self, value: &str) {
        let mut end = value.len().min(STRING_MAX);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let (text, _) = value.split_at(end);
        self.to.put_u32(u32::try_from(text.len()).unwrap_or(0));
        self.to.put_slice(text.as_bytes());
        self.to.put_bytes(0, text.len().next_multiple_of(4) - text.len());
    }

    /// A string that may be missing.
    pub fn optional_string(&mut self, value: Option<&str>) {
        self.to.put_u32(value.is_some().into());
        if let Some(value) = value {
            self.string(value);
        }
    }
}

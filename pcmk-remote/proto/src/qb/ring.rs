//! Ring buffers in shared memory: where everything is, and what the numbers mean.
//!
//! A ring is two files. One has a header with the two positions and a semaphore that counts messages; the
//! other has the messages, each in a chunk of two words (length and mark) and its text. Positions count
//! words of four bytes and wrap around at the end.
//!
//! The other side may write anything anywhere at any time. So nothing here is trusted: every position is
//! checked against the size that this side chose, and a ring that makes no sense is an error.

use super::setup::{put, unsigned};

/// Length of the header file: with four bytes for flow control behind the structure.
pub const HEADER_LEN: usize = 8252;
/// Where the position of the next write is.
pub const WRITE_AT: u64 = 0;
/// Where the position of the next read is.
pub const READ_AT: u64 = 4;
/// Where the number of users is: clients take anything but 2 for a closed connection.
pub const USERS_AT: u64 = 8204;
/// Where the semaphore is. It begins with its value and the number of waiters.
pub const SEMAPHORE_AT: u64 = 8208;
/// Where flow control is.
pub const FLOW_CONTROL_AT: u64 = 8240;
/// Length of a chunk's length and mark.
pub const CHUNK_HEADER: usize = 8;
/// A chunk that can be read.
pub const MARK_READY: u32 = 0xA1A1_A1A1;
/// A chunk that is being written.
pub const MARK_WRITING: u32 = 0xA110_CED0;
/// A chunk that was read.
pub const MARK_READ: u32 = 0xD0D0_D0D0;

/// The size of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    words: u32,
}

impl Ring {
    /// The ring that clients expect for messages up to this size.
    pub fn for_messages(max_msg_size: u32, page: u32) -> Option<Self> {
        let bytes = max_msg_size.checked_add(MARGIN + 1)?.checked_next_multiple_of(page.max(4))?;
        (bytes < 1 << 30).then_some(Self { words: bytes / 4 })
    }

    /// Length of the data file.
    pub fn bytes(self) -> u64 {
        u64::from(self.words) * 4
    }

    /// The header of a new ring whose files have these names; without its last four bytes, which only the
    /// request ring has a use for.
    pub fn header(self, header_path: &str, data_path: &str) -> Option<Vec<u8>> {
        if header_path.len() >= PATH_LEN || data_path.len() >= PATH_LEN {
            return None;
        }
        let mut bytes = vec![0; HEADER_LEN];
        put(&mut bytes, 8, &self.words.to_ne_bytes());
        put(&mut bytes, 12, header_path.as_bytes());
        put(&mut bytes, 12 + PATH_LEN, data_path.as_bytes());
        put(&mut bytes, 8204, &1u32.to_ne_bytes());
        // The semaphore: value and waiters are 0, and it is shared between processes.
        put(&mut bytes, 8208 + SHARED_FLAG, &SHARED.to_ne_bytes());
        Some(bytes)
    }

    /// A position that the other side wrote, if it lies in the ring.
    pub fn position(self, words: u32) -> Option<u32> {
        (words < self.words).then_some(words)
    }

    /// The byte where a chunk's mark, data or whatever so many words behind a position is.
    pub fn byte(self, position: u32, words: u32) -> u64 {
        (u64::from(position) + u64::from(words)) % u64::from(self.words.max(1)) * 4
    }

    /// The position behind a chunk of this length.
    pub fn after(self, position: u32, length: u32) -> u32 {
        let next = u64::from(position) + 2 + u64::from(length.div_ceil(4));
        u32::try_from(next % u64::from(self.words.max(1))).unwrap_or(0)
    }

    /// Is there room for a chunk of this length? `waiting` is the number of messages in the ring, which
    /// tells a full one from an empty one.
    pub fn has_room(self, write: u32, read: u32, waiting: u32, length: usize) -> bool {
        let free = match write.cmp(&read) {
            std::cmp::Ordering::Greater => {
                (u64::from(read) + u64::from(self.words)).saturating_sub(u64::from(write)).saturating_sub(1)
            }
            std::cmp::Ordering::Less => u64::from(read - write) - 1,
            std::cmp::Ordering::Equal if waiting > 0 => 0,
            std::cmp::Ordering::Equal => u64::from(self.words),
        };
        free * 4 >= length as u64 + u64::from(MARGIN)
    }

    /// The pieces of `length` bytes from a byte on: one, or two if they wrap around. Each is where it
    /// begins in the file, and how long it is.
    pub fn pieces(self, from: u64, length: usize) -> [(u64, usize); 2] {
        let first = usize::try_from(self.bytes().saturating_sub(from)).unwrap_or(usize::MAX).min(length);
        [(from, first), (0, length - first)]
    }
}

/// Reads a word.
pub fn word(bytes: [u8; 4]) -> u32 {
    unsigned(&bytes, 0)
}

/// What is kept free: a chunk's header and a word.
const MARGIN: u32 = 12;
const PATH_LEN: usize = 4096;
/// The C library's own idea of a shared semaphore (`FUTEX_PRIVATE_FLAG` to be taken off).
const SHARED: u32 = 128;
const SHARED_FLAG: usize = 8;

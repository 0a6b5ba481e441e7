//! What both sides have once the login is done: keys, numbers, and which packets have been seen.

use super::super::crypto::{Keys, Suite};

/// What an active session has.
pub(super) struct Active {
    pub(super) suite: Suite,
    pub(super) keys: Keys,
    pub(super) console: u32,
    pub(super) board: u32,
    pub(super) sent: u32,
    pub(super) seen: Seen,
}

impl Active {
    /// The next packet.
    pub(super) fn seal(&mut self, message: &[u8], iv: [u8; 16]) -> Vec<u8> {
        // 0 is for what is outside sessions.
        self.sent = self.sent.wrapping_add(1).max(1);
        self.keys.seal(self.board, self.sent, message, iv)
    }
}

/// Session sequence numbers that have been seen: a window, as packets may overtake each other.
#[derive(Debug, Default)]
pub(super) struct Seen {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    bits: u64,
}

impl Seen {
    /// Whether it was not seen before.
    pub(super) fn is_new(&mut self, sequence: u32) -> bool {
        if self.bits == 0 || sequence > self.highest {
            let step = if self.bits == 0 { 64 } else { sequence - self.highest };
            self.bits = self.bits.checked_shl(step).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        let Some(bit) = 1_u64.checked_shl(behind) else { return false };
        let new = self.bits & bit == 0;
        self.bits |= bit;
        new
    }
}

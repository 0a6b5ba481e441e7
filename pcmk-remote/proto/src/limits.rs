//! Upper bounds on everything a peer can make us hold.
//!
//! Each bound is checked before memory is taken.

/// Bounds on one message, from its frame to its XML tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame (header included) and largest decompressed payload, in bytes.
    pub message: usize,
    /// Deepest nesting of elements.
    pub depth: usize,
    /// Most attributes on one element.
    pub attributes: usize,
    /// Most elements in one document.
    pub elements: usize,
}

impl Default for Limits {
    /// 20 MiB is what Pacemaker 2.1.11 and later accept; the rest is far above what any release sends.
    fn default() -> Self {
        Self { message: 20 << 20, depth: 256, attributes: 4096, elements: 200_000 }
    }
}

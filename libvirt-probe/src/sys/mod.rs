//! What the kernel says: files under `/proc` and `/sys`, the end of a process, sockets.
//!
//! Parsers take bytes and know no files; whoever reads them bounds what is read.

pub mod diag;
mod pidfd;
pub mod proc;

pub use pidfd::Exit;

//! libvirt's RPC protocol, as far as probes need it: about a dozen calls, pings, and two events.
//!
//! [`codec`] and [`message`] know bytes and values, [`Session`] what is asked and what is answered, and
//! [`Client`] moves the bytes. Only the last knows sockets and the clock.

pub mod client;
pub mod codec;
pub mod message;
pub mod session;
pub mod xdr;

use thiserror::Error;

pub use client::{Client, Lost};
pub use session::{CallError, Event, Session, Ticket};

/// What a peer sends that libvirt does not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerError {
    /// Less than a header.
    #[error("a message of {length} bytes, shorter than its own header")]
    Short {
        /// Its length.
        length: u32,
    },
    /// More than is read.
    #[error("a message of {length} bytes, larger than the limit of {limit} bytes")]
    TooLarge {
        /// Its length.
        length: u32,
        /// The limit.
        limit: usize,
    },
    /// Not a program of libvirt.
    #[error("a message of program {program:#010x}, which is not libvirt's")]
    Program {
        /// The number.
        program: u32,
    },
    /// Not the version that is spoken.
    #[error("version {version} of program {program:#010x}; only version 1 is known")]
    Version {
        /// The program.
        program: u32,
        /// Its version.
        version: u32,
    },
    /// A value that does not exist.
    #[error("impossible value {value} of {what}")]
    Value {
        /// Of what.
        what: &'static str,
        /// The value.
        value: u32,
    },
    /// The body ends too early.
    #[error("a message that ends in the middle of {what}")]
    Truncated {
        /// What is incomplete.
        what: &'static str,
    },
    /// Longer than allowed.
    #[error("{what} of length {length}; the limit is {limit}")]
    TooLong {
        /// What.
        what: &'static str,
        /// How long.
        length: u32,
        /// The limit.
        limit: usize,
    },
    /// The body does not end where it should.
    #[error("{count} bytes too many at the end of a message")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// An answer that belongs to nothing.
    #[error("an answer with serial {serial}, which was not asked")]
    Serial {
        /// The serial.
        serial: u32,
    },
    /// An answer to something else.
    #[error("an answer of procedure {found} to a call of procedure {expected}")]
    Procedure {
        /// What was asked.
        expected: u32,
        /// What was answered.
        found: u32,
    },
    /// A call, to a client.
    #[error("a call of procedure {procedure}, which only clients send")]
    Call {
        /// Which.
        procedure: u32,
    },
    /// Asks and asks, and does not read the answers.
    #[error("more pings than answers to them that it reads")]
    Flood,
}

//! Pacemaker's local IPC as libqb carries it: names and bytes of what tools and daemons say.
//!
//! A tool sends a [`SetupRequest`] and gets a [`SetupReply`], which names the files or sockets of the
//! connection. From then on each side sends [messages](Outgoing), each with a header in one of two
//! [layouts](Layout). All numbers are in the machine's own byte order: both ends are on it.

mod header;
mod message;
pub mod ring;
mod setup;

use std::fmt;

pub use header::{DISCONNECT_ID, HEADER_LEN, Layout, PART_SIZE, flags};
pub use message::{Assembler, Incoming, Outgoing, Part, Text, needs_packing};
pub use setup::{SETUP_REPLY_LEN, SETUP_REQUEST_LEN, SetupReply, SetupRequest, Transport};

/// What is wrong with a message of a local peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QbError {
    /// The first bytes of a connection are something else.
    #[error("this is not a request to connect (message {id}, {size} bytes)")]
    NotASetup {
        /// The number in its place.
        id: i32,
        /// The size in its place.
        size: i32,
    },
    /// The file names of a set-up reply do not fit.
    #[error("the name of a connection's file is longer than {limit} bytes")]
    NameTooLong {
        /// The limit.
        limit: usize,
    },
    /// Too short for a header.
    #[error("a message of {size} bytes has no header")]
    Short {
        /// Its size.
        size: usize,
    },
    /// The header fits none of the layouts.
    #[error("the header is of no known version")]
    UnknownLayout,
    /// The sizes in the header do not fit what came.
    #[error("the header says {said} bytes, but there are {found}")]
    Size {
        /// What the header says.
        said: i64,
        /// What came.
        found: usize,
    },
    /// More than we accept.
    #[error("message of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Its size, as far as it is known.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The text does not end where the header says.
    #[error("message {id} does not end with a NUL byte")]
    NotNulTerminated {
        /// Its number.
        id: i32,
    },
    /// A part that does not continue what came before.
    #[error("part {part} of message {id} does not continue what came before")]
    Parts {
        /// Number of the message.
        id: i32,
        /// Number of the part.
        part: u16,
    },
    /// Damaged, or not as long as promised.
    #[error("message {id} does not decompress to its {expected} bytes: {reason}")]
    Unpack {
        /// Its number.
        id: i32,
        /// Length that the header promises.
        expected: usize,
        /// What went wrong.
        reason: &'static str,
    },
}

/// A server that a remote node offers to the tools on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpcName {
    /// The CIB manager, for queries.
    CibRo,
    /// The CIB manager, for everything.
    CibRw,
    /// The CIB manager under its oldest name: the same as [`IpcName::CibRw`].
    CibShm,
    /// The attribute manager.
    Attrd,
    /// The fencer.
    StonithNg,
    /// The controller.
    Crmd,
    /// The launcher, which a remote node does not have.
    Pacemakerd,
    /// The executor itself.
    Lrmd,
}

impl IpcName {
    /// All of them, in the order in which they are opened.
    pub const ALL: [Self; 8] = [
        Self::Lrmd,
        Self::CibRo,
        Self::CibRw,
        Self::CibShm,
        Self::Attrd,
        Self::StonithNg,
        Self::Pacemakerd,
        Self::Crmd,
    ];

    /// What clients look for.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CibRo => "cib_ro",
            Self::CibRw => "cib_rw",
            Self::CibShm => "cib_shm",
            Self::Attrd => "attrd",
            Self::StonithNg => "stonith-ng",
            Self::Crmd => "crmd",
            Self::Pacemakerd => "pacemakerd",
            Self::Lrmd => "lrmd",
        }
    }

    /// What the cluster is asked for on behalf of a client.
    pub const fn channel(self) -> &'static str {
        match self {
            Self::CibShm => Self::CibRw.as_str(),
            other => other.as_str(),
        }
    }
}

impl fmt::Display for IpcName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

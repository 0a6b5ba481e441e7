//! The cluster's side over real sockets: a server of ours, peers of all kinds.
//!
//! Tests wait for what must happen, and fail after [`DEADLINE`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "helpers of tests"
)]

mod certificates;
mod framing;
mod handshake;
mod hostile;
mod interop;
mod keys;
mod pki;
mod support;

use support::*;

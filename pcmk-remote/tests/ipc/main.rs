//! The local tools' side over real sockets and shared memory: real tools, and clients of all kinds.
//!
//! Each test has network and mount namespaces of its own: names and files of others do not matter. Tests
//! wait for what must happen, and fail after [`DEADLINE`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::format_push_string,
    reason = "helpers of tests"
)]

mod client;
mod hostile;
mod requests;
mod support;
mod tools;

use support::*;

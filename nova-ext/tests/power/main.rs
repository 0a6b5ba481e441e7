//! Power devices against boards of our own that can be broken at will.
#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    clippy::single_match_else,
    clippy::useless_vec,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod agents;
mod bmc;
mod faults;
mod redfish;
mod session;
mod udp;

//! What a hostile, broken or slow peer can do to our daemon: nothing that another client notices.
//!
//! In every test a second client pokes the daemon all the while. It is answered in time, the daemon
//! stays the same process, and in the end its descriptors and its memory are back where they were.
//!
//! Needs root, gcc, libgnutls28-dev, the rig's images and our daemon (see `differential.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::format_collect,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and print the figures"
)]

mod connections;
mod documents;
mod tools;
mod trial;

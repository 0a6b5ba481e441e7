//! The operator's tools as operators meet them: the real programs, against a real daemon.
//!
//! Each test is a thread with a network of its own, so that daemons do not take each other's ports and IPC names
//! away. Root only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod checks;
mod exporter;
mod packaging;
mod socket;
mod support;
mod tls;

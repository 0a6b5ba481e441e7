//! The program as operators, monitoring systems and scripts meet it: output, exit codes, deadlines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod cli {
    mod answers;
    mod disk;
    mod places;
    mod support;
    mod watching;
}
mod fake;

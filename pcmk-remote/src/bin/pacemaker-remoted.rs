//! The remote executor daemon.
fn main() {}

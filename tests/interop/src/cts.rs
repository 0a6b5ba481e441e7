//! cts.

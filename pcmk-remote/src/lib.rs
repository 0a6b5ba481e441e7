//! The remote executor daemon.

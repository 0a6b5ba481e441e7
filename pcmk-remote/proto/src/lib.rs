//! What Pacemaker Remote peers say to each other.
//!
//! Bytes and values only: no sockets, no files, no clock.
#![forbid(unsafe_code)]

pub mod frame;
pub mod limits;
pub mod lrmd;
mod pack;
pub mod qb;
pub mod types;
pub mod xml;

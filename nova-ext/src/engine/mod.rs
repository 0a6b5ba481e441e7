//! From "this host is off" to "its guests run elsewhere".

pub mod journal;
pub mod limit;

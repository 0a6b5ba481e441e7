//! A controller's side of Pacemaker Remote for tests: a daemon alone on a machine ([`node`]), a raw
//! client that sees every TLS record ([`client`]), and a script that is played against several daemons
//! ([`script`], [`play`], [`compare`]).
//!
//! TLS is done by `GnuTLS` and the XML reader is this crate's own: nothing of what is tested tests itself.

pub mod client;
pub mod compare;
pub mod message;
pub mod node;
pub mod play;
pub mod script;

/// What goes wrong here is for a person to read.
pub type Result<T> = std::result::Result<T, String>;

/// Adds what was being done to an error.
pub trait Context<T> {
    /// `what: error`.
    fn context(self, what: &str) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: &str) -> Result<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

//! From "this host is off" to "its guests run elsewhere".
//!
//! [`Engine`] decides: it is given what happened and the time, and returns what is to be done. It knows no clock, no
//! socket and no file; `run` carries out what it asks for, and writes the journal before anything that cannot be undone.
//!
//! The rules that everything here serves:
//! - Without a proof that the host is off, nothing is asked for. Only a [`FenceProof`](crate::proof::FenceProof) gets an
//!   evacuation out.
//! - No second request for a server while a first may be alive: Nova takes it and ruins the server's records. What counts
//!   is what migrations say, read after the last request.
//! - What was announced in the journal may have happened. What was not, has not.

pub mod comeback;
mod core;
mod flapping;
pub mod gates;
mod incident;
pub mod journal;
pub mod limit;
pub mod metrics;
pub mod nova;
mod orders;
mod planning;
mod proving;
mod resume;
mod rows;
pub mod run;
mod server;
mod shared;
mod values;
mod ways;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub use self::core::{Engine, Settings};
pub use flapping::Record;
pub use incident::Summary;
pub use resume::{Past, past};
pub use server::Progress;
pub use values::{
    Action, Answer, ControlPlane, Fate, Input, Look, Maintenance, Mono, Now, Point, PostFailed, Read,
    Request, Row, RowState, ServiceView, Trouble,
};

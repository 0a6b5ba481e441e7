//! Real nodes as namespaces, and the behaviour of the daemon against real peers.
//!
//! A [`World`] is a sandbox that the kernel tears down; a [`Cluster`] in it is made of [`Node`]s with
//! systemd as their first process, on file systems built by `tests/rig/images`. The tests in `tests/` and
//! the programs in `src/bin/` are written with these.

pub mod bench;
pub mod calls;
pub mod cib;
pub mod cloud;
pub mod cluster;
pub mod cts;
pub mod daemon;
pub mod error;
pub mod fence;
pub mod images;
pub mod large;
pub mod libvirt;
pub mod node;
pub mod nova;
pub mod pulse;
pub mod run;
pub mod status;
pub mod wait;
pub mod watch;
pub mod world;

pub use cloud::Cloud;
pub use cluster::Cluster;
pub use daemon::Daemon;
pub use error::{Error, Result, fail};
pub use images::Suite;
pub use node::Node;
pub use world::World;

//! Native probes of an OpenStack compute node: they find the hangs that process lists miss.
//!
//! A probe takes one subject through its steps, each with a deadline of its own, and says how it is. A
//! [`verdict::Judge`] turns what single checks found into what is believed. [`agents`] are the probes as
//! Pacemaker resource agents.

pub mod agents;
pub mod aside;
pub mod cli;
pub mod config;
pub mod host;
pub mod libvirt;
pub mod nova_compute;
#[cfg(feature = "virt")]
pub mod official;
pub mod rpc;
pub mod services;
mod storage;
pub mod sys;
pub mod units;
pub mod verdict;

//! Recovery of a failed compute: fence with proof, force down, evacuate, bring back.
//!
//! The floors, each using those below it alone: `cli` and the programs; `client`; `fence` and `report`; `engine`;
//! `power`, `plan`, `scheduler` and `guard`; `cloud`; `policy` and `proof`; names and values.

#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod cloud;
pub mod config;
mod disk;
pub mod engine;
pub mod events;
pub mod fence;
pub mod guard;
pub mod handover;
pub mod hooks;
pub mod ids;
pub mod plan;
pub mod policy;
pub mod power;
pub mod process;
pub mod proof;
pub mod report;
pub mod scheduler;
pub mod secret;
pub mod serve;
pub mod stamp;

//! `pacemaker-remoted` for compute nodes: Pacemaker's remote executor.
//!
//! Floors, imports only go down: `daemon` → `executor` (pure decisions), `host` → `net`, `agent`
//! (tables) → `ids`, `sys` and the crate `pcmk-proto`.

pub mod agent;
pub mod daemon;
pub mod executor;
pub mod host;
pub mod ids;
pub mod net;
pub mod sys;

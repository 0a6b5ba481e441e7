//! `pacemaker-remoted` for compute nodes: Pacemaker's remote executor.
//!
//! Floors, imports only go down: `daemon` → `executor` (pure decisions), `host` → `net`, `ipc`, `proxy`
//! (pure), `agent` (tables) → `policy`, `audit` → `ids`, `caller`, `status`, `sys` and the crate `pcmk-proto`.

pub mod agent;
pub mod audit;
pub mod caller;
pub mod ctl;
pub mod daemon;
pub mod executor;
pub mod exporter;
pub mod host;
pub mod ids;
pub mod ipc;
pub mod net;
pub mod policy;
pub mod proxy;
pub mod status;
pub mod sys;

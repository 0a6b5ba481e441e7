//! Any history of requests, ends of runs and passing time keeps the executor's rules.
//!
//! The pure floors are built from their files: the daemon's other rooms (D-Bus, TLS) would take minutes
//! to build with instrumentation, and the executor must not need them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports, reason = "the executor uses a part")]
#[path = "../../../pcmk-remote/src/agent/mod.rs"]
mod agent;
#[allow(dead_code, unused_imports, reason = "the executor uses a part")]
#[path = "../../../pcmk-remote/src/audit.rs"]
mod audit;
#[allow(dead_code, unused_imports, reason = "the executor uses a part")]
#[path = "../../../pcmk-remote/src/caller.rs"]
mod caller;
#[allow(dead_code, unused_imports, reason = "the executor uses a part")]
#[path = "../../../pcmk-remote/src/executor/mod.rs"]
mod executor;
#[allow(dead_code, unused_imports, reason = "the executor uses a part")]
#[path = "../../../pcmk-remote/src/ids.rs"]
mod ids;
#[allow(dead_code, unused_imports, reason = "the executor uses a part")]
#[path = "../../../pcmk-remote/src/policy/mod.rs"]
mod policy;
#[allow(dead_code, unused_imports, reason = "the executor uses a part")]
#[path = "../../../pcmk-remote/src/status.rs"]
mod status;

fuzz_target!(|history: &[u8]| executor::sim::play(history));

//! Any history of tools and cluster nodes keeps the proxy's rules.
//!
//! Built from its files for the same reason as the executor.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports, reason = "the proxy uses a part")]
#[path = "../../../pcmk-remote/src/caller.rs"]
mod caller;
#[allow(dead_code, unused_imports, reason = "the proxy uses a part")]
#[path = "../../../pcmk-remote/src/ids.rs"]
mod ids;
#[allow(dead_code, unused_imports, reason = "the proxy uses a part")]
#[path = "../../../pcmk-remote/src/proxy/mod.rs"]
mod proxy;
#[allow(dead_code, unused_imports, reason = "the proxy uses a part")]
#[path = "../../../pcmk-remote/src/status.rs"]
mod status;

fuzz_target!(|history: &[u8]| proxy::sim::play(history));

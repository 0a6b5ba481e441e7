//! Power devices against the software of others: `OpenIPMI`, ipmitool, fence agents, the Redfish emulator of sushy-tools.
//!
//! Needs what `tests/rig/peers-power` installs; whatever is missing fails with that command.
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    clippy::single_match_else,
    clippy::useless_vec,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

#[path = "../power/bmc.rs"]
mod bmc;
mod ipmi_sim;
mod ipmitool;
mod proxy;
mod sushy;
#[path = "../power/udp.rs"]
mod udp;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The program, or how to get it.
pub fn peer(name: &str) -> PathBuf {
    let cache = std::env::var_os("PCMK_RIG_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/pcmk-remote")));
    let folders = ["/usr/sbin", "/usr/bin"].map(PathBuf::from).into_iter();
    let venv = cache.map(|cache| cache.join("peers-power/bin"));
    let found = folders.chain(venv).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: run tests/rig/peers-power"))
}

/// A program that ends with the test.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A UDP port that was free a moment ago.
pub fn udp_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program's output, and whether it ended well; it must end within ten seconds.
pub async fn output(command: &mut tokio::process::Command) -> (bool, String) {
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), command.kill_on_drop(true).output());
    let ended = ended.await.expect("it ends in time").unwrap();
    let text = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8_lossy(&text).into_owned())
}

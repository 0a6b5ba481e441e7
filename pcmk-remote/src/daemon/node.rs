//! Facts and fixtures of this node that the daemon needs besides its peers and agents.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::executor::{Mono, Now};

/// Where resource agents keep their state.
const AGENT_STATE_DIR: &str = "/run/resource-agents";

/// What time it is: on the clock that counts through, and on the wall.
pub(super) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Now { mono: mono(), wall }
}

/// Milliseconds on a clock that never steps.
pub(super) fn mono() -> Mono {
    let elapsed = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    Mono(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// Creates the directory that agents expect; they fail in their own words if it cannot be had.
pub(super) fn create_agent_state_dir() -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(AGENT_STATE_DIR)
}

/// Whether the watchdog daemon runs here. Reads all of `/proc`: not for the event loop's thread.
pub(super) fn sbd_is_running() -> bool {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .any(|entry| fs::read(entry.path().join("comm")).is_ok_and(|comm| comm.trim_ascii() == b"sbd"))
}

/// A random (version 4) UUID for a client's token.
pub(super) fn uuid() -> String {
    let mut bytes = [0_u8; 16];
    // The token is never checked by anybody: without randomness it is merely not unique.
    let _ = getrandom::fill(&mut bytes);
    let mut value = u128::from_be_bytes(bytes);
    value &= !(0xf << 76 | 0xc << 60);
    value |= 0x4 << 76 | 0x8 << 60;
    let hex = format!("{value:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_random_and_marked_as_such() {
        let (a, b) = (uuid(), uuid());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(a.as_bytes()[14], b'4');
        assert!(matches!(a.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{a}");
    }

    #[test]
    fn the_clock_counts() {
        assert!(mono() >= mono().plus(0));
        assert!(now().wall > 1_700_000_000);
    }
}

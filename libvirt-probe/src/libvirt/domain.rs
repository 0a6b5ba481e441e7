//! A domain, and libvirt's words for how it is.

use serde::Serialize;

use crate::rpc::message::{Control, State};

/// A domain as libvirt and the kernel see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Its number; none if it does not run.
    pub id: Option<i32>,
    /// Its state, in libvirt's words.
    pub state: &'static str,
    /// Why it is in that state.
    pub reason: &'static str,
    /// The same two in libvirt's numbers.
    #[serde(skip)]
    pub numbers: (i32, i32),
    /// How its monitor is, if that was told.
    pub control: Option<ControlInfo>,
    /// Its QEMU, if it can be found.
    pub process: Option<Guest>,
}

/// How a domain's monitor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ControlInfo {
    /// In libvirt's words.
    pub state: &'static str,
    /// For so many milliseconds.
    pub since_ms: u64,
}

/// The process of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// Its number.
    pub pid: i32,
    /// Its state as in `/proc`: `R` and `S` are fine.
    pub state: char,
}

impl Domain {
    /// Paused because of an I/O error.
    pub fn has_io_error(&self) -> bool {
        self.numbers == PAUSED_BY_IO_ERROR
    }
}

/// State and reason of a domain that is paused by an I/O error.
pub(crate) const PAUSED_BY_IO_ERROR: (i32, i32) = (3, 5);

impl From<Control> for ControlInfo {
    fn from(control: Control) -> Self {
        let state = match (control.state, control.details) {
            (0, _) => "ok",
            (1, _) => "background job",
            (2, _) => "occupied",
            (3, 2) => "monitor broken",
            (3, _) => "error",
            _ => "unknown",
        };
        Self { state, since_ms: control.since }
    }
}

/// A UUID as it is written.
pub(crate) fn uuid_text(uuid: [u8; 16]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(36);
    for (at, byte) in uuid.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A state and its reason in words.
pub(crate) fn words(state: State) -> (&'static str, &'static str) {
    let reasons: &[&'static str] = match state.state {
        1 => &[
            "unknown",
            "booted",
            "migrated",
            "restored",
            "from snapshot",
            "unpaused",
            "migration canceled",
            "save canceled",
            "event wakeup",
            "crashed",
            "post-copy",
            "post-copy failed",
        ],
        3 => &[
            "unknown",
            "user",
            "migrating",
            "saving",
            "dumping",
            "I/O error",
            "watchdog",
            "from snapshot",
            "shutting down",
            "creating snapshot",
            "crashed",
            "starting up",
            "post-copy",
            "post-copy failed",
        ],
        4 => &["unknown", "user"],
        5 => &[
            "unknown",
            "shutdown",
            "destroyed",
            "crashed",
            "migrated",
            "saved",
            "failed",
            "from snapshot",
            "daemon",
        ],
        6 => &["unknown", "panicked"],
        _ => &["unknown"],
    };
    let names =
        ["no state", "running", "idle", "paused", "in shutdown", "shut off", "crashed", "pmsuspended"];
    let at = |list: &[&'static str], index: i32| {
        usize::try_from(index).ok().and_then(|index| list.get(index).copied()).unwrap_or("unknown")
    };
    (at(&names, state.state), at(reasons, state.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_libvirts_names() {
        let said = |state, reason| words(State { state, reason });
        assert_eq!(said(1, 1), ("running", "booted"));
        assert_eq!(said(3, 5), ("paused", "I/O error"));
        assert_eq!(said(5, 8), ("shut off", "daemon"));
        assert_eq!(said(-1, 77), ("unknown", "unknown"));
    }

    #[test]
    fn a_uuid_reads_as_usual() {
        let bytes = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        assert_eq!(uuid_text(bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }
}

//! Class `lsb`: init scripts.

use std::path::{Path, PathBuf};

use pcmk_proto::types::OcfRc;

/// Highest code that LSB and OCF share for actions other than `status`.
const LAST_COMMON: i32 = 7;
const STATUS_NOT_INSTALLED: i32 = 150;
const STATUS_INSUFFICIENT_PRIV: i32 = 151;

/// The script's file; a name with a leading slash is one already.
pub fn file(dir: &Path, kind: &str) -> PathBuf {
    dir.join(kind)
}

/// The argument for an action: init scripts call a monitor `status`.
pub fn action(name: &str) -> &str {
    if name.eq_ignore_ascii_case("monitor") { "status" } else { name }
}

/// What the script's exit code means; `action` as given to the script.
pub fn rc(action: &str, raw: i32) -> OcfRc {
    if action != "status" {
        return if (0..=LAST_COMMON).contains(&raw) { OcfRc(raw) } else { OcfRc::UNKNOWN_ERROR };
    }
    match raw {
        0 => OcfRc::OK,
        // dead with pid file, dead with lock file, stopped
        1..=3 => OcfRc::NOT_RUNNING,
        STATUS_NOT_INSTALLED => OcfRc::NOT_INSTALLED,
        STATUS_INSUFFICIENT_PRIV => OcfRc::INSUFFICIENT_PRIV,
        _ => OcfRc::UNKNOWN_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_are_mapped() {
        for (raw, expected) in
            [(0, 0), (1, 7), (2, 7), (3, 7), (4, 1), (5, 1), (150, 5), (151, 4), (152, 1), (255, 1)]
        {
            assert_eq!(rc("status", raw), OcfRc(expected), "raw {raw}");
        }
    }

    #[test]
    fn other_actions_share_the_first_codes() {
        for raw in 0..=7 {
            assert_eq!(rc("start", raw), OcfRc(raw));
        }
        for raw in [8, 9, 150, 190, 255] {
            assert_eq!(rc("stop", raw), OcfRc(1));
        }
    }

    #[test]
    fn monitor_is_called_status() {
        assert_eq!(action("monitor"), "status");
        assert_eq!(action("Monitor"), "status");
        assert_eq!(action("start"), "start");
    }

    #[test]
    fn names_are_files_of_the_init_directory() {
        assert_eq!(file(Path::new("/etc/init.d"), "x"), PathBuf::from("/etc/init.d/x"));
        assert_eq!(file(Path::new("/etc/init.d"), "/opt/x"), PathBuf::from("/opt/x"));
    }
}

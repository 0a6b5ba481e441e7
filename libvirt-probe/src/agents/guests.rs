//! How many guests run here, without asking anybody who may hang.

use std::fs;
use std::time::Duration;

use crate::aside;

/// How the kernel calls QEMU's processes: it cuts names.
const PROGRAMS: [&str; 2] = ["qemu-system", "qemu-kvm"];
const LIMIT: Duration = Duration::from_secs(2);

/// Counts them; `None` if that cannot be told in time.
pub(super) async fn count() -> Option<usize> {
    aside::run("guests", LIMIT, || counted("/proc")).await.ok().flatten()
}

fn counted(proc: &str) -> Option<usize> {
    let is_guest = |entry: &fs::DirEntry| {
        entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)
            && fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|name| PROGRAMS.iter().any(|program| name.starts_with(program)))
    };
    Some(fs::read_dir(proc).ok()?.flatten().filter(is_guest).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_qemu_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, name) in [
            ("1", "systemd"),
            ("22", "qemu-system-x86"),
            ("333", "qemu-kvm"),
            ("4", "qemu-img"),
            ("self", "qemu-kvm"),
        ] {
            fs::create_dir(dir.path().join(pid)).unwrap();
            fs::write(dir.path().join(pid).join("comm"), format!("{name}\n")).unwrap();
        }
        assert_eq!(counted(dir.path().to_str().unwrap()), Some(2));
        assert_eq!(counted("/nowhere"), None);
    }
}

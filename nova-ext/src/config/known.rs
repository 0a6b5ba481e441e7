//! The names that Nova had when it last answered, for when it does not.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::ids::HostName;

/// As many hosts as fit.
const LARGEST: u64 = 4 << 20;

/// The names; none if nobody has ever written them down, or if they cannot be read.
pub fn known_hosts(path: &Path) -> Vec<HostName> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)?
            .take(LARGEST)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    // Without them Nova is asked.
    read().unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
}

/// Writes them down, if they have changed.
pub fn remember_hosts(path: &Path, hosts: &[HostName]) -> io::Result<()> {
    let mut lines: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
    lines.sort_unstable();
    let text = lines.join("\n") + "\n";
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_remembered() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("state/hosts");
        assert!(known_hosts(&path).is_empty());
        let hosts: Vec<HostName> = ["c2", "c1"].iter().filter_map(|name| name.parse().ok()).collect();
        remember_hosts(&path, &hosts)?;
        remember_hosts(&path, &hosts)?;
        let names: Vec<String> = known_hosts(&path).into_iter().map(String::from).collect();
        assert_eq!(names, ["c1", "c2"]);
        assert_eq!(fs::read_dir(dir.path().join("state"))?.count(), 1);
        Ok(())
    }
}

//! Whether a directory can be written to: a small file is written and brought to the disk, with a deadline,
//! in a thread that is never waited for longer.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::aside::{self, Aside};
use crate::sys::proc::{Roots, read_text};
use crate::verdict::{Finding, Health, Step};

/// Size of what is written.
const BLOCK: usize = 4096;
/// A host name may be so long.
const HOST_NAME: usize = 64;

/// What is written to, and the limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canary<'a> {
    /// The directory.
    pub(crate) dir: &'a Path,
    /// If not, a directory that is not there is fine.
    pub(crate) must_exist: bool,
    /// A write that takes longer has failed.
    pub(crate) limit: Duration,
    /// A write that takes longer is slow.
    pub(crate) slow: Duration,
}

impl Canary<'_> {
    /// Writes.
    pub(crate) async fn write(self, roots: &Roots) -> Finding {
        let begun = Instant::now();
        let (dir, host) = (self.dir.to_owned(), host(roots));
        let matter = format!("writing to {}", dir.display());
        let written = aside::run(&matter, self.limit, move || canary(&dir, &host)).await;
        self.judge(written, begun.elapsed())
    }

    fn judge(self, written: Result<io::Result<Duration>, Aside>, elapsed: Duration) -> Finding {
        let dir = self.dir.display();
        let finding = |health, reason: String| Finding::new(Step::Storage, health, reason, elapsed);
        let found = match written {
            Ok(Ok(took)) if took >= self.slow => {
                let reason = format!("writing to {dir} takes {:.1} s", took.as_secs_f64());
                finding(Health::Degraded, reason)
                    .advise("see the disk's load and errors (iostat -x 1, dmesg)")
            }
            Ok(Ok(took)) => Finding::ok(Step::Storage, elapsed).with("write_ms", took.as_millis()),
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound && !self.must_exist => {
                finding(Health::Ok, format!("{dir} does not exist"))
            }
            Ok(Err(error)) => {
                let reason = format!("{dir} cannot be written to: {error}");
                match error.kind() {
                    ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory => {
                        finding(Health::Unknown, reason).advise("see host.storage.paths, and run as root")
                    }
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                        finding(Health::Degraded, reason).advise(format!("df {dir}; make room"))
                    }
                    _ => finding(Health::Failed, reason).advise("see the disk's errors (dmesg, findmnt)"),
                }
            }
            Err(hangs @ Aside::Hangs(_)) => finding(Health::Failed, format!("writing to {dir} {hangs}"))
                .at_once()
                .advise("see the disk, the path to it and the server of the share (dmesg, cat /proc/mounts)"),
            Err(error) => finding(Health::Unknown, format!("writing to {dir} {error}")),
        };
        found.with("path", dir)
    }
}

/// Blocks as long as the disk does. Whoever else may write there cannot make it write anything else: the
/// file is always a new one.
fn canary(dir: &Path, host: &str) -> io::Result<Duration> {
    let begun = Instant::now();
    let path = name(dir, host);
    remove(&path)?;
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits()).unwrap_or_default();
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&path)?;
    let written = file.write_all(&[b'.'; BLOCK]).and_then(|()| file.sync_all());
    drop(file);
    let removed = remove(&path);
    written.and(removed).map(|()| begun.elapsed())
}

/// Hosts that share the directory do not disturb each other.
fn name(dir: &Path, host: &str) -> PathBuf {
    dir.join(format!(".canary-of-{host}"))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn host(roots: &Roots) -> String {
    let name = read_text(&roots.proc.join("sys/kernel/hostname")).unwrap_or_default();
    let fit = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    name.chars().filter(fit).take(HOST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn to(dir: &Path) -> Canary<'_> {
        Canary { dir, must_exist: true, limit: PATIENCE, slow: PATIENCE }
    }

    async fn health(dir: &Path) -> (Health, String) {
        let finding = to(dir).write(&Roots::default()).await;
        (finding.health, finding.reason)
    }

    #[tokio::test]
    async fn nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            assert_eq!(health(dir.path()).await, (Health::Ok, String::new()));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_trap_is_not_stepped_into() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let canary = name(dir.path(), &host(&Roots::default()));
        for hard in [false, true] {
            if hard {
                std::fs::hard_link(&precious, &canary).unwrap();
            } else {
                symlink(&precious, &canary).unwrap();
            }
            assert_eq!(health(dir.path()).await.0, Health::Ok);
            assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
        }
        std::fs::create_dir(&canary).unwrap();
        assert_eq!(health(dir.path()).await.0, Health::Failed);
    }

    #[tokio::test]
    async fn what_is_not_there_is_unknown() {
        let (health, reason) = health(Path::new("/nonexistent")).await;
        assert_eq!(health, Health::Unknown);
        assert!(reason.starts_with("/nonexistent cannot be written to: No such file"), "{reason}");
        let optional = Canary { must_exist: false, ..to(Path::new("/nonexistent")) };
        let finding = optional.write(&Roots::default()).await;
        assert_eq!((finding.health, finding.reason.as_str()), (Health::Ok, "/nonexistent does not exist"));
    }

    #[test]
    fn what_an_error_means() {
        let of = |code| {
            let error = Ok(Err(io::Error::from_raw_os_error(code)));
            to(Path::new("/x")).judge(error, Duration::ZERO).health
        };
        for (code, health) in [
            (5, Health::Failed),     // EIO
            (30, Health::Failed),    // EROFS
            (117, Health::Failed),   // EUCLEAN
            (116, Health::Failed),   // ESTALE
            (28, Health::Degraded),  // ENOSPC
            (122, Health::Degraded), // EDQUOT
            (13, Health::Unknown),   // EACCES
            (2, Health::Unknown),    // ENOENT
        ] {
            assert_eq!(of(code), health, "{code}");
        }
        let hangs = to(Path::new("/x")).judge(Err(Aside::Hangs(PATIENCE)), PATIENCE);
        assert!(hangs.certain && hangs.health == Health::Failed);
        assert_eq!(hangs.reason, "writing to /x hangs for 60.0 s now");
        assert_eq!(to(Path::new("/x")).judge(Err(Aside::Busy), PATIENCE).health, Health::Unknown);
        let slow = to(Path::new("/x")).judge(Ok(Ok(PATIENCE)), PATIENCE);
        assert_eq!((slow.health, slow.reason.as_str()), (Health::Degraded, "writing to /x takes 60.0 s"));
    }
}

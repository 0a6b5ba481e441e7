//! Work that may hang in the kernel, in a process of its own that is not waited for.
//!
//! A thread that waits for a dead disk cannot be killed, and a process does not end before its last thread: whoever
//! waits for that process would wait for the disk, whatever deadline was kept. So this program starts itself once
//! more, and ends when the other one says that it is done.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::{Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::{Exit, Failure};

/// Tells the other process whose other process it is.
const MARK: &str = "LIBVIRT_PROBE_APART";
/// Where the locks are that a process holds as long as it, or a thread of it, is there.
const RUN: &str = "/run";
/// How often the lock is tried.
const RETRY: Duration = Duration::from_millis(20);

/// Whether this is the other process.
pub(super) fn is_other() -> bool {
    std::env::var(MARK).is_ok_and(|pid| pid == nix::unistd::getppid().to_string())
}

/// Has the other process do what this one was asked to, and waits until it is done.
pub(super) async fn run(arguments: &[OsString]) -> Result<Exit, Failure> {
    let failure = |source| Failure::Io { what: "cannot start", source };
    let (ours, theirs) = StdStream::pair().map_err(failure)?;
    ours.set_nonblocking(true).map_err(failure)?;
    let mut end = UnixStream::from_std(ours).map_err(failure)?;
    // These reach both where they come from a terminal, and only this one where they do not.
    let on = |kind| signal(kind).map_err(failure);
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let mut hangup = on(SignalKind::hangup())?;
    let mut other = Command::new("/proc/self/exe")
        .args(arguments.iter().skip(1))
        .env(MARK, std::process::id().to_string())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(failure)?;
    let pid = i32::try_from(other.id()).map(Pid::from_raw);
    let pass = |signal| {
        if let Ok(pid) = pid {
            // It has ended: then that is known in a moment.
            let _ = kill(pid, signal);
        }
    };
    loop {
        tokio::select! {
            code = end.read_u8() => {
                if let Ok(code) = code {
                    return Ok(Exit(code));
                }
                // It has not said how it is done: it was killed.
                let ended = other.wait().map_err(failure)?;
                return Err(Failure::NoAnswer { exit: Exit::UNKNOWN, text: format!("the probe was ended: {ended}") });
            }
            _ = interrupt.recv() => pass(Signal::SIGINT),
            _ = terminate.recv() => pass(Signal::SIGTERM),
            _ = hangup.recv() => pass(Signal::SIGHUP),
        }
    }
}

/// Tells the first process that everything is done. What others wait for is given up: a thread that hangs keeps
/// everything open.
pub(super) fn done(exit: Exit) {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
    let _ = rustix::io::write(rustix::stdio::stdin(), &[exit.0]);
}

/// Whether this process may begin something that may hang.
pub(super) enum Claim {
    /// It may; that is known by this.
    Granted(Guard),
    /// An earlier one has not come back from it.
    Held {
        /// Its process.
        pid: String,
    },
}

/// Kept by the system until the last thread of this process is gone.
pub(super) struct Guard {
    file: Option<ManuallyDrop<File>>,
    path: PathBuf,
}

impl Guard {
    /// Nothing hangs: no trace is left.
    pub(super) fn release(self) {
        if self.file.is_some() {
            let _ = fs::remove_file(self.path);
        }
    }
}

/// At most one process of root does so at a time in the same matter, such as some directories, or a node with a dead
/// disk would fill with them. Waits a moment for one that is about to end.
pub(super) async fn claim(matter: impl Hash, until: Instant) -> Claim {
    let mut hasher = DefaultHasher::new();
    matter.hash(&mut hasher);
    let name = format!("libvirt-probe.{:016x}.lock", hasher.finish());
    claim_at(&Path::new(RUN).join(name), until).await
}

async fn claim_at(path: &Path, until: Instant) -> Claim {
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    // Without it (an ordinary user, a read-only system) there is nothing to hold.
    let guard = |file| Guard { file, path: path.to_owned() };
    let Ok(mut file) = opened else { return Claim::Granted(guard(None)) };
    while let Err(error) = file.try_lock() {
        if !matches!(error, fs::TryLockError::WouldBlock) {
            return Claim::Granted(guard(None));
        }
        if Instant::now() + RETRY > until {
            let mut pid = String::new();
            let read = (&mut file).take(20).read_to_string(&mut pid);
            let known = read.is_ok() && !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
            return Claim::Held { pid: if known { pid } else { "?".to_owned() } };
        }
        sleep(RETRY).await;
    }
    let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    Claim::Granted(guard(Some(ManuallyDrop::new(file))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let soon = || Instant::now() + Duration::from_millis(100);
        let holder = File::create(&path).unwrap();
        holder.lock().unwrap();
        fs::write(&path, "4711").unwrap();
        assert!(matches!(claim_at(&path, soon()).await, Claim::Held { pid } if pid == "4711"));
        fs::write(&path, "x\u{1b}").unwrap();
        assert!(matches!(claim_at(&path, soon()).await, Claim::Held { pid } if pid == "?"));
        drop(holder);
        let Claim::Granted(guard) = claim_at(&path, soon()).await else { panic!("not granted") };
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        assert!(matches!(claim_at(&path, soon()).await, Claim::Held { .. }));
        guard.release();
        assert!(!path.exists());
        let Claim::Granted(guard) = claim_at(&path, soon()).await else { panic!("not granted") };
        // A thread hangs, and nobody thinks of it any more.
        drop(guard);
        assert!(matches!(claim_at(&path, soon()).await, Claim::Held { .. }));
        assert!(matches!(claim_at(Path::new("/nowhere/lock"), soon()).await, Claim::Granted(_)));
    }
}

//! How many descriptors may be open: in the daemon, and in what it starts.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limits of a process, as the system counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimit {
    soft: u64,
    hard: u64,
}

impl DescriptorLimit {
    /// Raises this process's own limit to `wanted`, or as far as it may. Gives what it was before, if that was less:
    /// programs that are started are to have it again, for many of them walk through all descriptors that they
    /// might have open, or use interfaces that know only the first 1024.
    pub fn raise(wanted: u64) -> io::Result<Option<Self>> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let wanted = wanted.min(hard);
        if soft >= wanted {
            return Ok(None);
        }
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
        Ok(Some(Self { soft, hard }))
    }

    /// Gives a process that was just started this limit.
    ///
    /// From outside, because code of ours between fork and exec would make each start a copy of the daemon. The
    /// process may already be running: it has not opened a thousand files by then.
    pub fn give_to(self, pid: u32) -> io::Result<()> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let limit = libc::rlimit { rlim_cur: self.soft, rlim_max: self.hard };
        // SAFETY: the new limits are in a live local that is only read, and the old ones are not asked for.
        let rc = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_gets_the_limit() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        DescriptorLimit { soft: 321, hard: 654 }.give_to(child.id()).unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["321", "654"]);
    }
}

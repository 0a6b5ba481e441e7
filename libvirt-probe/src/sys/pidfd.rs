//! The end of a process that is not our child, told by the kernel.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// Watches one process, never another one that is given the same number later.
#[derive(Debug)]
pub struct Exit {
    /// Kernels before 5.3, and some sandboxes, have none.
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Exit {
    /// Watches the process that has this number now. Needs a tokio runtime.
    pub fn of(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let fd = match pidfd_open(pid.ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::NONBLOCK) {
            Err(Errno::NOSYS | Errno::PERM) => return Ok(Self { fd: None }),
            fd => fd?,
        };
        // SAFETY: an owned descriptor stays the same one until it is dropped, together with the AsyncFd.
        Ok(Self { fd: Some(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? }) })
    }

    /// Whether it is known to have ended; a zombie has.
    pub fn has_exited(&self) -> bool {
        let Some(fd) = &self.fd else { return false };
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Returns when it has ended; never where the kernel does not tell.
    pub async fn exited(&self) {
        let Some(fd) = &self.fd else { return std::future::pending().await };
        while !self.has_exited() {
            match fd.readable().await {
                Ok(mut guard) => {
                    if !self.has_exited() {
                        guard.clear_ready_matching(Ready::READABLE);
                    }
                }
                // The runtime ends.
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_told_at_once() {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let exit = Exit::of(child.id()).unwrap();
        assert!(!exit.has_exited());
        assert!(timeout(Duration::from_millis(20), exit.exited()).await.is_err());
        child.kill().unwrap();
        timeout(Duration::from_secs(10), exit.exited()).await.unwrap();
        assert!(exit.has_exited());
        child.wait().unwrap();
        assert!(exit.has_exited());
        timeout(Duration::from_secs(10), exit.exited()).await.unwrap();
    }

    #[tokio::test]
    async fn a_number_without_process_is_an_error() {
        assert_eq!(Exit::of(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(Exit::of(u32::MAX).is_err());
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(Exit::of(child.id()).unwrap_err().raw_os_error(), Some(3));
    }
}

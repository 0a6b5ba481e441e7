//! Calls of the kernel that Rust cannot check. Nothing else in this crate is unsafe.
#![allow(unsafe_code)]

mod limits;
mod localtime;
mod memory;
mod peer;
mod shared;

use std::io;

use nix::errno::Errno;
use nix::sys::signal::SigSet;

pub use limits::DescriptorLimit;
pub use localtime::{LocalTime, local_time};
pub use memory::{keep_little_memory, return_memory};
pub use peer::peer_groups;
pub use shared::SharedWords;

/// Marks every descriptor from `first` on close-on-exec, so that agents do not inherit what the
/// daemon itself was started with.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: takes three integers and touches no memory of ours.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_ulong::from(first),
            libc::c_ulong::from(u32::MAX),
            libc::c_ulong::from(libc::CLOSE_RANGE_CLOEXEC),
        )
    };
    if rc == 0 {
        return Ok(());
    }
    match Errno::last() {
        // Linux before 5.11
        Errno::ENOSYS | Errno::EINVAL => close_on_exec_each(first),
        errno => Err(errno.into()),
    }
}

/// Gives every signal its default action and an empty mask, for whoever started the daemon with
/// signals ignored: agents would inherit that. SIGPIPE stays ignored here; it is reset in children.
///
/// To be called before other threads exist and before any handler is installed.
pub fn reset_signals() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            continue;
        }
        let action = if signal == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: both actions are constants of the system, no handler of ours is installed. The
        // C library refuses the numbers that it keeps for itself, which is no harm.
        unsafe { libc::signal(signal, action) };
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Makes children start with the default scheduling policy and no raised priority, whatever the
/// daemon was given (`CPUSchedulingPolicy=`, a negative `Nice=`).
pub fn reset_scheduling_in_children() -> io::Result<()> {
    // SAFETY: plain integers.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero is a valid value of this structure of integers.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local of the right type.
    if unsafe { libc::sched_getparam(0, &raw mut parameters) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; the call only reads the structure.
    let rc =
        unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn close_on_exec_each(first: u32) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if u32::try_from(fd).is_ok_and(|fd| fd >= first) {
            // SAFETY: sets a flag on a number; if it is no longer open, the call fails harmlessly.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

//! Words in memory that other processes share, and may take away at any time.
//!
//! The memory is mapped but never touched from here: the kernel changes a word on our behalf
//! (`FUTEX_WAKE_OP`). A process that truncates the file below such a word makes the call fail, where a
//! load or a store would end this process with SIGBUS.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The mapped words of a file.
#[derive(Debug)]
pub struct SharedWords {
    address: NonNull<c_void>,
    length: NonZeroUsize,
}

impl SharedWords {
    /// Maps the beginning of a file.
    pub fn map(file: &File, length: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing in this process refers to
        // its memory, so that no rule of Rust can be broken by what others do to it.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(Self { address, length })
    }

    /// Adds to a word, atomically, then wakes one process that waits for it to change.
    pub fn add(&self, at: usize, what: i32) -> io::Result<()> {
        if !(-2048..2048).contains(&what) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.wake_after(at, libc::FUTEX_OP_ADD, what)
    }

    /// Adds a power of two to a word, atomically.
    pub fn add_power(&self, at: usize, exponent: u32) -> io::Result<()> {
        let exponent = i32::try_from(exponent).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.wake_after(at, libc::FUTEX_OP_ADD | libc::FUTEX_OP_OPARG_SHIFT, exponent)
    }

    /// Sets a word to 0, atomically.
    pub fn clear(&self, at: usize) -> io::Result<()> {
        self.wake_after(at, libc::FUTEX_OP_SET, 0)
    }

    fn wake_after(&self, at: usize, operation: i32, argument: i32) -> io::Result<()> {
        if !at.is_multiple_of(4) || at.saturating_add(4) > self.length.get() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let word = self.address.as_ptr().wrapping_byte_add(at);
        let wake: libc::c_ulong = 1;
        let wake_second: libc::c_ulong = 0;
        // As FUTEX_OP() of <linux/futex.h>; the comparison decides on the second wake, of nobody.
        let encoded = (operation & 0xf) << 28 | (argument & 0xfff) << 12;
        // SAFETY: both addresses are of an aligned word inside our mapping, which lives as long as self.
        // The kernel checks them itself, and says EFAULT if there is nothing behind.
        let rc = unsafe {
            libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE_OP, wake, wake_second, word, encoded)
        };
        if rc >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: address and length are those of our mapping, which nobody uses any more.
        let _ = unsafe { munmap(self.address, self.length.get()) };
    }
}

// SAFETY: an address that is only ever given to the kernel; its calls are atomic.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn words_change_and_a_truncated_file_is_an_error() {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(8192).unwrap();
        let words = SharedWords::map(&file, 8192).unwrap();
        let read = |at| {
            let mut bytes = [0; 4];
            file.read_exact_at(&mut bytes, at).unwrap();
            u32::from_ne_bytes(bytes)
        };
        words.add(8, 2).unwrap();
        words.add(8, -1).unwrap();
        assert_eq!(read(8), 1);
        for exponent in [0, 5, 20] {
            words.add_power(4100, exponent).unwrap();
        }
        assert_eq!(read(4100), 1 | 1 << 5 | 1 << 20);
        words.clear(4100).unwrap();
        assert_eq!(read(4100), 0);
        assert!(words.add(2, 1).is_err(), "not aligned");
        assert!(words.add(8192, 1).is_err(), "outside");
        file.set_len(0).unwrap();
        assert_eq!(words.add(8, 1).unwrap_err().raw_os_error(), Some(libc::EFAULT));
    }
}

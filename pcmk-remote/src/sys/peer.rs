//! Who is at the other end of a local socket, beyond what the standard calls tell.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Most supplementary groups that Linux gives a process.
const MOST: usize = 65_536;

/// The supplementary groups of the process that connected a Unix socket, as they were then.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length =
            libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
        // SAFETY: the kernel writes at most `length` bytes into the vector, and sets `length` to what it
        // wrote or, if that is too little, to what it needs.
        let rc = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).unwrap_or(0) / size_of::<libc::gid_t>();
        if rc == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > MOST {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::peer_groups;

    #[test]
    fn our_own_groups_are_told() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let told = peer_groups(ours.as_fd()).unwrap();
        let known: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        assert_eq!(told, known);
    }
}

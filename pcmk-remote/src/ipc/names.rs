//! The addresses that local clients look for.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use pcmk_proto::qb::IpcName;
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::warn;

use super::IpcError;

/// Abstract or in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Abstract,
    Files,
}

impl Family {
    /// As the C library decides for clients and servers alike.
    pub(super) fn of_this_system() -> Self {
        if Path::new(FORCE_FILES).exists() { Self::Files } else { Self::Abstract }
    }
}

/// A listening name; one in the file system is removed at the end.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    file: Option<PathBuf>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Takes a name, wherever clients may look for it.
pub(super) fn bind(name: IpcName, family: Family) -> Result<Vec<Bound>, IpcError> {
    let bound = match family {
        Family::Abstract => abstract_address(name.as_str())
            .and_then(|address| listen(&address, None))
            .map(|bound| vec![bound]),
        Family::Files => {
            let paths = SOCKET_DIRS.map(|folder| Path::new(folder).join(name.as_str()));
            listen_at_each(paths)
        }
    };
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => IpcError::Taken { name },
        _ => IpcError::Bind { name, source },
    })
}

/// One place is enough: anybody may put a folder of that name into `/tmp`, but must not keep the daemon from
/// serving. Only another daemon may.
fn listen_at_each(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Vec<Bound>> {
    let (mut bound, mut failed) = (Vec::new(), None);
    for path in paths {
        match listen_at(&path) {
            Ok(listening) => bound.push(listening),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                warn!("Could not serve local tools at {}: {error}", path.display());
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

fn listen_at(path: &Path) -> io::Result<Bound> {
    let address = SockAddr::unix(path)?;
    // What anybody else put there does not count: one of the folders is open to all.
    let of_root = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.uid() == 0);
    if of_root(path) && is_served(&address) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let _ = std::fs::remove_file(path);
    listen(&address, Some(path.to_owned())).map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse && !of_root(path) {
            io::Error::other("something of another user is in the way")
        } else {
            error
        }
    })
}

/// Whether somebody listens there. Does not wait for one who is too busy to accept.
fn is_served(address: &SockAddr) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(address)
    };
    connect().map_or_else(|error: io::Error| error.kind() == io::ErrorKind::WouldBlock, |()| true)
}

fn listen(address: &SockAddr, file: Option<PathBuf>) -> io::Result<Bound> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // The kernel adds the sender's credentials to what either side sends: clients check ours.
    socket.set_passcred(true)?;
    socket.bind(address)?;
    if let Some(path) = &file {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    }
    socket.listen(BACKLOG)?;
    Ok(Bound { listener: socket.into(), file })
}

/// A name in the abstract name space, as long as the C library makes it: filled up with zeros. A shorter
/// one would be another name.
pub(super) fn abstract_address(name: &str) -> io::Result<SockAddr> {
    let mut bytes = [0u8; PATH_LEN];
    let room = bytes.iter_mut().skip(1).take(PATH_LEN - 2);
    for (target, source) in room.zip(name.bytes()) {
        *target = source;
    }
    let path: &Path = Path::new(OsStr::from_bytes(&bytes));
    SockAddr::unix(path)
}

const FORCE_FILES: &str = "/etc/libqb/force-filesystem-sockets";
/// Which of them it is was decided when the C library was built: the former is its default, the latter Debian's.
const SOCKET_DIRS: [&str; 2] = ["/var/run", "/tmp"];
/// Room in `struct sockaddr_un`.
const PATH_LEN: usize = 108;
/// The C library has 128; hundreds of tools may start at once.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_another_daemon_keeps_a_name_from_being_served() {
        let base = tempfile::tempdir().unwrap();
        let (own, open) = (base.path().join("own"), base.path().join("open"));
        std::fs::create_dir(&open).unwrap();
        std::os::unix::fs::chown(&open, Some(65_534), None).unwrap();
        let bound = listen_at_each([own.clone(), open.clone()]).unwrap();
        assert_eq!(bound.len(), 1);
        let taken = listen_at_each([own.clone(), open.clone()]).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(!own.exists());
        assert_ne!(listen_at_each([open]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn abstract_names_have_their_full_length() {
        let address = abstract_address("attrd").unwrap();
        assert_eq!(address.len(), 110);
        let name = address.as_abstract_namespace().unwrap();
        assert!(name.starts_with(b"attrd\0"));
        assert_eq!(name.len(), 107);
        let cut = abstract_address(&"x".repeat(200)).unwrap();
        assert_eq!(cut.as_abstract_namespace().unwrap().split(|byte| *byte == 0).next().unwrap().len(), 106);
    }
}

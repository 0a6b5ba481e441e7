//! How many connections wait to be accepted, by the kernel's socket diagnosis (`sock_diag(7)`).
//!
//! Connecting to a Unix socket says nothing about the daemon: the kernel lets a client in as long as the queue
//! has room. How long the queue is tells a daemon that accepts from one that does not.

use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::path::Path;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
const AF_UNIX: u8 = 1;
const LISTENING: u32 = 1 << 10;
/// Where the socket's file is; how much waits in it.
const SHOW: u32 = 0x2 | 0x10;
const VFS: u16 = 1;
const QUEUE: u16 = 4;

const HEADER: usize = 16;
const MESSAGE: usize = 16;
/// The kernel puts up to 32 KiB into one datagram.
const DATAGRAM: usize = 64 << 10;
/// Datagrams of one answer at most.
const DATAGRAMS: usize = 1024;

/// A listening socket, to ask for it again without a list of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listener {
    inode: u32,
    cookie: [u8; 8],
}

/// Connections that wait to be accepted, and how many may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// So many wait.
    pub(crate) waiting: u32,
    /// So many may wait.
    pub(crate) limit: u32,
}

/// The listening socket whose file this is, if it is in our network namespace.
///
/// Never waits: the kernel has each part of the answer ready when it is asked for it.
pub(crate) fn find(path: &Path) -> io::Result<Option<(Listener, Backlog)>> {
    let file = std::fs::metadata(path)?.st_ino();
    let mut found = None;
    ask(Listener { inode: 0, cookie: [0xFF; 8] }, DUMP, |message| {
        if message.file.map(u64::from) == Some(file) {
            found = Some((message.listener, message.backlog));
        }
    })?;
    Ok(found)
}

impl Listener {
    /// Its number among the sockets of processes.
    pub(crate) fn inode(self) -> u32 {
        self.inode
    }

    /// How many wait now; none if the socket is not there any more.
    pub(crate) fn backlog(self) -> io::Result<Option<Backlog>> {
        let mut found = None;
        match ask(self, 0, |message| found = Some(message.backlog)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(|()| found),
        }
    }
}

#[derive(Debug)]
struct Message {
    listener: Listener,
    file: Option<u32>,
    backlog: Backlog,
}

fn ask(which: Listener, flags: u16, mut each: impl FnMut(Message)) -> io::Result<()> {
    let options = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, options, Some(SOCK_DIAG))?;
    sendto(&socket, &request(which, flags), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; DATAGRAM];
    for _ in 0..DATAGRAMS {
        let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let datagram = buffer.get(..length).unwrap_or_default();
        if parse(datagram, &mut each)? || flags & DUMP == 0 {
            break;
        }
    }
    Ok(())
}

fn request(which: Listener, flags: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 24);
    bytes.extend(40_u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([AF_UNIX, 0, 0, 0]);
    bytes.extend(LISTENING.to_ne_bytes());
    bytes.extend(which.inode.to_ne_bytes());
    bytes.extend(SHOW.to_ne_bytes());
    bytes.extend(which.cookie);
    bytes
}

/// Reads a datagram of the kernel. Whether it was the last one.
fn parse(mut datagram: &[u8], each: &mut impl FnMut(Message)) -> io::Result<bool> {
    let malformed = || io::Error::other("the kernel's list of sockets cannot be read");
    while datagram.len() >= HEADER {
        let length =
            word(datagram, 0).and_then(|length| usize::try_from(length).ok()).ok_or_else(malformed)?;
        let message = datagram.get(HEADER..length).ok_or_else(malformed)?;
        match half(datagram, 4).ok_or_else(malformed)? {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = word(message, 0).ok_or_else(malformed)?.cast_signed();
                return match code {
                    0 => Ok(true),
                    code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                };
            }
            SOCK_DIAG_BY_FAMILY => each(socket(message).ok_or_else(malformed)?),
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn socket(message: &[u8]) -> Option<Message> {
    let cookie = *message.get(8..)?.first_chunk()?;
    let listener = Listener { inode: word(message, 4)?, cookie };
    let mut backlog = Backlog { waiting: 0, limit: 0 };
    let mut file = None;
    let mut attributes = message.get(MESSAGE..)?;
    while attributes.len() >= 4 {
        let length = usize::from(half(attributes, 0)?);
        let value = attributes.get(4..length)?;
        match half(attributes, 2)? {
            VFS => file = word(value, 0),
            QUEUE => backlog = Backlog { waiting: word(value, 0)?, limit: word(value, 4)? },
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Message { listener, file, backlog })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn connections_that_nobody_accepts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (known, backlog) = find(&path).unwrap().expect("it listens");
        assert_eq!(backlog.waiting, 0);
        let clients: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert_eq!(known.backlog().unwrap().unwrap().waiting, 3);
        assert_eq!(find(&path).unwrap().unwrap().1.waiting, 3);
        let accepted = listener.accept().unwrap();
        assert_eq!(known.backlog().unwrap().unwrap().waiting, 2);
        drop((clients, accepted, listener));
        assert_eq!(known.backlog().unwrap(), None);
        assert_eq!(find(&path).unwrap(), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(datagram in prop::collection::vec(any::<u8>(), 0..600), length in 0_u32..700) {
            let _ = parse(&datagram, &mut |_| {});
            let mut framed = length.to_ne_bytes().to_vec();
            framed.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            framed.extend([0; 10]);
            framed.extend(&datagram);
            let _ = parse(&framed, &mut |_| {});
        }
    }
}

//! Datagram sockets: one for requests and responses, one for events. The set-up socket shows who is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, setsockopt, sockopt};
use pcmk_proto::qb::{IpcName, Part, SetupReply, Transport};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::{UnixDatagram, UnixStream};

use super::folder::Folder;
use super::names::abstract_address;
use super::queue::Channel;
use super::transport::{LARGE, Received};

/// The sockets of one connection.
#[derive(Debug)]
pub(super) struct Sockets {
    /// For requests and responses.
    request: Way,
    event: Way,
    /// Whose datagrams count.
    uid: u32,
    max_msg_size: u32,
    control: String,
    base: String,
    stray_bytes: usize,
}

impl Sockets {
    pub(super) fn create(
        folder: &mut Folder,
        name: IpcName,
        max_msg_size: u32,
        uid: u32,
    ) -> io::Result<Self> {
        let control = format!("qb-control-{name}");
        // Counters and flow control, of which neither side depends on the other's.
        folder.file(&control)?.set_len(CONTROL_LEN)?;
        let base = folder.name(&format!("qb-{name}"));
        Ok(Self {
            request: Way::bind(&base, "request", "response", max_msg_size)?,
            event: Way::bind(&base, "event-tx", "event", max_msg_size)?,
            uid,
            max_msg_size,
            control: folder.name(&control),
            base,
            stray_bytes: 0,
        })
    }

    pub(super) fn reply(&self) -> SetupReply {
        SetupReply {
            error: 0,
            transport: Transport::Socket,
            max_msg_size: self.max_msg_size,
            request: self.control.clone(),
            response: self.base.clone(),
            event: String::new(),
        }
    }

    pub(super) async fn readable(&self, stream: &UnixStream) -> io::Result<()> {
        tokio::select! {
            ready = self.request.socket.readable() => ready,
            ready = stream.readable() => ready,
        }
    }

    /// The next request, or how long it is if it takes a while to read.
    pub(super) fn receive(&mut self, stream: &UnixStream, large: bool) -> io::Result<Received> {
        let socket = &self.request.socket;
        let received = socket.try_io(Interest::READABLE, || {
            let length = next_length(socket)?;
            if length > LARGE && !large {
                return Ok(Received::Large);
            }
            // Of one that is too large, only who sent it is of interest.
            let fits = length <= self.max_msg_size as usize;
            match read(socket, if fits { length } else { 0 })? {
                // Anybody may send to an abstract name who guesses it.
                (_, uid) if uid != Some(self.uid) => Ok(Received::Stray),
                (message, _) if fits => Ok(Received::Piece(message.into())),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its request is larger than agreed")),
            }
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.look_at(stream),
            other => other,
        }
    }

    /// The set-up socket shows whether the client is still there.
    fn look_at(&mut self, stream: &UnixStream) -> io::Result<Received> {
        let mut bytes = [0; 64];
        match stream.try_read(&mut bytes) {
            Ok(0) => Ok(Received::Gone),
            Ok(count) => {
                self.stray_bytes = self.stray_bytes.saturating_add(count);
                if self.stray_bytes > STRAY_BYTES {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it wakes us up for nothing"));
                }
                Ok(Received::Nothing)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }

    /// `false` if there is no room.
    pub(super) fn send(&mut self, channel: Channel, piece: &Part<'_>) -> io::Result<bool> {
        match channel {
            Channel::Response => self.request.send(piece),
            Channel::Event => self.event.send(piece),
        }
    }

    /// Waits for room.
    pub(super) async fn room(&self, channel: Channel) {
        let way = match channel {
            Channel::Response => &self.request,
            Channel::Event => &self.event,
        };
        if way.connected {
            let _ = way.socket.writable().await;
        } else {
            std::future::pending::<()>().await;
        }
    }
}

/// One socket and where its messages go.
#[derive(Debug)]
struct Way {
    socket: UnixDatagram,
    peer: SockAddr,
    /// The client's socket exists only after it has read our reply.
    connected: bool,
    /// When it was first looked for.
    looked: Option<Instant>,
}

impl Way {
    fn bind(base: &str, own: &str, peer: &str, max_msg_size: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_passcred(true)?;
        socket.bind(&abstract_address(&format!("{base}-{own}"))?)?;
        // What is sent counts against our own buffer; the usual limit is for those without privileges.
        let room = (max_msg_size as usize).saturating_add(OVERHEAD);
        if setsockopt(&socket, sockopt::SndBufForce, &room).is_err() {
            socket.set_send_buffer_size(room)?;
        }
        let peer = abstract_address(&format!("{base}-{peer}"))?;
        let socket = UnixDatagram::from_std(socket.into())?;
        Ok(Self { socket, peer, connected: false, looked: None })
    }

    fn send(&mut self, piece: &Part<'_>) -> io::Result<bool> {
        if !self.connected {
            match SockRef::from(&self.socket).connect(&self.peer) {
                Ok(()) => self.connected = true,
                Err(error) => {
                    let since = *self.looked.get_or_insert_with(Instant::now);
                    let soon = error.kind() == io::ErrorKind::ConnectionRefused && since.elapsed() < CONNECT;
                    return if soon { Ok(false) } else { Err(error) };
                }
            }
        }
        let slices = piece.slices().map(IoSlice::new);
        let send = || SockRef::from(&self.socket).send_vectored(&slices);
        match self.socket.try_io(Interest::WRITABLE, send) {
            Ok(count) if count == piece.size() => Ok(true),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Three pairs of numbers.
const CONTROL_LEN: u64 = 24;
/// What the kernel counts besides a message.
const OVERHEAD: usize = 4096;
/// Bytes on the set-up socket that are put up with: with this transport there is no use for them.
const STRAY_BYTES: usize = 1000;
/// How long a client may take to make its sockets.
const CONNECT: Duration = Duration::from_secs(1);

fn next_length(socket: &UnixDatagram) -> io::Result<usize> {
    let mut nothing: [MaybeUninit<u8>; 0] = [];
    SockRef::from(socket).recv_with_flags(&mut nothing, libc::MSG_PEEK | libc::MSG_TRUNC)
}

/// The next datagram and its sender's user.
fn read(socket: &UnixDatagram, length: usize) -> io::Result<(Vec<u8>, Option<u32>)> {
    let mut message = vec![0; length];
    let mut control = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let mut slices = [IoSliceMut::new(&mut message)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let count = received.bytes;
    // A sender who adds what there is no room for does not say who it is.
    let uid = received.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender.uid()),
            _ => None,
        })
    });
    message.truncate(count);
    Ok((message, uid))
}

//! The two ways in which messages travel, as one.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use pcmk_proto::qb::{self, IpcName, Part, SetupReply};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::folder::Folder;
use super::queue::Channel;
use super::rings::Rings;
use super::sockets::Sockets;

/// Messages larger than this take so long to copy that others must not wait for it.
pub(super) const LARGE: usize = 256 << 10;

/// What a tool sent.
#[derive(Debug)]
pub(super) enum Received {
    Piece(Bytes),
    /// A piece that is [`LARGE`]: it is still there.
    Large,
    /// A piece of somebody else, which does not count.
    Stray,
    Nothing,
    /// The tool has closed the connection.
    Gone,
}

/// What carries the messages of one connection.
#[derive(Debug)]
pub(super) enum Transport {
    Rings(Rings),
    Sockets(Box<Sockets>),
}

impl Transport {
    pub(super) fn create(
        kind: qb::Transport,
        folder: &mut Folder,
        name: IpcName,
        max_msg_size: u32,
        uid: u32,
    ) -> io::Result<Self> {
        match kind {
            qb::Transport::SharedMemory => Rings::create(folder, name, max_msg_size).map(Self::Rings),
            qb::Transport::Socket => Sockets::create(folder, name, max_msg_size, uid)
                .map(|sockets| Self::Sockets(Box::new(sockets))),
        }
    }

    pub(super) fn reply(&self) -> SetupReply {
        match self {
            Self::Rings(rings) => rings.reply(),
            Self::Sockets(sockets) => sockets.reply(),
        }
    }

    /// Waits until there may be something to receive. Safe to cancel.
    pub(super) async fn readable(&self, stream: &UnixStream) -> io::Result<()> {
        match self {
            Self::Rings(_) => stream.readable().await,
            Self::Sockets(sockets) => sockets.readable(stream).await,
        }
    }

    /// What is there. Large pieces are left where they are unless `large`.
    pub(super) fn receive(&mut self, stream: &UnixStream, large: bool) -> io::Result<Received> {
        match self {
            Self::Rings(rings) => rings.receive(stream, large),
            Self::Sockets(sockets) => sockets.receive(stream, large),
        }
    }

    /// Sends one piece; `false` if there is no room for it.
    pub(super) fn send(
        &mut self,
        channel: Channel,
        piece: &Part<'_>,
        stream: &UnixStream,
    ) -> io::Result<bool> {
        match self {
            Self::Rings(rings) => rings.send(channel, piece, stream),
            Self::Sockets(sockets) => sockets.send(channel, piece),
        }
    }

    /// Sends what is owed besides messages.
    pub(super) fn settle(&mut self, stream: &UnixStream) -> io::Result<()> {
        match self {
            Self::Rings(rings) => rings.wake(stream),
            Self::Sockets(_) => Ok(()),
        }
    }

    /// Is something owed?
    pub(super) fn owes(&self) -> bool {
        matches!(self, Self::Rings(rings) if rings.owes())
    }

    /// Waits until there may be room again on one of these channels, or what is owed can be sent. Safe to
    /// cancel. Nobody tells when a ring gets room, so that the caller looks again after a pause.
    pub(super) async fn room(&self, stream: &UnixStream, full: &[Channel], pause: Duration) {
        match self {
            Self::Rings(rings) => {
                tokio::select! {
                    _ = stream.writable(), if rings.owes() => {}
                    () = sleep(pause) => {}
                }
            }
            Self::Sockets(sockets) => {
                tokio::select! {
                    () = sockets.room(Channel::Response), if full.contains(&Channel::Response) => {}
                    () = sockets.room(Channel::Event), if full.contains(&Channel::Event) => {}
                    () = sleep(pause) => {}
                }
            }
        }
    }
}

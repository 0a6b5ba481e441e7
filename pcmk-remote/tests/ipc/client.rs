//! A client that speaks as the C library does, or does not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use bytes::Bytes;
use pcmk_proto::qb::ring::{self, Ring};
use pcmk_proto::qb::{
    Assembler, Incoming, Layout, Outgoing, SETUP_REPLY_LEN, SetupReply, SetupRequest, Transport,
};
use pcmk_remote::sys::SharedWords;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixDatagram, UnixStream};

use crate::*;

/// A name in the abstract name space at its full length.
pub(crate) fn address(name: &str) -> SockAddr {
    let mut bytes = vec![0u8; 108];
    bytes[1..=name.len()].copy_from_slice(name.as_bytes());
    SockAddr::unix(std::str::from_utf8(&bytes).unwrap()).unwrap()
}

/// A socket connected to a name, and no more.
pub(crate) async fn dial(name: &str) -> UnixStream {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.connect(&address(name)).unwrap();
    socket.set_nonblocking(true).unwrap();
    UnixStream::from_std(socket.into()).unwrap()
}

/// What a server says to a request to connect.
pub(crate) async fn set_up(stream: &mut UnixStream, max_msg_size: u32) -> io::Result<SetupReply> {
    stream.write_all(&SetupRequest { max_msg_size }.to_bytes()).await?;
    let mut bytes = vec![0; SETUP_REPLY_LEN];
    soon("the set-up reply", stream.read_exact(&mut bytes)).await?;
    Ok(SetupReply::parse(bytes.first_chunk().unwrap()).unwrap())
}

/// A connected client.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(crate) reply: SetupReply,
    pub(crate) layout: Layout,
    pub(crate) ways: Ways,
    next_id: i32,
}

/// How its messages travel.
pub(crate) enum Ways {
    Rings { request: RingEnd, response: RingEnd, event: RingEnd },
    Sockets { request: UnixDatagram, event: UnixDatagram },
}

/// One ring, as a client has it.
pub(crate) struct RingEnd {
    pub(crate) header: File,
    pub(crate) data: File,
    words: SharedWords,
    ring: Ring,
    position: u32,
}

impl Client {
    pub(crate) async fn connect(name: &str, layout: Layout) -> Self {
        Self::try_connect(name, layout, 131_072).await.unwrap()
    }

    pub(crate) async fn try_connect(name: &str, layout: Layout, size: u32) -> Result<Self, i32> {
        let mut stream = dial(name).await;
        let reply = set_up(&mut stream, size).await.map_err(|_| 0)?;
        if reply.error != 0 {
            return Err(reply.error);
        }
        let ways = match reply.transport {
            Transport::SharedMemory => Ways::Rings {
                request: RingEnd::open(&reply.request, reply.max_msg_size),
                response: RingEnd::open(&reply.response, reply.max_msg_size),
                event: RingEnd::open(&reply.event, reply.max_msg_size),
            },
            Transport::Socket => {
                assert_eq!(std::fs::metadata(&reply.request).unwrap().len(), 24, "the control file");
                Ways::Sockets {
                    request: socket(&reply.response, "response", "request"),
                    event: socket(&reply.response, "event", "event-tx"),
                }
            }
        };
        Ok(Self { stream, reply, layout, ways, next_id: 1 })
    }

    /// Sends a request; its number.
    pub(crate) async fn ask(&mut self, flags: u32, xml: &str) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let size = self.reply.max_msg_size as usize;
        let mut message = Outgoing::new(self.layout, size, id, flags, xml.to_owned().into()).unwrap();
        while let Some(piece) = message.piece() {
            let bytes = piece.slices().concat();
            soon("room for a request", async {
                while !self.try_send(&bytes) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
            message.sent();
        }
        id
    }

    /// Sends these bytes, whatever they are; `false` if there is no room.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.ways {
            Ways::Rings { request, .. } => {
                if !request.write(bytes) {
                    return false;
                }
                // Like the C library, after the request itself.
                let _ = SockRef::from(&self.stream).send(&[0]);
                true
            }
            Ways::Sockets { request, .. } => match SockRef::from(&*request).send(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                // If the server has closed its socket, this goes nowhere.
                _ => true,
            },
        }
    }

    /// The next response: its number and its text.
    pub(crate) async fn response(&mut self) -> (i32, String) {
        self.read(false).await
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> String {
        self.read(true).await.1
    }

    async fn read(&mut self, event: bool) -> (i32, String) {
        let mut assembler = Assembler::new(64 << 20);
        loop {
            let piece = soon("a message of the server", self.piece(event)).await;
            if let Incoming::Message { id, text, .. } = assembler.push(piece).unwrap() {
                assert_eq!(assembler.layout(), Some(self.layout));
                return (id, String::from_utf8(text.unpack().unwrap().into()).unwrap());
            }
        }
    }

    /// The next piece of a message as it is.
    async fn piece(&mut self, event: bool) -> Bytes {
        loop {
            let piece = match &mut self.ways {
                Ways::Rings { event: ring, .. } if event => ring.read(),
                Ways::Rings { response: ring, .. } => ring.read(),
                Ways::Sockets { request, event: events } => {
                    let mut buffer = vec![0; 1 << 20];
                    let socket = if event { events } else { request };
                    let length = socket.recv(&mut buffer).await.unwrap();
                    buffer.truncate(length);
                    Some(buffer)
                }
            };
            if let Some(piece) = piece {
                if event && matches!(self.ways, Ways::Rings { .. }) {
                    soon("an event's byte", self.stream.read_exact(&mut [0])).await.unwrap();
                }
                return piece.into();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn cut(&mut self) {
        let mut buffer = [0; 4096];
        soon("the server to disconnect", async {
            while matches!(self.stream.read(&mut buffer).await, Ok(1..)) {}
        })
        .await;
    }
}

impl RingEnd {
    fn open(path: &str, size: u32) -> Self {
        let open = |path: String| OpenOptions::new().read(true).write(true).open(path).unwrap();
        let (header, data) = (open(format!("{path}-header")), open(format!("{path}-data")));
        let ring = Ring::for_messages(size, 4096).unwrap();
        assert_eq!(data.metadata().unwrap().len(), ring.bytes());
        let mut paths = vec![0; 8192];
        header.read_exact_at(&mut paths, 12).unwrap();
        assert!(paths.starts_with(format!("{path}-header\0").as_bytes()));
        assert!(paths[4096..].starts_with(format!("{path}-data\0").as_bytes()));
        let words = SharedWords::map(&header, 8248).unwrap();
        words.add(8204, 1).unwrap(); // one more user
        Self { header, data, words, ring, position: 0 }
    }

    pub(crate) fn word(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        self.header.read_exact_at(&mut bytes, at).unwrap();
        u32::from_ne_bytes(bytes)
    }

    fn data_word(&self, words: u32) -> u32 {
        let mut bytes = [0; 4];
        self.data.read_exact_at(&mut bytes, self.ring.byte(self.position, words)).unwrap();
        u32::from_ne_bytes(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let room = self.ring.has_room(
            self.position,
            self.word(ring::READ_AT),
            self.word(ring::SEMAPHORE_AT),
            bytes.len(),
        );
        if !room {
            return false;
        }
        let mut rest = bytes;
        for (at, count) in self.ring.pieces(self.ring.byte(self.position, 2), bytes.len()) {
            let (now, later) = rest.split_at(count);
            self.data.write_all_at(now, at).unwrap();
            rest = later;
        }
        self.commit(u32::try_from(bytes.len()).unwrap());
        true
    }

    /// Announces a chunk of this length, whatever it is.
    pub(crate) fn commit(&mut self, length: u32) {
        self.data.write_all_at(&length.to_ne_bytes(), self.ring.byte(self.position, 0)).unwrap();
        self.data.write_all_at(&ring::MARK_READY.to_ne_bytes(), self.ring.byte(self.position, 1)).unwrap();
        self.position = self.ring.after(self.position, length);
        self.words.add(8208, 1).unwrap();
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        if self.word(ring::SEMAPHORE_AT) == 0 {
            return None;
        }
        assert_eq!(self.data_word(1), ring::MARK_READY);
        let length = self.data_word(0);
        let mut message = vec![0; length as usize];
        let mut rest = &mut message[..];
        for (at, count) in self.ring.pieces(self.ring.byte(self.position, 2), length as usize) {
            let (now, later) = rest.split_at_mut(count);
            self.data.read_exact_at(now, at).unwrap();
            rest = later;
        }
        self.position = self.ring.after(self.position, length);
        self.header.write_all_at(&self.position.to_ne_bytes(), ring::READ_AT).unwrap();
        self.words.add(8208, -1).unwrap();
        Some(message)
    }
}

fn socket(base: &str, own: &str, peer: &str) -> UnixDatagram {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    socket.bind(&address(&format!("{base}-{own}"))).unwrap();
    socket.connect(&address(&format!("{base}-{peer}"))).unwrap();
    socket.set_nonblocking(true).unwrap();
    assert!(socket.as_raw_fd() > 2);
    UnixDatagram::from_std(socket.into()).unwrap()
}

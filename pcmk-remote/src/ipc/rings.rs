//! Shared memory: three ring buffers, and the set-up socket to wake each other by.
//!
//! Everything is read and written through the files, never through mapped memory: a client that truncates
//! them, or writes nonsense, is an error here and not the end of the daemon (see [`SharedWords`]).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use pcmk_proto::qb::ring::{self, Ring};
use pcmk_proto::qb::{IpcName, Part, SetupReply, Transport};
use tokio::net::UnixStream;

use super::folder::Folder;
use super::queue::Channel;
use super::transport::{LARGE, Received};
use crate::sys::SharedWords;

/// The rings of one connection.
#[derive(Debug)]
pub(super) struct Rings {
    request: RingFiles,
    response: RingFiles,
    event: RingFiles,
    max_msg_size: u32,
    names: [String; 3],
    /// Wake-up bytes that were read, less the requests that were taken. Each request comes with one, a
    /// little later than the request itself.
    bytes_ahead: i64,
    /// Wake-up bytes for events that could not be written so far.
    owed: usize,
}

impl Rings {
    pub(super) fn create(folder: &mut Folder, name: IpcName, max_msg_size: u32) -> io::Result<Self> {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
        let page = u32::try_from(page).map_err(io::Error::other)?;
        let ring = Ring::for_messages(max_msg_size, page)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "message size out of range"))?;
        let names = ["request", "response", "event"].map(|way| format!("qb-{way}-{name}"));
        let [request, response, event] = &names;
        Ok(Self {
            request: RingFiles::create(folder, request, ring)?,
            response: RingFiles::create(folder, response, ring)?,
            event: RingFiles::create(folder, event, ring)?,
            max_msg_size,
            names: [request, response, event].map(|file| folder.name(file)),
            bytes_ahead: 0,
            owed: 0,
        })
    }

    pub(super) fn reply(&self) -> SetupReply {
        let [request, response, event] = self.names.clone();
        SetupReply {
            error: 0,
            transport: Transport::SharedMemory,
            max_msg_size: self.max_msg_size,
            request,
            response,
            event,
        }
    }

    /// The next request, or how long it is if it takes a while to read.
    pub(super) fn receive(&mut self, stream: &UnixStream, large: bool) -> io::Result<Received> {
        loop {
            if self.request.waiting()? > 0 {
                return self.take(stream, large);
            }
            let mut bytes = [0; 64];
            match stream.try_read(&mut bytes) {
                Ok(0) => return Ok(Received::Gone),
                // The request is there before its byte: look again.
                Ok(count) => self.bytes_ahead += i64::try_from(count).unwrap_or(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(error) => return Err(error),
            }
            if self.bytes_ahead > STRAY_BYTES {
                return Err(nonsense("it wakes us up for nothing"));
            }
        }
    }

    fn take(&mut self, stream: &UnixStream, large: bool) -> io::Result<Received> {
        let length = self.request.next_length()?;
        if length > self.max_msg_size {
            return Err(nonsense("its request is larger than agreed"));
        }
        let length = length as usize;
        if length > LARGE && !large {
            return Ok(Received::Large);
        }
        let message = self.request.read(length)?;
        if self.bytes_ahead > 0 || matches!(stream.try_read(&mut [0]), Ok(0) | Err(_)) {
            self.bytes_ahead -= 1;
        }
        Ok(Received::Piece(message.into()))
    }

    /// `false` if there is no room.
    pub(super) fn send(
        &mut self,
        channel: Channel,
        piece: &Part<'_>,
        stream: &UnixStream,
    ) -> io::Result<bool> {
        match channel {
            Channel::Response => self.response.write(piece),
            Channel::Event => {
                let sent = self.event.write(piece)?;
                if sent {
                    self.owed = self.owed.saturating_add(1);
                    self.wake(stream)?;
                }
                Ok(sent)
            }
        }
    }

    /// Are there wake-up bytes to be written?
    pub(super) fn owes(&self) -> bool {
        self.owed > 0
    }

    /// Writes the wake-up bytes that fit.
    pub(super) fn wake(&mut self, stream: &UnixStream) -> io::Result<()> {
        const BYTES: [u8; 64] = [0; 64];
        while let Some(bytes) = BYTES.get(..self.owed.min(BYTES.len())).filter(|bytes| !bytes.is_empty()) {
            match stream.try_write(bytes) {
                Ok(count) => self.owed = self.owed.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        // As the C library leaves it: a client that does not look at its socket sees it here.
        for files in [&self.request, &self.response, &self.event] {
            let _ = files.header.write_all_at(&0u32.to_ne_bytes(), ring::USERS_AT);
        }
    }
}

/// One ring.
#[derive(Debug)]
struct RingFiles {
    ring: Ring,
    header: File,
    data: File,
    words: SharedWords,
    /// Our own position. The other side may read it, but what it makes of the shared copy is its affair.
    position: u32,
}

impl RingFiles {
    fn create(folder: &mut Folder, name: &str, ring: Ring) -> io::Result<Self> {
        let (header_name, data_name) = (format!("{name}-header"), format!("{name}-data"));
        let (header, data) = (folder.file(&header_name)?, folder.file(&data_name)?);
        let bytes = ring
            .header(&folder.name(&header_name), &folder.name(&data_name))
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        header.write_all_at(&bytes, 0)?;
        data.set_len(ring.bytes())?;
        let words = SharedWords::map(&header, ring::HEADER_LEN)?;
        Ok(Self { ring, header, data, words, position: 0 })
    }

    /// Messages in the ring.
    fn waiting(&self) -> io::Result<u32> {
        let count = self.shared_word(ring::SEMAPHORE_AT)?;
        if count > i32::MAX.cast_unsigned() { Err(nonsense("its semaphore is broken")) } else { Ok(count) }
    }

    /// A word that the other side may be changing: read until it stands still, for a read through the file
    /// may catch it half changed.
    fn shared_word(&self, at: u64) -> io::Result<u32> {
        let mut last = None;
        for _ in 0..16 {
            let value = read_word(&self.header, at)?;
            if last == Some(value) {
                return Ok(value);
            }
            last = Some(value);
        }
        last.ok_or_else(|| nonsense("it never holds still"))
    }

    fn next_length(&self) -> io::Result<u32> {
        let mark = read_word(&self.data, self.ring.byte(self.position, 1))?;
        if mark != ring::MARK_READY {
            return Err(nonsense("its request is not marked as ready"));
        }
        read_word(&self.data, self.ring.byte(self.position, 0))
    }

    fn read(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut message = vec![0; length];
        let mut rest = &mut message[..];
        for (at, count) in self.ring.pieces(self.ring.byte(self.position, 2), length) {
            let (piece, others) = rest.split_at_mut_checked(count).ok_or(io::ErrorKind::InvalidData)?;
            self.data.read_exact_at(piece, at)?;
            rest = others;
        }
        self.data.write_all_at(&0u32.to_ne_bytes(), self.ring.byte(self.position, 0))?;
        self.data.write_all_at(&ring::MARK_READ.to_ne_bytes(), self.ring.byte(self.position, 1))?;
        let next = self.ring.after(self.position, u32::try_from(length).unwrap_or(u32::MAX));
        self.publish_read(next)?;
        self.position = next;
        self.words.add(offset(ring::SEMAPHORE_AT), -1)?;
        Ok(message)
    }

    /// Moves the shared position forward. The other side reads it without a lock, so it changes as a whole
    /// word each time, and never beyond what was really read.
    fn publish_read(&self, next: u32) -> io::Result<()> {
        let at = offset(ring::READ_AT);
        let mut way = next.checked_sub(self.position);
        if way.is_none() {
            self.words.clear(at)?;
            way = Some(next);
        }
        let way = way.unwrap_or(0);
        for exponent in (0..u32::BITS).filter(|exponent| way >> exponent & 1 == 1) {
            self.words.add_power(at, exponent)?;
        }
        Ok(())
    }

    fn write(&mut self, piece: &Part<'_>) -> io::Result<bool> {
        let read = self.shared_word(ring::READ_AT)?;
        let read = self.ring.position(read).ok_or_else(|| nonsense("its position is outside the ring"))?;
        if !self.ring.has_room(self.position, read, self.waiting()?, piece.size()) {
            return Ok(false);
        }
        let length = u32::try_from(piece.size()).map_err(io::Error::other)?;
        let mut at = self.ring.byte(self.position, 2);
        for slice in piece.slices() {
            let mut rest = slice;
            for (from, count) in self.ring.pieces(at, slice.len()) {
                let (now, later) = rest.split_at_checked(count).ok_or(io::ErrorKind::InvalidData)?;
                self.data.write_all_at(now, from)?;
                rest = later;
            }
            at = at.saturating_add(slice.len() as u64) % self.ring.bytes();
        }
        self.data.write_all_at(&length.to_ne_bytes(), self.ring.byte(self.position, 0))?;
        self.data.write_all_at(&ring::MARK_READY.to_ne_bytes(), self.ring.byte(self.position, 1))?;
        self.position = self.ring.after(self.position, length);
        // Readers do not look at it, only debuggers.
        self.header.write_all_at(&self.position.to_ne_bytes(), ring::WRITE_AT)?;
        // From here on the other side may read: the kernel's change of the word comes after all the above.
        self.words.add(offset(ring::SEMAPHORE_AT), 1)?;
        Ok(true)
    }
}

/// Wake-up bytes without a request that are put up with.
const STRAY_BYTES: i64 = 1000;

fn read_word(file: &File, at: u64) -> io::Result<u32> {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at)?;
    Ok(ring::word(bytes))
}

fn offset(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn nonsense(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

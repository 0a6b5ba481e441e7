//! Moves a session's bytes over a Unix socket.
//!
//! No task and no thread: it reads and writes only while somebody waits in it, and what is dropped is gone.
//! Every wait may be given up at any time; the session stays whole.

use std::io;
use std::path::Path;
use std::time::Instant;

use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::{sleep_until, timeout_at};

use super::PeerError;
use super::message::Procedure;
use super::session::{CallError, Session, Ticket};

/// Why a connection is over.
#[derive(Debug, Error)]
pub enum Lost {
    /// The daemon closed it.
    #[error("the daemon closed the connection")]
    Closed,
    /// The daemon closed it in the middle of a message.
    #[error("the daemon closed the connection in the middle of a message")]
    Partial,
    /// The system says so.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// What came is not libvirt's.
    #[error("the peer sent {0}")]
    Peer(#[from] PeerError),
}

/// How waiting for an answer ended without one.
#[derive(Debug, Error)]
pub enum WaitError {
    /// It did not come in time.
    #[error("no answer in time")]
    Late,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The connection is over.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    session: Session,
    peer: Option<i32>,
}

impl Client {
    /// Connects. Does not wait for the daemon: the system accepts in its name.
    pub async fn connect(path: &Path, until: Instant) -> io::Result<Self> {
        let stream = timeout_at(until.into(), UnixStream::connect(path)).await??;
        let peer = stream.peer_cred().ok().and_then(|cred| cred.pid()).filter(|pid| *pid > 0);
        Ok(Self { stream, session: Session::new(), peer })
    }

    /// The process that listens at the other end, as far as the system knows.
    pub fn peer(&self) -> Option<i32> {
        self.peer
    }

    /// The talk.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Makes a call.
    pub fn call<P: Procedure>(&mut self, call: &P) -> Ticket<P> {
        self.session.call(call, now())
    }

    /// Makes a call unless the same one, made earlier, waits for its answer still: a daemon that is stuck must
    /// not be given more and more to do. Since when it waits.
    pub fn call_once<P: Procedure>(
        &mut self,
        slot: &mut Option<Ticket<P>>,
        call: &P,
    ) -> (Ticket<P>, Instant) {
        if let Some(ticket) = *slot {
            if let Some(since) = self.session.unanswered(ticket) {
                return (ticket, since);
            }
            self.session.forget(ticket);
        }
        let ticket = self.call(call);
        *slot = Some(ticket);
        (ticket, now())
    }

    /// Waits for an answer.
    pub async fn answer<P: Procedure>(
        &mut self,
        ticket: Ticket<P>,
        until: Instant,
    ) -> Result<P::Reply, WaitError> {
        loop {
            if let Some(answer) = self.session.answer(ticket) {
                return Ok(answer?);
            }
            if !self.turn(until).await? {
                return Err(WaitError::Late);
            }
        }
    }

    /// Makes a call and waits for its answer; forgets it if none comes.
    pub async fn ask<P: Procedure>(&mut self, call: &P, until: Instant) -> Result<P::Reply, WaitError> {
        let ticket = self.call(call);
        let result = self.answer(ticket, until).await;
        if matches!(result, Err(WaitError::Late)) {
            self.session.forget(ticket);
        }
        result
    }

    /// Sends and receives until something has been received; `false` when the time is over.
    pub async fn turn(&mut self, until: Instant) -> Result<bool, Lost> {
        // A peer that never stops sending must not keep the time from running out.
        while now() < until {
            let interest = match self.session.outgoing() {
                [] => Interest::READABLE,
                _ => Interest::READABLE | Interest::WRITABLE,
            };
            let ready = tokio::select! {
                ready = self.stream.ready(interest) => ready?,
                () = sleep_until(until.into()) => return Ok(false),
            };
            if ready.is_writable() {
                self.write()?;
            }
            if ready.is_readable() && self.read()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes what has arrived, without waiting.
    pub fn receive(&mut self) -> Result<(), Lost> {
        // What more there is may wait: a peer that never stops must not hold us up.
        for _ in 0..READS {
            if !self.read()? {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Lost> {
        match self.stream.try_write(self.session.outgoing()) {
            Ok(count) => self.session.sent(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // What it said before it closed is still to be read, and says more than a broken pipe.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                if !self.read()? {
                    return Err(Lost::Closed);
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn read(&mut self) -> Result<bool, Lost> {
        match self.stream.try_read_buf(self.session.buffer()) {
            Ok(0) if self.session.is_partial() => Err(Lost::Partial),
            Ok(0) => Err(Lost::Closed),
            Ok(_) => {
                self.session.received()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Pieces that are read at once.
const READS: usize = 64;

/// The time by the runtime's clock, which tests may move.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

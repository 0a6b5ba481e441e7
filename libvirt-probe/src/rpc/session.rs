//! One connection's talk: which calls wait, which are asked, what was answered. Pure; time is an argument.
//!
//! A daemon serves few calls of one client at a time (five by default) and stops reading, pings included,
//! when more arrive. So at most four are on their way, also those that nobody waits for any more.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::PeerError;
use super::codec::{Decoder, Header, KEEPALIVE, Kind, Message, REMOTE, encode};
pub use super::message::Event;
use super::message::{Procedure, Refusal, body};
use super::xdr::Reader;

/// Calls on their way at a time.
pub const IN_FLIGHT: usize = 4;
/// Events that are kept; more only leave the note that there were more.
pub const EVENTS_MAX: usize = 256;
/// Answers to pings that a peer may leave unread, in bytes.
const PONGS_MAX: usize = 64 << 10;

/// How a call ended that brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// The daemon says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer makes no sense.
    #[error("the daemon sent {0}")]
    Peer(#[from] PeerError),
}

/// A call that was made.
#[derive(Debug)]
pub struct Ticket<P> {
    serial: u32,
    call: PhantomData<fn() -> P>,
}

impl<P> Clone for Ticket<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Ticket<P> {}

impl<P> Ticket<P> {
    /// Its serial.
    pub fn serial(self) -> u32 {
        self.serial
    }
}

/// What is going on in one connection.
#[derive(Debug, Default)]
pub struct Session {
    decoder: Decoder,
    outgoing: BytesMut,
    serial: u32,
    /// In the order in which they were made.
    calls: VecDeque<Pending>,
    /// When the pings were sent that wait for their answer.
    pings: VecDeque<Instant>,
    pongs: u64,
    events: VecDeque<Event>,
    missed: u64,
    failed: Option<PeerError>,
}

#[derive(Debug)]
struct Pending {
    serial: u32,
    procedure: u32,
    since: Instant,
    state: State,
    /// Nobody waits for it any more.
    forgotten: bool,
}

#[derive(Debug)]
enum State {
    Waiting(BytesMut),
    Asked,
    Answered(Result<Bytes, Refusal>),
}

impl Session {
    /// At the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a call, at once or as soon as there is room for it.
    pub fn call<P: Procedure>(&mut self, call: &P, now: Instant) -> Ticket<P> {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let mut arguments = BytesMut::new();
        body(call, &mut arguments);
        let state = State::Waiting(arguments);
        self.calls.push_back(Pending { serial, procedure: P::NUMBER, since: now, state, forgotten: false });
        self.ask();
        Ticket { serial, call: PhantomData }
    }

    /// The answer, once it is there; a call has one answer.
    pub fn answer<P: Procedure>(&mut self, ticket: Ticket<P>) -> Option<Result<P::Reply, CallError>> {
        let at = self.position(ticket.serial)?;
        if !matches!(self.calls.get(at)?.state, State::Answered(_)) {
            return None;
        }
        let State::Answered(result) = self.calls.remove(at)?.state else { return None };
        Some(result.map_err(CallError::from).and_then(|body| {
            let mut reader = Reader::new(&body);
            let reply = P::read(&mut reader)?;
            reader.end()?;
            Ok(reply)
        }))
    }

    /// When a call was made that has not been answered.
    pub fn unanswered<P>(&self, ticket: Ticket<P>) -> Option<Instant> {
        let call = self.calls.get(self.position(ticket.serial)?)?;
        (!matches!(call.state, State::Answered(_))).then_some(call.since)
    }

    /// Nobody waits for this any more. It takes its place until it is answered, if it was asked.
    pub fn forget<P>(&mut self, ticket: Ticket<P>) {
        let Some(at) = self.position(ticket.serial) else { return };
        match self.calls.get_mut(at) {
            Some(call) if matches!(call.state, State::Asked) => call.forgotten = true,
            _ => drop(self.calls.remove(at)),
        }
    }

    /// Nobody waits for any call any more, but for those with these serials.
    pub fn forget_all_but(&mut self, serials: &[u32]) {
        self.calls.retain_mut(|call| {
            if serials.contains(&call.serial) {
                return true;
            }
            call.forgotten = true;
            matches!(call.state, State::Asked)
        });
    }

    /// Sends a ping.
    pub fn ping(&mut self, now: Instant) {
        self.pings.push_back(now);
        self.keepalive(PING);
    }

    /// When the oldest ping was sent that has not been answered.
    pub fn unanswered_ping(&self) -> Option<Instant> {
        self.pings.front().copied()
    }

    /// Answers to pings so far.
    pub fn pongs(&self) -> u64 {
        self.pongs
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Events that were dropped because nobody took them; counted from zero again.
    pub fn missed_events(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// What is to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// So much of it was sent.
    pub fn sent(&mut self, count: usize) {
        self.outgoing.advance(count.min(self.outgoing.len()));
    }

    /// Where received bytes are appended, before [`Self::received`].
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.decoder.buffer()
    }

    /// Reads what has been received. After an error the connection must go; the error is repeated.
    pub fn received(&mut self) -> Result<(), PeerError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.read();
        self.failed = result.clone().err();
        result
    }

    fn read(&mut self) -> Result<(), PeerError> {
        while let Some(message) = self.decoder.next()? {
            self.take(message)?;
            // At once, so that it is the same however the bytes were cut.
            self.ask();
        }
        if self.outgoing.len() > PONGS_MAX { Err(PeerError::Flood) } else { Ok(()) }
    }

    /// Whether the peer stopped in the middle of a message.
    pub fn is_partial(&self) -> bool {
        self.decoder.pending() > 0
    }

    fn take(&mut self, message: Message) -> Result<(), PeerError> {
        let Message { header, body } = message;
        match (header.program, header.kind) {
            (KEEPALIVE, _) => match header.procedure {
                PING => self.keepalive(PONG),
                PONG => {
                    self.pings.pop_front();
                    self.pongs = self.pongs.saturating_add(1);
                }
                _ => {}
            },
            (_, Kind::Call) => return Err(PeerError::Call { procedure: header.procedure }),
            (_, Kind::Message) => {
                let mut reader = Reader::new(&body);
                let Some(event) = Event::read(header.procedure, &mut reader)? else { return Ok(()) };
                reader.end()?;
                if self.events.len() < EVENTS_MAX {
                    self.events.push_back(event);
                } else {
                    self.missed = self.missed.saturating_add(1);
                }
            }
            (_, Kind::Reply) => self.reply(header, body)?,
        }
        Ok(())
    }

    fn reply(&mut self, header: Header, body: Bytes) -> Result<(), PeerError> {
        let Some(at) = self.position(header.serial) else {
            return Err(PeerError::Serial { serial: header.serial });
        };
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        if !matches!(call.state, State::Asked) {
            return Err(PeerError::Serial { serial: header.serial });
        }
        if call.procedure != header.procedure {
            return Err(PeerError::Procedure { expected: call.procedure, found: header.procedure });
        }
        let result = if header.failed { Err(Refusal::read(&mut Reader::new(&body))?) } else { Ok(body) };
        if call.forgotten {
            self.calls.remove(at);
        } else {
            call.state = State::Answered(result);
        }
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    fn ask(&mut self) {
        let mut asked = self.calls.iter().filter(|call| matches!(call.state, State::Asked)).count();
        for call in &mut self.calls {
            if asked >= IN_FLIGHT {
                break;
            }
            let State::Waiting(arguments) = &call.state else { continue };
            let header = Header {
                program: REMOTE,
                procedure: call.procedure,
                kind: Kind::Call,
                serial: call.serial,
                failed: false,
            };
            encode(&mut self.outgoing, header, |to| to.extend_from_slice(arguments));
            call.state = State::Asked;
            asked += 1;
        }
    }

    fn keepalive(&mut self, procedure: u32) {
        let header = Header { program: KEEPALIVE, procedure, kind: Kind::Message, serial: 0, failed: false };
        encode(&mut self.outgoing, header, |_| {});
    }

    fn position(&self, serial: u32) -> Option<usize> {
        self.calls.iter().position(|call| call.serial == serial)
    }
}

const PING: u32 = 1;
const PONG: u32 = 2;

#[cfg(test)]
mod tests;

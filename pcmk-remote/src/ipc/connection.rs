//! One connected tool: its requests in, responses and events out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pcmk_proto::limits::Limits;
use pcmk_proto::qb::{Assembler, Incoming, Outgoing, QbError, Text, flags, needs_packing};
use pcmk_proto::xml::{Element, XmlError};
use tokio::net::UnixStream;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::IpcEvent;
use super::handle::Tool;
use super::queue::{Answer, Channel, End};
use super::server::Door;
use super::transport::{LARGE, Received, Transport};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    #[error("closed by the tool")]
    Closed,
    #[error("closed by this node")]
    Requested,
    #[error("it does not read its events: {backlog} wait")]
    Slow { backlog: usize },
    #[error("more than {limit} bytes wait for it to read them")]
    Overflow { limit: usize },
    #[error("{0}")]
    Protocol(#[from] QbError),
    #[error("its request is not XML: {0}")]
    Xml(#[from] XmlError),
    #[error(
        "an answer of {size} bytes does not fit into its buffer of {limit} bytes even packed; set \
         PCMK_ipc_buffer to a higher value"
    )]
    Answer { size: usize, limit: usize },
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the daemon ends")]
    Ending,
}

/// A tool that was let in.
pub(super) struct Connection<'a> {
    pub(super) tool: &'a Tool,
    pub(super) door: &'a Door,
    stream: Arc<UnixStream>,
    /// Always there, but for the moments when another thread has it.
    transport: Option<Transport>,
    max_msg_size: usize,
    assembler: Assembler,
    responses: Way,
    events: Way,
    /// How often in a row there was no room.
    fruitless: u32,
}

/// What is on its way on one channel.
#[derive(Default)]
struct Way {
    /// The message being sent, and the length of its text.
    current: Option<(Outgoing, usize)>,
    full: bool,
    /// For events: how many waited when the tool was last looked after, and when to do so again.
    backlog: usize,
    look_after: Option<Instant>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        tool: &'a Tool,
        door: &'a Door,
        stream: UnixStream,
        transport: Transport,
        max_msg_size: u32,
    ) -> Self {
        Self {
            tool,
            door,
            stream: Arc::new(stream),
            transport: Some(transport),
            max_msg_size: max_msg_size as usize,
            assembler: Assembler::new(door.options.limits.message),
            responses: Way::default(),
            events: Way::default(),
            fruitless: 0,
        }
    }

    /// Serves the tool until it goes or has to.
    pub(super) async fn run(mut self) -> Gone {
        match self.serve().await {
            Ok(never) => match never {},
            Err(gone) => gone,
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Gone> {
        let queue = &self.tool.queue;
        let mut deadline = None;
        loop {
            self.flush().await?;
            match queue.end() {
                Some(End::Overflow) => return Err(Gone::Overflow { limit: self.door.options.queue_bytes }),
                Some(End::Requested) if !self.has_more() => return Err(Gone::Requested),
                Some(End::Requested) if deadline.is_none() => deadline = Some(Instant::now() + GOODBYE),
                Some(End::Requested) | None => {}
            }
            let look_after = self.events.look_after;
            let transport = self.transport.as_ref().ok_or(Gone::Ending)?;
            let waits = self.responses.full || self.events.full || transport.owes();
            let pause = FIRST_PAUSE.saturating_mul(1 << self.fruitless.min(5));
            let full: Vec<Channel> = [
                self.responses.full.then_some(Channel::Response),
                self.events.full.then_some(Channel::Event),
            ]
            .into_iter()
            .flatten()
            .collect();
            tokio::select! {
                () = queue.changed() => {}
                ready = transport.readable(&self.stream) => {
                    ready?;
                    self.receive().await?;
                }
                () = transport.room(&self.stream, &full, pause), if waits => {
                    self.responses.full = false;
                    self.events.full = false;
                    self.fruitless = self.fruitless.saturating_add(1);
                }
                () = until(look_after) => self.look_after()?,
                () = until(deadline) => return Err(Gone::Requested),
            }
        }
    }

    fn has_more(&self) -> bool {
        // What cannot be laid out, because the tool never said how, is not waited for.
        self.assembler.layout().is_some()
            && (self.responses.current.is_some()
                || self.events.current.is_some()
                || self.tool.queue.bytes() > 0)
    }

    /// Takes a few requests; then it is others' turn.
    async fn receive(&mut self) -> Result<(), Gone> {
        for _ in 0..AT_ONCE {
            let transport = self.transport.as_mut().ok_or(Gone::Ending)?;
            match transport.receive(&self.stream, false)? {
                Received::Piece(piece) => self.take(piece).await?,
                Received::Large => {
                    // Copied, read and delivered one after the other: memory is bounded.
                    let _turn = self.door.large.acquire().await.map_err(|_| Gone::Ending)?;
                    if let Some(piece) = self.receive_aside().await? {
                        self.take(piece).await?;
                    }
                }
                Received::Stray => {}
                Received::Nothing => return Ok(()),
                Received::Gone => return Err(Gone::Closed),
            }
        }
        yield_now().await;
        Ok(())
    }

    /// On another thread, for it takes a while to copy.
    async fn receive_aside(&mut self) -> Result<Option<Bytes>, Gone> {
        let mut transport = self.transport.take().ok_or(Gone::Ending)?;
        let stream = Arc::clone(&self.stream);
        let aside = spawn_blocking(move || (transport.receive(&stream, true), transport));
        let (received, transport) = aside.await.map_err(|_| Gone::Ending)?;
        self.transport = Some(transport);
        match received? {
            Received::Piece(piece) => Ok(Some(piece)),
            Received::Stray => Ok(None),
            Received::Large | Received::Nothing | Received::Gone => Err(Gone::Closed),
        }
    }

    /// A piece of a request. One that makes no sense ends the connection: the tool hears so at once, where it
    /// would wait in vain for an answer.
    async fn take(&mut self, piece: Bytes) -> Result<(), Gone> {
        match self.assembler.push(piece)? {
            Incoming::More => Ok(()),
            Incoming::Disconnect => Err(Gone::Closed),
            Incoming::Message { id, flags, text } => {
                let large = text.len() > SLOW_DOCUMENT;
                let payload = self.parse(text).await?;
                debug!("{}: request {id}", self.tool.id);
                self.door.counters.requests();
                let event = IpcEvent::Request { tool: self.tool.id, msg_id: id, flags, payload };
                tokio::select! {
                    sent = self.deliver(event, large) => sent,
                    // Nobody would answer it any more.
                    () = self.tool.queue.ended() => Ok(()),
                }
            }
        }
    }

    /// Hands a request over when it is its turn. A large one waits until those before it are gone: how many may
    /// wait says nothing of their size.
    async fn deliver(&self, event: IpcEvent, large: bool) -> Result<(), Gone> {
        let events = &self.door.events;
        let places = if large { events.max_capacity() } else { 1 };
        let mut places = events.reserve_many(places).await.map_err(|_| Gone::Ending)?;
        if let Some(place) = places.next() {
            place.send(event);
        }
        Ok(())
    }

    async fn parse(&self, text: Text) -> Result<Element, Gone> {
        let limits = self.door.options.limits;
        let slow = text.len() > SLOW_DOCUMENT || matches!(text, Text::Packed { .. });
        if !slow {
            return read(text, &limits);
        }
        spawn_blocking(move || read(text, &limits)).await.map_err(|_| Gone::Ending)?
    }

    /// Sends what there is room for.
    async fn flush(&mut self) -> Result<(), Gone> {
        if let Some(transport) = &mut self.transport {
            transport.settle(&self.stream)?;
        }
        if self.assembler.layout().is_none() {
            return Ok(()); // it has not said yet how it wants to be answered
        }
        for channel in [Channel::Response, Channel::Event] {
            self.flush_channel(channel).await?;
        }
        Ok(())
    }

    async fn flush_channel(&mut self, channel: Channel) -> Result<(), Gone> {
        for _ in 0..MESSAGES_AT_ONCE {
            if self.way(channel).full || !self.next(channel).await? {
                break;
            }
            if !self.send_current(channel).await? {
                let backlog = self.tool.queue.backlog();
                let way = self.way(channel);
                way.full = true;
                if channel == Channel::Event && way.look_after.is_none() {
                    way.look_after = Some(Instant::now() + LOOK_AFTER);
                    way.backlog = backlog;
                }
                break;
            }
        }
        if self.way(channel).full {
            return Ok(());
        }
        self.way(channel).look_after = None;
        if self.tool.queue.waiting(channel) > 0 {
            self.tool.queue.again(); // others first
            yield_now().await;
        }
        Ok(())
    }

    /// Makes the next message ready; `false` if there is none.
    async fn next(&mut self, channel: Channel) -> Result<bool, Gone> {
        while self.way(channel).current.is_none() {
            let Some(answer) = self.tool.queue.next(channel) else { return Ok(false) };
            let length = answer.xml.len();
            match self.lay_out(channel, answer).await? {
                Ok(outgoing) => self.way(channel).current = Some((outgoing, length)),
                // The C daemon drops the message, and the tool waits in vain.
                Err(QbError::TooLarge { size, limit }) => return Err(Gone::Answer { size, limit }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    async fn lay_out(&self, channel: Channel, answer: Answer) -> Result<Result<Outgoing, QbError>, Gone> {
        let layout = self.assembler.layout().ok_or(Gone::Ending)?;
        let (buffer, slow) = (self.max_msg_size, needs_packing(layout, self.max_msg_size, answer.xml.len()));
        let (msg_id, flags) = match channel {
            Channel::Response => (answer.msg_id, answer.flags),
            Channel::Event => (self.door.counters.next_event(), answer.flags | flags::SERVER_EVENT),
        };
        let make = move || Outgoing::new(layout, buffer, msg_id, flags, answer.xml.into());
        if !slow {
            return Ok(make());
        }
        let _turn = self.door.large.acquire().await.map_err(|_| Gone::Ending)?;
        spawn_blocking(make).await.map_err(|_| Gone::Ending)
    }

    /// Sends the current message as far as there is room; `true` if all of it went.
    async fn send_current(&mut self, channel: Channel) -> Result<bool, Gone> {
        let Some((mut outgoing, length)) = self.way(channel).current.take() else { return Ok(true) };
        while let Some(piece) = outgoing.piece() {
            let went = if piece.size() > LARGE {
                let (went, returned) = self.send_aside(channel, outgoing).await?;
                outgoing = returned;
                went
            } else {
                let transport = self.transport.as_mut().ok_or(Gone::Ending)?;
                transport.send(channel, &piece, &self.stream)?
            };
            if !went {
                self.way(channel).current = Some((outgoing, length));
                return Ok(false);
            }
            outgoing.sent();
            self.fruitless = 0;
            if outgoing.piece().is_some() {
                yield_now().await; // a large document must not keep others waiting
            }
        }
        self.tool.queue.sent(length);
        self.door.counters.sent(channel);
        Ok(true)
    }

    /// On another thread, for it takes a while to copy.
    async fn send_aside(&mut self, channel: Channel, outgoing: Outgoing) -> Result<(bool, Outgoing), Gone> {
        let mut transport = self.transport.take().ok_or(Gone::Ending)?;
        let stream = Arc::clone(&self.stream);
        let aside = spawn_blocking(move || {
            let sent = match outgoing.piece() {
                Some(piece) => transport.send(channel, &piece, &stream),
                None => Ok(true),
            };
            (sent, outgoing, transport)
        });
        let (sent, outgoing, transport) = aside.await.map_err(|_| Gone::Ending)?;
        self.transport = Some(transport);
        Ok((sent?, outgoing))
    }

    /// A tool that has let many events pile up, and takes none, is cut.
    fn look_after(&mut self) -> Result<(), Gone> {
        let backlog = self.tool.queue.backlog();
        let way = &mut self.events;
        if backlog > self.door.options.event_backlog {
            if way.backlog > 1 && backlog >= way.backlog {
                return Err(Gone::Slow { backlog });
            }
            warn!(
                "{} (process {}) has {backlog} events that it does not read",
                self.tool.id, self.tool.caller.pid
            );
        }
        way.backlog = backlog;
        way.look_after = Some(Instant::now() + LOOK_AFTER);
        Ok(())
    }

    fn way(&mut self, channel: Channel) -> &mut Way {
        match channel {
            Channel::Response => &mut self.responses,
            Channel::Event => &mut self.events,
        }
    }
}

/// Requests of one tool in a row.
const AT_ONCE: usize = 5;
/// Messages to one tool in a row.
const MESSAGES_AT_ONCE: usize = 100;
/// Documents larger than this are read on another thread: others must not wait.
const SLOW_DOCUMENT: usize = 64 << 10;
/// How often a tool that does not read is looked after, at the least.
const LOOK_AFTER: Duration = Duration::from_millis(1500);
/// For what is queued when the connection is to end.
const GOODBYE: Duration = Duration::from_secs(1);
/// The first wait for room; it doubles five times.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

fn read(text: Text, limits: &Limits) -> Result<Element, Gone> {
    Ok(Element::parse(&text.unpack()?, limits)?)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

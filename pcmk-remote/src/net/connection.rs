//! One authenticated connection: requests in, documents out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use pcmk_proto::frame::{Decoder, EncodedFrame, Frame, FrameError, HEADER_LEN};
use pcmk_proto::limits::Limits;
use pcmk_proto::lrmd::{MessageError, Request};
use pcmk_proto::xml::Element;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use super::outbox::{End, Outbox};
use super::{CloseReason, Meter, NetEvent, Peer, PeerIdentity, ServerOptions};
use crate::ids::ClientId;
use crate::sys;

/// Serves one peer until it goes.
pub(super) async fn run(
    stream: TlsStream<QuickAck>,
    who: Peer,
    options: &ServerOptions,
    events: &mpsc::Sender<NetEvent>,
) {
    let peer = who.address;
    let client = ClientId(NEXT_CLIENT.fetch_add(1, Ordering::Relaxed));
    match &who.identity {
        PeerIdentity::Key => info!("Remote client connection accepted: {peer} is {client}"),
        PeerIdentity::Certificate(certificate) => info!(
            "Remote client connection accepted: {peer} with the certificate of {} is {client}",
            certificate.subject
        ),
    }
    let outbox = Outbox::new(options.outbox_bytes);
    let connected = NetEvent::Connected { client, peer: who, outbox: outbox.clone() };
    if events.send(connected).await.is_err() {
        return;
    }
    let (read, mut write) = tokio::io::split(stream);
    let inlet = Inlet {
        client,
        peer,
        limits: options.limits,
        stall: options.stall_timeout,
        meter: Arc::clone(&options.meter),
        events: events.clone(),
    };
    // A task of its own: answers wake this one, and would cut the pauses of the receiving side short.
    let mut receiving = tokio::spawn(inlet.run(read));
    let reason = tokio::select! {
        ended = &mut receiving => ended.unwrap_or_else(|error| CloseReason::Lost(error.to_string())),
        reason = write_all(&mut write, &outbox, options.stall_timeout, &options.meter) => reason,
        reason = cut_off(&outbox) => reason,
    };
    if !receiving.is_finished() {
        receiving.abort();
        let _ = receiving.await; // its last request is delivered, or never will be
    }
    outbox.abandon();
    if matches!(reason, CloseReason::PeerClosed | CloseReason::Requested | CloseReason::Protocol(_)) {
        // Tells the peer that nothing was cut off; it may be gone already.
        let _ = timeout(CLOSE_DEADLINE, write.shutdown()).await;
    }
    drop(write);
    match &reason {
        CloseReason::PeerClosed | CloseReason::Requested => {
            info!("Connection of {client} ({peer}): {reason}");
        }
        _ => warn!("Closed the connection of {client} ({peer}): {reason}"),
    }
    let _ = events.send(NetEvent::Closed { client, reason }).await;
    return_memory_later();
}

/// A socket that acknowledges what it receives at once.
///
/// Stock peers write a header and then its payload, and Nagle's algorithm keeps the payload back until
/// the header is acknowledged. The kernel falls back to delayed acknowledgements (40 ms) by itself, so
/// this is asked for again after each read.
pub(super) struct QuickAck(pub(super) TcpStream);

impl AsyncRead for QuickAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        // Without it everything still works, only slower.
        let _ = SockRef::from(&self.0).set_tcp_quickack(true);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

static NEXT_CLIENT: AtomicU64 = AtomicU64::new(1);

/// From the wish to close to the end, whatever the peer does.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Documents larger than this are read on another thread: other peers must not wait.
const LARGE_DOCUMENT: usize = 64 << 10;
/// Documents larger than this leave memory behind that is worth collecting.
const HUGE_DOCUMENT: usize = 1 << 20;
/// When it is collected: the document has been dealt with by then.
const COLLECT_AFTER: Duration = Duration::from_secs(1);
/// Most text in one TLS record.
const RECORD: usize = 16 << 10;

/// The receiving side.
struct Inlet {
    client: ClientId,
    peer: SocketAddr,
    limits: Limits,
    stall: Duration,
    meter: Arc<Meter>,
    events: mpsc::Sender<NetEvent>,
}

impl Inlet {
    async fn run(self, mut read: impl AsyncRead + Unpin) -> CloseReason {
        let mut decoder = Decoder::new(self.limits);
        loop {
            let middle = decoder.pending() > 0;
            let next = read.read_buf(decoder.buffer());
            let received = if middle { timeout(self.stall, next).await } else { Ok(next.await) };
            match received {
                Ok(Ok(0)) => return self.end_of_stream(&decoder),
                Ok(Ok(_)) => {}
                // No close_notify: every stock peer that dies looks like this.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.end_of_stream(&decoder);
                }
                Ok(Err(error)) => return CloseReason::Lost(error.to_string()),
                Err(_) => return CloseReason::PeerStalled,
            }
            loop {
                match next_frame(&mut decoder).await {
                    Ok(Some(frame)) => {
                        if !self.deliver(frame).await {
                            return CloseReason::Requested;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return CloseReason::Protocol(error.to_string()),
                }
            }
            // A peer that always has more to read must not keep others waiting.
            yield_now().await;
        }
    }

    fn end_of_stream(&self, decoder: &Decoder) -> CloseReason {
        if decoder.pending() > 0 {
            info!("{} ({}) left in the middle of a message", self.client, self.peer);
        }
        CloseReason::PeerClosed
    }

    /// `false` if nobody listens any more. A message that makes no sense is no reason to close: the frame
    /// was whole, so the next one is where it should be.
    async fn deliver(&self, frame: Frame) -> bool {
        let id = frame.id;
        self.meter.received(frame.payload.len().saturating_add(HEADER_LEN));
        if frame.payload.len() > HUGE_DOCUMENT {
            return_memory_later();
        }
        match parse(frame.payload, self.limits).await {
            Ok(request) => {
                debug!("{}: message {id}: request {}", self.client, request.msg_id);
                let event = NetEvent::Request { client: self.client, request };
                if self.events.send(event).await.is_err() {
                    return false;
                }
                // One request for each turn: the others' come between.
                yield_now().await;
            }
            Err(error) => {
                warn!("Ignored message {id} of {} ({}): {error}", self.client, self.peer);
                if let Nonsense::Request { msg_id, .. } = error
                    && self.events.send(NetEvent::Unreadable { client: self.client, msg_id }).await.is_err()
                {
                    return false;
                }
                yield_now().await;
            }
        }
        true
    }
}

/// Once for all that comes until then.
fn return_memory_later() {
    static PLANNED: AtomicBool = AtomicBool::new(false);
    if !PLANNED.swap(true, Ordering::Relaxed) {
        tokio::spawn(async {
            sleep(COLLECT_AFTER).await;
            PLANNED.store(false, Ordering::Relaxed);
            spawn_blocking(sys::return_memory);
        });
    }
}

/// The next whole frame. Only a compressed one takes time.
async fn next_frame(decoder: &mut Decoder) -> Result<Option<Frame>, FrameError> {
    const COMPRESSED: std::ops::Range<usize> = 32..36;
    if decoder.pending() < HEADER_LEN || decoder.buffer().get(COMPRESSED).is_some_and(|field| field == [0; 4])
    {
        return decoder.next();
    }
    let mut taken = std::mem::replace(decoder, Decoder::new(Limits::default()));
    match spawn_blocking(move || (taken.next(), taken)).await {
        Ok((result, returned)) => {
            *decoder = returned;
            result
        }
        Err(_) => Err(FrameError::Empty), // the runtime ends, or the decoder is lost
    }
}

/// Why a document was ignored.
#[derive(Debug, thiserror::Error)]
enum Nonsense {
    #[error("{0}")]
    Xml(#[from] pcmk_proto::xml::XmlError),
    #[error("{0}")]
    Message(MessageError),
    /// Its number can be read, so that it can be answered.
    #[error("request {msg_id}: {error}")]
    Request { msg_id: i64, error: MessageError },
    #[error("it could not be read")]
    Unread,
}

async fn parse(payload: Bytes, limits: Limits) -> Result<Request, Nonsense> {
    let large = payload.len() > LARGE_DOCUMENT;
    let read = move || {
        let document = Element::parse(&payload, &limits)?;
        let msg_id = Request::msg_id_of(&document);
        Request::parse(document).map_err(|error| match (msg_id, error) {
            (Some(msg_id), error @ MessageError::Number { .. }) => Nonsense::Request { msg_id, error },
            (_, error) => Nonsense::Message(error),
        })
    };
    if large { spawn_blocking(read).await.unwrap_or(Err(Nonsense::Unread)) } else { read() }
}

/// The sending side. Returns only when there is no more to send or no way to send it.
async fn write_all(
    write: &mut (impl AsyncWrite + Unpin),
    outbox: &Outbox,
    stall: Duration,
    meter: &Meter,
) -> CloseReason {
    loop {
        let frame = match outbox.next().await {
            Ok(frame) => frame,
            Err(End::Requested) => return CloseReason::Requested,
            Err(End::Overflow) => return CloseReason::PeerStoppedReading,
        };
        if let Err(error) = write_message(write, &frame, stall).await {
            return match error.kind() {
                io::ErrorKind::TimedOut => CloseReason::PeerStoppedReading,
                _ => CloseReason::Lost(error.to_string()),
            };
        }
        meter.sent(frame.payload.len().saturating_add(HEADER_LEN));
        outbox.written(&frame);
    }
}

/// Header and payload in TLS records of their own: stock peers lose what shares one, or hang.
async fn write_message(
    write: &mut (impl AsyncWrite + Unpin),
    frame: &EncodedFrame,
    stall: Duration,
) -> io::Result<()> {
    for record in std::iter::once(frame.header.as_slice()).chain(frame.payload.chunks(RECORD)) {
        let written = timeout(stall, async {
            write.write_all(record).await?;
            write.flush().await
        });
        written.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        if record.len() == RECORD {
            yield_now().await; // a large document must not keep others waiting
        }
    }
    Ok(())
}

/// Ends a connection whose writer may be stuck in the middle of a message.
async fn cut_off(outbox: &Outbox) -> CloseReason {
    match outbox.ended().await {
        End::Overflow => CloseReason::PeerStoppedReading,
        End::Requested => {
            sleep(CLOSE_DEADLINE).await;
            CloseReason::Requested
        }
    }
}

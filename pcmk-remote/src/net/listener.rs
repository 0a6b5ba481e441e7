//! The listening socket, and what happens to a connection until its handshake is over.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::connection::{self, QuickAck};
use super::failures::{self, FailureLog};
use super::handshakes::{Handshakes, Ticket};
use super::tls::{self, Credentials, HandshakeError};
use super::{NetError, NetEvent, Peer, ServerOptions};
use crate::policy::Refusal;

/// Listens as the C daemon does: on exactly one socket, the first that works among the addresses of
/// the given name, IPv6 before IPv4; without a name on all addresses of both families.
pub async fn bind(address: Option<&str>, port: u16) -> Result<TcpListener, NetError> {
    let candidates = match address {
        None => vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()],
        Some(name) => resolve(name, port).await?,
    };
    let shown = address.unwrap_or("all addresses").to_owned();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in candidates {
        match listen(candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                debug!("Could not listen on {candidate}: {error}");
                last = error;
            }
        }
    }
    Err(NetError::Bind { address: shown, port, source: last })
}

/// Accepts connections, and serves those that prove that they belong to the cluster.
///
/// At most [`ServerOptions::max_handshakes`] are unfinished at once. Beyond that the oldest one of the
/// address with the most of them is dropped, so that half-open handshakes of a stranger do not keep a
/// cluster node out.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Begins to accept. Must be called on a runtime.
    ///
    /// `events` is best kept short (some tens): it is what a flood of requests from one client can put
    /// before the next request of another.
    pub fn start(
        listener: TcpListener,
        credentials: Arc<Credentials>,
        options: ServerOptions,
        events: mpsc::Sender<NetEvent>,
    ) -> ServerHandle {
        let listener = Arc::new(listener);
        let handshakes = Handshakes::new(options.max_handshakes);
        let door = Arc::new(Door { credentials, options, events, failures: FailureLog::default() });
        let accepting = tokio::spawn(accept(Arc::clone(&listener), door, handshakes));
        ServerHandle { listening: Some((listener, accepting)) }
    }
}

/// A running server. Dropping it closes the listener, too.
#[derive(Debug)]
pub struct ServerHandle {
    listening: Option<(Arc<TcpListener>, JoinHandle<()>)>,
}

impl ServerHandle {
    /// Closes the listener: new connections are refused from when this returns, existing ones stay.
    pub fn stop_listening(&mut self) {
        if let Some((listener, accepting)) = self.listening.take() {
            // At once; the descriptor itself goes with the task.
            let _ = SockRef::from(&*listener).shutdown(Shutdown::Both);
            accepting.abort();
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

/// The C daemon has 10; a storm of strangers must not make the cluster's packets be dropped.
const BACKLOG: i32 = 256;
const RESOLVE_DEADLINE: Duration = Duration::from_secs(10);
/// Wait after the system ran out of something.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A peer that vanished without a word is noticed after 5 to 7 minutes. The C daemon never does, and
/// then an orderly stop waits for such a peer in vain. A live cluster pokes far more often.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 8;

/// What every new connection needs.
struct Door {
    credentials: Arc<Credentials>,
    options: ServerOptions,
    events: mpsc::Sender<NetEvent>,
    failures: FailureLog,
}

impl Door {
    fn fail(&self, peer: SocketAddr, error: &HandshakeError) {
        self.options.meter.handshake_failed(failures::reason(error));
        self.failures.report(peer, error);
    }

    fn refuse(&self, peer: SocketAddr, refusal: Refusal) {
        self.fail(peer, &HandshakeError::Refused(refusal));
    }
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, NetError> {
    let failed = |source| NetError::Resolve { address: name.to_owned(), source };
    let looked_up = timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((name, port))).await;
    let mut found: Vec<SocketAddr> =
        looked_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?.collect();
    found.sort_by_key(SocketAddr::is_ipv4); // stable: the resolver's order within a family
    Ok(found)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: Arc<TcpListener>, door: Arc<Door>, handshakes: Arc<Handshakes>) {
    let mut complained: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let admitted = door.options.policy.borrow().admit_address(peer.ip());
                if let Err(refusal) = admitted {
                    door.refuse(peer, refusal);
                    continue;
                }
                let ticket = handshakes.admit(peer.ip());
                tokio::spawn(serve(stream, peer, ticket, Arc::clone(&door)));
            }
            Err(error) if exhausted(&error) => {
                if complained.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                    complained = Some(Instant::now());
                    warn!("Could not accept a connection: {error}; raise LimitNOFILE if this goes on");
                }
                handshakes.drop_one();
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            Err(error) => debug!("A connection ended before it was accepted: {error}"),
        }
    }
}

/// Such errors come back at once and for ever, all others concern one connection.
fn exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

async fn serve(stream: TcpStream, peer: SocketAddr, ticket: Ticket, door: Arc<Door>) {
    debug!("Remote client pending authentication: {peer}");
    if let Err(error) = prepare(&stream, door.options.user_timeout) {
        warn!("Could not set up the connection of {peer}: {error}");
        return;
    }
    let handshake = async {
        // A peer that says nothing costs no more than its socket.
        if stream.peek(&mut [0]).await.map_err(HandshakeError::Io)? == 0 {
            return Err(HandshakeError::ClosedAtOnce);
        }
        let policy = Arc::clone(&door.options.policy.borrow());
        tls::accept(&door.credentials, &policy, QuickAck(stream)).await
    };
    let result = tokio::select! {
        done = timeout(door.options.handshake_timeout, handshake) => done.unwrap_or(Err(HandshakeError::Timeout)),
        () = ticket.dropped() => Err(HandshakeError::Crowded),
    };
    drop(ticket);
    match result {
        Ok((stream, identity)) => {
            door.options.meter.handshake_ok();
            let peer = Peer { address: peer, identity };
            // The policy may have changed meanwhile.
            let admitted = peer.admitted_by(&door.options.policy.borrow());
            match admitted {
                Ok(()) => connection::run(stream, peer, &door.options, &door.events).await,
                Err(refusal) => door.refuse(peer.address, refusal),
            }
        }
        Err(error) => door.fail(peer, &error),
    }
}

fn prepare(stream: &TcpStream, user_timeout: Option<Duration>) -> io::Result<()> {
    // Answers are two small writes: Nagle's algorithm would hold the second back for 40 ms.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    if user_timeout.is_some() {
        socket.set_tcp_user_timeout(user_timeout)?;
    }
    Ok(())
}

//! Takes events from whoever has them and sends them on, without ever making them wait: a bounded queue, and one thread.
//!
//! A full queue loses what comes; a peer that does not answer, does not read or is not there costs this thread alone.
//! What could not be sent soon is not sent late: the engine has looked by itself since.

use std::io::{self, Read, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Address, GREETING, Peer};
use crate::cloud::Tls;
use crate::cloud::tls;

/// For a connection, with its handshake.
const CONNECT: Duration = Duration::from_secs(2);
/// For a line.
const WRITE: Duration = Duration::from_secs(2);
/// Between tries to connect, at first; twice as long each time.
const PAUSE: Duration = Duration::from_millis(250);
/// Between tries at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What is older is of no use.
const STALE: Duration = Duration::from_secs(10);
/// Looks whether it is still wanted.
const IDLE: Duration = Duration::from_secs(1);

/// What became of events.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Stats {
    /// Sent.
    pub sent: u64,
    /// Lost: the queue was full, or nobody took them in time.
    pub lost: u64,
    /// Who takes them, now.
    pub peer: Option<String>,
    /// Why nobody did, last.
    pub trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    lost: AtomicU64,
    ended: AtomicBool,
    now: Mutex<(Option<String>, Option<String>)>,
}

impl Shared {
    fn tell(&self, peer: Option<String>, trouble: Option<String>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 = peer;
        if trouble.is_some() {
            now.1 = trouble;
        }
    }
}

/// A queue of events, and the thread that sends them.
#[derive(Debug)]
pub struct Sender {
    queue: SyncSender<(Instant, String)>,
    shared: Arc<Shared>,
}

impl Sender {
    /// Begins. The first of the addresses that answers gets them. `room`: so many may wait.
    pub fn start(addresses: Vec<Address>, certificates: Tls, room: usize) -> io::Result<Self> {
        let (queue, events) = sync_channel(room.max(1));
        let shared = Arc::new(Shared::default());
        let mut worker =
            Worker { addresses, certificates, events, shared: Arc::clone(&shared), pause: PAUSE };
        thread::Builder::new().name("nova-ext-events".into()).spawn(move || worker.run())?;
        Ok(Self { queue, shared })
    }

    /// Puts a line into the queue: whether there was room. Never waits.
    pub fn offer(&self, line: String) -> bool {
        match self.queue.try_send((Instant::now(), line)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// What became of them so far.
    pub fn stats(&self) -> Stats {
        let (peer, trouble) = self.shared.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Stats {
            sent: self.shared.sent.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            peer,
            trouble,
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

/// A way to an engine.
enum Line {
    Local(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    fn send(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Local(stream) => stream.write_all(text.as_bytes()),
            Self::Tls(stream) => {
                still_there(stream)?;
                stream.write_all(text.as_bytes()).and_then(|()| stream.flush())
            }
        }
    }
}

struct Worker {
    addresses: Vec<Address>,
    certificates: Tls,
    events: Receiver<(Instant, String)>,
    shared: Arc<Shared>,
    pause: Duration,
}

impl Worker {
    fn run(&mut self) {
        let mut line: Option<(Line, String)> = None;
        let mut not_before = Instant::now();
        loop {
            let (at, text) = match self.events.recv_timeout(IDLE) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) if !self.shared.ended.load(Ordering::Relaxed) => continue,
                Err(_) => return,
            };
            if line.is_none() && Instant::now() >= not_before {
                line = self.connect();
                if line.is_none() {
                    not_before = Instant::now() + self.pause;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                } else {
                    self.pause = PAUSE;
                }
            }
            if !self.send(&mut line, at, &text) {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Sends it, over a new connection if the one there was is broken: an engine that was restarted is no reason to lose
    /// an event.
    fn send(&mut self, line: &mut Option<(Line, String)>, at: Instant, text: &str) -> bool {
        for _ in 0..2 {
            let Some((open, peer)) = line.as_mut() else { return false };
            if at.elapsed() > STALE {
                return false;
            }
            match open.send(text) {
                Ok(()) => {
                    self.shared.sent.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Err(error) => {
                    self.shared.tell(None, Some(format!("{peer}: {error}")));
                    *line = self.connect();
                }
            }
        }
        false
    }

    fn connect(&self) -> Option<(Line, String)> {
        for address in &self.addresses {
            let name = address.to_string();
            let opened = match address {
                Address::Local(path) => local(path),
                Address::Tls(peer) => far(peer, &self.certificates),
            };
            match opened {
                Ok(line) => {
                    self.shared.tell(Some(name.clone()), None);
                    return Some((line, name));
                }
                Err(error) => self.shared.tell(None, Some(format!("{name}: {error}"))),
            }
        }
        None
    }
}

/// One that listens and takes no connections makes this thread wait, and nobody else: the queue fills up.
fn local(path: &std::path::Path) -> io::Result<Line> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(WRITE))?;
    stream.set_read_timeout(Some(CONNECT))?;
    greeted(&mut stream)?;
    Ok(Line::Local(stream))
}

fn far(peer: &Peer, certificates: &Tls) -> io::Result<Line> {
    let mut config: ClientConfig = tls::config(certificates).map_err(io::Error::other)?;
    config.alpn_protocols.clear();
    let name = ServerName::try_from(peer.host.clone()).map_err(io::Error::other)?;
    let address = (peer.host.as_str(), peer.port).to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::other("it has no address"))?;
    let mut tcp = TcpStream::connect_timeout(&address, CONNECT)?;
    tcp.set_nodelay(true)?;
    tcp.set_write_timeout(Some(WRITE))?;
    tcp.set_read_timeout(Some(CONNECT))?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let until = Instant::now() + CONNECT;
    while session.is_handshaking() {
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        session.complete_io(&mut tcp).map_err(told)?;
    }
    let mut stream = StreamOwned::new(session, tcp);
    greeted(&mut stream).map_err(told)?;
    Ok(Line::Tls(Box::new(stream)))
}

/// Whether it is an engine that lets us in.
fn greeted(stream: &mut impl Read) -> io::Result<()> {
    let mut said = [0; GREETING.len()];
    stream.read_exact(&mut said)?;
    if said == GREETING {
        Ok(())
    } else {
        Err(io::Error::other("it is no engine of nova-ha, or of another version"))
    }
}

/// An error if the peer has gone. The first write after that would succeed all the same, and nobody would get it: so what
/// has come is looked at before. (A local socket says so by itself.)
fn still_there(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> io::Result<()> {
    stream.sock.set_nonblocking(true)?;
    let gone = gone(stream);
    stream.sock.set_nonblocking(false)?;
    if gone? { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
}

fn gone(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> io::Result<bool> {
    loop {
        match stream.conn.read_tls(&mut stream.sock) {
            Ok(0) => return Ok(true),
            // Tickets for later sessions come as well, and are no goodbye.
            Ok(_) => {
                if stream.conn.process_new_packets().map_err(io::Error::other)?.peer_has_closed() {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What an error of TLS means.
fn told(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => io::Error::other(tls::explain(inner)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn wait_for(what: &str, ready: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !ready() {
            assert!(Instant::now() < until, "{what} did not come");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn accept(listener: &UnixListener) -> UnixStream {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(GREETING).unwrap();
        stream
    }

    #[test]
    fn what_is_offered_arrives_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let sender = Sender::start(vec![Address::Local(path.clone())], Tls::default(), 8).unwrap();
        assert!(sender.offer("one\n".into()));
        let mut reader = BufReader::new(accept(&listener));
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        // The engine ends, and another one takes its place.
        drop(reader);
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert!(sender.offer("two\n".into()));
        line.clear();
        BufReader::new(accept(&listener)).read_line(&mut line).unwrap();
        assert_eq!(line, "two\n");
        wait_for("the count", || sender.stats().sent == 2);
        assert_eq!(sender.stats().lost, 0);
    }

    #[test]
    fn nobody_waits_for_one_that_is_not_there_or_does_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let sender = Sender::start(vec![Address::Local(path.clone())], Tls::default(), 4).unwrap();
        let began = Instant::now();
        for _ in 0..100 {
            sender.offer("x\n".into());
        }
        assert!(began.elapsed() < Duration::from_secs(10));
        wait_for("the loss", || sender.stats().lost == 100);
        assert!(sender.stats().trouble.unwrap().contains("No such file"));
        // One that listens and does not read.
        let _listener = UnixListener::bind(&path).unwrap();
        let sender = Sender::start(vec![Address::Local(path)], Tls::default(), 4).unwrap();
        let line = "y".repeat(4000) + "\n";
        let began = Instant::now();
        for _ in 0..1000 {
            sender.offer(line.clone());
        }
        assert!(began.elapsed() < Duration::from_secs(10));
        wait_for("the loss", || sender.stats().lost > 0);
    }
}

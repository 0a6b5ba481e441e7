//! A server that answers every request, and what tests do with it.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use pcmk_proto::frame::Frame;
use pcmk_proto::lrmd::{Operation, Request, Style};
use pcmk_proto::xml::WriteXml as _;
use pcmk_remote::ids::ClientId;
use pcmk_remote::net::test_client::{Client, Suite};
use pcmk_remote::net::tls::{Credentials, KeyStore};
use pcmk_remote::net::{CloseReason, NetEvent, Outbox, Peer, Server, ServerHandle, ServerOptions, bind};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer than this for one thing.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A peer that is served while another misbehaves must be answered within 10 ms. Here an unoptimised build
/// shares the cores with other tests, and client and server share a thread: so only the median is held to
/// that, and the bound on a single answer is no proof of it.
pub(crate) const SERVED_MEDIAN: Duration = Duration::from_millis(10);
pub(crate) const SERVED_WORST: Duration = Duration::from_millis(500);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

pub(crate) fn key(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap() ^ seed).collect()
}

/// A server on a loopback port with its key in a file of its own.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) key: Vec<u8>,
    pub(crate) key_file: PathBuf,
    pub(crate) handle: ServerHandle,
    seen: Arc<Mutex<Seen>>,
    changed: tokio::sync::watch::Receiver<u64>,
    responder: JoinHandle<()>,
    _files: TempDir,
}

/// What the daemon would have been told.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connected: Vec<ClientId>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) closed: Vec<(ClientId, CloseReason)>,
    pub(crate) requests: HashMap<ClientId, usize>,
    pub(crate) outboxes: HashMap<ClientId, Outbox>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(ServerOptions::default()).await
    }

    pub(crate) async fn with(options: ServerOptions) -> Self {
        let files = tempfile::tempdir().unwrap();
        let key_file = files.path().join("authkey");
        let key = key(7, 4096);
        std::fs::write(&key_file, &key).unwrap();
        let store = KeyStore::open_paths(vec![key_file.clone()]).await.unwrap();
        Self::with_keys(options, store, files, key_file, key).await
    }

    pub(crate) async fn with_keys(
        options: ServerOptions,
        store: Arc<KeyStore>,
        files: TempDir,
        key_file: PathBuf,
        key: Vec<u8>,
    ) -> Self {
        Self::with_credentials(options, Arc::new(Credentials::from(store)), files, key_file, key).await
    }

    pub(crate) async fn with_credentials(
        options: ServerOptions,
        credentials: Arc<Credentials>,
        files: TempDir,
        key_file: PathBuf,
        key: Vec<u8>,
    ) -> Self {
        let listener = bind(Some("127.0.0.1"), 0).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (events, receiver) = mpsc::channel(64);
        let handle = Server::start(listener, credentials, options, events);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (tell, changed) = tokio::sync::watch::channel(0);
        let responder = tokio::spawn(respond(receiver, Arc::clone(&seen), tell));
        Self { address, key, key_file, handle, seen, changed, responder, _files: files }
    }

    pub(crate) async fn client(&self) -> Client {
        soon("connect", Client::connect(self.address, &self.key)).await.unwrap()
    }

    pub(crate) async fn client_with_key(&self, key: &[u8]) -> std::io::Result<Client> {
        soon("connect", Client::connect(self.address, key)).await
    }

    pub(crate) async fn client_as(&self, identity: &str, suite: Suite) -> std::io::Result<Client> {
        soon("connect", Client::connect_as(self.address, identity, &self.key, suite)).await
    }

    pub(crate) async fn raw(&self) -> TcpStream {
        soon("TCP connect", TcpStream::connect(self.address)).await.unwrap()
    }

    /// Waits for a state of affairs.
    pub(crate) async fn until<T>(&self, what: &str, mut check: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        soon(what, async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = check(&self.seen.lock().unwrap()) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        })
        .await
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    /// Why the newest connection ended.
    pub(crate) async fn last_close(&self) -> CloseReason {
        self.until("the end of the last connection", |seen| {
            let last = seen.connected.last()?;
            seen.closed.iter().find(|(client, _)| client == last).map(|(_, reason)| reason.clone())
        })
        .await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.responder.abort();
    }
}

/// Answers each request with its number and, for a poke with a client name, with a text of that length.
async fn respond(
    mut events: mpsc::Receiver<NetEvent>,
    seen: Arc<Mutex<Seen>>,
    tell: tokio::sync::watch::Sender<u64>,
) {
    while let Some(event) = events.recv().await {
        let mut seen = seen.lock().unwrap();
        match event {
            NetEvent::Connected { client, peer, outbox } => {
                seen.peers.push(peer);
                seen.connected.push(client);
                seen.outboxes.insert(client, outbox);
            }
            NetEvent::Request { client, request } => {
                assert!(seen.closed.iter().all(|(closed, _)| *closed != client), "a request after the end");
                *seen.requests.entry(client).or_default() += 1;
                let length = request.client_name.as_deref().and_then(|name| name.parse().ok()).unwrap_or(0);
                let text = "x".repeat(length);
                seen.outboxes[&client]
                    .send(format!("<reply number=\"{}\" text=\"{text}\"/>", request.msg_id));
            }
            NetEvent::Unreadable { client, msg_id } => {
                seen.outboxes[&client].send(format!("<unreadable number=\"{msg_id}\"/>"));
            }
            NetEvent::Closed { client, reason } => {
                assert!(seen.outboxes.remove(&client).is_some(), "closed twice, or never connected");
                seen.closed.push((client, reason));
            }
        }
        drop(seen);
        tell.send_modify(|count| *count += 1);
    }
}

/// A poke; the answer carries a text of the given length.
pub(crate) fn poke(number: i64, length: usize) -> String {
    Request {
        msg_id: number,
        client_name: Some(length.to_string()),
        token: None,
        call_timeout_ms: None,
        options: None,
        style: Style { name_attribute: false, t_attribute: true },
        operation: Operation::Poke { origin: None },
    }
    .to_element()
    .to_xml()
}

pub(crate) fn reply(number: i64, length: usize) -> String {
    format!("<reply number=\"{number}\" text=\"{}\"/>", "x".repeat(length))
}

pub(crate) async fn recv(client: &mut Client) -> Frame {
    soon("an answer", client.recv()).await.unwrap().expect("an answer, not the end")
}

/// The server has closed this connection.
pub(crate) async fn expect_end(client: &mut Client) {
    // With data of ours unread the kernel resets the connection instead.
    if let Ok(Some(frame)) = soon("the end", client.recv()).await {
        panic!("an answer instead of the end: {frame:?}");
    }
}

pub(crate) async fn ask(client: &mut Client, number: i64) {
    soon("send", client.send(poke(number, 0))).await.unwrap();
    assert_eq!(recv(client).await.payload, reply(number, 0));
}

/// Round trips of `client` until `other` is done, and how long they took.
pub(crate) async fn served_during<T>(client: &mut Client, other: impl Future<Output = T>) -> T {
    let mut other = std::pin::pin!(other);
    let mut times = Vec::new();
    let mut number = 0;
    let result = loop {
        let begin = Instant::now();
        number += 1;
        soon("send", client.send(poke(number, 0))).await.unwrap();
        let mut answer = std::pin::pin!(recv(client));
        tokio::select! {
            biased;
            frame = &mut answer => {
                times.push(begin.elapsed());
                assert_eq!(frame.payload, reply(number, 0));
            }
            result = &mut other => {
                answer.await;
                times.push(begin.elapsed());
                break result;
            }
        }
    };
    // However short the other one was, there is a measurement.
    for _ in 0..5 {
        let begin = Instant::now();
        number += 1;
        ask(client, number).await;
        times.push(begin.elapsed());
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{} answers meanwhile, median {median:?}, slowest {worst:?}", times.len());
    assert!(median < SERVED_MEDIAN, "median {median:?}");
    assert!(worst < SERVED_WORST, "slowest {worst:?}");
    result
}

/// Sits between a client and the server, and notes the type and length of each TLS record that the
/// server sends.
pub(crate) async fn record_proxy(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<(u8, usize)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let records = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&records);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(server).await.unwrap();
        let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
            (near.into_split(), far.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
        let mut pending = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        while let Ok(count @ 1..) = far_read.read(&mut chunk).await {
            pending.extend_from_slice(&chunk[..count]);
            while pending.len() >= 5 {
                let length = usize::from(u16::from_be_bytes([pending[3], pending[4]]));
                if pending.len() < 5 + length {
                    break;
                }
                noted.lock().unwrap().push((pending[0], length));
                pending.drain(..5 + length);
            }
            if near_write.write_all(&chunk[..count]).await.is_err() {
                break;
            }
        }
    });
    (address, records)
}

/// Everything that `tracing` says while a test runs on this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<String>>);

impl Log {
    /// From now to the end of the guard.
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(Capture(log.clone()));
        (log, guard)
    }

    /// What is said outside of captures: by threads that read key files. Shared by all tests, so look for
    /// something of your own.
    pub(crate) fn global() -> Self {
        static GLOBAL: OnceLock<Log> = OnceLock::new();
        let install = || {
            let log = Self::default();
            tracing::subscriber::set_global_default(Capture(log.clone())).unwrap();
            log
        };
        GLOBAL.get_or_init(install).clone()
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// Waits for a line with all of these parts.
    pub(crate) async fn line_with(&self, parts: &[&str]) -> String {
        let find = || {
            let text = self.text();
            let found = text.lines().find(|line| parts.iter().all(|part| line.contains(part)));
            found.map(str::to_owned)
        };
        let wait = async {
            loop {
                match find() {
                    Some(line) => return line,
                    None => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        let found = timeout(DEADLINE, wait).await;
        found.unwrap_or_else(|_| panic!("no log line with {parts:?} in:\n{}", self.text()))
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.text().matches(part).count()
    }
}

struct Capture(Log);

impl tracing::Subscriber for Capture {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("pcmk_remote")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message<'a>(&'a mut String);
        impl tracing::field::Visit for Message<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0.push_str(&format!("{value:?}\n"));
                }
            }
        }
        let mut text = self.0.0.lock().unwrap();
        text.push_str(&format!("{} ", event.metadata().level()));
        event.record(&mut Message(&mut text));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

pub(crate) fn write_new(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

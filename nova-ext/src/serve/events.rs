//! Takes what Nova's own services tell: over a local socket, and from other machines over TLS with certificates of both.
//!
//! Nobody is believed: an event makes the engine read sooner, and that is all. A service that sends more than the engine
//! can take loses events.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::User;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::ServeError;
use crate::cloud::tls;
use crate::config;
use crate::engine::run::Order;
use crate::events::{Event, GREETING, LONGEST};
use crate::stamp::Stamp;

/// Services that may be connected: each process of Nova on each machine is one.
const MOST: usize = 8192;
/// For a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// After an error that may go by.
const PAUSE: Duration = Duration::from_millis(100);

/// What has come so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heard {
    /// Services that are connected.
    pub connected: usize,
    /// Events.
    pub events: u64,
    /// Of these, so many came faster than they could be taken.
    pub lost: u64,
    /// The last one.
    pub last: Option<Last>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Nova's name for it.
    pub kind: String,
    /// Who said so.
    pub publisher: String,
    /// When it came here.
    pub at: Stamp,
    /// How long it was under way, if both clocks are right.
    pub after_ms: u64,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Count {
    connected: AtomicUsize,
    events: AtomicU64,
    lost: AtomicU64,
    last: Mutex<Option<Last>>,
}

impl Count {
    pub(super) fn now(&self) -> Heard {
        Heard {
            connected: self.connected.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            last: self.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn take(&self, event: &Event, orders: &mpsc::Sender<Order>) {
        self.events.fetch_add(1, Ordering::Relaxed);
        let at = Stamp::now();
        let after_ms = u64::try_from(at.since(event.at).as_millis()).unwrap_or(u64::MAX);
        let (kind, publisher) = (event.kind.clone(), event.publisher.clone());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Last { kind, publisher, at, after_ms });
        let Some(server) = event.server else { return };
        if orders.try_send(Order::Heard { server }).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where services connect.
pub(super) struct Events {
    local: Option<UnixListener>,
    users: Vec<u32>,
    far: Option<(std::net::TcpListener, TlsAcceptor)>,
    count: Arc<Count>,
}

impl Events {
    pub(super) fn bind(config: &config::Events) -> Result<Self, ServeError> {
        let local = config.socket.as_deref().map(bind_local).transpose()?;
        let users = if local.is_some() { users(&config.users) } else { Vec::new() };
        let far = match config.listen {
            Some(address) => {
                let wrong = |error| ServeError::Io(format!("events address {address}"), error);
                let listener = std::net::TcpListener::bind(address).map_err(wrong)?;
                listener.set_nonblocking(true).map_err(wrong)?;
                Some((listener, acceptor(config)?))
            }
            None => None,
        };
        Ok(Self { local, users, far, count: Arc::default() })
    }

    /// What comes is counted here; none if nothing listens.
    pub(super) fn count(&self) -> Option<Arc<Count>> {
        (self.local.is_some() || self.far.is_some()).then(|| Arc::clone(&self.count))
    }

    /// Takes connections and events, for ever.
    pub(super) async fn serve(self, orders: &mpsc::Sender<Order>) {
        let Self { local, users, far, count } = self;
        let local = async {
            match local {
                Some(listener) => take_local(&listener, &users, &count, orders).await,
                None => std::future::pending().await,
            }
        };
        let far = async {
            match far {
                Some((listener, acceptor)) => take_far(listener, &acceptor, &count, orders).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(local, far);
    }
}

fn bind_local(path: &Path) -> Result<UnixListener, ServeError> {
    let wrong = |error| ServeError::Io(path.display().to_string(), error);
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(wrong)?;
        if folder.file_name().is_some_and(|name| name == "pcmk-remote") {
            // Ours alone; the umask has taken from it what Nova's users need to find the socket.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(wrong)?;
        }
    }
    // The journal's lock says that nobody else serves here.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    // Who it is, is asked of the kernel.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(wrong)?;
    Ok(listener)
}

/// The numbers of users; one that is not there yet is no error.
fn users(names: &[String]) -> Vec<u32> {
    let mut users = vec![0, nix::unistd::geteuid().as_raw()];
    for name in names {
        if let Ok(Some(user)) = User::from_name(name) {
            users.push(user.uid.as_raw());
        } else {
            warn!("events: there is no user {name} on this controller");
        }
    }
    users
}

fn acceptor(config: &config::Events) -> Result<TlsAcceptor, ServeError> {
    let certificate = |path: &Path| tls::certificates(path).map_err(ServeError::Settings);
    let wrong = |error: &dyn std::fmt::Display| {
        ServeError::Io("events certificates".into(), io::Error::other(error.to_string()))
    };
    // The configuration was refused without them.
    let (Some(own), Some(key), Some(ca)) = (&config.certificate, &config.key, &config.ca) else {
        return Err(wrong(&"certificate, key and ca are needed"));
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificate(ca)?);
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = verifier.build().map_err(|error| wrong(&error))?;
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            certificate(own)?,
            PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(&error))?,
        )
        .map_err(|error| wrong(&error))?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}

async fn take_local(
    listener: &UnixListener,
    users: &[u32],
    count: &Arc<Count>,
    orders: &mpsc::Sender<Order>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        match who(&stream) {
            Ok(user) if users.contains(&user) => begin(stream, count, orders),
            Ok(user) => warn!("events: user {user} may not connect: see [events] users in nova-ha.toml"),
            Err(error) => warn!("events: nobody knows who connects: {error}"),
        }
    }
}

fn who(stream: &UnixStream) -> io::Result<u32> {
    Ok(stream.peer_cred()?.uid())
}

async fn take_far(
    listener: std::net::TcpListener,
    acceptor: &TlsAcceptor,
    count: &Arc<Count>,
    orders: &mpsc::Sender<Order>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            warn!("events: nobody can connect from other machines: {error}");
            return std::future::pending().await;
        }
    };
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let (acceptor, count, orders) = (acceptor.clone(), Arc::clone(count), orders.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => begin(stream, &count, &orders),
                Ok(Err(error)) => info!("events: {from} is not let in: {error}"),
                Err(_) => info!("events: {from} does not end its handshake"),
            }
        });
    }
}

/// Reads a service's events until it goes. One too many is not read.
fn begin(
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    count: &Arc<Count>,
    orders: &mpsc::Sender<Order>,
) {
    if count.connected.fetch_add(1, Ordering::Relaxed) >= MOST {
        count.connected.fetch_sub(1, Ordering::Relaxed);
        warn!("events: more than {MOST} services connect");
        return;
    }
    let (count, orders) = (Arc::clone(count), orders.clone());
    tokio::spawn(async move {
        let greeted = timeout(HANDSHAKE, async {
            stream.write_all(GREETING).await?;
            stream.flush().await
        });
        if matches!(greeted.await, Ok(Ok(()))) {
            listen(stream, &count, &orders).await;
        }
        count.connected.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Takes events until the end, or until something comes that is none.
async fn listen(stream: impl AsyncRead + Unpin, count: &Count, orders: &mpsc::Sender<Order>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
        match (&mut reader).take(most).read_until(b'\n', &mut line).await {
            Ok(length) if length > 0 && line.ends_with(b"\n") => {}
            // The end, or a line without one: whoever it is does not speak this.
            _ => return,
        }
        match Event::from_line(line.trim_ascii_end()) {
            Some(event) => count.take(&event, orders),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Tls;
    use crate::events::{Address, Sender};

    fn event(kind: &str) -> Event {
        Event {
            kind: kind.into(),
            at: Stamp::now(),
            publisher: "nova-compute:c2".into(),
            host: None,
            server: Some("6f70656e-7374-6163-6b20-342065766572".parse().unwrap()),
            forced_down: None,
        }
    }

    async fn until(what: &str, mut ready: impl FnMut() -> bool) {
        let waited = timeout(Duration::from_secs(20), async {
            while !ready() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what} did not come");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_service_on_this_machine_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/events.sock");
        let config = config::Events { socket: Some(path.clone()), ..config::Events::default() };
        let events = Events::bind(&config).unwrap();
        let count = events.count().unwrap();
        let (orders, mut ordered) = mpsc::channel(2);
        let serving = tokio::spawn(async move { events.serve(&orders).await });
        let sender = Sender::start(vec![Address::Local(path.clone())], Tls::default(), 16).unwrap();
        assert!(sender.offer(event("instance.rebuild.end").to_line().unwrap()));
        let order = timeout(Duration::from_secs(20), ordered.recv()).await.unwrap().unwrap();
        assert!(matches!(order, Order::Heard { .. }));
        let heard = count.now();
        assert_eq!((heard.connected, heard.events, heard.lost), (1, 1, 0));
        assert!(heard.last.unwrap().after_ms < 1000);
        // Nobody takes them: what is too much is lost, and nobody waits.
        for _ in 0..5 {
            assert!(sender.offer(event("instance.rebuild.end").to_line().unwrap()));
        }
        until("the loss", || count.now().events == 6).await;
        assert_eq!(count.now().lost, 3);
        // One that speaks something else is left, without harm.
        let mut other = UnixStream::connect(&path).await.unwrap();
        other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = other.read_to_end(&mut rest).await;
        assert_eq!(rest, GREETING);
        drop(sender);
        until("the end", || count.now().connected == 0).await;
        serving.abort();
    }

    #[tokio::test]
    async fn other_users_find_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        // As the unit's umask leaves it.
        let own = folder.path().join("pcmk-remote");
        fs::DirBuilder::new().mode(0o700).create(&own).unwrap();
        let path = own.join("nova-events.sock");
        let _events =
            Events::bind(&config::Events { socket: Some(path.clone()), ..config::Events::default() })
                .unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&own), mode(&path)), (0o755, 0o666));
        // A folder of the operator's is left as it is.
        let other = folder.path().join("other");
        fs::DirBuilder::new().mode(0o750).create(&other).unwrap();
        let before = mode(&other);
        let path = other.join("nova-events.sock");
        let _events =
            Events::bind(&config::Events { socket: Some(path), ..config::Events::default() }).unwrap();
        assert_eq!(mode(&other), before);
    }

    #[tokio::test]
    async fn nobody_listens_unless_it_is_said() {
        let events = Events::bind(&config::Events::default()).unwrap();
        assert!(events.count().is_none());
    }
}

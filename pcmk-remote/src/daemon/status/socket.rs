//! The local status socket: one question per connection, a line of JSON each way.
//!
//! Everybody may connect; who is answered is decided by what the kernel says of the peer. Each connection is
//! a task with a deadline, and there are few at a time, so a reader that is stuck holds up nobody.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::net::tls::Credentials;
use crate::status::{Answer, Ended, MAX_REQUEST, Request, Status};
use crate::sys;

/// Members may read the status, besides root, `hacluster` and members of `haclient`.
const READERS: &str = "pcmk-remote";

/// Connections at a time.
const CLIENTS: usize = 16;
/// For the request, and again for the answer to be read.
const DEADLINE: Duration = Duration::from_secs(10);
/// For the account database, which may hang with a network service.
const LOOKUP: Duration = Duration::from_secs(3);
/// Between two documents: making a large one takes the event loop milliseconds.
const PACE: Duration = Duration::from_millis(20);
/// Documents with more entries than this are turned into text on another thread.
const LARGE: usize = 512;
/// How long clients have to read the last word.
const GOODBYE: Duration = Duration::from_secs(1);
/// Wait after the system ran out of something.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);

/// A question for the event loop.
#[derive(Debug)]
pub(in crate::daemon) enum Question {
    /// How are things?
    Status(oneshot::Sender<Status>),
    /// Leave the cluster.
    Drain,
}

/// The socket while it is served; the file goes when this is dropped.
pub(in crate::daemon) struct StatusServer {
    bound: Option<Bound>,
    questions: mpsc::Receiver<Question>,
    /// Kept so that `questions` stays open without a socket.
    _asking: mpsc::Sender<Question>,
    ended: watch::Sender<Option<Ended>>,
}

/// A socket file of ours.
struct Bound {
    path: PathBuf,
    inode: (u64, u64),
    accepting: JoinHandle<()>,
}

/// What each connection needs.
struct Desk {
    asking: mpsc::Sender<Question>,
    ended: watch::Receiver<Option<Ended>>,
    credentials: Arc<Credentials>,
    next: Mutex<Instant>,
}

impl StatusServer {
    /// Serves on this path, on none if that is `None`. A node without status is better than none: failures
    /// are logged.
    pub(in crate::daemon) fn start(path: Option<&Path>, credentials: Arc<Credentials>) -> Self {
        let (asking, questions) = mpsc::channel(CLIENTS);
        let (ended, ends) = watch::channel(None);
        let desk =
            Desk { asking: asking.clone(), ended: ends, credentials, next: Mutex::new(Instant::now()) };
        let bound = path.and_then(|path| match bind(path) {
            Ok((listener, inode)) => {
                info!("Telling status on {}", path.display());
                let accepting = tokio::spawn(accept(listener, Arc::new(desk)));
                Some(Bound { path: path.to_owned(), inode, accepting })
            }
            Err(error) => {
                warn!("Could not open the status socket {}: {error}", path.display());
                None
            }
        });
        Self { bound, questions, _asking: asking, ended }
    }

    /// The next question. Never ends.
    pub(in crate::daemon) async fn question(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }

    /// Tells those who wait for it how this ends, and gives them a moment to read it.
    pub(in crate::daemon) async fn say_goodbye(self, reason: Ended) {
        let Self { bound, questions, _asking, ended } = self;
        drop(questions);
        ended.send_replace(Some(reason));
        drop(bound);
        let _ = timeout(GOODBYE, ended.closed()).await;
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.accepting.abort();
        // Only if it is still ours.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Takes the place of a socket that nobody serves any more.
fn bind(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        if dir.file_name().is_some_and(|name| name == "pcmk-remote") {
            // Ours alone; the umask has taken from it what others need to find the socket.
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("there is something that is not a socket"));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::Error::other("another daemon serves it (set PCMK_remote_status_socket)"));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // Who may ask is decided by credentials, which can be explained to whoever may not.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    let made = std::fs::symlink_metadata(path)?;
    Ok((listener, (made.dev(), made.ino())))
}

async fn accept(listener: UnixListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!("Could not accept on the status socket: {error}");
                sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            tokio::spawn(serve(stream, place, Arc::clone(&desk)));
        } else if let Ok(line) =
            line(&Answer::Error(format!("busy: {CLIENTS} others are being answered; try again")))
        {
            let _ = stream.try_write(&line);
        }
    }
}

async fn serve(stream: UnixStream, place: OwnedSemaphorePermit, desk: Arc<Desk>) {
    let place = Arc::new(place);
    if let Err(error) = converse(stream, &place, &desk).await {
        debug!("Status connection ended: {error}");
    }
}

async fn converse(stream: UnixStream, place: &Arc<OwnedSemaphorePermit>, desk: &Desk) -> io::Result<()> {
    let may = Rights::of(&stream, place).await?;
    let (read, mut write) = stream.into_split();
    if may == Rights::Nothing {
        // Whatever the question would be, and at once: strangers must not take the places of others.
        let who = format!("only root, hacluster and members of haclient or {READERS} may read the status");
        return say(&mut write, Answer::Denied(who)).await;
    }
    let mut request = Vec::new();
    let mut reader = BufReader::with_capacity(MAX_REQUEST, read).take(MAX_REQUEST as u64);
    timeout(DEADLINE, reader.read_until(b'\n', &mut request)).await??;
    let request = match serde_json::from_slice(&request) {
        Ok(request) => request,
        Err(error) => {
            return say(&mut write, Answer::Error(format!("cannot make out the request: {error}"))).await;
        }
    };
    match request {
        Request::Drain if may != Rights::Everything => {
            say(&mut write, Answer::Denied("only root may drain this node".into())).await
        }
        Request::Status => {
            let answer = match desk.status().await {
                Some(status) => Answer::Status(Box::new(status)),
                None => Answer::Error("the daemon is ending".into()),
            };
            say(&mut write, answer).await
        }
        Request::Drain => {
            info!("Asked through the status socket to leave the cluster");
            let mut ended = desk.ended.clone();
            if desk.asking.send(Question::Drain).await.is_err() {
                return say(&mut write, Answer::Error("the daemon is ending".into())).await;
            }
            say(&mut write, Answer::Draining).await?;
            let mut rest = [0];
            let reason = tokio::select! {
                reason = ended.wait_for(Option::is_some) => reason.ok().and_then(|reason| *reason),
                // The client has gone, or says something that is not asked for.
                _ = reader.get_mut().get_mut().read(&mut rest) => None,
            };
            match reason {
                Some(reason) => say(&mut write, Answer::Ended(reason)).await,
                None => Ok(()),
            }
        }
    }
}

impl Desk {
    /// `None` while the daemon ends.
    async fn status(&self) -> Option<Status> {
        // Files that have gone bad should be seen here before a handshake meets them.
        self.credentials.refresh().await;
        let mut next = self.next.lock().await;
        sleep_until(*next).await;
        let (answer, answered) = oneshot::channel();
        self.asking.send(Question::Status(answer)).await.ok()?;
        let status = answered.await.ok();
        *next = Instant::now() + PACE;
        status
    }
}

async fn say(write: &mut (impl tokio::io::AsyncWrite + Unpin), answer: Answer) -> io::Result<()> {
    let large = matches!(&answer, Answer::Status(status)
        if status.resources.len().saturating_add(status.operations.len()) > LARGE);
    let line = if large {
        tokio::task::spawn_blocking(move || line(&answer)).await.map_err(io::Error::other)??
    } else {
        line(&answer)?
    };
    timeout(DEADLINE, write.write_all(&line)).await?
}

fn line(answer: &Answer) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}

/// What a local process may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Nothing,
    Reading,
    Everything,
}

impl Rights {
    /// Looks the peer's accounts up on a blocking thread, which keeps `place` as long as that hangs.
    async fn of(stream: &UnixStream, place: &Arc<OwnedSemaphorePermit>) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        if peer.uid() == 0 {
            return Ok(Self::Everything);
        }
        let mut groups = sys::peer_groups(stream.as_fd())?;
        groups.push(peer.gid());
        let (uid, hold) = (Uid::from_raw(peer.uid()), Arc::clone(place));
        let looked = tokio::task::spawn_blocking(move || {
            let _hold = hold;
            let hacluster = User::from_name("hacluster").ok().flatten().map(|user| user.uid);
            let gid = |name| Group::from_name(name).ok().flatten().map(|group| group.gid);
            let readers = [gid(READERS), gid("haclient")];
            hacluster == Some(uid)
                || groups.into_iter().map(Gid::from_raw).any(|gid| readers.contains(&Some(gid)))
        });
        match timeout(LOOKUP, looked).await {
            Ok(Ok(true)) => Ok(Self::Reading),
            Ok(_) => Ok(Self::Nothing),
            Err(_) => Err(io::Error::other("the account database does not answer")),
        }
    }
}

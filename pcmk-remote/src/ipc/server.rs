//! The listening names, and how a tool comes in.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use pcmk_proto::qb::Transport::{SharedMemory, Socket};
use pcmk_proto::qb::{IpcName, QbError, SETUP_REPLY_LEN, SETUP_REQUEST_LEN, SetupReply, SetupRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::callers::{Callers, Owner, Peer};
use super::connection::{Connection, Gone};
use super::folder::{self, Folder};
use super::handle::{Counters, IpcHandle, Registry, Serving, Tool};
use super::names::{self, Family};
use super::queue::Decision;
use super::transport::Transport;
use super::{IpcError, IpcEvent, IpcOptions};
use crate::caller::Access;

/// Serves Pacemaker's IPC names.
#[derive(Debug)]
pub struct IpcServer;

impl IpcServer {
    /// Takes all names, and serves them as long as there is a handle. Needs a Tokio runtime.
    pub fn start(options: IpcOptions, events: mpsc::Sender<IpcEvent>) -> Result<IpcHandle, IpcError> {
        let family = Family::of_this_system();
        let mut bound = Vec::new();
        for name in &options.names {
            bound.extend(names::bind(*name, family)?.into_iter().map(|bound| (*name, bound)));
        }
        // Before anybody can connect: a folder with our own process number is of a namesake that is dead.
        folder::remove_stale(&options.folder);
        let registry = Arc::new(Registry::new());
        let most = options.max_tools.unwrap_or_else(tools_for_descriptors);
        let door = Arc::new(Door {
            callers: Callers::new(&options.user, &options.group),
            counters: Arc::clone(&registry.counters),
            registry: Arc::clone(&registry),
            large: Semaphore::new(LARGE_AT_ONCE),
            turned_away: Semaphore::new(TURNED_AWAY_AT_ONCE),
            places: Places { most, taken: Mutex::default() },
            events,
            options,
        });
        let mut listeners = Vec::new();
        for (name, bound) in bound {
            let listener = bound.listener.try_clone().and_then(UnixListener::from_std);
            let listener = listener.map_err(|source| IpcError::Bind { name, source })?;
            listeners.push((bound, tokio::spawn(listen(name, listener, Arc::clone(&door)))));
        }
        Ok(IpcHandle(Arc::new(Serving { registry, listeners: Mutex::new(listeners) })))
    }
}

/// What every connection needs.
pub(super) struct Door {
    pub(super) options: IpcOptions,
    pub(super) events: mpsc::Sender<IpcEvent>,
    pub(super) counters: Arc<Counters>,
    /// Turns for what takes much memory.
    pub(super) large: Semaphore,
    /// Turns for those who hear that there is no place.
    turned_away: Semaphore,
    registry: Arc<Registry>,
    callers: Callers,
    places: Places,
}

/// Documents that are unpacked, packed or read at a time: each takes many times its size.
const LARGE_AT_ONCE: usize = 2;
/// Those who hear at the same time that there is no place; others are just closed. They need descriptors, too.
const TURNED_AWAY_AT_ONCE: usize = 64;
/// From connect to the end of the set-up request.
const SETUP_DEADLINE: Duration = Duration::from_secs(10);
/// For the decision whether a tool may come in.
const DECISION_DEADLINE: Duration = Duration::from_secs(30);
/// Wait after the system ran out of something.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that are not for tools: connections of the cluster, agents, logs.
const OTHER_DESCRIPTORS: u64 = 256;
/// Descriptors of one tool, in the worst case.
const DESCRIPTORS: u64 = 8;
/// Tools that are let in at most, however many descriptors there may be.
const MOST_TOOLS: u64 = 4096;
/// Descriptors that the daemon has use for.
pub const MOST_DESCRIPTORS: u64 = OTHER_DESCRIPTORS + MOST_TOOLS * DESCRIPTORS;
/// The smallest message size: the set-up reply must fit.
const SMALLEST: u32 = 12_336;

/// How many tools there may be at once.
#[derive(Debug)]
struct Places {
    most: usize,
    /// By user.
    taken: Mutex<HashMap<u32, usize>>,
}

/// A place that is given back when this is dropped.
struct Place<'a> {
    places: &'a Places,
    uid: u32,
}

impl Places {
    /// A place for a user. A quarter is only for root, so that nobody can shut the agents' tools out, and another
    /// one not for a single other user: anybody may connect, if only to be refused.
    fn take(&self, uid: u32) -> Option<Place<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |uid| taken.get(&uid).copied().unwrap_or(0);
        let all: usize = taken.values().sum();
        let quarter = self.most / 4;
        let crowded = uid != 0 && (all.saturating_sub(of(0)) >= quarter * 3 || of(uid) >= quarter * 2);
        if crowded || all >= self.most {
            return None;
        }
        *taken.entry(uid).or_default() += 1;
        Some(Place { places: self, uid })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

fn tools_for_descriptors() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let tools = soft.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS;
    usize::try_from(tools.clamp(16, MOST_TOOLS)).unwrap_or(16)
}

async fn listen(name: IpcName, listener: UnixListener, door: Arc<Door>) {
    let mut complained: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, name, Arc::clone(&door)));
            }
            Err(error) => {
                if complained.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                    complained = Some(Instant::now());
                    warn!("Could not accept a connection to {name}: {error}");
                }
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Why a tool does not come in.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Setup(#[from] QbError),
    #[error("it did not finish connecting in time")]
    Late,
    #[error("too many tools are connected")]
    Crowded,
    #[error("the daemon ends")]
    Ending,
}

/// A tool from accept to end.
async fn serve(stream: UnixStream, name: IpcName, door: Arc<Door>) {
    if let Err(error) = come_in(stream, name, &door).await {
        debug!("A connection to {name} failed: {error}");
    }
}

async fn come_in(mut stream: UnixStream, name: IpcName, door: &Door) -> Result<(), Unfit> {
    let peer = Peer::of(&stream)?;
    let Some(_place) = door.places.take(peer.uid) else {
        let Ok(_turn) = door.turned_away.try_acquire() else {
            door.counters.refused();
            return Err(Unfit::Crowded);
        };
        let _asked = timeout(SETUP_DEADLINE, setup_request(&mut stream)).await.map_err(|_| Unfit::Late)??;
        warn!("Turned process {} away from {name}: too many tools are connected", peer.pid);
        door.counters.refused();
        refuse(&mut stream, -libc::EAGAIN).await?;
        return Err(Unfit::Crowded);
    };
    let asked = timeout(SETUP_DEADLINE, setup_request(&mut stream)).await.map_err(|_| Unfit::Late)??;
    let (caller, owner) = door.callers.identify(&peer).await;
    let tool = door.registry.enter(name, caller, door.options.queue_bytes);
    let connecting = IpcEvent::Connecting { tool: tool.id, server: name, caller: tool.caller.clone() };
    let announced = tokio::select! {
        sent = door.events.send(connecting) => sent.is_ok(),
        () = tool.queue.ended() => false,
    };
    if !announced {
        door.registry.leave(&tool);
        return Err(Unfit::Ending);
    }
    let result = decide(stream, &tool, owner, asked, door).await;
    door.registry.leave(&tool);
    let _ = door.events.send(IpcEvent::Closed { tool: tool.id }).await;
    result
}

async fn setup_request(stream: &mut UnixStream) -> Result<SetupRequest, Unfit> {
    let mut bytes = [0; SETUP_REQUEST_LEN];
    stream.read_exact(&mut bytes).await?;
    Ok(SetupRequest::parse(&bytes)?)
}

async fn refuse(stream: &mut UnixStream, error: i32) -> Result<(), Unfit> {
    reply(stream, &SetupReply::refusal(error)).await
}

/// In one go, for clients do not wait long for the rest. The socket is new and has room for it.
async fn reply(stream: &mut UnixStream, reply: &SetupReply) -> Result<(), Unfit> {
    let bytes = reply.to_bytes()?;
    debug_assert_eq!(bytes.len(), SETUP_REPLY_LEN);
    timeout(SETUP_DEADLINE, stream.write_all(&bytes)).await.map_err(|_| Unfit::Late)??;
    Ok(())
}

async fn decide(
    mut stream: UnixStream,
    tool: &Tool,
    owner: Owner,
    asked: SetupRequest,
    door: &Door,
) -> Result<(), Unfit> {
    let decision = timeout(DECISION_DEADLINE, tool.queue.decision()).await;
    let mut decision = decision.unwrap_or(Decision::Refuse(-libc::EAGAIN));
    if decision == Decision::Accept && tool.caller.access == Access::None {
        decision = Decision::Refuse(-libc::EACCES);
    }
    let caller = &tool.caller;
    if let Decision::Refuse(error) = decision {
        info!(
            "Refused process {} of {} (user {}) a connection to {}: {}",
            caller.pid,
            caller.user,
            caller.uid,
            tool.server,
            io::Error::from_raw_os_error(error.saturating_neg())
        );
        door.counters.refused();
        return refuse(&mut stream, error).await;
    }
    let options = &door.options;
    let floor = options.buffer.max(SMALLEST);
    let size = asked.max_msg_size.clamp(floor, floor.max(LARGEST_WISH)).min(match options.transport {
        SharedMemory => u32::MAX,
        Socket => LARGEST_DATAGRAM,
    });
    let made = Folder::create(&options.folder, caller.pid, stream.as_raw_fd()).and_then(|mut folder| {
        let kind = options.transport;
        let transport = Transport::create(kind, &mut folder, tool.server, size, caller.uid)?;
        folder.give_to(owner)?;
        Ok((folder, transport))
    });
    let (_folder, transport) = match made {
        Ok(made) => made,
        Err(error) => {
            warn!("Could not make a connection to {} for process {}: {error}", tool.server, caller.pid);
            door.counters.refused();
            return refuse(&mut stream, -error.raw_os_error().unwrap_or(libc::EIO)).await;
        }
    };
    reply(&mut stream, &transport.reply()).await?;
    door.counters.accepted();
    debug!(
        "{} is process {} of {}, connected to {} with a buffer of {size} bytes",
        tool.id, caller.pid, caller.user, tool.server
    );
    let gone = Connection::new(tool, door, stream, transport, size).run().await;
    match gone {
        Gone::Closed | Gone::Requested | Gone::Ending => debug!("{}: {gone}", tool.id),
        Gone::Io(ref error) if is_disconnect(error) => debug!("{}: {gone}", tool.id),
        _ => {
            door.counters.cut();
            warn!("Disconnected process {} of {} from {}: {gone}", caller.pid, caller.user, tool.server);
        }
    }
    Ok(())
}

/// Clients may wish for more than the server has; this much is for the asking.
const LARGEST_WISH: u32 = 24 << 20;
/// The kernel wants memory in one piece for a datagram, and has none of more than 4 MiB. What is longer than this is
/// packed, where it would never pass.
const LARGEST_DATAGRAM: u32 = 1 << 20;

fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionRefused | NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_root_takes_all_places() {
        let places = Places { most: 16, taken: Mutex::default() };
        let take = |uid: u32| std::iter::from_fn(|| places.take(uid)).take(20).collect::<Vec<_>>();
        let (nobody, cluster) = (take(65_534), take(189));
        assert_eq!((nobody.len(), cluster.len()), (8, 4));
        let root = take(0);
        assert_eq!(root.len(), 4);
        drop((nobody, cluster));
        assert_eq!(take(0).len(), 12);
        drop(root);
        assert!(places.taken.lock().unwrap().is_empty(), "all are given back");
    }
}

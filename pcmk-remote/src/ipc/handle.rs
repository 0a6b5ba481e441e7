//! The way to the connected tools, and what is known of them.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pcmk_proto::qb::IpcName;
use socket2::SockRef;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::names::Bound;
use super::queue::{Answer, Channel, Decision, Queue};
use crate::caller::Caller;
use crate::ids::ToolId;

/// The way to the connected tools. Never blocks; tools that are gone are ignored.
///
/// The names are served as long as there is a copy of it.
#[derive(Debug, Clone)]
pub struct IpcHandle(pub(super) Arc<Serving>);

impl IpcHandle {
    /// Lets a tool in that is connecting: its requests come from now on. A caller without access is refused
    /// with `EACCES` all the same.
    pub fn accept(&self, tool: ToolId) {
        self.with(tool, |queue| queue.decide(Decision::Accept));
    }

    /// Turns a connecting tool away: it is told this negative error number.
    pub fn refuse(&self, tool: ToolId, errno: i32) {
        self.with(tool, |queue| queue.decide(Decision::Refuse(errno)));
    }

    /// Answers the request of this number.
    pub fn respond(&self, tool: ToolId, msg_id: i32, xml: String) {
        self.with(tool, |queue| queue.push(Channel::Response, Answer { msg_id, flags: 0, xml }));
    }

    /// Tells a tool something that it did not ask for. It is marked as an event, and with these flags.
    pub fn event(&self, tool: ToolId, flags: u32, xml: String) {
        self.with(tool, |queue| queue.push(Channel::Event, Answer { msg_id: 0, flags, xml }));
    }

    /// Lets what is queued go out (for a second at most), then disconnects.
    pub fn close(&self, tool: ToolId) {
        self.with(tool, Queue::close);
    }

    /// Everyone who is connected or about to be, for status reports.
    pub fn tools(&self) -> Vec<ToolStatus> {
        let tools = self.0.registry.lock();
        let mut list: Vec<ToolStatus> = tools.values().map(|tool| tool.status()).collect();
        drop(tools);
        list.sort_by_key(|status| status.tool);
        list
    }

    /// What happened so far.
    pub fn counters(&self) -> IpcCounters {
        self.0.registry.counters.read()
    }

    /// Gives the names up: no tool can connect from when this returns. Those that are connected stay.
    pub fn stop_listening(&self) {
        self.0.stop_listening();
    }

    /// Gives the names up, lets tools have what is queued for them, and disconnects them all.
    pub async fn shut_down(&self, patience: Duration) {
        let ended = self.0.stop_listening();
        let mut count = self.0.registry.count.subscribe();
        for tool in self.0.registry.lock().values() {
            tool.queue.close();
        }
        let _ = tokio::time::timeout(patience, count.wait_for(|count| *count == 0)).await;
        for listening in ended {
            let _ = listening.await; // from here on another may have the names
        }
    }

    fn with(&self, tool: ToolId, act: impl FnOnce(&Queue)) {
        let queue = self.0.registry.lock().get(&tool).map(|tool| Arc::clone(&tool.queue));
        if let Some(queue) = queue {
            act(&queue);
        }
    }
}

/// One connected tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolStatus {
    /// Its name here.
    pub tool: ToolId,
    /// Whom it talks to.
    pub server: IpcName,
    /// Who it is.
    pub caller: Caller,
    /// How long it has been here.
    pub age: Duration,
    /// Events that wait for it.
    pub backlog: usize,
    /// Bytes that wait for it.
    pub queued_bytes: usize,
}

/// Sums since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IpcCounters {
    /// Tools that were let in.
    pub accepted: u64,
    /// Tools that were turned away.
    pub refused: u64,
    /// Tools that were cut because they do not read, or speak nonsense.
    pub cut: u64,
    /// Requests.
    pub requests: u64,
    /// Responses that were sent.
    pub responses: u64,
    /// Events that were sent.
    pub events: u64,
}

/// A tool, as its task and the handle share it.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) id: ToolId,
    pub(super) server: IpcName,
    pub(super) caller: Caller,
    pub(super) queue: Arc<Queue>,
    pub(super) since: Instant,
}

impl Tool {
    fn status(&self) -> ToolStatus {
        ToolStatus {
            tool: self.id,
            server: self.server,
            caller: self.caller.clone(),
            age: self.since.elapsed(),
            backlog: self.queue.backlog(),
            queued_bytes: self.queue.bytes(),
        }
    }
}

/// All tools.
#[derive(Debug)]
pub(super) struct Registry {
    tools: Mutex<HashMap<ToolId, Arc<Tool>>>,
    count: watch::Sender<usize>,
    pub(super) counters: Arc<Counters>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self { tools: Mutex::default(), count: watch::Sender::new(0), counters: Arc::default() }
    }

    pub(super) fn enter(&self, server: IpcName, caller: Caller, queue_bytes: usize) -> Arc<Tool> {
        let id = ToolId(NEXT_TOOL.fetch_add(1, Ordering::Relaxed));
        let queue = Queue::new(queue_bytes);
        let tool = Arc::new(Tool { id, server, caller, queue, since: Instant::now() });
        let mut tools = self.lock();
        tools.insert(id, Arc::clone(&tool));
        self.count.send_replace(tools.len());
        drop(tools);
        tool
    }

    pub(super) fn leave(&self, tool: &Tool) {
        tool.queue.abandon();
        let mut tools = self.lock();
        tools.remove(&tool.id);
        self.count.send_replace(tools.len());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ToolId, Arc<Tool>>> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listening tasks, which end with the last handle.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) registry: Arc<Registry>,
    pub(super) listeners: Mutex<Vec<(Bound, JoinHandle<()>)>>,
}

impl Serving {
    fn stop_listening(&self) -> Vec<JoinHandle<()>> {
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        let end = |(bound, listening): (Bound, JoinHandle<()>)| {
            // At once; the descriptor itself goes with the task.
            let _ = SockRef::from(&bound.listener).shutdown(Shutdown::Both);
            listening.abort();
            listening
        };
        listeners.into_iter().map(end).collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop_listening();
        for tool in self.registry.lock().values() {
            tool.queue.close();
        }
    }
}

/// [`IpcCounters`] in the making.
#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    requests: AtomicU64,
    responses: AtomicU64,
    events: AtomicU64,
    event_number: AtomicI32,
}

impl Counters {
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn requests(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, channel: Channel) {
        match channel {
            Channel::Response => &self.responses,
            Channel::Event => &self.events,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// Events are numbered across all tools, as in the C library; nobody makes use of it.
    pub(super) fn next_event(&self) -> i32 {
        self.event_number.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX
    }

    fn read(&self) -> IpcCounters {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IpcCounters {
            accepted: value(&self.accepted),
            refused: value(&self.refused),
            cut: value(&self.cut),
            requests: value(&self.requests),
            responses: value(&self.responses),
            events: value(&self.events),
        }
    }
}

static NEXT_TOOL: AtomicU64 = AtomicU64::new(1);

//! A server, and what tests do with it.

use std::future::Future;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pcmk_proto::qb::{IpcName, Transport};
use pcmk_proto::xml::Element;
use pcmk_remote::caller::Caller;
use pcmk_remote::ids::ToolId;
use pcmk_remote::ipc::{IpcEvent, IpcHandle, IpcOptions, IpcServer};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No test waits longer than this for one thing.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Both ways in which messages travel.
pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::SharedMemory, Transport::Socket];

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// Runs a test in namespaces of its own, with an empty /dev/shm, and one at a time: they look at this
/// process's descriptors, and at how fast it answers.
pub(crate) fn alone(test: impl Future<Output = ()>) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .expect("namespaces need root: run the tests as root");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        hard >= 16_384,
        "a thousand clients need descriptors: raise the hard limit (ulimit -Hn) of {hard}"
    );
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mount(Some("shm"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), Some("mode=1777")).unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Files of connections that are there.
pub(crate) fn leftovers() -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Waits for a condition that nobody tells us about.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A server whose events the test reads itself.
pub(crate) struct Bed {
    pub(crate) handle: IpcHandle,
    pub(crate) events: mpsc::Receiver<IpcEvent>,
}

impl Bed {
    pub(crate) fn start(transport: Transport) -> Self {
        Self::with(IpcOptions { transport, ..IpcOptions::default() })
    }

    pub(crate) fn with(options: IpcOptions) -> Self {
        Self::with_room_for(64, options)
    }

    /// So many events may wait until the test reads them.
    pub(crate) fn with_room_for(events: usize, options: IpcOptions) -> Self {
        let (sender, events) = mpsc::channel(events);
        let handle = IpcServer::start(options, sender).unwrap();
        Self { handle, events }
    }

    pub(crate) async fn next(&mut self) -> IpcEvent {
        soon("an event of the server", self.events.recv()).await.unwrap()
    }

    /// The next event, which must be a tool that wants to connect.
    pub(crate) async fn connecting(&mut self) -> (ToolId, IpcName, Caller) {
        match self.next().await {
            IpcEvent::Connecting { tool, server, caller } => (tool, server, caller),
            other => panic!("{other:?}"),
        }
    }

    /// Lets the next tool in.
    pub(crate) async fn accept(&mut self) -> ToolId {
        let (tool, ..) = self.connecting().await;
        self.handle.accept(tool);
        tool
    }

    /// The next event, which must be a request.
    pub(crate) async fn request(&mut self) -> (ToolId, i32, u32, Element) {
        match self.next().await {
            IpcEvent::Request { tool, msg_id, flags, payload } => (tool, msg_id, flags, payload),
            other => panic!("{other:?}"),
        }
    }

    /// The next event, which must be a tool's end.
    pub(crate) async fn closed(&mut self) -> ToolId {
        match self.next().await {
            IpcEvent::Closed { tool } => tool,
            other => panic!("{other:?}"),
        }
    }

    /// Nothing of a connection may be left when everybody is gone.
    pub(crate) async fn end(self) {
        self.handle.shut_down(DEADLINE).await;
        assert!(self.handle.tools().is_empty(), "{:?}", self.handle.tools());
        until("files to go", || leftovers().is_empty()).await;
    }
}

/// Answers every request with an echo until dropped, and lets everybody in.
pub(crate) struct Echo {
    pub(crate) handle: IpcHandle,
    answering: tokio::task::JoinHandle<()>,
}

impl Echo {
    pub(crate) fn start(options: IpcOptions) -> Self {
        let Bed { handle, mut events } = Bed::with(options);
        let tools = handle.clone();
        let answering = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    IpcEvent::Connecting { tool, .. } => tools.accept(tool),
                    IpcEvent::Request { tool, msg_id, payload, .. } => {
                        tools.respond(tool, msg_id, format!("<echo of=\"{}\"/>", payload.name));
                    }
                    IpcEvent::Closed { .. } => {}
                }
            }
        });
        Self { handle, answering }
    }

    pub(crate) async fn end(self) {
        self.handle.shut_down(DEADLINE).await;
        self.answering.abort();
        assert!(self.handle.tools().is_empty(), "{:?}", self.handle.tools());
        until("files to go", || leftovers().is_empty()).await;
    }
}

/// How long something took.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let begin = Instant::now();
    let result = future.await;
    (result, begin.elapsed())
}

/// A file of the checked-out tree.
pub(crate) fn tree(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

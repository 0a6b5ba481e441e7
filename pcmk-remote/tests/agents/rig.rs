//! A host on the agents in `tests/data/agents`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcmk_proto::types::{AgentSpec, ResourceId};
use pcmk_remote::agent::{AgentCall, Outcome};
use pcmk_remote::host::{Host, HostEvent, HostSettings};
use pcmk_remote::ids::OpId;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

/// No agent here takes that long, whatever the machine is busy with.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) host: Host,
    pub(crate) dir: TempDir,
    events: UnboundedReceiver<HostEvent>,
    next: u64,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut HostSettings)) -> Self {
        Self::in_dir(|settings, _| adjust(settings))
    }

    pub(crate) fn in_dir(adjust: impl FnOnce(&mut HostSettings, &Path)) -> Self {
        let agents = data();
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut settings = HostSettings {
            ocf_path: vec![dir.path().join("ocf"), agents.join("ocf")],
            lsb_dir: agents.join("init.d"),
            secrets_dir: dir.path().join("secrets"),
            ..HostSettings::default()
        };
        adjust(&mut settings, dir.path());
        let (sender, events) = unbounded_channel();
        Self { host: Host::new(settings, sender), dir, events, next: 0 }
    }

    pub(crate) fn start(&mut self, call: AgentCall) -> OpId {
        self.next += 1;
        let op = OpId(self.next);
        self.host.start(op, call);
        op
    }

    pub(crate) async fn event(&mut self) -> HostEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("event in time").expect("host is there")
    }

    /// Runs a call to its end.
    pub(crate) async fn run(&mut self, call: AgentCall) -> Outcome {
        let op = self.start(call);
        self.finish(op).await
    }

    /// The end of the only running call.
    pub(crate) async fn finish(&mut self, expected: OpId) -> Outcome {
        loop {
            match self.event().await {
                HostEvent::Spawned { op, pid } => assert!(op == expected && pid > 1),
                HostEvent::Finished { op, outcome } => {
                    assert_eq!(op, expected);
                    assert!(self.events.try_recv().is_err(), "nothing after the end");
                    return outcome;
                }
                other @ (HostEvent::AlertFinished { .. } | HostEvent::Hurry { .. }) => panic!("{other:?}"),
            }
        }
    }
}

pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/agents")
}

pub(crate) fn call(class: &str, kind: &str, action: &str, params: &[(&str, &str)]) -> AgentCall {
    AgentCall {
        id: ResourceId::new("rsc:0").expect("not empty"),
        agent: AgentSpec {
            class: class.into(),
            provider: (class == "ocf").then(|| "test".into()),
            kind: kind.into(),
        },
        action: action.into(),
        interval_ms: 0,
        timeout_ms: 20_000,
        params: params.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        leave_group: false,
    }
}

/// A call of the agent that does as it is told.
pub(crate) fn behave(what: &str) -> AgentCall {
    call("ocf", "Behave", "start", &[("do", what)])
}

/// What an agent has written there, once it has.
pub(crate) async fn written(file: &Path) -> String {
    let since = Instant::now();
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            _ if since.elapsed() > PATIENCE => panic!("{} was not written", file.display()),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Gone, or waiting for somebody to notice.
pub(crate) fn is_dead(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
}

pub(crate) async fn dies(pid: i32) {
    let since = Instant::now();
    while !is_dead(pid) {
        assert!(since.elapsed() < PATIENCE, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn put_down(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("was alive");
}

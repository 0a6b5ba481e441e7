//! What the daemon tells the operator's tools, put together from all floors.

mod socket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::tools::Tools;
use crate::executor::{Executor, ExitReason, Now};
use crate::ids::ClientId;
use crate::net::tls::{CredentialKind, CredentialReport, Credentials};
use crate::net::{Meter, Outbox, Peer, PeerIdentity};
use crate::status::{self, Ended, FORMAT, LoopCounters, Status};

pub(super) use socket::{Question, StatusServer};

/// How often the event loop's promptness is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The parts of the status document that nobody but the daemon as a whole knows.
pub(super) struct Reporter {
    daemon: status::Daemon,
    started: Instant,
    peers: BTreeMap<ClientId, Connected>,
    credentials: Arc<Credentials>,
    meter: Arc<Meter>,
    promptness: Arc<Promptness>,
}

struct Connected {
    peer: Peer,
    outbox: Outbox,
    at: u64,
}

/// How promptly the event loop gets to its work, in microseconds.
#[derive(Default)]
struct Promptness {
    lag: AtomicU64,
    lag_max: AtomicU64,
    turn_max: AtomicU64,
}

impl Reporter {
    /// Begins to measure. Must be called on the runtime.
    pub(super) fn start(daemon: status::Daemon, credentials: Arc<Credentials>, meter: Arc<Meter>) -> Self {
        let promptness = Arc::new(Promptness::default());
        tokio::spawn(look(Arc::clone(&promptness)));
        let daemon = status::Daemon {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            ..daemon
        };
        Self { daemon, started: Instant::now(), peers: BTreeMap::new(), credentials, meter, promptness }
    }

    pub(super) fn connected(&mut self, client: ClientId, peer: Peer, outbox: Outbox, now: Now) {
        self.peers.insert(client, Connected { peer, outbox, at: now.wall });
    }

    pub(super) fn closed(&mut self, client: ClientId) {
        self.peers.remove(&client);
    }

    pub(super) fn stopped_listening(&mut self) {
        self.daemon.listening = None;
    }

    pub(super) fn watchdog_checked(&mut self, timeout: Option<&str>) {
        // Cut, as a peer wrote it.
        self.daemon.watchdog.cluster_timeout = timeout.map(|text| text.chars().take(32).collect());
    }

    /// One event was dealt with.
    pub(super) fn turn(&self, began: Instant) {
        self.promptness.turn_max.fetch_max(micros(began.elapsed()), Ordering::Relaxed);
    }

    /// The document as of now.
    pub(super) fn document(&self, executor: &Executor, tools: &Tools, now: Now) -> Status {
        let mut status = Status { format: FORMAT, at: now.wall, ..Status::default() };
        executor.describe(now, &mut status);
        // Local clients of the executor are listed as what they are.
        status.peers.retain(|peer| ClientId(peer.client).tool().is_none());
        status.tools = tools.describe();
        for peer in &mut status.peers {
            if let Some(connected) = self.peers.get(&ClientId(peer.client)) {
                connected.describe(peer);
            }
        }
        status.daemon = status::Daemon {
            uptime_s: self.started.elapsed().as_secs(),
            state: match (executor.is_shutting_down(), self.peers.is_empty()) {
                (true, _) => status::State::Draining,
                (false, false) => status::State::Connected,
                (false, true) => status::State::Waiting,
            },
            ..self.daemon.clone()
        };
        status.credentials = credentials(self.credentials.describe());
        status.counters.net = self.meter.read();
        status.counters.event_loop = self.promptness.read();
        status
    }
}

impl Connected {
    fn describe(&self, peer: &mut status::Peer) {
        peer.address = self.peer.address.to_string();
        peer.connected_at = self.at;
        peer.queued_bytes = u64::try_from(self.outbox.queued_bytes()).unwrap_or(u64::MAX);
        match &self.peer.identity {
            PeerIdentity::Key => "key".clone_into(&mut peer.identity),
            PeerIdentity::Certificate(certificate) => {
                "certificate".clone_into(&mut peer.identity);
                peer.certificate = Some(certificate.subject.clone());
            }
        }
    }
}

impl Promptness {
    fn read(&self) -> LoopCounters {
        LoopCounters {
            lag_us: self.lag.load(Ordering::Relaxed),
            lag_max_us: self.lag_max.load(Ordering::Relaxed),
            turn_max_us: self.turn_max.load(Ordering::Relaxed),
        }
    }
}

impl From<ExitReason> for Ended {
    fn from(reason: ExitReason) -> Self {
        match reason {
            ExitReason::NotConnected => Self::NotConnected,
            ExitReason::Drained => Self::Drained,
            ExitReason::Refused => Self::Refused,
        }
    }
}

async fn look(promptness: Arc<Promptness>) {
    loop {
        let wished = tokio::time::Instant::now() + LOOK;
        tokio::time::sleep_until(wished).await;
        let lag = micros(wished.elapsed());
        promptness.lag.store(lag, Ordering::Relaxed);
        promptness.lag_max.fetch_max(lag, Ordering::Relaxed);
    }
}

fn credentials(report: CredentialReport) -> Option<status::Credentials> {
    let problem = report.problem;
    let next_update = report.revocations.and_then(|list| list.next_update);
    let kind = match report.kind {
        CredentialKind::Psk => "key",
        CredentialKind::X509 => "certificate",
    };
    let empty = status::Credentials {
        kind: kind.to_owned(),
        crl_next_update_at: next_update,
        ..status::Credentials::default()
    };
    let known = match (report.key, report.certificate) {
        (_, Some(certificate)) => Some(status::Credentials {
            path: certificate.path.display().to_string(),
            sha256: certificate.sha256,
            subject: Some(certificate.subject),
            expires_at: Some(certificate.not_after),
            ..empty.clone()
        }),
        (Some(key), None) => Some(status::Credentials {
            path: key.path.display().to_string(),
            sha256: key.sha256,
            modified_at: Some(key.modified),
            ..empty.clone()
        }),
        (None, None) => problem.is_some().then(|| empty.clone()),
    };
    known.map(|known| status::Credentials { problem, ..known })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

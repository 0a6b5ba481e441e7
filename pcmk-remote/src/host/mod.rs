//! Doing it here: agents run as processes, units through systemd, alerts.
//!
//! The host knows no clients and no deadlines of the cluster: it is told to start and to kill, and
//! reports each end exactly once.

mod alerts;
mod bus;
mod control;
mod output;
mod probes;
mod process;
mod programs;
pub mod schemas;
mod secrets;
mod settings;
mod units;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pcmk_proto::types::ResourceId;
use tokio::sync::mpsc::UnboundedSender;

use crate::agent::{self, AgentCall, AlertCall, Outcome, Plan, lsb};
use crate::ids::OpId;
use bus::Bus;
use control::Control;
use probes::Probes;
use process::Runner;

pub use settings::HostSettings;

/// What the host tells the daemon.
#[derive(Debug, Clone, PartialEq)]
pub enum HostEvent {
    /// An operation has a process.
    Spawned {
        /// The operation.
        op: OpId,
        /// Its process, which leads a process group.
        pid: u32,
    },
    /// An operation ended; the last word about it.
    Finished {
        /// The operation.
        op: OpId,
        /// How it went.
        outcome: Outcome,
    },
    /// A resource that is watched has bad news.
    Hurry {
        /// Which.
        resource: ResourceId,
    },
    /// An alert program ended. It has been logged already.
    AlertFinished {
        /// The alert's id.
        id: String,
        /// How it went.
        outcome: Outcome,
    },
}

/// Runs what the executor wants run. Must be used within a tokio runtime.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Arc<HostSettings>,
    events: UnboundedSender<HostEvent>,
    runner: Runner,
    bus: Bus,
    probes: Probes,
    running: Mutex<HashMap<OpId, Arc<Control>>>,
    alerts_in_flight: AtomicUsize,
    alert_sequence: AtomicU64,
}

impl Host {
    /// A host that reports to `events`.
    pub fn new(settings: HostSettings, events: UnboundedSender<HostEvent>) -> Self {
        let runner = Runner::new(settings.output_limit);
        let bus = Bus::new(settings.bus_address.clone());
        let probes = Probes::new(&settings);
        Self {
            inner: Arc::new(Inner {
                settings: Arc::new(settings),
                events,
                runner,
                bus,
                probes,
                running: Mutex::default(),
                alerts_in_flight: AtomicUsize::new(0),
                alert_sequence: AtomicU64::new(0),
            }),
        }
    }

    /// Starts a call and returns at once. Exactly one [`HostEvent::Finished`] follows.
    pub fn start(&self, op: OpId, call: AgentCall) {
        let control = Arc::new(Control::default());
        self.inner.running().insert(op, Arc::clone(&control));
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let outcome = inner.run(op, call, &control).await;
            inner.running().remove(&op);
            inner.tell(HostEvent::Finished { op, outcome });
        });
    }

    /// Kills what a call runs: its process group, or the one process if the call says so. The end is
    /// reported when the process has been reaped; a call without a process ends at once, cancelled.
    pub fn kill(&self, op: OpId) {
        if let Some(control) = self.inner.running().get(&op) {
            control.kill();
        }
    }

    /// Keeps nothing of a resource: connections of its probes end.
    pub fn forget(&self, resource: &ResourceId) {
        self.inner.probes.forget(resource);
    }

    /// Runs an alert program; its result is only logged.
    pub fn alert(&self, call: AlertCall) {
        self.inner.alerts_in_flight.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::clone(&self.inner);
        let sequence = inner.alert_sequence.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::spawn(async move {
            let outcome = alerts::run(&inner.runner, &inner.settings, &call, sequence).await;
            inner.alerts_in_flight.fetch_sub(1, Ordering::Relaxed);
            inner.tell(HostEvent::AlertFinished { id: call.id, outcome });
        });
    }

    /// Alert programs that have not ended yet.
    pub fn alerts_in_flight(&self) -> usize {
        self.inner.alerts_in_flight.load(Ordering::Relaxed)
    }
}

impl Inner {
    async fn run(&self, op: OpId, call: AgentCall, control: &Arc<Control>) -> Outcome {
        let plan = match agent::plan(&call) {
            Plan::Service => self.service(&call, control).await,
            plan => plan,
        };
        let spawned = |pid| self.tell(HostEvent::Spawned { op, pid });
        match plan {
            Plan::Answer(outcome) => outcome,
            // On the heap: it is larger than all the others together.
            Plan::Builtin(kind) => {
                Box::pin(self.probes.run(&self.settings, kind, call, control, &self.events)).await
            }
            Plan::Ocf => programs::ocf(&self.runner, &self.settings, call, control, spawned).await,
            Plan::Lsb | Plan::Service => {
                programs::lsb(&self.runner, &self.settings, call, control, spawned).await
            }
            Plan::Systemd => {
                tokio::select! {
                    biased;
                    () = control.killed() => Outcome::cancelled(),
                    outcome = units::run(&self.bus, &self.settings, &call) => outcome,
                }
            }
        }
    }

    /// An init script if there is one, else a unit if there is one, else the script that is missing.
    async fn service(&self, call: &AgentCall, control: &Control) -> Plan {
        let script = lsb::file(&self.settings.lsb_dir, &call.agent.kind);
        let find = async {
            let script = tokio::task::spawn_blocking(move || script.exists());
            let is_script = script.await.unwrap_or_default();
            !is_script && units::exists(&self.bus, &call.agent.kind).await
        };
        tokio::select! {
            biased;
            () = control.killed() => Plan::Answer(Outcome::cancelled()),
            is_unit = find => if is_unit { Plan::Systemd } else { Plan::Lsb },
        }
    }

    fn tell(&self, event: HostEvent) {
        // Nobody listens any more only while the daemon ends.
        let _ = self.events.send(event);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<OpId, Arc<Control>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use pcmk_proto::types::AgentSpec;

    use super::*;

    #[tokio::test]
    async fn a_running_agent_takes_little_memory() {
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let host = Host::new(HostSettings::default(), events);
        let call = AgentCall {
            id: ResourceId::new("rsc").unwrap(),
            agent: AgentSpec { class: "ocf".into(), provider: Some("p".into()), kind: "T".into() },
            action: "monitor".into(),
            interval_ms: 0,
            timeout_ms: 0,
            params: Vec::new(),
            leave_group: false,
        };
        let size = size_of_val(&host.inner.run(OpId(1), call, &Arc::default()));
        assert!(size < 4 << 10, "{size} bytes");
    }
}

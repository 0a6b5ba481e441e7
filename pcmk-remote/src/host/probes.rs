//! Agents that are part of this program: live resources with their probes, one task for each call.
//!
//! Between two monitors a resource is watched: bad news makes the next one come at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libvirt_probe::agents::{self, Action, Agent, Call, Context, Kind, Told};
use libvirt_probe::config::{Config, ConfigError};
use libvirt_probe::units::Systemd;
use pcmk_proto::types::ResourceId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::control::Control;
use super::{HostEvent, HostSettings, secrets};
use crate::agent::{AgentCall, Outcome, builtin};

/// Resources whose probes are kept. Further ones work, with probes made for each call.
const MOST: usize = 64;

/// The resources of such agents.
#[derive(Debug)]
pub(super) struct Probes {
    live: Mutex<HashMap<ResourceId, Arc<Live>>>,
    systemd: Systemd,
}

/// A resource that is known here.
#[derive(Debug)]
struct Live {
    told: Told,
    agent: Arc<tokio::sync::Mutex<Agent>>,
    /// Watches it while no call runs.
    watcher: Mutex<Option<AbortHandle>>,
}

impl Live {
    /// From here on nobody watches. Its probes keep their connections.
    fn unwatch(&self) {
        if let Some(watcher) = lock(&self.watcher).take() {
            watcher.abort();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.unwatch();
    }
}

impl Probes {
    pub(super) fn new(settings: &HostSettings) -> Self {
        let bus =
            libvirt_probe::units::Settings { address: settings.bus_address.clone(), ..Default::default() };
        Self { live: Mutex::default(), systemd: Systemd::new(bus) }
    }

    /// Runs a call. Dropping what it does is enough to end it.
    pub(super) async fn run(
        &self,
        settings: &Arc<HostSettings>,
        kind: Kind,
        mut call: AgentCall,
        control: &Control,
        events: &UnboundedSender<HostEvent>,
    ) -> Outcome {
        let id = call.id.clone();
        let work = async {
            secrets::resolve(settings, &mut call).await?;
            let (told, call) = builtin::read(kind, &call)?;
            let live = self.resource(settings, &id, told, call.action).await?;
            live.unwatch();
            let outcome = live.agent.lock().await.run(&call).await;
            log(&id, &call, &outcome);
            self.afterwards(&id, &live, &call, &outcome, events);
            Ok(builtin::outcome(outcome))
        };
        tokio::select! {
            biased;
            () = control.killed() => Outcome::cancelled(),
            outcome = work => outcome.unwrap_or_else(|outcome| outcome),
        }
    }

    /// Nothing is kept of a resource. What runs is not disturbed.
    pub(super) fn forget(&self, id: &ResourceId) {
        let live = lock(&self.live).remove(id);
        if let Some(live) = live {
            live.unwatch();
        }
    }

    /// The resource as it is, or a new one if it is not known, begins anew, or is told something else now.
    async fn resource(
        &self,
        settings: &HostSettings,
        id: &ResourceId,
        told: Told,
        action: Action,
    ) -> Result<Arc<Live>, Outcome> {
        let known = lock(&self.live).get(id).filter(|live| live.told == told).cloned();
        // Settings of the probes may have changed.
        let anew = matches!(action, Action::Start | Action::ReloadAgent | Action::ValidateAll);
        if let Some(live) = known
            && !anew
        {
            return Ok(live);
        }
        let named = told.config.clone();
        let loaded = tokio::task::spawn_blocking(move || Config::load(named.as_deref())).await;
        let config = match loaded.unwrap_or_else(|error| Err(unreadable(error))) {
            Ok(config) => config,
            Err(error) if action == Action::Stop => {
                tracing::warn!("Stopping {id} without the settings of the probes: {error}");
                Config::default()
            }
            Err(error) => return Err(builtin::outcome(error.into())),
        };
        let context = Context {
            attributes: settings.attributes.clone(),
            systemd: self.systemd.clone(),
            folder: settings.agent_state_dir.clone(),
            lives_on: true,
        };
        let agent = Agent::new(told.clone(), id.as_str(), config, context);
        let live = Arc::new(Live {
            told,
            agent: Arc::new(tokio::sync::Mutex::new(agent)),
            watcher: Mutex::default(),
        });
        if action == Action::ValidateAll {
            return Ok(live);
        }
        let mut all = lock(&self.live);
        if all.contains_key(id) || all.len() < MOST {
            if let Some(before) = all.insert(id.clone(), Arc::clone(&live)) {
                before.unwatch();
            }
        } else {
            tracing::debug!("More than {MOST} resources of this kind: the probes of {id} are not kept");
        }
        Ok(live)
    }

    /// Keeps watching a resource that is monitored and well; drops one that does not run.
    fn afterwards(
        &self,
        id: &ResourceId,
        live: &Arc<Live>,
        call: &Call,
        outcome: &agents::Outcome,
        events: &UnboundedSender<HostEvent>,
    ) {
        let mut all = lock(&self.live);
        // Forgotten or replaced in the meantime, it goes with this call.
        if !all.get(id).is_some_and(|known| Arc::ptr_eq(known, live)) {
            return;
        }
        let absent = matches!(outcome.code, agents::Outcome::NOT_RUNNING | agents::Outcome::NOT_INSTALLED);
        let gone = match call.action {
            Action::Stop => !outcome.is_failure(),
            Action::Monitor => !call.recurring && absent,
            _ => false,
        };
        if gone {
            all.remove(id);
        } else if call.action == Action::Monitor && call.recurring && !outcome.is_failure() {
            // Its failure is known: it need not be told sooner.
            let (agent, events, resource) = (Arc::clone(&live.agent), events.clone(), id.clone());
            let watcher = tokio::spawn(async move {
                agent.lock().await.bad_news().await;
                // Nobody listens any more only while the daemon ends.
                let _ = events.send(HostEvent::Hurry { resource });
            });
            *lock(&live.watcher) = Some(watcher.abort_handle());
        }
    }
}

fn log(id: &ResourceId, call: &Call, outcome: &agents::Outcome) {
    let reason = outcome.reason.as_deref().unwrap_or_default();
    match outcome.code {
        agents::Outcome::OK if reason.is_empty() => {}
        agents::Outcome::OK | agents::Outcome::DEGRADED => {
            tracing::debug!("{:?} of {id}: {reason}", call.action);
        }
        code => tracing::info!("{:?} of {id} ends with {code}: {reason}", call.action),
    }
}

fn unreadable(error: tokio::task::JoinError) -> ConfigError {
    let path = libvirt_probe::config::DEFAULT_FILE.into();
    ConfigError::Io { path, source: std::io::Error::other(error) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Resources that are systemd units.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pcmk_proto::types::{ExecStatus, OcfRc};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use zbus::OwnedObjectPath;

use super::HostSettings;
use super::bus::{Bus, BusError, JobEvent};
use super::process::wording;
use crate::agent::systemd::{self, Task};
use crate::agent::{AgentCall, Outcome};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const JOB: &str = "org.freedesktop.systemd1.Job";

/// Added to an action's own limit, which the executor watches: for when it does not.
const GRACE: Duration = Duration::from_secs(5);
/// Where an action has no limit.
const NO_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// Between looks at a unit that is between two states.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(2);
/// For the signal of a job that is gone already to come through.
const SIGNAL_DELAY: Duration = Duration::from_millis(200);

/// Runs an action.
pub(super) async fn run(bus: &Bus, settings: &Arc<HostSettings>, call: &AgentCall) -> Outcome {
    let task = match Task::new(&call.action) {
        Ok(task) => task,
        Err(outcome) => return outcome,
    };
    let limit = match call.timeout_ms {
        0 => NO_LIMIT,
        limit => Duration::from_millis(limit.into()),
    };
    let action = Action {
        bus,
        settings,
        task,
        kind: &call.agent.kind,
        unit: systemd::unit_name(&call.agent.kind, task == Task::Metadata),
    };
    match timeout(limit + GRACE, action.run(limit)).await {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(_) => Outcome::failed(
            ExecStatus::Timeout,
            OcfRc::UNKNOWN_ERROR,
            format!("{} action for systemd unit {} did not complete in time", call.action, call.agent.kind),
        ),
    }
}

/// Whether systemd knows such a unit.
pub(super) async fn exists(bus: &Bus, kind: &str) -> bool {
    let unit = systemd::unit_name(kind, true);
    let Ok(path) = bus.path("LoadUnit", &unit.as_str()).await else { return false };
    let state = bus.property(path.as_str(), UNIT, "LoadState").await;
    state.is_ok_and(|state| systemd::exists(&state))
}

struct Action<'a> {
    bus: &'a Bus,
    settings: &'a Arc<HostSettings>,
    task: Task,
    kind: &'a str,
    unit: String,
}

impl Action<'_> {
    async fn run(&self, limit: Duration) -> Result<Outcome, Outcome> {
        let begin = Instant::now();
        let loaded = self.bus.path("LoadUnit", &self.unit.as_str()).await;
        if self.task == Task::Metadata {
            return Ok(self.metadata(loaded.ok()).await);
        }
        let path = loaded.map_err(|error| self.error(error))?;
        match self.task {
            Task::Monitor => self.monitor(&path, begin + limit - (limit / 10).min(FIRST_LOOK * 10)).await,
            Task::Start => {
                self.write_drop_in().await?;
                self.reload().await;
                self.job("StartUnit", &path).await
            }
            Task::Stop => {
                if self.remove_drop_in().await {
                    self.reload().await;
                }
                self.job("StopUnit", &path).await
            }
            Task::Restart | Task::Metadata => self.job("RestartUnit", &path).await,
        }
    }

    /// Looks until the unit is in one state or the other.
    async fn monitor(&self, unit: &OwnedObjectPath, give_up: Instant) -> Result<Outcome, Outcome> {
        let mut jobs = self.bus.jobs();
        let mut pause = FIRST_LOOK;
        loop {
            let state = self.active_state(unit).await?;
            if let Some(outcome) = systemd::monitored(&state) {
                return Ok(outcome);
            }
            let now = Instant::now();
            if now >= give_up {
                return Ok(Outcome::failed(ExecStatus::Timeout, OcfRc::UNKNOWN_ERROR, systemd::STUCK));
            }
            let next = (now + pause).min(give_up);
            pause = (pause * 2).min(LAST_LOOK);
            let _ = timeout_at(next, self.unit_changed(&mut jobs)).await;
        }
    }

    async fn unit_changed(&self, jobs: &mut Receiver<JobEvent>) {
        loop {
            match jobs.recv().await {
                Ok(JobEvent::Removed { unit, .. }) if unit != self.unit => {}
                _ => return,
            }
        }
    }

    /// Asks for a job and waits for its end. The signal says it; should it be missed, there are the job
    /// itself, as long as it exists, and then the unit's state.
    async fn job(&self, method: &str, unit: &OwnedObjectPath) -> Result<Outcome, Outcome> {
        let mut jobs = self.bus.jobs();
        let asked = self.bus.path(method, &(self.unit.as_str(), "replace")).await;
        let job = asked.map_err(|error| self.error(error))?;
        let mut look = Instant::now() + self.settings.job_poll;
        loop {
            tokio::select! {
                biased;
                ended = job_result(&mut jobs, &job) => if let Some(result) = ended {
                    return Ok(systemd::job_removed(self.task, &self.unit, &result));
                },
                () = sleep_until(look) => {}
            }
            look = Instant::now() + self.settings.job_poll;
            self.bus.subscribe_again().await;
            match self.bus.property(job.as_str(), JOB, "State").await {
                // Gone, it is no object any more.
                Err(BusError::Refused { .. }) => {}
                Ok(_) | Err(BusError::Odd(_)) => continue,
                Err(error) => return Err(self.error(error)),
            }
            if let Ok(Some(result)) = timeout(SIGNAL_DELAY, job_result(&mut jobs, &job)).await {
                return Ok(systemd::job_removed(self.task, &self.unit, &result));
            }
            let state = self.active_state(unit).await?;
            if let Some(outcome) = systemd::settled(self.task, &self.unit, &state) {
                tracing::info!("systemd did not say how the job for {} ended; it is {state}", self.unit);
                return Ok(outcome);
            }
        }
    }

    async fn active_state(&self, unit: &OwnedObjectPath) -> Result<String, Outcome> {
        self.bus.property(unit.as_str(), UNIT, "ActiveState").await.map_err(|error| self.error(error))
    }

    async fn metadata(&self, unit: Option<OwnedObjectPath>) -> Outcome {
        let description = match unit {
            Some(unit) => self.bus.property(unit.as_str(), UNIT, "Description").await.ok(),
            None => None,
        };
        let description = description.unwrap_or_else(|| format!("Systemd unit file for {}", self.kind));
        Outcome { output: Some(systemd::metadata(self.kind, &description)), ..Outcome::done(OcfRc::OK) }
    }

    async fn reload(&self) {
        if let Err(error) = self.bus.reload().await {
            tracing::warn!("systemd did not reload for {}: {}", self.unit, self.error(error).reason());
        }
    }

    async fn write_drop_in(&self) -> Result<(), Outcome> {
        let path = systemd::drop_in_path(&self.settings.unit_dir, &self.unit);
        let text = systemd::drop_in(&self.unit);
        let written = blocking(move || write_file(&path, &text)).await;
        written.map_err(|error| {
            let (errno, text) = wording(&error);
            let rc = match errno {
                libc::EACCES | libc::EPERM => OcfRc::INSUFFICIENT_PRIV,
                _ => OcfRc::UNKNOWN_ERROR,
            };
            let reason = format!("Failed to create systemd override file for {}: {text}", self.kind);
            Outcome::failed(ExecStatus::Error, rc, reason)
        })
    }

    /// Whether there was one.
    async fn remove_drop_in(&self) -> bool {
        let path = systemd::drop_in_path(&self.settings.unit_dir, &self.unit);
        match blocking(move || std::fs::remove_file(path)).await {
            Ok(()) => true,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("Cannot remove systemd override file for {}: {error}", self.unit);
                }
                false
            }
        }
    }

    fn error(&self, error: BusError) -> Outcome {
        match error {
            BusError::Refused { name, message } => systemd::refused(self.task, self.kind, &name, &message),
            BusError::Absent(text) => {
                tracing::warn!("No connection to systemd for {}: {text}", self.unit);
                Outcome::failed(ExecStatus::Error, OcfRc::UNKNOWN_ERROR, "No DBus connection")
            }
            BusError::Odd(text) => {
                tracing::warn!("systemd answered for {} what it should not: {text}", self.unit);
                let reason = "systemd DBus method had unexpected reply";
                Outcome::failed(ExecStatus::Error, OcfRc::UNKNOWN_ERROR, reason)
            }
        }
    }
}

/// The job's result, or `None` when it may have been missed.
async fn job_result(jobs: &mut Receiver<JobEvent>, wanted: &OwnedObjectPath) -> Option<String> {
    loop {
        match jobs.recv().await {
            Ok(JobEvent::Removed { job, result, .. }) if job == *wanted => return Some(result),
            Ok(JobEvent::Removed { .. }) => {}
            Ok(JobEvent::Lost) | Err(RecvError::Lagged(_)) => return None,
            // The bus has the other end as long as it is used.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Readable by all, whatever the umask, and never seen half written.
fn write_file(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent()
        && !dir.is_dir()
    {
        std::fs::create_dir_all(dir)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    }
    let unfinished = path.with_extension("conf.new");
    let mut file = std::fs::File::create(&unfinished)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    drop(file);
    std::fs::rename(&unfinished, path)
}

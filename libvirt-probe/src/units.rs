//! systemd over D-Bus: how units are, and starting and stopping them.
//!
//! One connection, made when first needed, shared by all that ask, made again when lost. Every call has a
//! deadline; a systemd or a bus that hangs is an error like one that is not there.

mod bus;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use zbus::OwnedObjectPath;

use crate::config::span;
use bus::{Bus, News};

pub use bus::Error;
pub use unit::{Active, Installed, Load, Service, Unit, full_name};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const JOB: &str = "org.freedesktop.systemd1.Job";
/// Between looks whether a job is still there, should its end have been missed.
const LOOK: Duration = Duration::from_secs(1);
/// Between tries to reach a bus that is not there.
const AGAIN: Duration = Duration::from_secs(5);
/// For the signal of a job that is gone already to come through.
const SIGNAL_DELAY: Duration = Duration::from_millis(200);
/// More units are not asked for at once.
const UNITS: usize = 256;

/// How systemd is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// D-Bus address; the system bus if there is none.
    pub address: Option<String>,
    /// For the connection to be there.
    #[serde(with = "span")]
    pub connect: Duration,
    /// For a call to be answered.
    #[serde(with = "span")]
    pub call: Duration,
}

impl Default for Settings {
    /// The system bus, 2 s each.
    fn default() -> Self {
        Self { address: None, connect: Duration::from_secs(2), call: Duration::from_secs(2) }
    }
}

/// What to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Start it, if it is not active.
    Start,
    /// Stop it.
    Stop,
    /// Stop it, if it is active, and start it.
    Restart,
}

impl Task {
    fn method(self) -> &'static str {
        match self {
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
            Self::Restart => "RestartUnit",
        }
    }

    /// As in "cannot … it".
    pub fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    /// Whether a unit in this state needs nothing more.
    fn is_done(self, active: Active) -> bool {
        match self {
            Self::Start | Self::Restart => active == Active::Active,
            Self::Stop => matches!(active, Active::Inactive | Active::Failed),
        }
    }
}

/// systemd's manager. Cheap to clone; all clones use the same connection.
#[derive(Debug, Clone)]
pub struct Systemd {
    bus: Arc<Bus>,
}

impl Default for Systemd {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Systemd {
    /// Nothing is connected yet.
    pub fn new(settings: Settings) -> Self {
        Self { bus: Arc::new(Bus::new(settings)) }
    }

    /// How units are, in one call and in the order of the names; one that does not exist is
    /// [`Load::NotFound`].
    pub async fn units(&self, names: &[String]) -> Result<Vec<Unit>, Error> {
        let names: Vec<&str> = names.iter().map(String::as_str).take(UNITS).collect();
        let reply = self.bus.manager("ListUnitsByNames", &(names.clone(),)).await?;
        let mut listed = unit::listed(&reply)?;
        // systemd tells each once, by its own order.
        let place = |unit: &Unit| names.iter().position(|name| *name == unit.name).unwrap_or(usize::MAX);
        listed.sort_by_key(place);
        Ok(listed)
    }

    /// How one unit is. An alias is answered for the unit that it stands for.
    pub async fn unit(&self, name: &str) -> Result<Unit, Error> {
        let mut units = self.units(&[name.to_owned()]).await?;
        units.pop().ok_or_else(|| Error::Odd(format!("nothing about {name}")))
    }

    /// More about a service.
    pub async fn service(&self, unit: &Unit) -> Result<Service, Error> {
        let path = unit.path.as_str();
        let (main_pid, restarts, group, result, started) = tokio::try_join!(
            self.bus.number(path, SERVICE, "MainPID"),
            self.bus.number(path, SERVICE, "NRestarts"),
            self.bus.text(path, SERVICE, "ControlGroup"),
            self.bus.text(path, SERVICE, "Result"),
            self.bus.number(path, UNIT, "ActiveEnterTimestampMonotonic"),
        )?;
        Ok(Service {
            main_pid: u32::try_from(main_pid).ok().filter(|&pid| pid != 0),
            restarts: u32::try_from(restarts).unwrap_or(u32::MAX),
            group: Some(group).filter(|group| !group.is_empty()),
            result,
            active_since: (started != 0).then(|| Duration::from_micros(started)),
        })
    }

    /// Installed units that fit one of the patterns (as in `systemctl list-unit-files`) and are to run: by
    /// themselves when the host starts, or when something wants them.
    pub async fn installed(&self, patterns: &[String]) -> Result<Vec<Installed>, Error> {
        let states: [&str; 0] = [];
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).take(UNITS).collect();
        let reply = self.bus.manager("ListUnitFilesByPatterns", &(&states[..], patterns)).await?;
        unit::files(&reply)
    }

    /// Does it and waits for the end, within a limit.
    pub async fn run(&self, task: Task, name: &str, limit: Duration) -> Result<(), Error> {
        match timeout(limit, self.job(task, name)).await {
            Ok(done) => done,
            Err(_) => Err(Error::NotInTime { task: task.verb(), unit: name.to_owned(), limit }),
        }
    }

    /// Asks systemd to do it, and does not wait for the end.
    pub async fn ask(&self, task: Task, name: &str) -> Result<(), Error> {
        self.bus.path(task.method(), &(name, "replace")).await.map(|_| ())
    }

    /// Forgets that units have failed, and how often, so that systemd starts them again.
    pub async fn reset_failed(&self, name: &str) -> Result<(), Error> {
        self.bus.manager("ResetFailedUnit", &(name,)).await.map(|_| ())
    }

    /// News of these units from now on.
    pub fn watch(&self, names: Vec<String>) -> Watch {
        Watch { bus: Arc::clone(&self.bus), names, news: self.bus.news() }
    }

    /// Asks for a job and waits for its end. The signal says it; should it be missed, there are the job
    /// itself, as long as it exists, and then the unit's state.
    async fn job(&self, task: Task, name: &str) -> Result<(), Error> {
        let mut news = self.bus.news();
        let job = self.bus.path(task.method(), &(name, "replace")).await?;
        loop {
            let look = Instant::now() + LOOK;
            if let Ok(Some(result)) = timeout_at(look, job_result(&mut news, &job)).await {
                return ended(task, name, result);
            }
            sleep_until(look).await;
            match self.bus.text(job.as_str(), JOB, "State").await {
                // Gone, it is no object any more.
                Err(Error::Refused { .. }) => {}
                Ok(_) | Err(Error::Odd(_)) => continue,
                Err(error) => return Err(error),
            }
            if let Ok(Some(result)) = timeout(SIGNAL_DELAY, job_result(&mut news, &job)).await {
                return ended(task, name, result);
            }
            let unit = self.unit(name).await?;
            if task.is_done(unit.active) {
                return Ok(());
            }
            if unit.job.is_none() {
                return ended(task, name, unit.sub);
            }
        }
    }
}

/// Watches units. What happens while nobody waits is kept.
#[derive(Debug)]
pub struct Watch {
    bus: Arc<Bus>,
    names: Vec<String>,
    news: Receiver<News>,
}

impl Watch {
    /// The units.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// To be called before the units are looked at: what changes from now on is told, what was before is
    /// forgotten. Without a connection nothing is told before there is one again.
    pub async fn begin(&mut self) {
        // An error is told by the look that follows.
        let _ = self.bus.watch(&self.names).await;
        while !matches!(self.news.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
    }

    /// Returns when one of the units has changed, or when that may have been missed.
    pub async fn changed(&mut self) {
        if !self.bus.is_connected().await {
            loop {
                if self.bus.watch(&self.names).await.is_ok() {
                    return;
                }
                sleep(AGAIN).await;
            }
        }
        loop {
            match self.news.recv().await {
                Ok(News::Changed(unit)) if !self.names.contains(&unit) => {}
                Ok(News::JobEnded { .. }) => {}
                Ok(News::Changed(_) | News::Lost) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn ended(task: Task, name: &str, result: String) -> Result<(), Error> {
    match result.as_str() {
        // Skipped: nothing was to be done.
        "done" | "skipped" => Ok(()),
        _ => Err(Error::Job { task: task.verb(), unit: name.to_owned(), result }),
    }
}

/// The job's result, or `None` when it may have been missed.
async fn job_result(news: &mut Receiver<News>, wanted: &OwnedObjectPath) -> Option<String> {
    loop {
        match news.recv().await {
            Ok(News::JobEnded { job, result }) if job == *wanted => return Some(result),
            Ok(News::JobEnded { .. } | News::Changed(_)) => {}
            Ok(News::Lost) | Err(RecvError::Lagged(_)) => return None,
            // The bus has the other end as long as it is used.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

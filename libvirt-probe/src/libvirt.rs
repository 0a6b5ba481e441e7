//! The libvirt daemon and its domains: socket, connection, event loop, workers, monitors, storage.
//!
//! One connection is kept; a probe that connected for each check would compete for the daemon's client slots
//! with everybody else. Nothing is asked that enters QEMU's monitor, where one stuck guest holds up the caller.

mod backlog;
mod daemon;
mod diagnosis;
pub(crate) mod domain;
mod grace;
mod guests;
mod link;
mod process;
mod settings;
mod steps;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use domain::{ControlInfo, Domain, Guest};
pub use settings::{Deadlines, Paused, Settings};

use crate::rpc::client::now;
use crate::rpc::message::Version;
use crate::verdict::{Finding, Report, Subject};
use grace::Grace;
use guests::Guests;
use link::{Link, NoLink, Past, dial};

/// The probe. It does something only while one of its futures is polled: no task, no thread.
#[derive(Debug)]
pub struct Libvirt {
    settings: Settings,
    link: Option<Link>,
    past: Past,
    /// When the connection was lost.
    lost: Option<Instant>,
    grace: Grace,
    guests: Guests,
    version: Option<Version>,
    watch: watch::Watch,
}

/// Why there is no list of domains.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection, or it was lost.
    #[error("{}", .0.reason)]
    NoConnection(Finding),
    /// The daemon does not answer.
    #[error("libvirt does not answer: {what} did not come within {:.1} s", .waited.as_secs_f64())]
    Late {
        /// What was asked.
        what: &'static str,
        /// For how long.
        waited: Duration,
    },
    /// The daemon refuses.
    #[error("libvirt refuses {what}: {reason}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// In its words.
        reason: String,
    },
}

impl Libvirt {
    /// A probe that has not connected yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            link: None,
            past: Past::default(),
            lost: None,
            grace: Grace::default(),
            guests: Guests::default(),
            version: None,
            watch: watch::Watch::default(),
        }
    }

    /// Takes all steps once. Takes no longer than [`Deadlines::total`], and may be dropped at any time.
    pub async fn check(&mut self) -> Report {
        let started = now();
        self.tidy();
        self.watch.begin();
        let mut findings = Vec::new();
        let met = self.steps(&mut findings).await;
        let mut report = Report { subject: Subject::Libvirt, findings, elapsed: Duration::ZERO, grace: None };
        report.grace = self.grace.excuse(self.settings.grace, met, &report, now());
        report.elapsed = now() - started;
        let troubles = self.guests.troubles(now(), self.settings.occupied).len();
        let late = self.link.as_mut().is_some_and(|link| link.is_late(self.settings.deadlines, now()));
        self.watch.end(report.health(), self.link.is_some(), late, troubles, now());
        report
    }

    /// Resolves when something happened that deserves a check at once: the connection was lost, a ping or the
    /// workers are late or back again, a domain was paused by an I/O error or crashed. Pings while it waits;
    /// may be dropped at any time. Until the next check it resolves again.
    pub async fn changed(&mut self) {
        self.wait_for_change().await;
    }

    /// All domains, with everything that is known about them.
    pub async fn domains(&mut self) -> Result<Vec<Domain>, Error> {
        self.list().await
    }

    /// Version of the daemon's library, as of the last check.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The socket that is connected.
    pub fn socket(&self) -> Option<&std::path::Path> {
        self.link.as_ref().map(|link| link.path.as_path())
    }

    /// Connects, unless there is a connection. After a loss, a new socket has a moment to appear.
    async fn connect(&mut self) -> Result<(), Box<NoLink>> {
        if self.link.is_some() {
            return Ok(());
        }
        loop {
            let no_link = match dial(&self.settings, self.past).await {
                Ok(link) => {
                    self.past = Past { linked: true, silent: None };
                    self.lost = None;
                    self.link = Some(link);
                    return Ok(());
                }
                Err(no_link) => no_link,
            };
            self.past.silent = no_link.silent.then(|| self.past.silent.unwrap_or_else(now));
            let wait = self.lost.is_some_and(|lost| now() < lost + self.settings.deadlines.redial);
            if !(wait && no_link.absent) {
                return Err(no_link);
            }
            tokio::time::sleep(REDIAL).await;
        }
    }

    /// The connection is over.
    fn lose(&mut self) {
        if self.link.take().is_some() {
            self.lost = Some(now());
        }
    }

    /// Where the process numbers of domains may be, as the daemon sees them and as we do.
    fn run_folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        // Other drivers may have domains of the same names, and no processes.
        if !self.settings.uri.starts_with("qemu") {
            return folders;
        }
        if let Some(daemon) = self.link.as_ref().and_then(|link| link.daemon) {
            let inner = self.settings.run.strip_prefix("/").unwrap_or(&self.settings.run);
            folders.push(PathBuf::from(format!("/proc/{}/root", daemon.pid)).join(inner));
        }
        folders.push(self.settings.run.clone());
        folders
    }
}

/// How often a new socket is looked for.
const REDIAL: Duration = Duration::from_millis(25);

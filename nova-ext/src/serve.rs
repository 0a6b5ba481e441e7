//! `nova-ha engine`: takes up requests (files of this controller, node attributes of the cluster), gives them to the
//! engine, lets hosts return, and says how it is on a socket. It ends when it is told to, or when what it does could not
//! be written down.

mod alive;
mod complaints;
mod elsewhere;
mod events;
mod evidence;
mod failures;
mod follow;
mod hooks;
mod looks;
mod proofs;
mod returns;
mod socket;
mod switched_on;
mod switches;
mod takeup;
#[cfg(test)]
mod tests;
mod watchers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::sleep;
use tracing::{info, warn};

pub use events::Heard;
pub(crate) use returns::open_evacuations;
pub use socket::{Health, ask};
pub use switches::{
    freeze, frozen, go_ahead, going_ahead, in_maintenance, maintenance_off, maintenance_on, release, thaw,
};

use crate::cloud::{Cloud, CloudError, Environment, Retry, Settings, SettingsError, Source};
use crate::config::{Config, ConfigError, NameError, Names};
use crate::engine;
use crate::engine::journal::{Entry, Event, Journal, JournalError};
use crate::engine::run::{Order, RunError, Status};
use crate::ids::{HostName, IncidentId};
use crate::policy::{Policy, PolicyError};
use crate::power::{Map, MapError};
use crate::proof::signed::Signer;
use crate::stamp::Stamp;

/// Orders that may wait for the engine.
const ORDERS: usize = 256;
/// Between two tries to reach the cloud.
const PAUSE: Duration = Duration::from_secs(5);
/// For a file of the engine to be read or written.
const DISK: Duration = Duration::from_secs(10);
/// What looks at files hangs if it has not looked for so long, and what asks the cluster and Nova.
const FILES: Duration = Duration::from_secs(60);
const CALLS: Duration = Duration::from_secs(900);

/// Why the engine does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its names.
    #[error(transparent)]
    Names(#[from] NameError),
    /// The policy.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Policy(PathBuf, #[source] PolicyError),
    /// There is none.
    #[error("{path} is missing: it says which servers are evacuated, which nobody can guess", path = .0.display())]
    NoPolicy(PathBuf),
    /// The map of power devices.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The credentials.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The cloud says no for good.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It had to end.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The system says no.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
}

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) names: Names,
    pub(crate) map: Option<Map>,
    pub(crate) signer: Option<Signer>,
    /// What the policy says of the computes' storage.
    pub(crate) storage_in_common: bool,
    /// What another controller has begun and not renewed for so many seconds has stopped, and what it has asked Nova for
    /// last shows in Nova.
    pub(crate) stale: u64,
    /// Whether it is known what other controllers know of hosts that fail too often.
    pub(crate) failures_known: AtomicBool,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) status: watch::Receiver<Arc<Status>>,
}

impl Shared {
    /// Writes it down. Whether it is on disk: what is not must not be done.
    pub(crate) async fn note(&self, incident: IncidentId, event: Event) -> bool {
        let (written, is_written) = oneshot::channel();
        let entry = Entry::new(Stamp::now(), incident, event);
        self.orders.send(Order::Note { entry, written }).await.is_ok() && is_written.await.is_ok()
    }
}

/// The policy.
pub fn policy(config: &Config) -> Result<Policy, ServeError> {
    match crate::config::read(&config.files.policy) {
        Ok(text) => {
            Policy::parse(&text).map_err(|error| ServeError::Policy(config.files.policy.clone(), error))
        }
        Err(ConfigError::Missing(path)) => Err(ServeError::NoPolicy(path)),
        Err(error) => Err(error.into()),
    }
}

/// The map of power devices, if there is one.
pub fn map(config: &Config) -> Result<Option<Map>, MapError> {
    if config.files.map.exists() { Map::load(&config.files.map).map(Some) } else { Ok(None) }
}

/// Whether a host's power device says that it is on. One that cannot be asked says nothing: boards lose their power
/// with the host.
pub async fn reads_on(config: &Config, host: &HostName) -> Result<bool, ServeError> {
    let names = Names::new(&config.hosts)?;
    Ok(proofs::reads_on(map(config)?.as_ref(), &names, host).await)
}

/// The cloud's settings: the environment's if `by_environment`.
pub fn settings(config: &Config, by_environment: bool) -> Result<Settings, SettingsError> {
    if by_environment {
        Settings::load(&Source::Environment, &Environment::of_this_process())
    } else {
        config.cloud_settings()
    }
}

/// Runs until it is told to end.
pub async fn serve(config: Config, by_environment: bool) -> Result<(), ServeError> {
    let names = Names::new(&config.hosts)?;
    let policy = policy(&config)?;
    let map = map(&config)?;
    let signer = Signer::from_file(&config.files.key)
        .inspect_err(|error| warn!("proofs of other controllers cannot be checked: {error}"))
        .ok();
    let settings = settings(&config, by_environment)?;
    let journal = Journal::open(&config.files.state)?;
    let metrics = match config.engine.metrics {
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|error| ServeError::Io(format!("metrics address {address}"), error))?)
        }
        None => None,
    };
    let (beat, seen) = watch::channel(None);
    let (told, status) = watch::channel(Arc::new(Status::default()));
    let socket = socket::Socket::bind(&config.files.socket())?;
    let events = events::Events::bind(&config.events)?;
    let watchers = watchers::Watchers::default();
    let listening = tokio::spawn(socket.serve(status.clone(), seen, watchers.clone(), events.count()));
    // Monitored from here on: while the cloud does not answer, it waits.
    let cloud = connect(&settings).await?.signing(signer.clone());
    if !policy.start.stopped_first {
        cloud.no_stopped_evacuation();
    }
    info!(microversion = %cloud.microversion(), "the engine is ready");
    let (orders, ordered) = mpsc::channel(ORDERS);
    let storage_in_common = policy.storage.shared;
    let stale = follow::RENEWED.as_secs().saturating_add(policy.patience.unheard_seconds.into());
    let shared = Arc::new(Shared {
        names,
        map,
        signer,
        storage_in_common,
        stale,
        failures_known: AtomicBool::new(false),
        orders: orders.clone(),
        status,
        config,
    });
    switches::tell(&shared).await;
    let mut engine = Box::pin(engine::run::run(
        engine::Settings { to_stopped: cloud.evacuates_stopped(), policy, controller: controller() },
        journal,
        cloud.clone(),
        (proofs::Known::new(Arc::clone(&shared), cloud.clone()), hooks::Configured::new(&shared.config)),
        ordered,
        told,
    ));
    let scraped = metrics.map(|listener| {
        let (status, watchers) = (shared.status.clone(), watchers.clone());
        let page = move || engine::metrics::text(&status.borrow(), &watchers.all());
        tokio::spawn(engine::metrics::serve(listener, page))
    });
    let (wanted, wishes) = mpsc::channel(ORDERS);
    let wishes = Arc::new(Mutex::new(wishes));
    let around = async {
        tokio::join!(
            watchers.keep("queue", FILES, |watcher| {
                takeup::files(watcher, Arc::clone(&shared), cloud.clone(), wanted.clone())
            }),
            watchers.keep("cluster", CALLS, |watcher| {
                takeup::attributes(watcher, Arc::clone(&shared), cloud.clone(), wanted.clone())
            }),
            watchers.keep("switches", FILES, |watcher| switches::watch(watcher, Arc::clone(&shared))),
            watchers.keep("returns", CALLS, |watcher| {
                returns::run(watcher, Arc::clone(&shared), cloud.clone(), Arc::clone(&wishes))
            }),
            socket::beat(&orders, &beat),
            Box::pin(events.serve(&orders)),
        )
    };
    let ended = tokio::select! {
        ended = &mut engine => Some(ended),
        // They are begun anew for ever.
        _ = around => None,
        () = crate::process::told_to_end() => None,
    };
    let ended = match ended {
        Some(ended) => ended.map(drop),
        // In an orderly way: another controller is to go on at once.
        None => match tokio::join!(orders.send(Order::Leave), &mut engine).1 {
            Ok(all_in_nova) => {
                if all_in_nova {
                    follow::hand_over().await;
                }
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    listening.abort();
    scraped.inspect(tokio::task::JoinHandle::abort);
    Ok(ended?)
}

/// Waits for a cloud that does not answer; gives up on one that never will.
async fn connect(settings: &Settings) -> Result<Cloud, CloudError> {
    loop {
        match Cloud::connect(settings).await {
            Ok(cloud) => return Ok(cloud),
            Err(error) if error.kind() == Retry::Never => return Err(error),
            Err(error) => warn!("the cloud does not answer, trying again: {error}"),
        }
        sleep(PAUSE).await;
    }
}

/// This controller's name.
pub fn controller() -> String {
    nix::unistd::gethostname().map_or_else(|_| "?".into(), |name| name.to_string_lossy().into_owned())
}

/// Who decides: whoever logged in, before any change of users.
pub fn who() -> String {
    let named = ["SUDO_USER", "LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
    let named = named.filter(|name| !name.is_empty() && name.len() <= 64);
    named.unwrap_or_else(|| format!("user {}", nix::unistd::getuid()))
}

//! The operator's switches: files in the state folder, which `nova-ha` writes and the engine watches.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::Shared;
use super::watchers::Watcher;
use crate::config::Config;
use crate::engine::Maintenance;
use crate::engine::run::Order;
use crate::ids::HostName;

const LOOK: Duration = Duration::from_millis(500);
const LONGEST_REASON: usize = 1000;
/// More than any cloud has.
const MOST_HOSTS: usize = 10_000;
/// As the name of a host it would not be taken.
const WHOLE: &str = ".whole";
/// Whoever let a host go on has looked at this failure, not at the next one.
const GO_AHEAD_HOLDS: Duration = Duration::from_secs(24 * 3600);

/// Nothing is begun until [`thaw`].
pub fn freeze(config: &Config, reason: &str) -> io::Result<()> {
    prepare(&config.files.state)?;
    let draft = config.files.state.join("frozen.new");
    fs::write(&draft, reason)?;
    fs::rename(draft, config.files.frozen())
}

/// Things may begin again. Whether they could not before.
pub fn thaw(config: &Config) -> io::Result<bool> {
    remove(&config.files.frozen())
}

/// Why everything is frozen, if it is. A file that cannot be read freezes too.
pub fn frozen(config: &Config) -> Option<String> {
    match fs::read_to_string(config.files.frozen()) {
        Ok(reason) => Some(plain(&reason)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{}: {error}", config.files.frozen().display())),
    }
}

/// The host may return although it failed too often.
pub fn release(config: &Config, host: &HostName, by: &str) -> io::Result<()> {
    let folder = config.files.state.join("released");
    prepare(&folder)?;
    fs::write(folder.join(host.as_str()), by)
}

/// Hosts that were released and by whom. Their files are removed once the engine knows.
fn released(config: &Config) -> Vec<(HostName, String)> {
    of_hosts(&config.files.state.join("released"))
}

/// No incident of this host, or of any, begins until [`maintenance_off`].
pub fn maintenance_on(config: &Config, host: Option<&HostName>, reason: &str) -> io::Result<()> {
    let folder = config.files.maintenance();
    prepare(&folder)?;
    fs::write(folder.join(host.map_or(WHOLE, HostName::as_str)), reason)
}

/// It is over. Whether there was any.
pub fn maintenance_off(config: &Config, host: Option<&HostName>) -> io::Result<bool> {
    remove(&config.files.maintenance().join(host.map_or(WHOLE, HostName::as_str)))
}

/// What is in maintenance and why: all, if no host is said.
pub fn in_maintenance(config: &Config) -> Vec<(Option<HostName>, String)> {
    let folder = config.files.maintenance();
    // A file that cannot be read counts.
    let whole = match fs::read_to_string(folder.join(WHOLE)) {
        Ok(reason) => Some(plain(&reason)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(error.to_string()),
    };
    let hosts = of_hosts(&folder).into_iter().map(|(host, reason)| (Some(host), reason));
    whole.map(|reason| (None, reason)).into_iter().chain(hosts).collect()
}

/// This host is really down: it does not wait although too many are.
pub fn go_ahead(config: &Config, host: &HostName, by: &str) -> io::Result<()> {
    let folder = config.files.go_ahead();
    prepare(&folder)?;
    fs::write(folder.join(host.as_str()), by)
}

/// Its failure is over: the next one is looked at anew.
pub(super) fn no_go_ahead(config: &Config, host: &HostName) {
    if let Err(error) = remove(&config.files.go_ahead().join(host.as_str())) {
        warn!("go-ahead/{host}: {error}");
    }
}

/// Hosts that need not wait although too many are down, and who said so.
pub fn going_ahead(config: &Config) -> Vec<(HostName, String)> {
    let folder = config.files.go_ahead();
    let holds = |host: &HostName| {
        let written = fs::metadata(folder.join(host.as_str())).and_then(|about| about.modified());
        // A time in the future is a clock that was set.
        written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age <= GO_AHEAD_HOLDS))
    };
    of_hosts(&folder).into_iter().filter(|(host, _)| holds(host)).collect()
}

/// A folder with one file per host, by name; what is no host's is left alone.
fn of_hosts(folder: &Path) -> Vec<(HostName, String)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let read = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let host = entry.file_name().into_string().ok().filter(|name| name != WHOLE)?.parse().ok()?;
        Some((host, plain(&fs::read_to_string(entry.path()).ok()?)))
    };
    let mut hosts: Vec<_> = entries.take(MOST_HOSTS).filter_map(read).collect();
    hosts.sort();
    hosts
}

fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}

fn forget(config: &Config, hosts: &[(HostName, String)]) {
    for (host, _) in hosts {
        if let Err(error) = fs::remove_file(config.files.state.join("released").join(host.as_str())) {
            warn!("released/{host}: {error}");
        }
    }
}

fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// What the engine was told.
#[derive(PartialEq)]
struct Told {
    frozen: Option<String>,
    maintenance: Maintenance,
    go_ahead: BTreeSet<HostName>,
}

impl Told {
    fn read(config: &Config) -> Self {
        let maintenance = in_maintenance(config);
        Self {
            frozen: frozen(config),
            maintenance: Maintenance {
                whole: maintenance.iter().any(|(host, _)| host.is_none()),
                hosts: maintenance.into_iter().filter_map(|(host, _)| host).collect(),
            },
            go_ahead: going_ahead(config).into_iter().map(|(host, _)| host).collect(),
        }
    }

    /// For the log: what has changed.
    fn say(&self, before: Option<&Self>) {
        let frozen = before.and_then(|it| it.frozen.as_ref());
        match (&self.frozen, frozen) {
            (Some(why), was) if was != Some(why) => warn!("frozen by the operator: {why}"),
            (None, Some(_)) => info!("thawed by the operator"),
            _ => {}
        }
        let nothing = (Maintenance::default(), BTreeSet::new());
        let (maintenance, go_ahead) =
            before.map_or((&nothing.0, &nothing.1), |it| (&it.maintenance, &it.go_ahead));
        if self.maintenance != *maintenance {
            let hosts: Vec<&str> = self.maintenance.hosts.iter().map(HostName::as_str).collect();
            let whole = self.maintenance.whole;
            warn!(whole, hosts = hosts.join(" "), "the operator has changed what is in maintenance");
        }
        for host in self.go_ahead.difference(go_ahead) {
            warn!(%host, "the operator lets it go on, however many hosts are down");
        }
    }
}

/// Tells an engine that is about to begin.
pub(super) async fn tell(shared: &Arc<Shared>) {
    let Some((now, _)) = read(shared).await else { return };
    let Told { frozen, maintenance, go_ahead } = now;
    let released = Vec::new();
    // It is gone if it does not take it.
    let _ = shared.orders.send(Order::Switches { frozen, maintenance, go_ahead, released }).await;
}

async fn read(shared: &Arc<Shared>) -> Option<(Told, Vec<(HostName, String)>)> {
    let shared = Arc::clone(shared);
    let read = move || (Told::read(&shared.config), released(&shared.config));
    tokio::task::spawn_blocking(read).await.ok()
}

/// Tells the engine whenever they change.
pub(super) async fn watch(watcher: Watcher, shared: Arc<Shared>) {
    let mut told: Option<Told> = None;
    loop {
        let Some((now, released)) = read(&shared).await else { return };
        watcher.well();
        if told.as_ref() != Some(&now) || !released.is_empty() {
            now.say(told.as_ref());
            let order = Order::Switches {
                frozen: now.frozen.clone(),
                maintenance: now.maintenance.clone(),
                go_ahead: now.go_ahead.clone(),
                released: released.clone(),
            };
            if shared.orders.send(order).await.is_err() {
                return;
            }
            told = Some(now);
            forget(&shared.config, &released);
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_and_go_ahead_are_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.files.state = folder.path().join("state");
        let (c1, c2): (HostName, HostName) = ("c1".parse().unwrap(), "c2".parse().unwrap());
        assert!(in_maintenance(&config).is_empty() && going_ahead(&config).is_empty());
        maintenance_on(&config, Some(&c2), "new\ndisk").unwrap();
        maintenance_on(&config, None, "").unwrap();
        assert_eq!(in_maintenance(&config), [(None, String::new()), (Some(c2.clone()), "newdisk".into())]);
        let told = Told::read(&config);
        assert!(told.maintenance.whole && told.maintenance.holds(&c1));
        assert!(maintenance_off(&config, None).unwrap() && !maintenance_off(&config, None).unwrap());
        let told = Told::read(&config);
        assert!(!told.maintenance.holds(&c1) && told.maintenance.holds(&c2));

        go_ahead(&config, &c1, "Ann").unwrap();
        assert_eq!(going_ahead(&config), [(c1.clone(), "Ann".into())]);
        let file = fs::File::options().write(true).open(config.files.go_ahead().join("c1")).unwrap();
        file.set_modified(std::time::SystemTime::now() - GO_AHEAD_HOLDS - Duration::from_secs(60)).unwrap();
        assert!(going_ahead(&config).is_empty(), "it was about another failure");
        go_ahead(&config, &c1, "Ann").unwrap();
        no_go_ahead(&config, &c1);
        no_go_ahead(&config, &c1);
        assert!(Told::read(&config).go_ahead.is_empty());
    }
}

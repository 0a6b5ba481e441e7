//! The operator's switches: files in the state folder, which `nova-ha` writes and the engine watches.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::Shared;
use crate::config::Config;
use crate::engine::run::Order;
use crate::ids::HostName;

const LOOK: Duration = Duration::from_millis(500);
const LONGEST_REASON: usize = 1000;

/// Nothing is begun until [`thaw`].
pub fn freeze(config: &Config, reason: &str) -> io::Result<()> {
    prepare(&config.files.state)?;
    let draft = config.files.state.join("frozen.new");
    fs::write(&draft, reason)?;
    fs::rename(draft, config.files.frozen())
}

/// Things may begin again. Whether they could not before.
pub fn thaw(config: &Config) -> io::Result<bool> {
    match fs::remove_file(config.files.frozen()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Why everything is frozen, if it is. A file that cannot be read freezes too.
pub fn frozen(config: &Config) -> Option<String> {
    match fs::read_to_string(config.files.frozen()) {
        Ok(reason) => Some(reason.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()),
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
    let Ok(entries) = fs::read_dir(config.files.state.join("released")) else { return Vec::new() };
    let read = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let host = entry.file_name().into_string().ok()?.parse().ok()?;
        let by: String = fs::read_to_string(entry.path()).ok()?;
        Some((host, by.chars().filter(|c| !c.is_control()).take(100).collect()))
    };
    entries.take(1000).filter_map(read).collect()
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

/// Tells the engine whenever they change.
pub(super) async fn watch(shared: &Shared) {
    let mut told: Option<Option<String>> = None;
    loop {
        let frozen = frozen(&shared.config);
        let released = released(&shared.config);
        if told.as_ref() != Some(&frozen) || !released.is_empty() {
            match &frozen {
                Some(why) => warn!("frozen by the operator: {why}"),
                None if told.as_ref().is_some_and(Option::is_some) => info!("thawed by the operator"),
                None => {}
            }
            let order = Order::Switches {
                frozen: frozen.clone(),
                maintenance: Vec::new(),
                go_ahead: false,
                released: released.clone(),
            };
            if shared.orders.send(order).await.is_err() {
                return;
            }
            told = Some(frozen);
            forget(&shared.config, &released);
        }
        sleep(LOOK).await;
    }
}

//! The key file: where it is looked for, and when it is read again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tracing::{info, warn};
use zeroize::Zeroizing;

use super::credentials::KeyReport;
use super::file::{self, Stamp};
use super::lock;
use super::psk::{IDENTITY, Psk, PskServer};
use super::refresh::{Refresh, Source};
use crate::net::NetError;

/// The pre-shared key, looked up again at every handshake.
///
/// Searched in the order of Pacemaker 2.1: the given location, `/etc/pacemaker/authkey`,
/// `/etc/corosync/authkey`. A file before the one in use is taken as soon as it can be read; one after it
/// never replaces it: while the file in use is missing, empty or unreadable, the last good key stays.
///
/// Files are touched on a blocking thread, one check at a time, and waited for at most a second: they
/// may lie on a disk that hangs. A runtime with a hanging check must be left with
/// `shutdown_background` or by ending the process.
pub struct KeyStore(Refresh<Search>);

impl KeyStore {
    /// Makes sure that pre-shared keys work at all, and reads the key. A missing key is logged and no
    /// error: it is looked for again at each handshake.
    pub async fn open(location: Option<PathBuf>) -> Result<Arc<Self>, NetError> {
        let mut paths: Vec<PathBuf> = location.into_iter().collect();
        paths.extend(DEFAULT_LOCATIONS.iter().map(PathBuf::from));
        Self::open_paths(paths).await
    }

    /// The same with a search order of the caller's.
    pub async fn open_paths(paths: Vec<PathBuf>) -> Result<Arc<Self>, NetError> {
        PskServer::self_test().map_err(|error| NetError::Psk(error.to_string()))?;
        let store = Arc::new(Self(Refresh::new(Search { paths, state: Mutex::default() })));
        if store.current().await.is_err() {
            warn!(
                "A cluster connection will not be possible until the key is available: copy the cluster \
                 nodes' key file to {}",
                store.0.source().paths.first().map_or(Path::new(""), PathBuf::as_path).display()
            );
        }
        Ok(store)
    }

    /// The key for a handshake that begins now.
    pub(crate) async fn current(&self) -> Result<Arc<PskServer>, NetError> {
        self.0.run().await;
        let state = lock(&self.0.source().state);
        state.key.as_ref().map(|loaded| Arc::clone(&loaded.server)).ok_or_else(|| {
            NetError::NoKey(
                state.complaints.values().next().cloned().unwrap_or_else(|| "not read yet".into()),
            )
        })
    }

    /// Looks at the files as a handshake does.
    pub(crate) async fn refresh(&self) {
        self.0.run().await;
    }

    /// The key in use, and what is wrong with its file.
    pub(crate) fn report(&self) -> (Option<KeyReport>, Option<String>) {
        let state = lock(&self.0.source().state);
        let key = state.key.as_ref().map(|loaded| KeyReport {
            path: loaded.path.clone(),
            sha256: loaded.server.sha256().to_owned(),
            modified: loaded.stamp.modified(),
        });
        (key, state.complaints.values().next().cloned())
    }
}

/// Where the key is looked for after the place that was set.
pub(crate) const DEFAULT_LOCATIONS: [&str; 2] = ["/etc/pacemaker/authkey", COROSYNC_KEY];
const COROSYNC_KEY: &str = "/etc/corosync/authkey";
/// Documentation tells people to make 4096 bytes.
const LARGEST_KEY: u64 = 1 << 20;

struct Search {
    paths: Vec<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    key: Option<Loaded>,
    /// What was last said about each file, so that it is said once.
    complaints: HashMap<PathBuf, String>,
}

struct Loaded {
    path: PathBuf,
    stamp: Stamp,
    server: Arc<PskServer>,
}

impl Source for Search {
    const WHAT: &'static str = "the Pacemaker Remote key";

    /// Walks the search order up to the file in use.
    fn check(&self) {
        let in_use = lock(&self.state).key.as_ref().map(|key| (key.path.clone(), key.stamp.clone()));
        for path in &self.paths {
            let known = in_use.as_ref().filter(|(used, _)| used == path).map(|(_, stamp)| stamp);
            let read = match known.map(|stamp| stamp.is_still(path)) {
                Some(Ok(true)) => return self.settle(path),
                Some(Err(error)) => Err(error),
                Some(Ok(false)) | None => file::read(path, LARGEST_KEY),
            };
            match read {
                Ok((stamp, key)) => match self.adopt(path, stamp, key) {
                    Ok(()) => return self.settle(path),
                    Err(error) => self.complain(path, &error),
                },
                Err(error) => self.complain(path, &error.to_string()),
            }
            if known.is_some() {
                return;
            }
        }
    }
}

impl Search {
    fn adopt(&self, path: &Path, stamp: Stamp, key: Zeroizing<Vec<u8>>) -> Result<(), String> {
        let length = key.len();
        let psk = Psk::new(IDENTITY, key).map_err(|error| error.to_string())?;
        if let Some(loaded) = &mut lock(&self.state).key
            && loaded.path == path
            && loaded.server.sha256() == psk.sha256()
        {
            loaded.stamp = stamp;
            return Ok(());
        }
        let server = PskServer::new(Arc::new(psk)).map_err(|error| error.to_string())?;
        let mut state = lock(&self.state);
        let renewed = state.key.is_some();
        info!(
            "{} Pacemaker Remote key of {length} bytes from {}, sha256 {}",
            if renewed { "New" } else { "Using" },
            path.display(),
            server.sha256()
        );
        if path == Path::new(COROSYNC_KEY) {
            warn!(
                "The Pacemaker Remote key comes from {COROSYNC_KEY}, which Pacemaker 3 does not use any more: \
                 move it to /etc/pacemaker/authkey"
            );
        }
        state.key = Some(Loaded { path: path.to_owned(), stamp, server: Arc::new(server) });
        Ok(())
    }

    /// This file is good: a later problem with it is news again.
    fn settle(&self, path: &Path) {
        lock(&self.state).complaints.remove(path);
    }

    fn complain(&self, path: &Path, error: &str) {
        let mut state = lock(&self.state);
        let text = format!("Could not read Pacemaker Remote key from {}: {error}", path.display());
        if state.complaints.get(path) == Some(&text) {
            return;
        }
        if state.key.is_some() {
            warn!("{text}; the last good key stays in use");
        } else {
            warn!("{text}");
        }
        state.complaints.insert(path.to_owned(), text);
    }
}

//! The key file: where it is looked for, and when it is read again.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::lock;
use super::psk::{IDENTITY, Psk, PskServer};
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
pub struct KeyStore {
    shared: Arc<Shared>,
}

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
        let shared = Shared { paths, state: Mutex::default(), checked: watch::Sender::new(0) };
        let store = Arc::new(Self { shared: Arc::new(shared) });
        if store.current().await.is_err() {
            warn!(
                "A cluster connection will not be possible until the key is available: copy the cluster \
                 nodes' key file to {}",
                store.shared.paths.first().map_or(Path::new(""), PathBuf::as_path).display()
            );
        }
        Ok(store)
    }

    /// The key for a handshake that begins now.
    pub(crate) async fn current(&self) -> Result<Arc<PskServer>, NetError> {
        let mut checked = self.shared.checked.subscribe();
        let begin = !std::mem::replace(&mut lock(&self.shared.state).checking, true);
        if begin {
            let shared = Arc::clone(&self.shared);
            tokio::task::spawn_blocking(move || {
                let _done = Done(&shared);
                shared.check();
            });
        }
        let late = timeout(CHECK_DEADLINE, checked.changed()).await.is_err();
        let mut state = lock(&self.shared.state);
        if late && !std::mem::replace(&mut state.late, true) {
            warn!("Could not check the Pacemaker Remote key within {CHECK_DEADLINE:?}: does its disk hang?");
        }
        state.key.as_ref().map(|loaded| Arc::clone(&loaded.server)).ok_or_else(|| {
            NetError::NoKey(
                state.complaints.values().next().cloned().unwrap_or_else(|| "not read yet".into()),
            )
        })
    }
}

const DEFAULT_LOCATIONS: [&str; 2] = ["/etc/pacemaker/authkey", COROSYNC_KEY];
const COROSYNC_KEY: &str = "/etc/corosync/authkey";
const CHECK_DEADLINE: Duration = Duration::from_secs(1);
/// Documentation tells people to make 4096 bytes.
const LARGEST_KEY: u64 = 1 << 20;
/// A file that was changed this short a time before it was read may be changed again without a new
/// time stamp.
const TIMESTAMP_DOUBT: Duration = Duration::from_secs(2);

struct Shared {
    paths: Vec<PathBuf>,
    state: Mutex<State>,
    checked: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    key: Option<Loaded>,
    checking: bool,
    late: bool,
    /// What was last said about each file, so that it is said once.
    complaints: HashMap<PathBuf, String>,
}

struct Loaded {
    path: PathBuf,
    stamp: Stamp,
    server: Arc<PskServer>,
}

/// Ends a check even if it panics.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.checking = false;
        state.late = false;
        drop(state);
        self.0.checked.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Shared {
    /// Walks the search order up to the file in use.
    fn check(&self) {
        let in_use = lock(&self.state).key.as_ref().map(|key| (key.path.clone(), key.stamp.clone()));
        for path in &self.paths {
            let known = in_use.as_ref().filter(|(used, _)| used == path).map(|(_, stamp)| stamp);
            match read_if_changed(path, known) {
                Ok(None) => return self.settle(path),
                Ok(Some((stamp, key))) => match self.adopt(path, stamp, key) {
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

/// What tells one state of a file from another.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    doubtful: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            doubtful: age.is_none_or(|age| age < TIMESTAMP_DOUBT),
        }
    }

    fn is_still(&self, now: &Self) -> bool {
        !self.doubtful && *now == Self { doubtful: now.doubtful, ..self.clone() }
    }
}

/// `None` if the file is as `known` has it.
fn read_if_changed(path: &Path, known: Option<&Stamp>) -> io::Result<Option<(Stamp, Zeroizing<Vec<u8>>)>> {
    if let Some(known) = known
        && known.is_still(&Stamp::of(&std::fs::metadata(path)?))
    {
        return Ok(None);
    }
    // Opening a pipe must not wait for its writer.
    let file: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let size = usize::try_from(metadata.len().min(LARGEST_KEY)).unwrap_or_default();
    // Room for all of it from the start: growing would leave copies of the key behind.
    let mut key = Zeroizing::new(Vec::with_capacity(size.saturating_add(64)));
    file.take(LARGEST_KEY + 1).read_to_end(&mut key)?;
    if key.len() as u64 > LARGEST_KEY {
        return Err(io::Error::other(format!("it is larger than {LARGEST_KEY} bytes")));
    }
    if key.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(Some((Stamp::of(&metadata), key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that hangs: the check under way does not come back.
    #[tokio::test(start_paused = true)]
    async fn while_a_check_hangs_the_last_good_key_serves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("authkey");
        std::fs::write(&path, b"secret").unwrap();
        let store = KeyStore::open_paths(vec![path]).await.unwrap();
        let good = store.current().await.unwrap();

        lock(&store.shared.state).checking = true;
        let begin = tokio::time::Instant::now();
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&store.current().await.unwrap(), &good));
        }
        assert_eq!(begin.elapsed(), 3 * CHECK_DEADLINE);
        assert!(lock(&store.shared.state).late);
        drop(Done(&store.shared));
        assert!(!lock(&store.shared.state).late);
        assert!(store.current().await.is_ok());
    }
}

//! How the engine is: a socket that answers each connection with one JSON document.
//!
//! The answer says when the engine last took an order, so that one that hangs is not taken for one that works.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::ServeError;
use super::events::{Count, Heard};
use super::watchers::Watchers;
use crate::engine::metrics::Watched;
use crate::engine::run::{Order, Status};

/// For one connection.
const ONE: Duration = Duration::from_secs(5);
/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);
/// The largest answer.
const LARGEST: u64 = 4 << 20;

/// What the socket says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Health {
    /// Its process.
    pub pid: u32,
    /// Since it took its last order, in milliseconds; none while it waits for the cloud.
    pub beat_ms: Option<u64>,
    /// What the engine is at.
    pub status: serde_json::Value,
    /// What it hears requests from.
    #[serde(default)]
    pub watchers: Vec<Watched>,
    /// What Nova's own services have told it; none if nothing listens for that.
    #[serde(default)]
    pub events: Option<Heard>,
}

/// The socket, bound.
pub(super) struct Socket(UnixListener);

impl Socket {
    pub(super) fn bind(path: &Path) -> Result<Self, ServeError> {
        let wrong = |error| ServeError::Io(path.display().to_string(), error);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
        }
        // The journal's lock says that nobody else serves here.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(wrong)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(wrong)?;
        Ok(Self(listener))
    }

    /// Answers. One that does not read is not waited for.
    pub(super) async fn serve(
        self,
        status: watch::Receiver<Arc<Status>>,
        seen: watch::Receiver<Option<Instant>>,
        watchers: Watchers,
        events: Option<Arc<Count>>,
    ) {
        loop {
            let Ok((mut stream, _)) = self.0.accept().await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let beat = *seen.borrow();
            let health = Health {
                pid: std::process::id(),
                beat_ms: beat.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
                status: serde_json::to_value(&**status.borrow()).unwrap_or_default(),
                watchers: watchers.all(),
                events: events.as_ref().map(|events| events.now()),
            };
            let text = serde_json::to_vec(&health).unwrap_or_default();
            tokio::spawn(async move { timeout(ONE, stream.write_all(&text)).await });
        }
    }
}

/// Gives the engine an order now and then, and notes when it has taken it.
pub(super) async fn beat(orders: &mpsc::Sender<Order>, seen: &watch::Sender<Option<Instant>>) {
    loop {
        // Room for an order means that the engine takes orders.
        let Ok(room) = orders.reserve().await else { return };
        drop(room);
        if orders.capacity() == orders.max_capacity() {
            seen.send_replace(Some(Instant::now()));
        }
        sleep(BEAT).await;
    }
}

/// Asks a running engine how it is.
pub async fn ask(path: PathBuf, within: Duration) -> io::Result<Health> {
    let asked = async {
        let mut stream = UnixStream::connect(&path).await?;
        let mut text = Vec::new();
        (&mut stream).take(LARGEST).read_to_end(&mut text).await?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    };
    timeout(within, asked).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

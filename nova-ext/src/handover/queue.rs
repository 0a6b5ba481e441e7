//! The folder of requests: one file each, on disk before anybody is told that it is there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Request;
use crate::ids::IncidentId;

/// The largest request.
const LARGEST: u64 = 64 * 1024;
/// More requests than any cloud has hosts.
const MOST: usize = 10_000;
const SUFFIX: &str = "json";

/// Why a request could not be stored, or the folder not be read.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The disk says no.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, #[source] io::Error),
    /// Others can write there.
    #[error(
        "{0} can be written by others, so that anybody could ask for an evacuation: chown root {0}; chmod 700 {0}"
    )]
    Unsafe(PathBuf),
    /// It cannot be written as JSON.
    #[error("a request cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// A folder of requests.
#[derive(Debug, Clone)]
pub struct Queue {
    folder: PathBuf,
}

/// What lies in the folder.
#[derive(Debug, Default)]
pub struct Queued {
    /// The requests, oldest first.
    pub requests: Vec<Request>,
    /// Files that are none, with what is wrong with them.
    pub bad: Vec<(PathBuf, String)>,
}

impl Queue {
    /// The queue in this folder. It is made when the first request comes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Stores a request, or a new state of it. When this returns, it is on disk.
    pub fn put(&self, request: &Request) -> Result<(), QueueError> {
        self.prepare()?;
        let path = self.path(request.id);
        let draft = path.with_extension("new");
        let text = serde_json::to_vec(request)?;
        let io = |error| QueueError::Io(draft.clone(), error);
        // What an earlier writer of the same request has left half done.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&draft, &path).map_err(io)?;
        self.sync()
    }

    /// Forgets a request. One that is not there is no error.
    pub fn remove(&self, id: IncidentId) -> Result<(), QueueError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(QueueError::Io(path, error)),
        }
    }

    /// All requests. A folder that is not there is empty.
    pub fn list(&self) -> Result<Queued, QueueError> {
        let io = |error| QueueError::Io(self.folder.clone(), error);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Queued::default()),
            entries => entries.map_err(io)?,
        };
        self.check()?;
        let mut queued = Queued::default();
        for entry in entries.take(MOST) {
            let path = entry.map_err(io)?.path();
            if path.extension().is_none_or(|extension| extension != SUFFIX) {
                continue;
            }
            match read(&path) {
                Ok(Some(request)) => queued.requests.push(request),
                Ok(None) => {}
                Err(why) => queued.bad.push((path, why)),
            }
        }
        queued.requests.sort_by_key(|request| (request.at, request.id));
        Ok(queued)
    }

    /// Whether requests can be stored: makes the folder and writes to it.
    pub fn check_writable(&self) -> Result<(), QueueError> {
        self.prepare()?;
        let probe = self.folder.join(format!("probe.{}", std::process::id()));
        let io = |error| QueueError::Io(self.folder.clone(), error);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&probe);
        file.and_then(|mut file| file.write_all(b"probe")).map_err(io)?;
        fs::remove_file(&probe).map_err(io)
    }

    fn path(&self, id: IncidentId) -> PathBuf {
        self.folder.join(format!("{id}.{SUFFIX}"))
    }

    fn prepare(&self) -> Result<(), QueueError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|error| QueueError::Io(self.folder.clone(), error))?;
        self.check()
    }

    /// Whoever writes there decides what is evacuated.
    fn check(&self) -> Result<(), QueueError> {
        let about = fs::metadata(&self.folder).map_err(|error| QueueError::Io(self.folder.clone(), error))?;
        let owner = about.uid();
        if about.mode() & 0o022 != 0 || ![0, nix::unistd::geteuid().as_raw()].contains(&owner) {
            return Err(QueueError::Unsafe(self.folder.clone()));
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), QueueError> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| QueueError::Io(self.folder.clone(), error))
    }
}

/// Nothing if it was removed meanwhile.
fn read(path: &Path) -> Result<Option<Request>, String> {
    let opened =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| error.to_string())?,
    };
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err("it is not a regular file".into());
    }
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST {
        return Err("it is larger than 64 KiB".into());
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{Marked, Wish};
    use super::*;
    use crate::stamp::Stamp;

    fn request(at: &str) -> Request {
        Request {
            id: IncidentId::new_random(),
            wish: Wish::Evacuate,
            at: at.parse().unwrap(),
            by: "fence_nova on ctl1".into(),
            node: "c1".parse().unwrap(),
            host: "c1.example.org".parse().unwrap(),
            proof: None,
            marked: Marked::Open { why: "Nova does not answer".into() },
            power_on: true,
            evacuates: true,
            shared_storage: None,
            not_before: None,
            story: Vec::new(),
        }
    }

    #[test]
    fn requests_are_read_back_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::new(dir.path().join("a/queue"));
        assert!(queue.list().unwrap().requests.is_empty());
        let (late, early) = (request("2026-11-25T10:00:01Z"), request("2026-11-25T10:00:00Z"));
        queue.put(&late).unwrap();
        queue.put(&early).unwrap();
        let changed = Request { marked: Marked::Done, ..late.clone() };
        queue.put(&changed).unwrap();
        assert_eq!(queue.list().unwrap().requests, [early.clone(), changed]);
        queue.remove(late.id).unwrap();
        queue.remove(late.id).unwrap();
        assert_eq!(queue.list().unwrap().requests, [early]);
        let mode = fs::metadata(dir.path().join("a/queue")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn what_is_no_request_is_reported_and_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let queue = Queue::new(dir.path());
        queue.put(&request("2026-11-25T10:00:00Z")).unwrap();
        fs::write(dir.path().join("torn.json"), "{\"id\":").unwrap();
        fs::write(dir.path().join("huge.json"), vec![b' '; 70_000]).unwrap();
        fs::write(dir.path().join("half.new"), "{").unwrap();
        fs::create_dir(dir.path().join("folder.json")).unwrap();
        let queued = queue.list().unwrap();
        assert_eq!((queued.requests.len(), queued.bad.len()), (1, 3), "{queued:?}");
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let queue = Queue::new(dir.path());
        assert!(matches!(queue.put(&request("2026-11-25T10:00:00Z")), Err(QueueError::Unsafe(_))));
        assert!(matches!(queue.list(), Err(QueueError::Unsafe(_))));
        assert!(queue.check_writable().is_err());
    }

    #[test]
    fn a_request_waits_for_whoever_works_on_it() {
        let mut request = request("2026-11-25T10:00:00Z");
        let time = |text: &str| text.parse::<Stamp>().unwrap();
        assert!(request.is_due(time("2026-11-25T10:00:00Z")));
        request.not_before = Some(time("2026-11-25T10:00:30Z"));
        assert!(!request.is_due(time("2026-11-25T10:00:29Z")));
        assert!(request.is_due(time("2026-11-25T10:00:30Z")));
    }
}

//! What must be remembered of a resource from one process to the next: whether it was started, and when units
//! were restarted.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Kind;
use super::policy::Restarts;
use crate::aside;
use crate::verdict::Subject;

/// Where agents keep such things; in memory, so that nothing outlives a reboot.
pub const FOLDER: &str = "/run/resource-agents";
const LIMIT: Duration = Duration::from_secs(2);
/// Largest file.
const LARGEST: u64 = 64 << 10;

/// The file of a resource.
#[derive(Debug, Clone)]
pub(super) struct State {
    path: PathBuf,
}

impl State {
    pub(super) fn of(folder: &Path, kind: Kind, instance: &str) -> Self {
        let name = instance.replace('/', "_");
        Self { path: folder.join(format!("pcmk-remote-{}-{name}.state", kind.name())) }
    }

    /// What was kept; `None` if the resource was not started.
    pub(super) async fn read(&self) -> io::Result<Option<Restarts>> {
        let path = self.path.clone();
        self.aside(move || match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(metadata) if metadata.len() > LARGEST => Ok(Some(Restarts::default())),
            _ => fs::read_to_string(&path).map(|text| Some(parse(&text))),
        })
        .await
    }

    /// Keeps it: the resource is started.
    pub(super) async fn write(&self, restarts: &Restarts) -> io::Result<()> {
        let (path, text) = (self.path.clone(), written(restarts));
        self.aside(move || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let unfinished = path.with_extension("state.new");
            fs::write(&unfinished, text)?;
            fs::rename(&unfinished, &path)
        })
        .await
    }

    /// The resource is stopped.
    pub(super) async fn remove(&self) -> io::Result<()> {
        let path = self.path.clone();
        self.aside(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let result = aside::run(&self.path.to_string_lossy(), LIMIT, work).await.map_err(io::Error::other)?;
        result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

fn written(restarts: &Restarts) -> String {
    let mut text = String::new();
    for (subject, at) in restarts.iter() {
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // No error: into a string.
        let _ = writeln!(text, "restarted {} {seconds}", subject.name());
    }
    text
}

/// What cannot be read is left out: the file is ours, and of a later version at worst.
fn parse(text: &str) -> Restarts {
    let mut restarts = Restarts::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        if words.next() == Some("restarted")
            && let (Some(name), Some(Ok(seconds))) = (words.next(), words.next().map(str::parse))
            && let Some(subject) = Subject::ALL.into_iter().find(|subject| subject.name() == name)
            && let Some(at) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        {
            restarts.note(subject, at);
        }
    }
    restarts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::of(&dir.path().join("sub"), Kind::ComputeHealth, "a/b:1");
        assert_eq!(state.read().await.unwrap(), None);
        let mut restarts = Restarts::default();
        restarts.note(Subject::NovaCompute, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        restarts.note(Subject::Libvirt, UNIX_EPOCH + Duration::from_secs(1_700_000_001));
        state.write(&restarts).await.unwrap();
        assert_eq!(state.read().await.unwrap(), Some(restarts));
        let other = State::of(&dir.path().join("sub"), Kind::Libvirt, "a/b:1");
        assert_eq!(other.read().await.unwrap(), None);
        state.remove().await.unwrap();
        state.remove().await.unwrap();
        assert_eq!(state.read().await.unwrap(), None);
    }

    #[test]
    fn nonsense_in_a_file_is_left_out() {
        let text = "x\nrestarted libvirt\nrestarted libvirt x\nrestarted moon 5\nrestarted libvirt 5\n";
        let mut expected = Restarts::default();
        expected.note(Subject::Libvirt, UNIX_EPOCH + Duration::from_secs(5));
        assert_eq!(parse(text), expected);
        assert_eq!(parse("restarted host 18446744073709551615"), Restarts::default());
    }
}

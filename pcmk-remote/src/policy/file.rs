//! The policy's file: only what root wrote counts.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Policy, PolicyError};

/// Why a file cannot be used. The daemon does not start with such a file, and does not change its policy for
/// one.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there, and it was named.
    #[error("{0} is missing: create it, or unset PCMK_remote_policy_file")]
    Missing(PathBuf),
    /// The system says so.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a device, a pipe.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// Others than root may change it.
    #[error("{0} can be changed by others than root: chown root {0}; chmod 644 {0}")]
    Unsafe(PathBuf),
    /// Too large.
    #[error("{0} is larger than {LARGEST} bytes")]
    TooLarge(PathBuf),
    /// It is no text.
    #[error("{0} is not UTF-8 text")]
    NotText(PathBuf),
    /// It is no policy.
    #[error("{path}: {error}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: PolicyError,
    },
}

/// Largest file.
const LARGEST: u64 = 1 << 20;
/// A file that was changed this short a time ago may be changed again without a new time stamp.
const TIMESTAMP_DOUBT: Duration = Duration::from_secs(2);

/// Where the policy is, and what was last read from there.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    required: bool,
    last: Option<Stamp>,
}

impl PolicyFile {
    /// The file that was named, else the usual one, which need not exist.
    pub fn new(named: Option<&Path>) -> Self {
        Self {
            path: named.unwrap_or(Path::new(super::DEFAULT_FILE)).to_owned(),
            required: named.is_some(),
            last: None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it if it has changed since the last call. `None` if it has not, or is not there: a policy
    /// does not go by its file being taken away. Blocks while the disk does.
    pub fn read(&mut self) -> Result<Option<Policy>, FileError> {
        let io = |source| FileError::Io { path: self.path.clone(), source };
        // Opening a pipe must not wait for its writer.
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let first = self.last.take().is_none();
                return if self.required && first {
                    Err(FileError::Missing(self.path.clone()))
                } else {
                    Ok(None)
                };
            }
            opened => opened.map_err(io)?,
        };
        let metadata = file.metadata().map_err(io)?;
        let stamp = Stamp::of(&metadata);
        if self.last.as_ref().is_some_and(|last| last.is_still(&stamp)) {
            return Ok(None);
        }
        self.last = Some(stamp);
        if !metadata.is_file() {
            return Err(FileError::NotAFile(self.path.clone()));
        }
        if metadata.mode() & 0o022 != 0 || ![0, nix::unistd::geteuid().as_raw()].contains(&metadata.uid()) {
            return Err(FileError::Unsafe(self.path.clone()));
        }
        let mut bytes = Vec::new();
        if let Err(source) = file.take(LARGEST + 1).read_to_end(&mut bytes) {
            self.last = None; // what is in it is not known yet
            return Err(FileError::Io { path: self.path.clone(), source });
        }
        if bytes.len() as u64 > LARGEST {
            return Err(FileError::TooLarge(self.path.clone()));
        }
        let text = String::from_utf8(bytes).map_err(|_| FileError::NotText(self.path.clone()))?;
        let wrong = |error| FileError::Wrong { path: self.path.clone(), error };
        Policy::parse(&text).map(Some).map_err(wrong)
    }
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    mode: (u32, u32),
    modified: (i64, i64),
    changed: (i64, i64),
    doubtful: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            mode: (metadata.mode(), metadata.uid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            doubtful: age.is_none_or(|age| age < TIMESTAMP_DOUBT),
        }
    }

    fn is_still(&self, now: &Self) -> bool {
        !self.doubtful && *now == Self { doubtful: now.doubtful, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }

    #[test]
    fn the_usual_file_may_be_missing_and_a_named_one_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        let mut usual = PolicyFile { path: path.clone(), required: false, last: None };
        assert_eq!(usual.read().unwrap(), None);
        let mut named = PolicyFile::new(Some(&path));
        assert!(named.read().unwrap_err().to_string().contains("PCMK_remote_policy_file"));
        write(&path, "[agents]\nallow = []\n");
        assert!(usual.read().unwrap().is_some() && named.read().unwrap().is_some());
        // Taken away later: the one who asks keeps what there was.
        fs::remove_file(&path).unwrap();
        assert_eq!(usual.read().unwrap(), None);
        assert_eq!(named.read().unwrap(), None);
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        write(&path, "");
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let mut file = PolicyFile::new(Some(&path));
        assert_eq!(file.read().unwrap(), Some(Policy::default()));
        assert_eq!(file.read().unwrap(), None);
        write(&path, "[agents]\nallow = []\n");
        assert!(file.read().unwrap().is_some());
    }

    #[test]
    fn a_file_that_could_not_be_read_is_tried_again() {
        // A regular file that can be opened, and whose first byte cannot be read.
        let mut file = PolicyFile::new(Some(Path::new("/proc/self/mem")));
        for _ in 0..2 {
            assert!(matches!(file.read(), Err(FileError::Io { .. })));
            // As if it had been changed long ago.
            if let Some(last) = &mut file.last {
                last.doubtful = false;
            }
        }
    }

    #[test]
    fn what_others_could_have_written_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        for (mode, fine) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
            write(&path, "");
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = PolicyFile::new(Some(&path)).read();
            assert_eq!(read.is_ok(), fine, "{mode:o}");
            assert!(fine || matches!(read, Err(FileError::Unsafe(_))));
        }
    }

    #[test]
    fn what_is_no_policy_says_where_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        write(&path, "[agents]\n\nallowed = []\n");
        let error = PolicyFile::new(Some(&path)).read().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{}: line 3: unknown field `allowed`", path.display())),
            "{error}"
        );
        assert!(matches!(PolicyFile::new(Some(dir.path())).read(), Err(FileError::NotAFile(_))));
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(PolicyFile::new(Some(&path)).read(), Err(FileError::NotText(_))));
        fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(matches!(PolicyFile::new(Some(&path)).read(), Err(FileError::TooLarge(_))));
    }
}

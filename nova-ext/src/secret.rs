//! Secrets: never in a log, gone from memory when dropped, read from files that nobody else can read.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use zeroize::Zeroizing;

/// The largest file that can be a secret.
const LARGEST: u64 = 64 * 1024;

/// A password, key or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// Why a file of secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Read(PathBuf, #[source] io::Error),
    /// Others can read it.
    #[error("{path} has mode {mode:04o}, so that others can read it: chmod 600 {path}", path = .0.display(), mode = .1)]
    Open(PathBuf, u32),
    /// It belongs to somebody else.
    #[error("{path} belongs to user {owner}: it must belong to root or to the user who runs this", path = .0.display(), owner = .1)]
    Owner(PathBuf, u32),
    /// It is larger than any secret.
    #[error("{path} has more than 64 KiB: is this the right file?", path = .0.display())]
    Large(PathBuf),
    /// It is empty.
    #[error("{path} is empty", path = .0.display())]
    Empty(PathBuf),
}

impl Secret {
    /// Takes over a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The first line of a file with mode 0600 (or stricter).
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let text = read_private(path)?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Self::new(line.to_owned())),
            _ => Err(SecretError::Empty(path.to_owned())),
        }
    }

    /// The secret itself: for the wire, never for a text that somebody reads.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// The content of a file that holds secrets: regular, owned by root or by us, closed to everybody else.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let read = |error| SecretError::Read(path.to_owned(), error);
    // Opening a pipe must not wait for its writer. A link may lead here: what counts is what was opened.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(read)?;
    let about = file.metadata().map_err(read)?;
    if !about.is_file() {
        return Err(read(io::Error::other("it is not a regular file")));
    }
    if about.mode() & 0o077 != 0 {
        return Err(SecretError::Open(path.to_owned(), about.mode() & 0o7777));
    }
    if about.uid() != 0 && about.uid() != geteuid().as_raw() {
        return Err(SecretError::Owner(path.to_owned(), about.uid()));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(read)?;
    if text.len() as u64 > LARGEST {
        return Err(SecretError::Large(path.to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("password");
        fs::write(&path, "first\nsecond\n")?;
        fs::set_permissions(&path, Permissions::from_mode(0o640))?;
        let refused = Secret::from_file(&path).map_err(|error| error.to_string());
        assert!(refused.as_ref().is_err_and(|text| text.contains("mode 0640") && text.contains("chmod 600")));
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        assert_eq!(
            Secret::from_file(&path).map(|secret| secret.expose().to_owned()).ok(),
            Some("first".to_owned())
        );
        Ok(())
    }

    #[test]
    fn a_pipe_or_a_folder_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        // A pipe without a writer would be waited for; a link changes nothing.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [&path, &link, &folder.path().to_owned()] {
            let refused = read_private(path).unwrap_err().to_string();
            assert!(refused.ends_with("it is not a regular file"), "{refused}");
        }
    }

    #[test]
    fn a_link_to_a_file_of_ours_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "hunter2\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(Secret::from_file(&link).unwrap().expose(), "hunter2");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Secret::from_file(&link), Err(SecretError::Open(_, 0o644))));
    }

    #[test]
    fn nobody_prints_it() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
    }
}

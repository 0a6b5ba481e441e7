//! Files that are read again when they have changed.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

/// A file that was changed this short a time before it was read may be changed again without a new
/// time stamp.
const TIMESTAMP_DOUBT: Duration = Duration::from_secs(2);

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
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

    /// Whether the file is certainly as it was.
    pub(super) fn is_still(&self, path: &Path) -> io::Result<bool> {
        let now = Self::of(&std::fs::metadata(path)?);
        Ok(!self.doubtful && now == Self { doubtful: now.doubtful, ..self.clone() })
    }

    /// When its content was last changed, seconds since the epoch.
    pub(super) fn modified(&self) -> u64 {
        u64::try_from(self.modified.0).unwrap_or(0)
    }
}

/// All of a file of at most `largest` bytes, but at least one.
pub(super) fn read(path: &Path, largest: u64) -> io::Result<(Stamp, Zeroizing<Vec<u8>>)> {
    // Opening a pipe must not wait for its writer.
    let file: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let size = usize::try_from(metadata.len().min(largest)).unwrap_or_default();
    // Room for all of it from the start: growing would leave copies of a key behind.
    let mut content = Zeroizing::new(Vec::with_capacity(size.saturating_add(64)));
    file.take(largest.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > largest {
        return Err(io::Error::other(format!("it is larger than {largest} bytes")));
    }
    if content.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok((Stamp::of(&metadata), content))
}

//! The journal on disk: one file, appended to and synced, written by one engine at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tracing::warn;

use super::Entry;

/// A file of this size is put aside when nothing is open.
const LARGE: u64 = 64 << 20;
/// Files that are kept aside.
const KEPT: usize = 8;
/// The longest line that can be one of ours.
const LONGEST: usize = 64 << 10;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system says so.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, #[source] io::Error),
    /// Another engine writes it.
    #[error("{path} is in use: another engine runs on this node", path = .0.display())]
    InUse(PathBuf),
    /// An entry cannot be written down.
    #[error("an entry cannot be written down: {0}")]
    Entry(#[from] serde_json::Error),
}

/// The journal, and the right to write it.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    file: File,
    size: u64,
    /// What was left of earlier lives and could not be read.
    warnings: Vec<String>,
    // Held for as long as the journal is.
    _lock: Flock<File>,
}

impl Journal {
    /// The file that is written.
    pub const FILE: &'static str = "journal.jsonl";

    /// Opens the journal of a folder, which is made if need be, and reads it.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Entry>), JournalError> {
        let io = |path: &Path, error| JournalError::Io(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| io(folder, error))?;
        let lock_path = folder.join("journal.lock");
        let lock = private(&lock_path).map_err(|error| io(&lock_path, error))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| JournalError::InUse(lock_path.clone()))?;
        let mut entries = Vec::new();
        let mut warnings = Vec::new();
        if let Some(last) = aside(folder).map_err(|error| io(folder, error))?.pop() {
            let file = open(&last).map_err(|error| io(&last, error))?;
            read(file, &last, &mut entries, &mut warnings).map_err(|error| io(&last, error))?;
        }
        let path = folder.join(Self::FILE);
        let mut file = private(&path).map_err(|error| io(&path, error))?;
        let copy = file.try_clone().map_err(|error| io(&path, error))?;
        let good = read(copy, &path, &mut entries, &mut warnings).map_err(|error| io(&path, error))?;
        // What a crash cut off was never announced as done: the next entry must not be glued to it.
        file.set_len(good).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|error| io(&path, error))?;
        sync_folder(folder).map_err(|error| io(folder, error))?;
        for warning in &warnings {
            warn!("{warning}");
        }
        Ok((Self { folder: folder.to_owned(), file, size: good, warnings, _lock: lock }, entries))
    }

    /// Reads the journal of a folder without the right to write it, for reports.
    pub fn read(folder: &Path) -> Result<Vec<Entry>, JournalError> {
        let io = |path: &Path, error| JournalError::Io(path.to_owned(), error);
        let mut paths = aside(folder).map_err(|error| io(folder, error))?;
        paths.push(folder.join(Self::FILE));
        let mut entries = Vec::new();
        for path in paths {
            match open(&path) {
                Ok(file) => {
                    read(file, &path, &mut entries, &mut Vec::new()).map_err(|error| io(&path, error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(&path, error)),
            }
        }
        Ok(entries)
    }

    /// What was left of earlier lives and could not be read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Writes entries. When this returns, they outlive a loss of power. Blocks while the disk does.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let mut text = String::new();
        for entry in entries {
            text.push_str(&entry.to_line()?);
            text.push('\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        let io = |error| JournalError::Io(self.folder.join(Self::FILE), error);
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half an entry is as good as none.
            let _ = self.file.set_len(self.size).and_then(|()| self.file.seek(SeekFrom::End(0)));
            return Err(io(error));
        }
        self.size = self.size.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Whether it should be put aside when no incident is open.
    pub fn is_large(&self) -> bool {
        self.size >= LARGE
    }

    /// Puts the file aside and begins a new one with these entries.
    pub fn rotate(&mut self, carried: &[Entry]) -> Result<(), JournalError> {
        let path = self.folder.join(Self::FILE);
        let io = |path: &Path, error| JournalError::Io(path.to_owned(), error);
        let draft = self.folder.join("journal.new");
        let _ = fs::remove_file(&draft);
        let mut new = private(&draft).map_err(|error| io(&draft, error))?;
        let mut text = String::new();
        for entry in carried {
            text.push_str(&entry.to_line()?);
            text.push('\n');
        }
        new.write_all(text.as_bytes()).and_then(|()| new.sync_data()).map_err(|error| io(&draft, error))?;
        let old = aside(&self.folder).map_err(|error| io(&self.folder, error))?;
        let number = old.last().and_then(|path| number(path)).unwrap_or(0).saturating_add(1);
        let kept = self.folder.join(format!("journal.{number:06}.jsonl"));
        fs::rename(&path, &kept).map_err(|error| io(&path, error))?;
        fs::rename(&draft, &path).map_err(|error| io(&draft, error))?;
        sync_folder(&self.folder).map_err(|error| io(&self.folder, error))?;
        self.file = new;
        self.size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        for path in old.iter().take(old.len().saturating_add(1).saturating_sub(KEPT)) {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// For reading. A pipe is not waited for.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The files that were put aside, oldest first.
fn aside(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if number(&path).is_some() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("journal.")?.strip_suffix(".jsonl")?.parse().ok()
}

/// Reads entries; returns where the last whole line ends.
fn read(file: File, path: &Path, entries: &mut Vec<Entry>, warnings: &mut Vec<String>) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0))?;
    let mut good = 0_u64;
    let mut line = Vec::new();
    for n in 1_u64.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        if line.pop() != Some(b'\n') {
            warnings.push(format!("{}: line {n} was cut off by a crash: left out", path.display()));
            break;
        }
        good = good.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        let text = std::str::from_utf8(&line).ok().filter(|text| text.len() <= LONGEST);
        match text.map(Entry::from_line) {
            Some(Ok(entry)) => entries.push(entry),
            _ if line.is_empty() => {}
            _ => warnings.push(format!("{}: line {n} is no entry: left out", path.display())),
        }
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Event;
    use super::*;
    use crate::ids::{IncidentId, ServerId};
    use crate::stamp::Stamp;

    fn entry(attempt: u32) -> Entry {
        let server: ServerId = "6f70656e-7374-6163-6b20-342065766572".parse().unwrap();
        let incident: IncidentId = "6f70656e-7374-6163-6b20-342065766572".parse().unwrap();
        Entry::new(Stamp::now(), incident, Event::Posting { server, attempt })
    }

    #[test]
    fn what_is_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("journal");
        let written = [entry(1), entry(2)];
        {
            let (mut journal, before) = Journal::open(&folder).unwrap();
            assert!(before.is_empty());
            journal.append(&written).unwrap();
            assert!(matches!(Journal::open(&folder), Err(JournalError::InUse(_))));
        }
        let (_journal, read) = Journal::open(&folder).unwrap();
        assert_eq!(read, written);
        assert_eq!(Journal::read(&folder).unwrap(), written);
        let mode = fs::metadata(folder.join(Journal::FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_torn_tail_is_cut_at_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (entry(1), entry(2));
        let whole = format!("{}\n{}\n", one.to_line().unwrap(), two.to_line().unwrap());
        let first = one.to_line().unwrap().len() + 1;
        for length in first..whole.len() {
            fs::write(folder.path().join(Journal::FILE), &whole.as_bytes()[..length]).unwrap();
            let (mut journal, read) = Journal::open(folder.path()).unwrap();
            assert_eq!(read, std::slice::from_ref(&one), "{length}");
            journal.append(&[entry(3)]).unwrap();
            drop(journal);
            assert_eq!(Journal::read(folder.path()).unwrap().len(), 2, "{length}");
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_left_out_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("garbage\n{}\n\u{0}\u{0}\n", entry(1).to_line().unwrap());
        fs::write(folder.path().join(Journal::FILE), text).unwrap();
        let (journal, read) = Journal::open(folder.path()).unwrap();
        assert_eq!((read.len(), journal.warnings().len()), (1, 2));
    }

    #[test]
    fn it_is_put_aside_and_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        for n in 1..=12 {
            journal.append(&[entry(n)]).unwrap();
            journal.rotate(&[entry(100 + n)]).unwrap();
        }
        journal.append(&[entry(50)]).unwrap();
        assert_eq!(aside(folder.path()).unwrap().len(), KEPT);
        drop(journal);
        let (_journal, read) = Journal::open(folder.path()).unwrap();
        // The last one put aside (carried from before, and its own), and the present one.
        let attempts: Vec<u32> = read
            .iter()
            .filter_map(|entry| match entry.event {
                Event::Posting { attempt, .. } => Some(attempt),
                _ => None,
            })
            .collect();
        assert_eq!(attempts, [111, 12, 112, 50]);
    }
}

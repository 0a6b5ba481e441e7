//! The proofs that hold, kept where they outlive every process: one JSON object per line, appended and synced, in a
//! file that only its owner can read or write.
//!
//! Several programs write it (fence agent, engine, operator): each appends whole lines under a lock. A line that was
//! torn by a crash is left out with a warning. A proof holds until the host is powered on; an older one never comes
//! back.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::{Evidence, FenceProof};
use crate::ids::{HostName, ProofId};
use crate::stamp::Stamp;

/// Above this the file is rewritten with what still holds.
const LARGE: u64 = 1 << 20;
/// Above this it is not read: nothing of ours lets it grow so far.
const LARGEST: u64 = 16 << 20;

/// The proofs that hold.
#[derive(Debug)]
pub struct Proofs {
    path: PathBuf,
    hosts: BTreeMap<HostName, Host>,
    warnings: Vec<String>,
}

#[derive(Debug, Default)]
struct Host {
    proof: Option<FenceProof>,
    /// Until then, no proof holds.
    on: Option<Stamp>,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    Proved { id: ProofId, host: HostName, at: Stamp, evidence: Evidence },
    PoweredOn { host: HostName, at: Stamp },
}

/// Why the proofs cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The system says no.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, #[source] io::Error),
    /// Others could have written it.
    #[error("{path} can be read or written by others (mode {mode:04o}, user {owner}): whoever writes it decides who is evacuated. Look at it, then chmod 600 {path}", path = .0.display(), mode = .1, owner = .2)]
    Open(PathBuf, u32, u32),
    /// It is too large.
    #[error("{path} is larger than 16 MiB: it is not what was written here; move it away", path = .0.display())]
    Large(PathBuf),
}

impl Proofs {
    /// Reads the file; it need not exist.
    pub fn load(path: &Path) -> Result<Self, LedgerError> {
        let mut proofs = Self { path: path.to_owned(), hosts: BTreeMap::new(), warnings: Vec::new() };
        match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path) {
            Ok(file) => proofs.read(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(LedgerError::Io(path.to_owned(), error)),
        }
        Ok(proofs)
    }

    /// The proof that a host is off, if one holds.
    pub fn current(&self, host: &HostName) -> Option<&FenceProof> {
        self.hosts.get(host)?.proof.as_ref()
    }

    /// Whether a host was powered on and not proven off since.
    pub fn is_on(&self, host: &HostName) -> bool {
        self.on_since(host).is_some()
    }

    /// Since when a host is on that was not proven off since.
    pub fn on_since(&self, host: &HostName) -> Option<Stamp> {
        self.hosts.get(host).filter(|known| known.proof.is_none()).and_then(|known| known.on)
    }

    /// All proofs that hold.
    pub fn all(&self) -> impl Iterator<Item = &FenceProof> {
        self.hosts.values().filter_map(|host| host.proof.as_ref())
    }

    /// What could not be read, for a log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Keeps a proof. When this returns, it outlives a loss of power.
    pub fn record(&mut self, proof: &FenceProof) -> Result<(), LedgerError> {
        self.append(Line::Proved {
            id: proof.id,
            host: proof.host.clone(),
            at: proof.at,
            evidence: proof.evidence.clone(),
        })
    }

    /// The host is on, or is about to be switched on: no proof of it holds any more.
    pub fn powered_on(&mut self, host: &HostName, at: Stamp) -> Result<(), LedgerError> {
        self.append(Line::PoweredOn { host: host.clone(), at })
    }

    fn append(&mut self, line: Line) -> Result<(), LedgerError> {
        let path = self.path.clone();
        let io = |error| LedgerError::Io(path.clone(), error);
        let file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(io)?;
        let mut file =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io(io::Error::from(errno)))?;
        // What others have written since counts as well.
        *self = Self { path: path.clone(), hosts: BTreeMap::new(), warnings: Vec::new() };
        self.read(&file)?;
        let mut text = serde_json::to_vec(&line).map_err(|error| io(error.into()))?;
        text.push(b'\n');
        if !ends_whole(&file).map_err(io)? {
            // The torn line becomes a line of its own.
            text.insert(0, b'\n');
        }
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(io)?;
        self.take(line);
        if file.metadata().map_err(io)?.len() > LARGE {
            self.rewrite(&mut file).map_err(io)?;
        }
        // A new file is lost with its folder's entry.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Ok(())
    }

    /// In place, as others hold the same file open for its lock.
    fn rewrite(&self, file: &mut File) -> io::Result<()> {
        let mut text = Vec::new();
        for (host, known) in &self.hosts {
            let on = known.on.map(|at| Line::PoweredOn { host: host.clone(), at });
            let proof = known.proof.clone().map(|FenceProof { id, host, at, evidence }| Line::Proved {
                id,
                host,
                at,
                evidence,
            });
            for line in on.into_iter().chain(proof) {
                serde_json::to_writer(&mut text, &line)?;
                text.push(b'\n');
            }
        }
        // A copy that is whole exists at every moment.
        let aside = self.path.with_extension("old");
        fs::copy(&self.path, &aside)?;
        file.set_len(0)?;
        file.write_all(&text)?;
        file.sync_all()
    }

    fn read(&mut self, file: &File) -> Result<(), LedgerError> {
        let io = |error| LedgerError::Io(self.path.clone(), error);
        let about = file.metadata().map_err(io)?;
        if about.mode() & 0o077 != 0 || about.uid() != 0 && about.uid() != geteuid().as_raw() {
            return Err(LedgerError::Open(self.path.clone(), about.mode() & 0o7777, about.uid()));
        }
        if about.len() > LARGEST {
            return Err(LedgerError::Large(self.path.clone()));
        }
        let mut bytes = Vec::new();
        let mut file = file;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        file.take(LARGEST).read_to_end(&mut bytes).map_err(io)?;
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(line) => self.take(line),
                Err(error) => {
                    let text = format!("{}: line {number} is left out: {error}", self.path.display());
                    tracing::warn!("{text}");
                    self.warnings.push(text);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Proved { id, host, at, evidence } => {
                let known = self.hosts.entry(host.clone()).or_default();
                let holds = known.on.is_none_or(|on| at > on);
                let newer = known.proof.as_ref().is_none_or(|old| at >= old.at);
                if holds && newer {
                    known.proof = Some(FenceProof::stored(id, host, evidence, at));
                }
            }
            Line::PoweredOn { host, at } => {
                let known = self.hosts.entry(host).or_default();
                known.on = known.on.max(Some(at));
                known.proof = known.proof.take().filter(|proof| proof.at > at);
            }
        }
    }
}

/// Whether the last line has its end.
fn ends_whole(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let Some(last) = length.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    let mut file = file;
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut byte)?;
    Ok(byte == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;
    use crate::proof::operator;

    fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    fn at(secs: u64) -> Stamp {
        "2026-11-30T10:00:00Z".parse::<Stamp>().unwrap().after(Duration::from_secs(secs))
    }

    fn proof(name: &str, secs: u64) -> FenceProof {
        operator::confirms(&host(name), "Ann", at(secs)).unwrap()
    }

    fn at_of(proofs: &Proofs, name: &str) -> Option<Stamp> {
        proofs.current(&host(name)).map(FenceProof::at)
    }

    #[test]
    fn a_proof_holds_until_the_host_is_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proofs");
        let mut proofs = Proofs::load(&path).unwrap();
        assert_eq!(proofs.all().count(), 0);
        let first = proof("a", 1);
        proofs.record(&first).unwrap();
        proofs.record(&proof("b", 2)).unwrap();
        let again = Proofs::load(&path).unwrap();
        assert_eq!(again.current(&host("a")), Some(&first));
        proofs.powered_on(&host("a"), at(3)).unwrap();
        // Written late, made before: it does not count.
        proofs.record(&proof("a", 2)).unwrap();
        assert_eq!(at_of(&proofs, "a"), None);
        proofs.record(&proof("a", 5)).unwrap();
        // An older "on" that is heard of late.
        proofs.powered_on(&host("a"), at(4)).unwrap();
        for proofs in [&proofs, &Proofs::load(&path).unwrap()] {
            assert_eq!((at_of(proofs, "a"), at_of(proofs, "b")), (Some(at(5)), Some(at(2))));
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn two_writers_know_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proofs");
        let (mut one, mut other) = (Proofs::load(&path).unwrap(), Proofs::load(&path).unwrap());
        one.record(&proof("a", 1)).unwrap();
        other.powered_on(&host("a"), at(2)).unwrap();
        assert_eq!(at_of(&other, "a"), None);
        one.record(&proof("b", 3)).unwrap();
        assert_eq!((at_of(&one, "a"), at_of(&one, "b")), (None, Some(at(3))));
    }

    #[test]
    fn a_torn_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proofs");
        let mut proofs = Proofs::load(&path).unwrap();
        proofs.record(&proof("a", 1)).unwrap();
        proofs.record(&proof("b", 2)).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut proofs = Proofs::load(&path).unwrap();
            assert!(proofs.warnings().len() <= 1);
            proofs.record(&proof("c", 3)).unwrap();
            let proofs = Proofs::load(&path).unwrap();
            assert_eq!(at_of(&proofs, "c"), Some(at(3)), "cut at {cut}");
            let ended = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
            assert!(proofs.all().count() > ended, "cut at {cut}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proofs");
        let mut proofs = Proofs::load(&path).unwrap();
        proofs.record(&proof("a", 1)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert!(matches!(Proofs::load(&path), Err(LedgerError::Open(..))));
        assert!(matches!(proofs.record(&proof("a", 2)), Err(LedgerError::Open(..))));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proofs");
        let mut proofs = Proofs::load(&path).unwrap();
        proofs.record(&proof("a", 1)).unwrap();
        proofs.powered_on(&host("gone"), at(9)).unwrap();
        let line = fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned() + "\n";
        fs::write(&path, line.repeat(usize::try_from(LARGE).unwrap() / line.len() + 1)).unwrap();
        proofs.powered_on(&host("gone"), at(9)).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 1024);
        proofs.record(&proof("gone", 8)).unwrap();
        let proofs = Proofs::load(&path).unwrap();
        assert_eq!((at_of(&proofs, "a"), at_of(&proofs, "gone")), (Some(at(1)), None));
    }
}

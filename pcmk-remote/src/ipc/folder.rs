//! The files of one connection, in a folder of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, UnlinkatFlags, chown, unlinkat};
use tracing::info;

use super::callers::Owner;

/// A folder, which goes with everything in it when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The folder itself: later its name may be another's, or that of a link.
    opened: File,
    files: Vec<String>,
}

impl Folder {
    /// Makes one for a client. Its name is one that the C library would give it.
    pub(super) fn create(base: &Path, client: u32, connection: i32) -> io::Result<Self> {
        let server = std::process::id();
        for _ in 0..100 {
            let name = format!("qb-{server}-{client}-{connection}-{}{}", namespace_mark(), random_mark()?);
            let path = base.join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let opened = open_folder(&path)?;
                    return Ok(Self { path, opened, files: Vec::new() });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The path of a file in it.
    pub(super) fn name(&self, file: &str) -> String {
        self.path.join(file).to_string_lossy().into_owned()
    }

    /// Makes a file in it, which nobody but root can open so far.
    pub(super) fn file(&mut self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&path)?;
        self.files.push(name.to_owned());
        Ok(file)
    }

    /// Lets the client in, once everything is in place, and nobody else: the C library lets the whole group in,
    /// so that each member may speak for another.
    pub(super) fn give_to(&self, owner: Owner) -> io::Result<()> {
        let (uid, gid) = match owner {
            Owner::Root { gid } => (0, Some(gid)),
            Owner::Group { uid, gid } => (uid, gid),
        };
        let (uid, gid) = (Some(Uid::from_raw(uid)), gid.map(Gid::from_raw));
        for file in &self.files {
            chown(&self.path.join(file), uid, gid)?;
        }
        chown(&self.path, uid, gid)?;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The client does the same; whoever comes first.
        for file in &self.files {
            let _ = unlinkat(&self.opened, file.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Removes what daemons left behind that were killed. Only those of our own network and process
/// namespaces are known to be dead when their process is not there: others may share the file system.
pub(super) fn remove_stale(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(server) = name.to_str().and_then(server_of) else { continue };
        let alive = server != std::process::id() && Path::new(&format!("/proc/{server}")).exists();
        if !alive && remove_folder(&entry.path()).is_ok() {
            info!("Removed {}, left behind by a daemon that was killed", entry.path().display());
        }
    }
}

/// The process in the name of a folder that a daemon like this one made in these namespaces.
fn server_of(name: &str) -> Option<u32> {
    let mut fields = name.strip_prefix("qb-")?.split('-');
    let server = fields.next()?.parse().ok()?;
    let _client: u32 = fields.next()?.parse().ok()?;
    let _connection: u32 = fields.next()?.parse().ok()?;
    let marks = fields.next()?;
    let ours = fields.next().is_none() && marks.len() == 6 && marks.starts_with(&namespace_mark());
    ours.then_some(server)
}

/// The folder may be a client's: no link is followed.
fn remove_folder(path: &Path) -> io::Result<()> {
    let folder = open_folder(path)?;
    for entry in std::fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()))? {
        unlinkat(&folder, entry?.file_name().as_os_str(), UnlinkatFlags::NoRemoveDir)?;
    }
    std::fs::remove_dir(path)
}

fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

/// Three letters that tell this network and process namespace from others.
fn namespace_mark() -> String {
    let inode =
        |name: &str| std::fs::metadata(format!("/proc/self/ns/{name}")).map_or(0, |found| found.ino());
    // FNV-1a
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in inode("net").to_le_bytes().into_iter().chain(inode("pid").to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    letters(hash)
}

fn random_mark() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(letters(u64::from_le_bytes(bytes)))
}

fn letters(mut number: u64) -> String {
    let mut text = String::new();
    for _ in 0..3 {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        text.push(char::from_digit(digit, 36).unwrap_or('x'));
        number /= 36;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of the cluster's group speak for themselves: none may write into the files of another.
    #[test]
    fn the_files_are_their_clients_alone() {
        let base = tempfile::tempdir().unwrap();
        for (owner, uid) in
            [(Owner::Root { gid: 0 }, 0), (Owner::Group { uid: 65_534, gid: Some(1) }, 65_534)]
        {
            let mut folder = Folder::create(base.path(), 77, 5).unwrap();
            let file = folder.file("qb-request-attrd-header").unwrap();
            folder.give_to(owner).unwrap();
            let of_file = file.metadata().unwrap();
            assert_eq!((of_file.uid(), of_file.mode() & 0o7777), (uid, 0o600));
            let of_folder = std::fs::metadata(&folder.path).unwrap();
            assert_eq!((of_folder.uid(), of_folder.mode() & 0o7777), (uid, 0o700));
        }
    }

    #[test]
    fn a_folder_goes_with_its_files() {
        let base = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(base.path(), 77, 5).unwrap();
        let _file = folder.file("qb-request-attrd-header").unwrap();
        assert!(folder.file("qb-request-attrd-header").is_err(), "never over something");
        folder.give_to(Owner::Root { gid: 0 }).unwrap();
        let path = folder.path.clone();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with(&format!("qb-{}-77-5-", std::process::id())), "{name}");
        drop(folder);
        assert!(!path.exists());
    }

    /// The client owns the folder, and may put a link into its place.
    #[test]
    fn a_link_in_the_place_of_a_folder_leads_nowhere() {
        let base = tempfile::tempdir().unwrap();
        let make = || {
            let mut folder = Folder::create(base.path(), 77, 5).unwrap();
            let _file = folder.file("qb-request-attrd-header").unwrap();
            folder
        };
        let (victim, attacker) = (make(), make());
        std::fs::rename(&attacker.path, base.path().join("aside")).unwrap();
        std::os::unix::fs::symlink(&victim.path, &attacker.path).unwrap();
        drop(attacker);
        assert!(victim.path.join("qb-request-attrd-header").exists());
        assert!(!base.path().join("aside/qb-request-attrd-header").exists());
    }

    #[test]
    fn what_the_dead_left_is_removed_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let mark = namespace_mark();
        let make = |name: &str| {
            let path = base.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("qb-event-attrd-data"), "x").unwrap();
            path
        };
        let dead = make(&format!("qb-4194304-1-9-{mark}abc")); // beyond the largest process id
        let alive = make(&format!("qb-1-1-9-{mark}abc"));
        let elsewhere = make(&format!("qb-4194304-1-9-{}abc", letters(1)));
        let foreign = make("qb-4194304-1-9-XYZabcd");
        let corosync = make("corosync");
        let target = make("target");
        std::os::unix::fs::symlink(&target, base.path().join(format!("qb-4194304-2-9-{mark}abc"))).unwrap();
        remove_stale(base.path());
        assert!(!dead.exists());
        for kept in [alive, elsewhere, foreign, corosync, target] {
            assert!(kept.join("qb-event-attrd-data").exists(), "{}", kept.display());
        }
    }
}

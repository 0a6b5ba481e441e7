//! Schema files: those that came with the local packages, and those that the cluster sent.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::proxy::schemas::{SchemaFile, highest, is_schema_name};

/// The newest schema that this node has by itself; `None` if it has none.
pub fn newest_installed(directory: &Path) -> Option<String> {
    let names: Vec<String> = names_in(directory).ok()?;
    highest(names.iter().map(String::as_str))
}

/// Takes away the schemas of an earlier cluster, and makes the directory if it is missing. Files of
/// other names stay.
pub fn clear(directory: &Path) -> io::Result<()> {
    let new = match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let folder = File::from(open_directory(directory)?);
    if new {
        // The umask is stricter, and tools of all users read here.
        folder.set_permissions(Permissions::from_mode(0o755))?;
    }
    for name in names_in(directory)? {
        let ours = name.strip_prefix('.').and_then(|name| name.strip_suffix(UNFINISHED)).unwrap_or(&name);
        if is_schema_name(ours) {
            unlinkat(&folder, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
        }
    }
    Ok(())
}

/// Writes the files that the cluster sent, each whole or not at all.
pub fn write(directory: &Path, files: &[SchemaFile]) -> io::Result<()> {
    let folder = open_directory(directory)?;
    for SchemaFile { name, content } in files {
        let unfinished = format!(".{name}{UNFINISHED}");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file =
            File::from(openat(&folder, unfinished.as_str(), flags, Mode::from_bits_truncate(0o644))?);
        file.set_permissions(Permissions::from_mode(0o644))?;
        let written = file.write_all(content.as_bytes());
        drop(file);
        let done = written.and_then(|()| Ok(renameat(&folder, unfinished.as_str(), &folder, name.as_str())?));
        if done.is_err() {
            let _ = unlinkat(&folder, unfinished.as_str(), UnlinkatFlags::NoRemoveDir);
            return done;
        }
    }
    Ok(())
}

/// What the name of a file that is being written ends with.
const UNFINISHED: &str = ".new";

/// Only a directory, and no link to one: others than root may own the one above it.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(directory)?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> SchemaFile {
        SchemaFile { name: name.into(), content: content.into() }
    }

    #[test]
    fn files_are_written_readable_for_all_and_taken_away_again() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("schemas");
        clear(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o755);
        fs::write(directory.join("README"), "mine").unwrap();
        fs::write(directory.join(".half.rng.new"), "left by a crash").unwrap();
        write(&directory, &[file("pacemaker-9.9.rng", "<grammar/>"), file("upgrade-9.8-1.xsl", "x")])
            .unwrap();
        assert_eq!(fs::read_to_string(directory.join("pacemaker-9.9.rng")).unwrap(), "<grammar/>");
        let mode = fs::metadata(directory.join("upgrade-9.8-1.xsl")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        assert_eq!(newest_installed(&directory).as_deref(), Some("pacemaker-9.9"));
        clear(&directory).unwrap();
        assert_eq!(names_in(&directory).unwrap(), ["README"]);
        assert_eq!(newest_installed(&directory), None);
        assert_eq!(newest_installed(Path::new("/nonexistent")), None);
    }

    #[test]
    fn links_lead_nowhere() {
        let parent = tempfile::tempdir().unwrap();
        let victim = parent.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let directory = parent.path().join("schemas");
        clear(&directory).unwrap();
        std::os::unix::fs::symlink(&victim, directory.join("a.rng")).unwrap();
        std::os::unix::fs::symlink(&victim, directory.join(".b.rng.new")).unwrap();
        write(&directory, &[file("a.rng", "new")]).unwrap();
        assert!(write(&directory, &[file("b.rng", "new")]).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(clear(&link).is_err());
        assert!(write(&link, &[]).is_err());
    }
}

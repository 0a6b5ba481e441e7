//! Files of others that may hold secrets.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::SettingsError;

/// The content of a file, and whether everybody can read it.
pub(super) struct Text {
    pub content: Zeroizing<String>,
    pub public: bool,
}

/// Reads a file of at most so many bytes.
pub(super) fn read(path: &Path, largest: u64) -> Result<Text, SettingsError> {
    let broken = |error| SettingsError::Read(path.to_owned(), error);
    // Opening a pipe must not wait for its writer.
    let file =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(broken)?;
    let about = file.metadata().map_err(broken)?;
    if !about.is_file() {
        return Err(broken(io::Error::other("it is not a regular file")));
    }
    let mut content = Zeroizing::new(String::new());
    file.take(largest + 1).read_to_string(&mut content).map_err(broken)?;
    if content.len() as u64 > largest {
        let why = format!("it has more than {} KiB: is this the right file?", largest / 1024);
        return Err(SettingsError::Syntax { source_of: path.display().to_string(), why });
    }
    Ok(Text { content, public: about.mode() & 0o007 != 0 })
}

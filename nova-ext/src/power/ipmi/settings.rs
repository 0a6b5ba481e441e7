//! What an IPMI device is told by its user.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::crypto::Suite;
use super::session::Login;
use crate::power::{Place, PowerError};
use crate::secret::{Secret, read_private};

/// Longest name of a user, in bytes.
const USER: usize = 16;
/// Longest password and longest key, in bytes.
const KEY: usize = 20;

/// Where a board is and how to log in to it.
#[derive(Debug, Clone)]
pub struct IpmiSettings {
    /// Where it is; port 623 if none is given.
    pub place: Place,
    /// The user; up to 16 bytes.
    pub user: String,
    /// The password; up to 20 bytes.
    pub password: Secret,
    /// The file with the board's key (`K_g`): text, or hexadecimal after `0x`; up to 20 bytes.
    pub kg_file: Option<PathBuf>,
    /// `user`, `operator` or `administrator`; operator if not set, which is enough for power.
    pub privlvl: Option<String>,
    /// `3`, `17`, or `auto` for the better one of those that the board offers.
    pub cipher: Option<String>,
}

impl IpmiSettings {
    pub(super) fn login(&self) -> Result<Login, PowerError> {
        let wrong = |text: &str| Err(PowerError::Settings(text.to_owned()));
        if self.user.len() > USER {
            return wrong("an IPMI user has a name of up to 16 bytes");
        }
        if self.password.expose().len() > KEY {
            return wrong(
                "an IPMI password has up to 20 bytes: boards cut off what is longer, and then it is wrong",
            );
        }
        let level = match self.privlvl.as_deref() {
            Some("user") => 2,
            None | Some("operator") => 3,
            Some("administrator" | "admin") => 4,
            Some(_) => return wrong("privlvl is one of user, operator, administrator"),
        };
        let suite = match self.cipher.as_deref() {
            None | Some("auto") => None,
            Some("3") => Some(Suite::Three),
            Some("17") => Some(Suite::Seventeen),
            Some(_) => return wrong("cipher is one of 17, 3, auto: the others do not encrypt or are broken"),
        };
        let board_key = self.kg_file.as_deref().map(board_key).transpose()?;
        Ok(Login { user: self.user.clone(), password: self.password.clone(), board_key, level, suite })
    }
}

fn board_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, PowerError> {
    let wrong = || PowerError::Settings(format!("{}: a key (K_g) has 1 to 20 bytes", path.display()));
    let text = read_private(path)?;
    let line = text.lines().next().unwrap_or_default();
    let key = match line.strip_prefix("0x") {
        Some(digits) => Zeroizing::new(from_hex(digits).ok_or_else(wrong)?),
        None => Zeroizing::new(line.as_bytes().to_vec()),
    };
    if key.is_empty() || key.len() > KEY { Err(wrong()) } else { Ok(key) }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.chunks_exact(2).map(|pair| Some(value(pair.first()?)? << 4 | value(pair.last()?)?)).collect()
}

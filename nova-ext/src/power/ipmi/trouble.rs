//! Why a session came to nothing, in words that say what to do.

use super::message;

/// What a session can run into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No answer to this.
    Silent(&'static str),
    /// The board has no free session.
    Full(&'static str),
    /// The board or we refuse; asking again does not help.
    Denied(String),
    /// What makes no sense came.
    Garbled(String),
}

impl Trouble {
    /// A refusal with an RMCP+ status (IPMI 2.0, table 13-15).
    pub(super) fn status(status: u8, user: &str) -> Self {
        let denied = |text: &str| Self::Denied(format!("{text} (RMCP+ status 0x{status:02X})"));
        match status {
            0x01 => {
                Self::Full("all its sessions are taken: close some, or wait a minute until dead ones expire")
            }
            0x0B => {
                Self::Full("all sessions of this privilege level are taken: close some, or wait a minute")
            }
            0x04..=0x07 | 0x10 | 0x11 => denied(
                "it does not speak this cipher suite: allow suite 17 or 3 on it, or set cipher to what it speaks",
            ),
            0x09 | 0x0A => denied(&format!(
                "user {user:?} may not have this privilege level: raise it on the board, or ask for a lower one"
            )),
            0x0C | 0x0D => {
                denied(&format!("it has no user {user:?}, or the user may not log in over the network"))
            }
            0x0F => denied("the password or the board's key (K_g) is wrong"),
            _ => Self::Garbled(format!("it refuses the login with RMCP+ status 0x{status:02X}")),
        }
    }

    /// Whether a status says that the board does not have this cipher suite.
    pub(super) fn is_of_suite(status: u8) -> bool {
        matches!(status, 0x04..=0x07 | 0x10 | 0x11)
    }

    /// The password does not match what the board shows.
    pub(super) fn password(user: &str) -> Self {
        Self::Denied(format!("the password of user {user:?} is wrong"))
    }

    /// The check value does not match.
    pub(super) fn board_key(given: bool) -> Self {
        Self::Denied(if given {
            "the board's key (K_g) is wrong".into()
        } else {
            "it has a key of its own (K_g): give it in kg_file".into()
        })
    }

    /// Other algorithms than asked for.
    pub(super) fn downgrade() -> Self {
        Self::Denied("it answers with another cipher suite than was asked for, which is not accepted".into())
    }

    /// No suite that is spoken here.
    pub(super) fn suites(listed: &[u8]) -> Self {
        Self::Denied(format!(
            "it offers cipher suites {listed:?}, and only 17 and 3 are safe enough: allow one of them on it"
        ))
    }

    /// Set Session Privilege Level was refused.
    pub(super) fn privilege(user: &str, code: u8) -> Self {
        Self::Denied(format!(
            "user {user:?} cannot have this privilege level ({}): raise it on the board, or set privlvl lower",
            message::words(code)
        ))
    }
}

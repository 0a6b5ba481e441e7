//! What goes wrong in the rig, as one readable sentence.

use std::fmt;

/// What went wrong.
pub struct Error(String);

/// The result of what the rig does.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, said in words.
pub fn fail<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(what))
}

impl Error {
    /// A failure, said in words.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Puts `doing` in front of the error.
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error(format!("{doing}: {error}")))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error(doing.to_string()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

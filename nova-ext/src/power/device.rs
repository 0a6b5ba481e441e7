//! What every power device can do.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::PowerError;

/// What a device answers in its own time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, PowerError>> + Send + 'a>>;

/// How the power is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerState {
    /// On.
    On,
    /// Off.
    Off,
    /// On its way from one to the other: not off.
    Changing,
}

impl fmt::Display for PowerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Changing => "changing",
        })
    }
}

/// One look at the power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// How it is.
    pub state: PowerState,
    /// In the device's own words.
    pub said: String,
}

/// What a device can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Off at once, without asking the operating system.
    Off,
    /// On.
    On,
}

impl Order {
    /// The state it leads to.
    pub fn goal(self) -> PowerState {
        match self {
            Self::Off => PowerState::Off,
            Self::On => PowerState::On,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.goal().fmt(f)
    }
}

/// A power device of one host. It may keep a session between calls; [`close`](Self::close) ends it, and so does
/// dropping the device.
///
/// There is no `cycle`: a reset that a device makes by itself shows no state in between that could be read, so
/// [`cycle`](super::cycle) orders off, reads off, and then orders on.
pub trait Device: Send {
    /// Driver and address, for people and journals; no secrets.
    fn name(&self) -> String;

    /// Reads the power. Repeats itself over a lossy network until it has an answer.
    fn status(&mut self, until: Instant) -> Answer<'_, Look>;

    /// Gives an order, once: it is never repeated, for a late copy could hit a host that is on again. An error is
    /// [`PowerError::Unsent`] if it is certain that the order was not sent.
    fn order(&mut self, order: Order, until: Instant) -> Answer<'_, ()>;

    /// So long the answer to an order is waited for, of the time that is left; boards that take seconds to switch exist.
    fn answers_within(&self, _left: Duration) -> Duration {
        Duration::from_secs(5)
    }

    /// So long one reading may take, with its login: then another one is tried, if there is time.
    fn reads_within(&self, _left: Duration) -> Duration {
        Duration::from_secs(10)
    }

    /// Ends the session, if there is one.
    fn close(&mut self, until: Instant) -> Answer<'_, ()>;
}

//! What can be wrong with a power device, said to the operator.

use std::time::Duration;

use crate::proof::Reading;
use crate::secret::SecretError;

use super::{Order, PowerState};

/// Whether asking again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before somebody has changed something.
    Never,
    /// Yes.
    Again,
}

/// Why a device did not do or say what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// It cannot be used with these settings.
    #[error("{0}")]
    Settings(String),
    /// A password or key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Nothing listens there, or there is no way to it.
    #[error(
        "{device} cannot be reached: {why}. Check its address and port, and that this node has a way to it"
    )]
    Unreachable {
        /// Which.
        device: String,
        /// What the system said.
        why: String,
    },
    /// It says nothing.
    #[error("{device} does not answer ({waiting}). It may have lost its power together with the host")]
    Silent {
        /// Which.
        device: String,
        /// What was waited for.
        waiting: String,
    },
    /// It does not let us in, or not do this.
    #[error("{device} refuses: {why}")]
    Denied {
        /// Which.
        device: String,
        /// Why, and what to do.
        why: String,
    },
    /// It has no room for one more session.
    #[error("{device} has no room for another session: {why}")]
    Full {
        /// Which.
        device: String,
        /// Why, and what to do.
        why: String,
    },
    /// It does not carry out an order, in this state or at all.
    #[error("{device} did not accept {order}: {why}")]
    Refused {
        /// Which.
        device: String,
        /// The order.
        order: Order,
        /// What it said.
        why: String,
    },
    /// It says what makes no sense.
    #[error("{device} answers what cannot be understood: {why}")]
    Garbled {
        /// Which.
        device: String,
        /// What is wrong with it.
        why: String,
    },
    /// The order was not even sent: to give it again is to give it once.
    #[error("{0}")]
    Unsent(Box<PowerError>),
    /// The state was not read in time.
    #[error(
        "{device} did not read {goal} twice in a row within {}{}{}",
        span(*.within), last(.readings), because(.why.as_deref())
    )]
    NotReached {
        /// Which.
        device: String,
        /// What it should have read.
        goal: PowerState,
        /// The time that it had.
        within: Duration,
        /// What it read, oldest first.
        readings: Vec<Reading>,
        /// What else went wrong.
        why: Option<String>,
    },
    /// It read the state, and then another one.
    #[error("{device} read {goal} and then something else{}: something else switches it, or it is broken", last(.readings))]
    Unstable {
        /// Which.
        device: String,
        /// What it should have kept reading.
        goal: PowerState,
        /// What it read, oldest first.
        readings: Vec<Reading>,
    },
}

impl PowerError {
    /// Whether asking again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unsent(error) => error.retry(),
            Self::Settings(_) | Self::Secret(_) | Self::Denied { .. } => Retry::Never,
            _ => Retry::Again,
        }
    }

    /// What the device read before it went wrong.
    pub fn readings(&self) -> &[Reading] {
        match self {
            Self::NotReached { readings, .. } | Self::Unstable { readings, .. } => readings,
            _ => &[],
        }
    }
}

fn last(readings: &[Reading]) -> String {
    readings.last().map(|reading| format!(" (last reading: {})", reading.said)).unwrap_or_default()
}

fn span(span: Duration) -> String {
    format!("{} s", (span.as_secs_f64() * 10.0).round() / 10.0)
}

fn because(why: Option<&str>) -> String {
    why.map(|why| format!("; {why}")).unwrap_or_default()
}

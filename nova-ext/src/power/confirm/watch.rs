//! Decides from readings whether a state is reached. No device, no clock: readings and times in, steps out.
//!
//! An order is sent once. Whether one that nobody answered was lost cannot be told from one that is carried out late, and
//! a late copy could hit a host that is on again. One that was not sent at all is given again.

use std::time::Duration;

use super::Outcome;
use crate::power::{Look, Order, PowerError, PowerState, Retry};
use crate::proof::Reading;
use crate::stamp::Stamp;

/// So far apart are the two readings that show a state, at least.
pub(super) const APART: Duration = Duration::from_millis(250);
/// The first pause between readings while the state is awaited; it grows to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So many readings are kept for the report.
const KEPT: usize = 32;

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Read the power.
    Read,
    /// Give the order.
    Order,
    /// Wait, then read.
    Wait(Duration),
    /// The state is reached.
    Done(Outcome),
    /// It is not.
    Failed(PowerError),
}

/// One switching of one device.
#[derive(Debug)]
pub(super) struct Watch {
    device: String,
    order: Order,
    within: Duration,
    /// All readings, for reports.
    readings: Vec<Reading>,
    /// Those of the row that says the goal, and when the first of them came.
    row: Vec<Reading>,
    row_since: Duration,
    /// Whether the order was sent.
    ordered: bool,
    /// What was wrong with its answer, and whether none came at all.
    answer: Option<String>,
    unanswered: bool,
    pause: Duration,
    /// The last thing that went wrong beside that.
    trouble: Option<String>,
}

impl Watch {
    pub(super) fn new(device: String, order: Order, within: Duration) -> Self {
        Self {
            device,
            order,
            within,
            readings: Vec::new(),
            row: Vec::new(),
            row_since: Duration::ZERO,
            ordered: false,
            answer: None,
            unanswered: false,
            pause: FIRST_PAUSE,
            trouble: None,
        }
    }

    pub(super) fn start(&self) -> Next {
        if self.within.is_zero() { self.too_late() } else { Next::Read }
    }

    /// A reading came, or none.
    pub(super) fn heard(&mut self, look: Result<Look, PowerError>, at: Stamp, now: Duration) -> Next {
        match look {
            Ok(Look { state, said }) => self.read(state, Reading { at, said }, now),
            Err(error) => self.unread(error, now),
        }
    }

    /// The order was given; what the device answered is remembered and not believed.
    pub(super) fn ordered(&mut self, answer: Result<(), PowerError>, now: Duration) -> Next {
        match answer {
            Ok(()) => {}
            Err(PowerError::Unsent(error)) => return self.unsent(*error, now),
            Err(error) if error.retry() == Retry::Never => return Next::Failed(error),
            Err(error @ (PowerError::Silent { .. } | PowerError::Unreachable { .. })) => {
                self.answer = Some(format!("the order was sent once and its answer did not come: {error}"));
                self.unanswered = true;
            }
            Err(error) => self.answer = Some(error.to_string()),
        }
        self.ordered = true;
        self.pause = FIRST_PAUSE;
        self.wait(FIRST_PAUSE, now)
    }

    /// The order did not go out. It is given again after the next reading.
    fn unsent(&mut self, error: PowerError, now: Duration) -> Next {
        if error.retry() == Retry::Never {
            return Next::Failed(error);
        }
        self.trouble = Some(error.to_string());
        self.wait_longer(now)
    }

    fn read(&mut self, state: PowerState, reading: Reading, now: Duration) -> Next {
        if self.readings.len() == KEPT {
            self.readings.remove(0);
        }
        self.readings.push(reading.clone());
        if now > self.within {
            return self.too_late();
        }
        if state != self.order.goal() {
            return self.elsewhere(now);
        }
        if self.row.is_empty() {
            self.row_since = now;
        }
        self.row.push(reading);
        let apart = now.saturating_sub(self.row_since);
        if self.row.len() < 2 || apart < APART {
            return self.wait(APART.saturating_sub(apart), now);
        }
        Next::Done(Outcome { state, readings: std::mem::take(&mut self.row), already: !self.ordered })
    }

    /// A reading that is not the goal.
    fn elsewhere(&mut self, now: Duration) -> Next {
        let was_there = !self.row.is_empty();
        self.row.clear();
        if !self.ordered {
            return Next::Order;
        }
        if was_there {
            return Next::Failed(PowerError::Unstable {
                device: self.device.clone(),
                goal: self.order.goal(),
                readings: self.readings.clone(),
            });
        }
        self.wait_longer(now)
    }

    fn unread(&mut self, error: PowerError, now: Duration) -> Next {
        self.row.clear();
        let hopeless =
            error.retry() == Retry::Never || !self.ordered && matches!(error, PowerError::Unreachable { .. });
        if hopeless {
            return Next::Failed(error);
        }
        self.trouble = Some(error.to_string());
        if !self.ordered && self.readings.is_empty() && now + LONGEST_PAUSE > self.within {
            // It has never said anything: its own words are better than a list of no readings.
            return Next::Failed(error);
        }
        self.wait_longer(now)
    }

    fn wait_longer(&mut self, now: Duration) -> Next {
        let pause = self.pause;
        self.pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        self.wait(pause, now)
    }

    fn wait(&self, pause: Duration, now: Duration) -> Next {
        if now + pause > self.within { self.too_late() } else { Next::Wait(pause) }
    }

    fn too_late(&self) -> Next {
        let again = self.unanswered.then_some("if it was lost, trying again helps");
        let why = [self.answer.as_deref(), self.trouble.as_deref(), again];
        let why: Vec<_> = why.into_iter().flatten().collect();
        Next::Failed(PowerError::NotReached {
            device: self.device.clone(),
            goal: self.order.goal(),
            within: self.within,
            readings: self.readings.clone(),
            why: (!why.is_empty()).then(|| why.join("; ")),
        })
    }
}

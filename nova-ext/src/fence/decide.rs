//! The order of a fencing and of an unfencing: what is done next, and how it ends. Knows no clock, no device, no Nova.

mod ways;

use std::time::Duration;

use super::told::Record;
use crate::hooks::Point;
use crate::proof::FenceProof;
pub(super) use ways::{Way, Ways};

/// For the first note of the request, before Nova is told.
const FIRST_NOTE: Duration = Duration::from_secs(1);
/// For its final state.
const LAST_NOTE: Duration = Duration::from_secs(1);
/// For the node attributes.
const ANNOUNCING: Duration = Duration::from_secs(3);
/// For finding out whether an evacuation is under way.
const LOOKING: Duration = Duration::from_secs(2);
/// For the end of a proof: on disk, and for the other controllers.
const ENDING: Duration = Duration::from_secs(2);

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Prove that the host is off.
    Prove(Way, Duration),
    /// Find out whether an evacuation of the host is asked for or under way.
    Look(Duration),
    /// Power on, and read it.
    PowerOn(Duration),
    /// The proof does not hold any more.
    EndProof(Duration),
    /// Run the hooks of this point.
    Hooks(Point, Duration),
    /// Tell Nova that the host is down, and to schedule nothing there.
    Mark(Duration),
    /// Put the request on disk; with what keeps Nova from knowing, if anything does.
    Note {
        /// What is left to do in Nova; `None` once nothing is.
        open: Option<String>,
        /// Whether this agent still works on it.
        working: bool,
        /// Whether the engine is to power the host on in the end.
        power_on: bool,
        /// Limit.
        within: Duration,
    },
    /// Tell the cluster's controllers.
    Announce(Duration),
    /// It is over.
    End(End),
}

/// What has happened.
#[derive(Debug)]
pub(super) enum Input {
    /// It begins.
    Begin,
    /// The host is off.
    Proven(FenceProof),
    /// Nobody can say that it is off.
    NotProven(String),
    /// Whether an evacuation is asked for or under way, or why that cannot be told.
    Looked(Result<bool, String>),
    /// It reads on.
    On,
    /// It does not.
    NotOn(String),
    /// The proof has ended, or could not be.
    ProofEnded(Result<(), String>),
    /// The hooks have run; an error is one of a hook that must succeed.
    HooksDone(Result<(), String>),
    /// Nova was told, or not.
    Marked(Result<(), String>),
    /// The request is on disk, or not.
    Noted(Result<(), String>),
    /// The proof is neither on disk nor signed: nobody could go by it.
    ProofLost(String),
    /// The cluster was told, or not.
    Announced(Result<(), String>),
}

/// How it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Done; with what else is to be known.
    Done {
        /// What was done, in one line.
        said: String,
        /// What did not work and is left to the engine.
        left: Vec<String>,
    },
    /// Not done.
    Failed(String),
}

/// A fencing (`off`, `reboot`).
#[derive(Debug)]
pub(super) struct Fencing {
    ways: Ways,
    record: Record,
    reboot: bool,
    nova_within: Duration,
    /// When Nova has had its time.
    nova_until: Duration,
    /// What keeps Nova from knowing.
    open: Option<String>,
    proof: Option<FenceProof>,
    noted: Result<(), String>,
    noting: Noting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noting {
    First,
    Last,
}

impl Fencing {
    pub(super) fn new(ways: Ways, record: Record, reboot: bool, nova_within: Duration) -> Self {
        Self {
            ways,
            record,
            reboot,
            nova_within,
            nova_until: Duration::ZERO,
            open: Some("fence_nova is about to tell Nova".into()),
            proof: None,
            noted: Ok(()),
            noting: Noting::First,
        }
    }

    /// What shows that the host is off, once it is known.
    pub(super) fn proof(&self) -> Option<&FenceProof> {
        self.proof.as_ref()
    }

    /// What is done next; `now` is the time since it began.
    pub(super) fn handle(&mut self, input: Input, now: Duration) -> Act {
        match input {
            Input::Begin => self.prove(None, now),
            Input::NotProven(why) => self.prove(Some(why), now),
            Input::Proven(_) if self.record == Record::Nothing => {
                let said = "the host is off; record_only=disabled: nothing else is done".into();
                Act::End(End::Done { said, left: Vec::new() })
            }
            // On disk first: if this process is killed now, the engine does the rest.
            Input::Proven(proof) => {
                self.proof = Some(proof);
                self.note(Noting::First, FIRST_NOTE)
            }
            Input::Noted(noted) => match self.noting {
                Noting::First => {
                    self.nova_until = now + self.nova_within;
                    Act::Hooks(Point::BeforeForceDown, self.nova_within)
                }
                Noting::Last => {
                    self.noted = noted;
                    Act::Announce(ANNOUNCING)
                }
            },
            Input::ProofLost(why) => Act::End(End::Failed(format!(
                "the host is off, but its proof is nowhere, so nothing could be evacuated: {why}"
            ))),
            Input::HooksDone(done) => match (&self.open, done) {
                // Those after force-down.
                (None, _) => self.note(Noting::Last, LAST_NOTE),
                (Some(_), Ok(())) => Act::Mark(self.nova_until.saturating_sub(now)),
                (Some(_), Err(why)) => {
                    self.open = Some(why);
                    self.note(Noting::Last, LAST_NOTE)
                }
            },
            Input::Marked(Ok(())) => {
                self.open = None;
                match self.nova_until.saturating_sub(now) {
                    Duration::ZERO => self.note(Noting::Last, LAST_NOTE),
                    left => Act::Hooks(Point::AfterForceDown, left),
                }
            }
            Input::Marked(Err(why)) => {
                self.open = Some(why);
                self.note(Noting::Last, LAST_NOTE)
            }
            Input::Announced(announced) => Act::End(self.end(announced)),
            // Of an unfencing.
            Input::Looked(_) | Input::On | Input::NotOn(_) | Input::ProofEnded(_) => {
                Act::End(End::Failed("this makes no sense while a host is fenced".into()))
            }
        }
    }

    fn prove(&mut self, failed: Option<String>, now: Duration) -> Act {
        match self.ways.next(failed, now) {
            Ok((way, within)) => Act::Prove(way, within),
            Err(why) => Act::End(End::Failed(why)),
        }
    }

    fn note(&mut self, noting: Noting, within: Duration) -> Act {
        self.noting = noting;
        Act::Note { open: self.open.clone(), working: noting == Noting::First, power_on: self.reboot, within }
    }

    fn end(&mut self, announced: Result<(), String>) -> End {
        let noted = std::mem::replace(&mut self.noted, Ok(()));
        let mut left = Vec::new();
        if let Some(why) = &self.open {
            left.push(format!(
                "Nova does not know yet that the host is down, the engine will tell it: {why}"
            ));
        }
        match (noted, announced) {
            (Err(disk), Err(cluster)) => {
                return End::Failed(format!(
                    "the host is off, but its evacuation could not be handed over: {disk}; {cluster}"
                ));
            }
            (Err(why), Ok(())) => left.push(format!("the request is not on disk, the cluster knows it: {why}")),
            (Ok(()), Err(why)) => left.push(format!(
                "the request is on disk, but the other controllers do not know it (the next monitor tells them): {why}"
            )),
            (Ok(()), Ok(())) => {}
        }
        let reboot = if self.reboot { "; it is powered on when its guests are elsewhere" } else { "" };
        End::Done { said: format!("the host is off, and its evacuation is handed over{reboot}"), left }
    }
}

/// An unfencing (`on`).
#[derive(Debug)]
pub(super) struct Unfencing {
    /// Whether this agent switches the power.
    own: bool,
    /// Whether the proof of another device outlives its switching on.
    outlives: bool,
    record: Record,
    power_within: Duration,
    /// The power is left to the engine.
    later: bool,
    left: Vec<String>,
}

impl Unfencing {
    pub(super) fn new(own: bool, outlives: bool, record: Record, power_within: Duration) -> Self {
        Self { own, outlives, record, power_within, later: false, left: Vec::new() }
    }

    /// What is done next.
    pub(super) fn handle(&mut self, input: Input) -> Act {
        match input {
            Input::Begin if self.own => Act::Look(LOOKING),
            Input::Begin if self.record == Record::Nothing => {
                self.done("record_only=disabled: another device switches the host on, nothing is done")
            }
            Input::Begin if self.outlives => self.note(),
            Input::On if self.record == Record::Nothing => {
                self.done("the host is on; record_only=disabled: nothing else is done")
            }
            Input::On => self.note(),
            Input::ProofEnded(Ok(())) if !self.own => self.note(),
            // While guests are started elsewhere the host stays off: that is what their evacuation rests on.
            Input::Looked(Ok(true)) => {
                self.later = true;
                self.note()
            }
            Input::Looked(Err(why)) => Act::End(End::Failed(format!(
                "the cluster does not say whether it is being evacuated; it stays off: {why}"
            ))),
            // Before, for a host that may be on must not be proven off. Whoever else switches the power has done so, or
            // is about to.
            Input::Begin | Input::Looked(Ok(false)) => Act::EndProof(ENDING),
            Input::ProofEnded(Ok(())) => Act::PowerOn(self.power_within),
            Input::ProofEnded(Err(why)) => Act::End(End::Failed(format!(
                "the host is not switched on, as the proof of its being off cannot be ended: {why}"
            ))),
            Input::NotOn(why) => Act::End(End::Failed(why)),
            Input::Noted(noted) => {
                // The engine finds hosts that come back in Nova too; the request makes it quicker.
                let known = noted.is_ok();
                self.left.extend(noted.err().map(|why| format!("the request is not on disk: {why}")));
                if self.later && !known {
                    return Act::End(End::Failed(
                        "the host must stay off while it is evacuated, and the wish to power it on could not be stored"
                            .into(),
                    ));
                }
                Act::Announce(ANNOUNCING)
            }
            // The engine that evacuates it may be on another controller, where this queue is not read.
            Input::Announced(Err(why)) if self.later => Act::End(End::Failed(format!(
                "the host must stay off while it is evacuated, and the other controllers do not know that it is to be \
                 powered on then: {why}"
            ))),
            Input::Announced(announced) => {
                self.left
                    .extend(announced.err().map(|why| format!("the other controllers were not told: {why}")));
                let said = if self.later {
                    "the host is being evacuated: it is powered on when its guests are elsewhere"
                } else if self.own {
                    "the host is on; the engine lets it return to service"
                } else {
                    "the engine lets the host return to service"
                };
                self.done(said)
            }
            Input::Proven(_)
            | Input::NotProven(_)
            | Input::ProofLost(_)
            | Input::HooksDone(_)
            | Input::Marked(_) => {
                Act::End(End::Failed("this makes no sense while a host is unfenced".into()))
            }
        }
    }

    fn done(&mut self, said: &str) -> Act {
        Act::End(End::Done { said: said.into(), left: std::mem::take(&mut self.left) })
    }

    fn note(&self) -> Act {
        Act::Note { open: None, working: false, power_on: self.later, within: LAST_NOTE }
    }
}

#[cfg(test)]
mod tests;

//! What nova-compute's connections to the message bus say about it. Decisions only: time and sockets are
//! arguments.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;
use crate::sys::diag::{Phase, Socket};
use crate::verdict::Health;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No connection, and none is being asked for.
    Closed,
    /// No connection, and the broker does not answer the request for one.
    Unreachable,
    /// Nothing of what has arrived is read.
    Frozen,
    /// What has arrived on some connections is not read, on others it is.
    PartlyFrozen,
    /// What was sent is not confirmed and nothing arrives.
    Blackholed,
    /// The broker's host confirms what is sent, the broker says nothing.
    Silent,
}

impl Cause {
    /// As in evidence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Unreachable => "unreachable",
            Self::Frozen => "frozen",
            Self::PartlyFrozen => "partly-frozen",
            Self::Blackholed => "blackholed",
            Self::Silent => "silent",
        }
    }

    /// What to do next.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Closed | Self::Unreachable => {
                "see whether the broker runs and can be reached from here (transport_url in nova.conf, nc -vz \
                 BROKER 5672); other hosts without it: the broker; this host only: its network"
            }
            Self::Frozen | Self::PartlyFrozen => {
                "see what it does: kill -USR2 its process for a Guru Meditation report in its log; restart it"
            }
            Self::Blackholed => {
                "see whether the broker can be reached from here (ping, nc -vz BROKER 5672); other hosts with \
                 it: the broker's network; this host only: its own"
            }
            Self::Silent => {
                "see how the broker is (rabbitmq-diagnostics check_running, alarms); it is \
                 connected but says nothing"
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that is wrong, for how long already, and how bad that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    pub(super) health: Health,
    pub(super) lasts: Duration,
}

/// What one look at the connections says, with what was seen before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Connections that are up.
    pub(super) established: usize,
    /// Connections that are being asked for.
    pub(super) connecting: usize,
    /// Bytes that have arrived and have not been read, over all of them.
    pub(super) unread: u64,
    /// Since there was a connection.
    pub(super) none_for: Option<Duration>,
    /// Since something was read where something is to be read: the longest.
    pub(super) unread_for: Option<Duration>,
    /// Whether something was read on another connection in the meantime.
    pub(super) others_read: bool,
    /// Since data came, on any of them.
    pub(super) silent_for: Option<Duration>,
    /// Since anything came while a confirmation is owed.
    pub(super) unanswered_for: Option<Duration>,
    /// How often the oldest unconfirmed data was sent again.
    pub(super) retransmits: u8,
}

/// What was seen of one connection.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Bytes read since it was made (up to a constant).
    read: i128,
    /// Since when there is something to read and nothing has been.
    waits_since: Option<Instant>,
    /// When something was read last.
    read_at: Option<Instant>,
}

/// Keeps the past of the connections of one process.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: HashMap<u32, Seen>,
    none_since: Option<Instant>,
    heard_at: Option<Instant>,
    answered_at: Option<Instant>,
}

impl Watch {
    /// A look at all connections that the process has to the bus.
    pub(super) fn look(&mut self, now: Instant, sockets: &[Socket]) -> View {
        let mut view = View::default();
        let mut owed = false;
        self.seen.retain(|inode, _| sockets.iter().any(|socket| socket.inode == *inode));
        for socket in sockets {
            match socket.phase {
                Phase::Established => view.established += 1,
                Phase::Connecting => view.connecting += 1,
                Phase::ClosedByPeer | Phase::Closing => {}
            }
            if matches!(socket.phase, Phase::Established | Phase::ClosedByPeer) {
                view.unread += u64::from(self.queue(now, socket));
            }
            if let (Phase::Established, Some(info)) = (socket.phase, socket.info) {
                let ago = |age| now.checked_sub(age);
                if info.received > 0 {
                    self.heard_at = self.heard_at.max(ago(info.data_age));
                }
                self.answered_at = self.answered_at.max(ago(info.data_age.min(info.confirmation_age)));
                owed |= socket.unconfirmed > 0;
                view.retransmits = view.retransmits.max(info.retransmits);
            }
        }
        self.none_since = (view.established == 0).then(|| self.none_since.unwrap_or(now));
        view.none_for = self.none_since.map(|since| now - since);
        // Of one that has never said anything, the silence begins now.
        let heard_at = *self.heard_at.get_or_insert(now);
        view.silent_for = (view.established > 0).then(|| now - heard_at);
        view.unanswered_for = self.answered_at.filter(|_| owed).map(|at| now - at);
        let waits = self.seen.values().filter_map(|seen| seen.waits_since);
        if let Some(since) = waits.min() {
            view.unread_for = Some(now - since);
            view.others_read = self.seen.values().any(|seen| seen.read_at.is_some_and(|at| at > since));
        }
        view
    }

    /// Bytes that wait in a connection.
    fn queue(&mut self, now: Instant, socket: &Socket) -> u32 {
        // The end of the connection counts as one.
        let unread = socket.unread.saturating_sub(u32::from(socket.phase == Phase::ClosedByPeer));
        let received = socket.info.map_or(0, |info| info.received);
        let read = i128::from(received) - i128::from(unread);
        let waiting = unread > 0;
        let seen = self.seen.entry(socket.inode).or_insert(Seen { read, waits_since: None, read_at: None });
        if read > seen.read {
            seen.read_at = Some(now);
            seen.waits_since = None;
        }
        seen.read = read;
        seen.waits_since = waiting.then(|| seen.waits_since.unwrap_or(now));
        unread
    }
}

impl View {
    /// What is wrong, if anything; the worst and among the equal the one that explains most.
    pub(super) fn fault(&self, limits: &Limits) -> Option<Fault> {
        let faults = [self.none(limits), self.unread(limits), self.unanswered(limits), self.silent(limits)];
        faults.into_iter().flatten().reduce(|best, next| if next.health > best.health { next } else { best })
    }

    /// Until the next limit is over if nothing changes.
    pub(super) fn next_limit(&self, limits: &Limits) -> Option<Duration> {
        let left =
            |lasts: Option<Duration>, limit: Duration| limit.checked_sub(lasts?).filter(|d| !d.is_zero());
        [
            left(self.none_for, limits.closed),
            left(self.unread_for, limits.unread),
            left(self.unread_for, limits.unread * 2),
            left(self.unanswered_for, limits.unanswered),
            left(self.silent_for.filter(|silent| *silent > limits.silence / 2), limits.silence),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn none(&self, limits: &Limits) -> Option<Fault> {
        let lasts = self.none_for?;
        let cause = if self.connecting > 0 { Cause::Unreachable } else { Cause::Closed };
        let health = if lasts >= limits.closed { Health::Failed } else { Health::Degraded };
        Some(Fault { cause, health, lasts })
    }

    /// Idle connections of its pool are read from time to time only, so a while of it means nothing.
    fn unread(&self, limits: &Limits) -> Option<Fault> {
        let lasts = self.unread_for.filter(|lasts| *lasts >= limits.unread)?;
        if !self.others_read {
            return Some(Fault { cause: Cause::Frozen, health: Health::Failed, lasts });
        }
        let health = if lasts >= limits.unread * 2 { Health::Failed } else { Health::Degraded };
        Some(Fault { cause: Cause::PartlyFrozen, health, lasts })
    }

    fn unanswered(&self, limits: &Limits) -> Option<Fault> {
        let lasts = self.unanswered_for.filter(|lasts| *lasts >= limits.unanswered / 2)?;
        let health = if lasts >= limits.unanswered { Health::Failed } else { Health::Degraded };
        Some(Fault { cause: Cause::Blackholed, health, lasts })
    }

    fn silent(&self, limits: &Limits) -> Option<Fault> {
        let lasts = self.silent_for.filter(|lasts| *lasts >= limits.silence * 2 / 3)?;
        let health = if lasts >= limits.silence { Health::Failed } else { Health::Degraded };
        let cause = if self.unanswered_for.is_some() { Cause::Blackholed } else { Cause::Silent };
        Some(Fault { cause, health, lasts })
    }
}

impl Fault {
    /// In words.
    pub(super) fn reason(&self, view: &View) -> String {
        let seconds = self.lasts.as_secs();
        match self.cause {
            Cause::Closed => format!("no connection to the message bus for {seconds} s"),
            Cause::Unreachable => {
                format!("no connection to the message bus for {seconds} s, the broker does not answer")
            }
            Cause::Frozen => format!(
                "does not read the message bus for {seconds} s ({} bytes wait): frozen or busy with something",
                view.unread
            ),
            Cause::PartlyFrozen => format!(
                "does not read one of its connections to the message bus for {seconds} s ({} bytes wait), \
                 others it does",
                view.unread
            ),
            Cause::Blackholed => format!(
                "the message bus is out of reach for {seconds} s: {} connections, nothing arrives and what was \
                 sent is not confirmed",
                view.established
            ),
            Cause::Silent => format!(
                "the message bus says nothing for {seconds} s on any of {} connections",
                view.established
            ),
        }
    }
}

#[cfg(test)]
mod tests;

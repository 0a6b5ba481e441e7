//! Between checks: events are read, pings are sent, and whatever deserves a check is noted.

use std::time::{Duration, Instant};

use super::Libvirt;
use super::link::inode;
use crate::rpc::Event;
use crate::rpc::client::now;
use crate::rpc::message::{AllStates, GetControl};
use crate::verdict::Health;

/// After a check that did not go well, another one follows this much later…
const AGAIN: Duration = Duration::from_secs(1);
/// …so many times; then the caller's interval is enough.
const TIMES: u32 = 3;
/// A queue in front of the socket is worth a check when it was there for so many ticks.
const QUEUED: u32 = 3;
/// The workers are asked with every such ping.
const WORKERS: u32 = 4;

/// What the watch has seen.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// A check is due.
    due: bool,
    /// When the next ping is sent.
    tick: Option<Instant>,
    ticks: u32,
    /// Something is late, and that has been said.
    late: bool,
    /// So many ticks in a row there were connections that waited to be accepted.
    queued: u32,
    /// Domains in trouble.
    troubles: usize,
    /// When another check is due.
    again: Option<Instant>,
    /// Checks in a row that did not go well.
    bad: u32,
}

impl Watch {
    /// A check begins: what was due is done.
    pub(crate) fn begin(&mut self) {
        self.due = false;
        self.again = None;
    }

    /// A check is over. Without a connection nothing will be told, such as the end of a daemon that is being stopped.
    pub(crate) fn end(&mut self, health: Health, linked: bool, late: bool, troubles: usize, now: Instant) {
        (self.late, self.troubles) = (late, troubles);
        let is_bad = health >= Health::Failed || health == Health::Degraded && !linked;
        self.bad = if is_bad { self.bad.saturating_add(1) } else { 0 };
        self.again = (1..=TIMES).contains(&self.bad).then(|| now + AGAIN);
    }

    /// A check is due.
    pub(crate) fn due(&mut self) {
        self.due = true;
    }
}

impl Libvirt {
    pub(super) async fn wait_for_change(&mut self) {
        loop {
            self.take_events();
            if self.watch.due {
                return;
            }
            let now = now();
            if self.watch.again.is_some_and(|again| again <= now) {
                self.watch.again = None;
                self.watch.due = true;
                return;
            }
            let again = self.watch.again;
            let tick = *self.watch.tick.get_or_insert(now + self.settings.watch);
            let Some(link) = &mut self.link else {
                match again {
                    Some(again) => tokio::time::sleep_until(again.into()).await,
                    None => std::future::pending().await,
                }
                continue;
            };
            if tick <= now {
                self.watch.tick = Some(now + self.settings.watch);
                self.tick(now);
                continue;
            }
            let until = again.map_or(tick, |again| again.min(tick));
            if link.client.turn(until).await.is_err() {
                self.lose();
                self.watch.due = true;
            }
        }
    }

    /// Sends a ping and, now and then, the question for all states; notes what is late, or late no longer.
    fn tick(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        if link.file.is_some() && inode(&link.path) != link.file {
            self.lose();
            self.watch.due = true;
            return;
        }
        self.watch.ticks = self.watch.ticks.wrapping_add(1);
        if link.client.session().unanswered_ping().is_none() {
            link.client.session().ping(now);
        }
        match link.asked.states {
            // The answer is of no use now: a check asks anew.
            Some(ticket) if link.client.session().unanswered(ticket).is_none() => {
                link.client.session().forget(ticket);
                link.asked.states = None;
            }
            None if self.watch.ticks.is_multiple_of(WORKERS) => {
                link.client.call_once(&mut link.asked.states, &AllStates { active: true });
            }
            _ => {}
        }
        let late = link.is_late(self.settings.deadlines, now);
        if let Some((name, ticket)) = &link.asked.monitor {
            // A check says what is late.
            if let Some(answer) = link.client.session().answer(*ticket) {
                self.guests.told(name, answer.ok(), now);
                link.asked.monitor = None;
            }
        }
        if link.asked.monitor.is_none()
            && let Some(name) = self.guests.monitors(1).pop()
        {
            let ticket = link.client.call(&GetControl(name.clone()));
            link.asked.monitor = Some((name, ticket));
        }
        let waiting = link.listener.and_then(|listener| listener.backlog().ok().flatten());
        let queued = if waiting.is_some_and(|backlog| backlog.waiting > 0) {
            self.watch.queued.saturating_add(1)
        } else {
            0
        };
        let crowded = (self.watch.queued >= QUEUED, queued >= QUEUED);
        self.watch.queued = queued;
        let folders = self.run_folders();
        self.guests.look(&folders, now, self.settings.round);
        let troubles = self.guests.troubles(now, self.settings.occupied).len();
        if troubles != self.watch.troubles {
            self.watch.troubles = troubles;
            self.watch.due = true;
        }
        if late != self.watch.late || crowded.0 != crowded.1 {
            self.watch.late = late;
            self.watch.due = true;
        }
    }

    /// Reads what the daemon told of itself.
    pub(super) fn take_events(&mut self) {
        let Some(link) = &mut self.link else { return };
        let session = link.client.session();
        let mut bad = session.missed_events() > 0;
        while let Some(event) = session.event() {
            bad |= Event::is_bad(&event);
        }
        if bad {
            self.watch.due();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_go_well_is_looked_at_again_a_few_times() {
        let now = now();
        for (health, linked, again) in [
            (Health::Ok, true, false),
            (Health::Degraded, true, false),
            // It may be overloaded, or about to end.
            (Health::Degraded, false, true),
            (Health::Failed, true, true),
            (Health::Failed, false, true),
        ] {
            let mut watch = Watch::default();
            for _ in 0..TIMES {
                watch.end(health, linked, false, 0, now);
                assert_eq!(watch.again, again.then(|| now + AGAIN), "{health:?} {linked}");
            }
            watch.end(health, linked, false, 0, now);
            assert_eq!(watch.again, None, "{health:?} {linked}");
        }
    }
}

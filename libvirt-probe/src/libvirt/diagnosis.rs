//! What it means that a daemon does not answer, in words for the operator. Pure.

use std::time::Duration;

use super::backlog::Backlog;
use super::daemon::{Condition, Look};
use crate::verdict::{Finding, Health, Step};

/// What was tried and not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A new connection.
    Connection {
        /// A ping over it was answered.
        pong: bool,
    },
    /// A ping over a connection that has worked before.
    Ping,
}

/// What is known about the silence.
#[derive(Debug, Clone)]
pub(crate) struct Silence {
    /// What was tried.
    pub(crate) asked: Asked,
    /// The daemon.
    pub(crate) look: Look,
    /// What waits in front of its socket.
    pub(crate) backlog: Option<Backlog>,
    /// How long this try waited.
    pub(crate) waited: Duration,
    /// Since the first try that was not answered.
    pub(crate) silent: Duration,
    /// A busy daemon has failed after this.
    pub(crate) patience: Duration,
}

impl Silence {
    /// The finding.
    pub(crate) fn finding(&self) -> Finding {
        let Self { look, waited, .. } = self;
        let name = if look.name.is_empty() { "libvirt" } else { &look.name };
        let unit = if look.name.is_empty() { "libvirtd" } else { &look.name };
        let pid = look.process.map_or_else(|| "PID".to_owned(), |process| process.pid.to_string());
        let restart = format!("systemctl restart {unit} (guests go on running)");
        let hung = |reason: String| Finding::new(Step::EventLoop, Health::Failed, reason, *waited);
        let queued = self.backlog.filter(|backlog| backlog.waiting > 0);
        let slots =
            || Finding::new(Step::Connect, Health::Degraded, overloaded(name, queued), *waited).advise(SLOTS);
        let finding = match look.condition {
            Condition::Stopped => hung(format!("{name} is stopped (state T)"))
                .advise(format!("kill -CONT {pid}; find out who sent it SIGSTOP"))
                .at_once(),
            Condition::Frozen => hung(format!("{name} is frozen with its control group"))
                .advise(format!("systemctl thaw {unit}, or podman unpause its container"))
                .at_once(),
            Condition::Traced => hung(format!("{name} is held by a debugger (state t)"))
                .advise(format!("grep TracerPid /proc/{pid}/status names it: end it")),
            Condition::Blocked => hung(format!("{name} is blocked in the kernel (state D)")).advise(format!(
                "cat /proc/{pid}/stack shows where: usually a disk or network file system that does not answer; \
                 until it does, the process cannot even be killed"
            )),
            Condition::Gone => {
                let reason = format!("{name} has ended");
                Finding::new(Step::Connect, Health::Failed, reason, *waited)
                    .advise(format!("systemctl status {unit}; journalctl -u {unit} -n 50"))
                    .at_once()
            }
            Condition::Busy if self.silent < self.patience => {
                let step = if self.asked == Asked::Ping { Step::EventLoop } else { Step::Connect };
                let reason = format!("{name} is overloaded: it computes and does not get to answering");
                Finding::new(step, Health::Degraded, reason, *waited)
                    .advise(format!("top -H -p {pid} shows which thread; who asks: ss -xp"))
            }
            Condition::Busy => {
                let silent = self.silent.as_secs();
                hung(format!("{name} has computed for {silent} s without answering")).advise(restart)
            }
            Condition::Idle if matches!(self.asked, Asked::Connection { pong: false }) && queued.is_some() => {
                slots()
            }
            // Nobody can say how long the queue is, but the event loop waits for events as it should.
            Condition::Idle
                if matches!(self.asked, Asked::Connection { pong: false })
                    && self.backlog.is_none()
                    && self.silent < self.patience =>
            {
                slots()
            }
            _ if self.asked == (Asked::Connection { pong: true }) => {
                let reason = format!("{name} accepts connections and answers pings, but no calls");
                Finding::new(Step::Call, Health::Failed, reason, *waited).advise(restart)
            }
            Condition::Locked => hung(format!("the event loop of {name} hangs")).advise(format!(
                "keep the evidence: gcore {pid}; then {restart}"
            )),
            Condition::Idle | Condition::Asleep | Condition::Hidden => {
                hung(format!("{name} does not answer")).advise(restart)
            }
        };
        self.evidence(finding)
    }

    fn evidence(&self, mut finding: Finding) -> Finding {
        let Self { look, backlog, .. } = self;
        if let Some(process) = look.process {
            finding = finding.with("pid", process.pid);
        }
        if let Some(state) = look.state {
            finding = finding.with("state", state);
        }
        if let Some(channel) = &look.channel {
            finding = finding.with("wchan", channel);
        }
        if let Some(backlog) = backlog {
            finding = finding.with("waiting-connections", backlog.waiting);
        }
        finding
    }
}

/// A daemon that lets nobody in.
pub(crate) fn overloaded(name: &str, backlog: Option<Backlog>) -> String {
    match backlog {
        Some(Backlog { waiting, .. }) => {
            let wait = if waiting == 1 { "connection waits" } else { "connections wait" };
            format!("{name} is overloaded: all client slots are taken, {waiting} {wait}")
        }
        None => format!("{name} is overloaded: it accepts no connections"),
    }
}

/// What to do about it.
pub(crate) const SLOTS: &str = "ss -xp shows who holds the connections; max_clients and max_anonymous_clients in \
                                libvirtd.conf (virtqemud.conf) are the limits";

#[cfg(test)]
mod tests {
    use super::super::process::Process;
    use super::*;

    fn silence(condition: Condition, asked: Asked, waiting: Option<u32>) -> Silence {
        let process = Some(Process { pid: 7, started: 1 });
        let look = Look { condition, process, name: "libvirtd".into(), state: Some('S'), channel: None };
        Silence {
            asked,
            look,
            backlog: waiting.map(|waiting| Backlog { waiting, limit: 20 }),
            waited: Duration::from_secs(2),
            silent: Duration::from_secs(2),
            patience: Duration::from_secs(30),
        }
    }

    const NEW: Asked = Asked::Connection { pong: false };

    #[test]
    fn stopped_blocked_overloaded_and_hung_are_told_apart() {
        use Condition::{Blocked, Busy, Frozen, Gone, Hidden, Idle, Locked, Stopped};
        for (condition, asked, waiting, step, health, word) in [
            (Stopped, NEW, Some(1), Step::EventLoop, Health::Failed, "stopped"),
            (Stopped, Asked::Ping, None, Step::EventLoop, Health::Failed, "stopped"),
            (Frozen, NEW, Some(1), Step::EventLoop, Health::Failed, "frozen"),
            (Blocked, NEW, Some(3), Step::EventLoop, Health::Failed, "blocked"),
            (Locked, NEW, Some(3), Step::EventLoop, Health::Failed, "hangs"),
            (Locked, Asked::Ping, Some(0), Step::EventLoop, Health::Failed, "hangs"),
            (Gone, NEW, None, Step::Connect, Health::Failed, "ended"),
            (Busy, NEW, Some(3), Step::Connect, Health::Degraded, "overloaded"),
            (Busy, Asked::Ping, Some(0), Step::EventLoop, Health::Degraded, "overloaded"),
            (Idle, NEW, Some(3), Step::Connect, Health::Degraded, "3 connections wait"),
            (Idle, NEW, None, Step::Connect, Health::Degraded, "overloaded"),
            (Idle, NEW, Some(0), Step::EventLoop, Health::Failed, "does not answer"),
            (Idle, Asked::Ping, Some(3), Step::EventLoop, Health::Failed, "does not answer"),
            (Idle, Asked::Connection { pong: true }, Some(0), Step::Call, Health::Failed, "no calls"),
            (Hidden, NEW, None, Step::EventLoop, Health::Failed, "does not answer"),
        ] {
            let finding = silence(condition, asked, waiting).finding();
            assert_eq!((finding.step, finding.health), (step, health), "{condition:?} {asked:?} {waiting:?}");
            assert!(finding.reason.contains(word), "{}", finding.reason);
            assert!(!finding.advice.is_empty());
        }
    }

    #[test]
    fn a_busy_daemon_is_not_believed_for_ever() {
        let mut silence = silence(Condition::Busy, NEW, Some(1));
        silence.silent = Duration::from_secs(31);
        let finding = silence.finding();
        assert_eq!((finding.step, finding.health), (Step::EventLoop, Health::Failed));
    }

    #[test]
    fn only_what_cannot_get_better_by_itself_is_certain() {
        for (condition, certain) in [
            (Condition::Stopped, true),
            (Condition::Gone, true),
            (Condition::Locked, false),
            (Condition::Blocked, false),
        ] {
            assert_eq!(silence(condition, Asked::Ping, None).finding().certain, certain);
        }
    }
}

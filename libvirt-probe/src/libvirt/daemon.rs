//! Why a daemon does not answer: stopped, blocked, overloaded, hung, or not there.

use std::time::Duration;

use super::process::{Process, Stat, State};

/// How long a daemon is looked at before it is said what it does.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// What a daemon does while it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It was sent SIGSTOP (T).
    Stopped,
    /// Its control group is frozen.
    Frozen,
    /// A debugger holds it (t).
    Traced,
    /// It waits in the kernel and cannot be interrupted (D).
    Blocked,
    /// It has ended.
    Gone,
    /// It computes.
    Busy,
    /// Its event loop waits for something to do.
    Idle,
    /// Its event loop sleeps where no event wakes it.
    Locked,
    /// Its event loop sleeps; the kernel does not say where.
    Asleep,
    /// Nothing can be learnt.
    Hidden,
}

/// A daemon, as looked at twice.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// What it does.
    pub(crate) condition: Condition,
    /// Which process, if that is known.
    pub(crate) process: Option<Process>,
    /// Name of its program.
    pub(crate) name: String,
    /// Letter of its state.
    pub(crate) state: Option<char>,
    /// Where in the kernel it sleeps.
    pub(crate) channel: Option<String>,
}

impl Look {
    /// Looks at it, for a moment.
    pub(crate) async fn at(process: Option<Process>) -> Self {
        let Some(known) = process else {
            return Self {
                condition: Condition::Hidden,
                process,
                name: String::new(),
                state: None,
                channel: None,
            };
        };
        let before = known.main_thread();
        let mut after = before.clone();
        if before.as_ref().is_some_and(|stat| matches!(stat.state, State::Alive | State::Blocked)) {
            tokio::time::sleep(LOOK).await;
            after = known.main_thread();
        }
        let channel = known.wait_channel();
        let condition = judge(before.as_ref(), after.as_ref(), channel.as_deref());
        let name = before.map(|stat| stat.name).unwrap_or_default();
        Self { condition, process, name, state: after.map(|stat| stat.letter), channel }
    }
}

/// Where in the kernel the tasks of a frozen control group sleep, by its releases.
const FREEZERS: [&str; 3] = ["freezer", "refrigerator", "get_signal"];

/// What two looks at the first thread and the place where it sleeps mean.
fn judge(before: Option<&Stat>, after: Option<&Stat>, channel: Option<&str>) -> Condition {
    let (Some(before), Some(after)) = (before, after) else { return Condition::Gone };
    let worked = before.ticks != after.ticks;
    match after.state {
        State::Stopped => Condition::Stopped,
        State::Traced => Condition::Traced,
        State::Dead => Condition::Gone,
        // Shown as S, or as D by version 1 of control groups.
        _ if channel.is_some_and(|channel| FREEZERS.iter().any(|name| channel.contains(name))) => {
            Condition::Frozen
        }
        State::Blocked if before.state == State::Blocked && !worked => Condition::Blocked,
        _ if worked || after.letter == 'R' => Condition::Busy,
        _ => match channel {
            Some(channel) if channel.contains("poll") => Condition::Idle,
            Some(_) => Condition::Locked,
            None => Condition::Asleep,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(letter: char, ticks: u64) -> Stat {
        let text = format!("7 (libvirtd) {letter} 1 7 7 0 -1 4 9 8 7 6 {ticks} 0 33 44 20 0 3 0 5 1 2 3");
        crate::sys::proc::parse_stat(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_condition_for_each_look() {
        let poll = Some("poll_schedule_timeout.constprop.0");
        let futex = Some("futex_wait_queue");
        for (before, after, channel, expected) in [
            (('S', 5), ('T', 5), poll, Condition::Stopped),
            (('T', 5), ('T', 5), None, Condition::Stopped),
            (('S', 5), ('S', 5), Some("do_freezer_trap"), Condition::Frozen),
            (('S', 5), ('S', 5), Some("get_signal"), Condition::Frozen),
            (('D', 5), ('D', 5), Some("__refrigerator"), Condition::Frozen),
            (('t', 5), ('t', 5), None, Condition::Traced),
            (('S', 5), ('Z', 5), None, Condition::Gone),
            (('D', 5), ('D', 5), Some("io_schedule"), Condition::Blocked),
            (('D', 5), ('D', 6), Some("io_schedule"), Condition::Busy),
            (('R', 5), ('R', 5), None, Condition::Busy),
            (('S', 5), ('S', 9), poll, Condition::Busy),
            (('S', 5), ('S', 5), poll, Condition::Idle),
            (('D', 5), ('S', 5), poll, Condition::Idle),
            (('S', 5), ('S', 5), futex, Condition::Locked),
            (('S', 5), ('S', 5), None, Condition::Asleep),
        ] {
            let (before, after) = (stat(before.0, before.1), stat(after.0, after.1));
            assert_eq!(judge(Some(&before), Some(&after), channel), expected, "{before:?} {after:?}");
        }
        assert_eq!(judge(None, None, None), Condition::Gone);
        assert_eq!(judge(Some(&stat('S', 1)), None, None), Condition::Gone);
    }
}

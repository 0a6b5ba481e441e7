//! Runs of agents: whose turn it is, how long they may take, and what becomes of their results.

use pcmk_proto::lrmd::{Message, Notify, OpResult};
use pcmk_proto::types::{ExecStatus, OcfRc, ResourceId};
use tracing::{debug, info, warn};

use super::core::Executor;
use super::operation::{CmdId, Command, State};
use super::permit::{audit_end, audit_refused};
use super::text::{action_kind, readable_interval};
use super::{Action, Now};
use crate::agent::{Outcome, builtin};
use crate::ids::{ClientId, OpId};

/// How long a killed agent may take to die before its timeout is reported all the same.
const DEATH_GRACE_MS: u64 = 5000;

const SECOND_MS: u64 = 1000;

/// One run of an agent, from start to the death of its process.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) rsc: ResourceId,
    /// `None` once nobody waits for the result (cancelled).
    pub(super) command: Option<CmdId>,
    timeout: Option<TimedOut>,
}

impl Run {
    /// It was killed and does not die.
    pub(super) fn is_undead(&self) -> bool {
        self.timeout == Some(TimedOut::Reported)
    }
}

/// What a run that exceeded its timeout still owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimedOut {
    /// Killed; the timeout is reported when it dies.
    Unreported,
    /// It would not die, and the cluster has been told.
    Reported,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A start delay or an interval is over.
    Wake(CmdId),
    /// A run has used up its timeout.
    Deadline(OpId),
    /// A killed run should be dead by now.
    Grace(OpId),
}

impl Executor {
    pub(super) fn tick(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop_due(now.mono) {
            match timer {
                Timer::Wake(key) => self.wake(key, now),
                Timer::Deadline(op) => self.time_out(op, now),
                Timer::Grace(op) => self.report_undead(op, now),
            }
        }
    }

    pub(super) fn spawned(&mut self, op: OpId, pid: u32) {
        if let Some(command) =
            self.runs.get(&op).and_then(|run| run.command).and_then(|key| self.commands.get_mut(&key))
        {
            command.pid = Some(pid);
        }
    }

    /// Starts the operation whose turn it is, if the resource is free. Those that the policy forbids end
    /// without having been started.
    pub(super) fn start_next(&mut self, id: &ResourceId, now: Now) {
        while !self.busy.contains_key(id) {
            let Some((key, first)) = self.take_next(id) else { return };
            match self.refusal(key) {
                None => return self.start(id, key, now),
                Some(outcome) => self.refuse(key, first, outcome, now),
            }
        }
    }

    /// The operation whose turn it is, out of its queue, and whether it was never run.
    fn take_next(&mut self, id: &ResourceId) -> Option<(CmdId, bool)> {
        let resource = self.resources.get(id)?;
        let turn_of = |key: &CmdId| match self.commands.get(key).map(|command| command.state) {
            Some(State::Pending(turn) | State::Due(turn)) => Some(turn),
            _ => None, // a start delay holds up everything behind it
        };
        let pending = resource.pending.front().and_then(turn_of);
        let due = resource.due.front().and_then(turn_of);
        let from_due = match (pending, due) {
            (None, None) => return None,
            (Some(pending), Some(due)) => due < pending,
            (pending, _) => pending.is_none(),
        };
        let resource = self.resources.get_mut(id)?;
        let queue = if from_due { &mut resource.due } else { &mut resource.pending };
        let key = queue.pop_front()?;
        if !from_due && self.commands.get(&key)?.is_recurring() {
            resource.established.push(key);
        }
        Some((key, !from_due))
    }

    fn refuse(&mut self, key: CmdId, first: bool, outcome: Outcome, now: Now) {
        if let Some(command) = self.commands.get_mut(&key) {
            command.skip(now);
        }
        self.report(key, outcome, now, |command, result| {
            if first {
                audit_refused(command, result);
            }
        });
        self.settle(key, now);
    }

    fn start(&mut self, id: &ResourceId, key: CmdId, now: Now) {
        let op = self.new_run();
        let Some(command) = self.commands.get_mut(&key) else { return };
        command.begin(op, now);
        let line = format!("executing - rsc:{id} action:{} call_id:{}", command.action, command.call_id);
        if is_monitor(&command.action) {
            debug!("{line}");
        } else {
            info!("{line}");
        }
        if command.timeout_ms > 0 {
            self.timers.arm(Timer::Deadline(op), now.mono.plus(u64::from(command.timeout_ms)));
        }
        self.out.push(Action::Start { op, call: command.call() });
        self.busy.insert(id.clone(), op);
        self.runs.insert(op, Run { rsc: id.clone(), command: Some(key), timeout: None });
    }

    pub(super) fn finished(&mut self, op: OpId, outcome: Outcome, now: Now) {
        let Some(run) = self.runs.remove(&op) else { return };
        self.timers.disarm(Timer::Deadline(op));
        self.timers.disarm(Timer::Grace(op));
        self.busy.remove(&run.rsc);
        if let Some(key) = run.command {
            if let Some(command) = self.commands.get(&key) {
                self.active.note(command, &outcome, self.settings.max_resources);
            }
            match run.timeout {
                None => self.conclude(key, outcome, now),
                Some(TimedOut::Unreported) => self.conclude(key, self.timeout_outcome(key, outcome), now),
                Some(TimedOut::Reported) => {}
            }
            self.settle(key, now);
        }
        self.start_next(&run.rsc, now);
    }

    /// Cancels one operation wherever it is. A killed agent keeps its resource occupied until it is dead,
    /// but nobody has to wait for that to hear of the cancellation.
    pub(super) fn cancel_command(&mut self, key: CmdId, deleted: bool, now: Now) {
        let Some(mut command) = self.commands.remove(&key) else { return };
        self.timers.disarm(Timer::Wake(key));
        if let Some(resource) = self.resources.get_mut(&command.rsc) {
            resource.pending.retain(|other| *other != key);
            resource.due.retain(|other| *other != key);
            resource.established.retain(|other| *other != key);
        }
        Self::remember_cancelled(&mut self.record, &mut command, now);
        let result = command.cancel(deleted, now);
        if let State::Running(op) = command.state
            && let Some(run) = self.runs.get_mut(&op)
        {
            run.command = None;
            if run.timeout.is_none() {
                self.out.push(Action::Kill { op });
            }
            self.timers.disarm(Timer::Deadline(op));
            self.timers.disarm(Timer::Grace(op));
        }
        log_result(&result, command.pid);
        audit_end(&command, &result);
        let only = command.options.notify_orig_only().then_some(command.client);
        self.publish(result, only);
    }

    /// Cancels the recurring operations of a resource, or only those that a client asked for.
    pub(super) fn cancel_recurring(&mut self, id: &ResourceId, whose: Option<ClientId>, now: Now) {
        let Some(resource) = self.resources.get(id) else { return };
        let all: Vec<CmdId> = resource.established.iter().chain(&resource.pending).copied().collect();
        for key in all {
            let meant = self.commands.get(&key).is_some_and(|command| {
                command.is_recurring() && whose.is_none_or(|client| client == command.client)
            });
            if meant {
                self.cancel_command(key, false, now);
            }
        }
        if whose.is_some() {
            self.start_next(id, now);
        }
    }

    /// Removes a registration: what never ran or recurs is cancelled, what runs once goes on and is
    /// reported as belonging to a deleted resource.
    pub(super) fn abandon(&mut self, id: &ResourceId, deleted: bool, now: Now) {
        let Some(resource) = self.resources.remove(id) else { return };
        if builtin::kind(&resource.agent).is_some() {
            self.out.push(Action::Forget { resource: id.clone() });
        }
        for key in resource.pending.into_iter().chain(resource.established) {
            self.cancel_command(key, deleted, now);
        }
        if let Some(key) = self.running_command(id)
            && let Some(command) = self.commands.get_mut(&key)
        {
            command.orphaned = true;
        }
    }

    /// The operation that runs on a resource and whose result somebody waits for.
    pub(super) fn running_command(&self, id: &ResourceId) -> Option<CmdId> {
        self.busy.get(id).and_then(|op| self.runs.get(op)).and_then(|run| run.command)
    }

    fn wake(&mut self, key: CmdId, now: Now) {
        let turn = self.turn();
        let Some(command) = self.commands.get_mut(&key) else { return };
        let id = command.rsc.clone();
        match command.state {
            State::Delayed => command.state = State::Pending(turn),
            State::Sleeping => {
                command.state = State::Due(turn);
                command.queue(now);
                if let Some(resource) = self.resources.get_mut(&id) {
                    resource.due.push_back(key);
                }
            }
            State::Pending(_) | State::Running(_) | State::Due(_) => return,
        }
        self.start_next(&id, now);
    }

    /// Runs a resource's recurring monitor now instead of at its next interval, which then counts from here. Of
    /// several, the most frequent. One that waits for its turn or runs already will tell soon enough.
    pub(super) fn hurry(&mut self, id: &ResourceId, now: Now) {
        let Some(resource) = self.resources.get(id) else { return };
        let asleep = |key: &CmdId| {
            let command = self.commands.get(key)?;
            let asleep = command.state == State::Sleeping && is_monitor(&command.action);
            asleep.then_some((command.interval_ms, *key))
        };
        if let Some((_, key)) = resource.established.iter().filter_map(asleep).min() {
            info!("Monitoring {id} at once, for there is bad news about it");
            if self.commands.get(&key).is_some_and(|command| command.is_too_soon(now)) {
                let next = now.mono.plus(SECOND_MS);
                self.timers.arm(
                    Timer::Wake(key),
                    self.timers.deadline(Timer::Wake(key)).map_or(next, |at| at.min(next)),
                );
                return;
            }
            self.timers.disarm(Timer::Wake(key));
            self.wake(key, now);
        }
    }

    fn time_out(&mut self, op: OpId, now: Now) {
        let Some(run) = self.runs.get_mut(&op) else { return };
        run.timeout = Some(TimedOut::Unreported);
        self.out.push(Action::Kill { op });
        self.timers.arm(Timer::Grace(op), now.mono.plus(DEATH_GRACE_MS));
    }

    /// A process that SIGKILL does not end (it waits in the kernel, for a disk or NFS server) keeps its
    /// resource, but the cluster learns now that the action failed.
    fn report_undead(&mut self, op: OpId, now: Now) {
        let Some(run) = self.runs.get_mut(&op) else { return };
        run.timeout = Some(TimedOut::Reported);
        let Some(key) = run.command else { return };
        warn!(
            "Agent process of {} does not die of SIGKILL; the resource stays blocked until it does",
            run.rsc
        );
        let killed = Outcome {
            rc: OcfRc::UNKNOWN_ERROR,
            raw_rc: OcfRc::UNKNOWN_ERROR.0,
            status: ExecStatus::Timeout,
            exit_reason: None,
            output: None,
        };
        let mut outcome = self.timeout_outcome(key, killed);
        if let Some(reason) = &mut outcome.exit_reason {
            reason.push_str(" and cannot be killed");
        }
        self.conclude(key, outcome, now);
        if self.commands.get(&key).is_some_and(|command| !command.is_recurring()) {
            self.commands.remove(&key);
            if let Some(run) = self.runs.get_mut(&op) {
                run.command = None;
            }
        }
    }

    fn timeout_outcome(&self, key: CmdId, outcome: Outcome) -> Outcome {
        let exit_reason = self.commands.get(&key).map(|command| {
            let kind = action_kind(&command.agent.class);
            let limit = readable_interval(u64::from(command.timeout_ms));
            format!("{kind} did not complete within {limit}")
        });
        Outcome {
            rc: OcfRc::UNKNOWN_ERROR,
            raw_rc: OcfRc::UNKNOWN_ERROR.0,
            status: ExecStatus::Timeout,
            exit_reason,
            output: outcome.output,
        }
    }

    /// Reports the result of a run and writes it down.
    fn conclude(&mut self, key: CmdId, outcome: Outcome, now: Now) {
        self.remember(key, &outcome, now);
        self.report(key, outcome, now, audit_end);
    }

    fn report(&mut self, key: CmdId, outcome: Outcome, now: Now, note: impl FnOnce(&Command, &OpResult)) {
        let Some(command) = self.commands.get_mut(&key) else { return };
        let deleted = command.orphaned && !self.resources.contains_key(&command.rsc);
        let only = command.options.notify_orig_only().then_some(command.client);
        if let Some(result) = command.finish(outcome, deleted, now) {
            log_result(&result, command.pid);
            note(command, &result);
            self.publish(result, only);
        }
    }

    /// After a run: a recurring operation sleeps until its next, any other is done.
    fn settle(&mut self, key: CmdId, now: Now) {
        let Some(command) = self.commands.get_mut(&key) else { return };
        if command.is_recurring() && !command.orphaned {
            command.state = State::Sleeping;
            // Counted from completion: a slow agent does not run back to back.
            self.timers.arm(Timer::Wake(key), now.mono.plus(u64::from(command.interval_ms)));
        } else {
            self.commands.remove(&key);
        }
    }

    fn publish(&mut self, result: OpResult, only: Option<ClientId>) {
        let to = match only {
            Some(client) if self.clients.name(client).is_some() => vec![client],
            Some(_) => Vec::new(),
            None => self.clients.result_listeners(),
        };
        self.send(to, Message::Notify(Notify::Result(Box::new(result))));
    }
}

fn is_monitor(action: &str) -> bool {
    action.eq_ignore_ascii_case("monitor")
}

fn log_result(result: &OpResult, pid: Option<u32>) {
    let pid = pid.map(|pid| format!(", PID {pid}")).unwrap_or_default();
    let how = if result.status == ExecStatus::Done {
        format!("exited with status {}", result.rc.0)
    } else {
        format!("could not be executed: {:?}", result.status)
    };
    let reason = result.exit_reason.as_deref().map(|text| format!(" ({text})")).unwrap_or_default();
    let queued = if result.queue_time_ms > 0 {
        format!(" after being queued {}", readable_interval(result.queue_time_ms))
    } else {
        String::new()
    };
    let line = format!(
        "{} {} (call {}{pid}) {how}{reason} (execution time {}{queued})",
        result.id,
        result.action,
        result.call_id,
        readable_interval(result.exec_time_ms)
    );
    if is_monitor(&result.action) {
        debug!("{line}");
    } else {
        info!("{line}");
    }
}

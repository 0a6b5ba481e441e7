//! What the executor remembers for the operator: counters, the latest results, and the present state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pcmk_proto::lrmd::Operation;
use pcmk_proto::types::{ExecStatus, OcfRc};

use super::core::Executor;
use super::operation::{CmdId, Command, State};
use super::run::Timer;
use super::{Mono, Now};
use crate::agent;
use crate::status::{self, ActionCounters, BUCKETS_MS, MAX_LISTED, Outcome, Phase, Status, Verdict};

/// Results that are remembered: about 60 KB.
const HISTORY: usize = 256;
/// Longest exit reason that is remembered.
const REASON: usize = 256;

/// Actions with counters of their own. Their number must not depend on what peers invent.
const ACTIONS: [&str; 13] = [
    "start",
    "stop",
    "monitor",
    "status",
    "promote",
    "demote",
    "notify",
    "reload",
    "reload-agent",
    "meta-data",
    "validate-all",
    "migrate_to",
    "migrate_from",
];

/// Counters and the latest results.
#[derive(Debug, Default)]
pub(super) struct Record {
    history: VecDeque<Arc<Outcome>>,
    requests: BTreeMap<&'static str, u64>,
    actions: BTreeMap<&'static str, ActionCounters>,
}

impl Record {
    /// A request came.
    pub(super) fn request(&mut self, operation: &Operation) {
        self.count(match operation {
            Operation::Register { .. } => "register",
            Operation::ResourceRegister { .. } => "resource_register",
            Operation::ResourceInfo { .. } => "resource_info",
            Operation::ResourceUnregister { .. } => "resource_unregister",
            Operation::Exec(_) => "exec",
            Operation::Cancel { .. } => "cancel",
            Operation::Poke { .. } => "poke",
            Operation::Check { .. } => "check",
            Operation::Recurring { .. } => "recurring",
            Operation::Alert(_) => "alert",
            Operation::IpcForward(_) => "ipc_forward",
            Operation::Other(_) => "other",
        });
    }

    /// A request came that makes no sense.
    pub(super) fn unreadable(&mut self) {
        self.count("unreadable");
    }

    fn count(&mut self, kind: &'static str) {
        let count = self.requests.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// An operation has ended, or a run of it; `last` is the result before.
    fn result(&mut self, outcome: &Arc<Outcome>, last: Option<&Outcome>) {
        let known = ACTIONS.into_iter().find(|action| outcome.action.eq_ignore_ascii_case(action));
        let counters = self.actions.entry(known.unwrap_or("other")).or_default();
        let results = counters.results.entry(outcome.verdict).or_default();
        *results = results.saturating_add(1);
        if outcome.verdict != Verdict::Cancelled {
            counters.buckets.resize(BUCKETS_MS.len() + 1, 0);
            let place =
                BUCKETS_MS.iter().position(|limit| outcome.ran_ms <= *limit).unwrap_or(BUCKETS_MS.len());
            if let Some(bucket) = counters.buckets.get_mut(place) {
                *bucket = bucket.saturating_add(1);
            }
            counters.total_ms = counters.total_ms.saturating_add(outcome.ran_ms);
        }
        // A monitor that says the same every few seconds must not push everything else out.
        if outcome.interval_ms > 0 && last.is_some_and(|last| same_news(last, outcome)) {
            return;
        }
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Arc::clone(outcome));
    }
}

impl Executor {
    /// Remembers the result of a run or the cancellation of an operation. Call it before
    /// [`Command::finish`] or [`Command::cancel`], which forget when the run began.
    pub(super) fn remember(&mut self, key: CmdId, outcome: &agent::Outcome, now: Now) {
        if let Some(command) = self.commands.get_mut(&key) {
            remember(&mut self.record, command, outcome, now);
        }
    }

    /// The same for an operation that is being taken away.
    pub(super) fn remember_cancelled(record: &mut Record, command: &mut Command, now: Now) {
        let outcome = agent::Outcome {
            rc: OcfRc::OK,
            raw_rc: 0,
            status: ExecStatus::Cancelled,
            exit_reason: None,
            output: None,
        };
        remember(record, command, &outcome, now);
    }

    /// Fills in what the executor knows of the present state: resources, operations, history, its share of
    /// peers and counters. Time is only read.
    pub fn describe(&self, now: Now, status: &mut Status) {
        status.peers = self.clients.describe();
        status.resources_total = count(self.resources.len());
        status.resources = self
            .resources
            .iter()
            .take(MAX_LISTED)
            .map(|(id, resource)| status::Resource {
                id: id.to_string(),
                agent: resource.agent.to_string(),
                busy: self.busy.contains_key(id),
                waiting: count(resource.pending.len().saturating_add(resource.due.len())),
            })
            .collect();
        status.operations_total = count(self.commands.len());
        let mut operations: Vec<(&CmdId, &Command)> = self.commands.iter().collect();
        operations.sort_unstable_by(|(a_key, a), (b_key, b)| (&a.rsc, a_key).cmp(&(&b.rsc, b_key)));
        operations.truncate(MAX_LISTED);
        status.operations = operations
            .into_iter()
            .map(|(key, command)| self.describe_operation(*key, command, now))
            .collect();
        status.history = self.record.history.iter().map(|outcome| Outcome::clone(outcome)).collect();
        let owned = |(name, value): (&&str, &u64)| ((*name).to_owned(), *value);
        status.counters.requests = self.record.requests.iter().map(owned).collect();
        status.counters.actions =
            self.record.actions.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    }

    /// Whether a stop was asked for.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    fn describe_operation(&self, key: CmdId, command: &Command, now: Now) -> status::Operation {
        let wake = self.timers.deadline(Timer::Wake(key)).map(|at: Mono| at.since(now.mono));
        let phase = match command.state {
            State::Delayed => Phase::Delayed,
            State::Pending(_) | State::Due(_) => Phase::Waiting,
            State::Running(op) if self.runs.get(&op).is_some_and(super::run::Run::is_undead) => Phase::Undead,
            State::Running(_) => Phase::Running,
            State::Sleeping => Phase::Sleeping,
        };
        let running = matches!(command.state, State::Running(_));
        status::Operation {
            resource: command.rsc.to_string(),
            action: command.action.clone(),
            call_id: command.call_id,
            phase,
            since_ms: command.since(now),
            interval_ms: command.interval_ms.into(),
            timeout_ms: command.timeout_ms.into(),
            pid: command.pid.filter(|_| running),
            next_in_ms: wake,
            last: command.last.as_deref().cloned(),
        }
    }
}

fn remember(record: &mut Record, command: &mut Command, outcome: &agent::Outcome, now: Now) {
    let outcome = Arc::new(command.report(outcome, now));
    record.result(&outcome, command.last.as_deref());
    command.last = Some(outcome);
}

/// A result's meaning for an operator.
pub(super) fn verdict(rc: OcfRc, status: ExecStatus) -> Verdict {
    match status {
        ExecStatus::Done => match rc {
            OcfRc::OK | OcfRc::RUNNING_PROMOTED | OcfRc::DEGRADED | OcfRc::DEGRADED_PROMOTED => Verdict::Ok,
            OcfRc::NOT_RUNNING => Verdict::NotRunning,
            _ => Verdict::Failed,
        },
        ExecStatus::Cancelled => Verdict::Cancelled,
        ExecStatus::Timeout => Verdict::Timeout,
        _ => Verdict::Error,
    }
}

/// The name of a status in the document.
pub(super) fn status_name(status: ExecStatus) -> &'static str {
    match status {
        ExecStatus::Unknown => "unknown",
        ExecStatus::Pending => "pending",
        ExecStatus::Done => "done",
        ExecStatus::Cancelled => "cancelled",
        ExecStatus::Timeout => "timeout",
        ExecStatus::NotSupported => "not_supported",
        ExecStatus::Error => "error",
        ExecStatus::ErrorHard => "error_hard",
        ExecStatus::ErrorFatal => "error_fatal",
        ExecStatus::NotInstalled => "not_installed",
        ExecStatus::NotConnected => "not_connected",
        ExecStatus::Invalid => "invalid",
        ExecStatus::NoFenceDevice => "no_fence_device",
        ExecStatus::NoSecrets => "no_secrets",
    }
}

/// At most [`REASON`] characters of what an agent said.
pub(super) fn shortened(reason: &str) -> String {
    reason.chars().take(REASON).collect()
}

fn same_news(a: &Outcome, b: &Outcome) -> bool {
    (a.rc, &a.status, &a.exit_reason) == (b.rc, &b.status, &b.exit_reason)
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

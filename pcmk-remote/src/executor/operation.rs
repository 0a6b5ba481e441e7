//! One operation: what was asked, what is known of it, and what its next result says.

use std::sync::Arc;

use pcmk_proto::lrmd::{CallOptions, ExecRequest, OpResult};
use pcmk_proto::types::{AgentSpec, ExecStatus, OcfRc, Params, ResourceId};

use super::record::{shortened, status_name, verdict};
use super::{Mono, Now};
use crate::agent::{AgentCall, Outcome};
use crate::ids::{ClientId, OpId};
use crate::status;

/// Number of an operation; a recurring one keeps it from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CmdId(pub(super) u64);

/// Where an operation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Asked for, never run; must wait for its start delay.
    Delayed,
    /// Asked for, never run; `0` orders it among those that wait.
    Pending(u64),
    /// Its agent runs.
    Running(OpId),
    /// Recurring: waits for its interval.
    Sleeping,
    /// Recurring: due, waits for the resource; `0` orders it among those that wait.
    Due(u64),
}

/// One operation.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) rsc: ResourceId,
    pub(super) agent: AgentSpec,
    pub(super) client: ClientId,
    /// Who asked, for the audit log.
    pub(super) who: Arc<str>,
    pub(super) options: CallOptions,
    pub(super) call_id: i32,
    pub(super) action: String,
    pub(super) interval_ms: u32,
    pub(super) timeout_ms: u32,
    pub(super) start_delay_ms: u32,
    pub(super) userdata: Option<String>,
    pub(super) params: Arc<Params>,
    pub(super) state: State,
    /// Its resource was unregistered (or replaced) under it.
    pub(super) orphaned: bool,
    pub(super) pid: Option<u32>,
    /// Its latest result, for the operator.
    pub(super) last: Option<Arc<status::Outcome>>,
    queued: Mono,
    started: Option<Now>,
    raw_rc: i32,
    rcchange_time: u64,
    last_rc: OcfRc,
    last_notified: Option<(OcfRc, ExecStatus)>,
    /// When the run began that was reported last, seconds since the epoch.
    reported_run: u64,
}

impl Command {
    pub(super) fn new(
        rsc: ResourceId,
        agent: AgentSpec,
        (client, who): (ClientId, Arc<str>),
        options: CallOptions,
        call_id: i32,
        request: ExecRequest,
        now: Now,
    ) -> Self {
        Self {
            rsc,
            agent,
            client,
            who,
            options,
            call_id,
            action: request.action.unwrap_or_default(),
            interval_ms: request.interval_ms,
            timeout_ms: request.timeout_ms,
            start_delay_ms: request.start_delay_ms,
            userdata: request.userdata,
            params: Arc::new(request.params),
            state: State::Delayed,
            orphaned: false,
            pid: None,
            last: None,
            queued: now.mono,
            started: None,
            raw_rc: 0,
            rcchange_time: 0,
            last_rc: OcfRc::OK,
            last_notified: None,
            reported_run: 0,
        }
    }

    pub(super) fn is_recurring(&self) -> bool {
        self.interval_ms > 0
    }

    pub(super) fn is(&self, action: &str, interval_ms: u32) -> bool {
        self.interval_ms == interval_ms && self.action.eq_ignore_ascii_case(action)
    }

    /// As a cancellation names it: there the case of letters counts.
    pub(super) fn is_exactly(&self, action: &str, interval_ms: u32) -> bool {
        self.interval_ms == interval_ms && self.action == action
    }

    pub(super) fn call(&self) -> AgentCall {
        let leave_group = self
            .params
            .iter()
            .any(|(name, value)| name == "CRM_meta_on_fail" && value.eq_ignore_ascii_case("block"));
        AgentCall {
            id: self.rsc.clone(),
            agent: self.agent.clone(),
            action: self.action.clone(),
            interval_ms: self.interval_ms,
            timeout_ms: self.timeout_ms,
            params: Params::clone(&self.params),
            leave_group,
        }
    }

    pub(super) fn queue(&mut self, now: Now) {
        self.queued = now.mono;
    }

    pub(super) fn begin(&mut self, op: OpId, now: Now) {
        self.state = State::Running(op);
        self.started = Some(now);
        self.pid = None;
    }

    /// Its turn came, and it ends there.
    pub(super) fn skip(&mut self, now: Now) {
        self.started = Some(now);
    }

    /// A repeated request takes this operation over: it answers under the new call id, and its next
    /// result is reported even if nothing changed.
    pub(super) fn adopt(&mut self, call_id: i32, userdata: Option<String>) {
        self.call_id = call_id;
        self.userdata = userdata;
        self.last_notified = None;
    }

    /// Whether another result of this second would be taken for older than the one that was reported: the
    /// cluster orders the results of a recurring operation by seconds, and a success wins.
    pub(super) fn is_too_soon(&self, now: Now) -> bool {
        self.reported_run >= now.wall
    }

    /// How long it has been in its present state.
    pub(super) fn since(&self, now: Now) -> Option<u64> {
        match self.state {
            State::Running(_) => self.started.map(|at| now.mono.since(at.mono)),
            State::Delayed | State::Pending(_) | State::Due(_) => Some(now.mono.since(self.queued)),
            State::Sleeping => None,
        }
    }

    /// A result as the operator sees it.
    pub(super) fn report(&self, outcome: &Outcome, now: Now) -> status::Outcome {
        status::Outcome {
            resource: self.rsc.to_string(),
            action: self.action.clone(),
            call_id: self.call_id,
            interval_ms: self.interval_ms.into(),
            rc: outcome.rc.0,
            status: status_name(outcome.status).to_owned(),
            verdict: verdict(outcome.rc, outcome.status),
            exit_reason: outcome.exit_reason.as_deref().map(shortened),
            ended_at: now.wall,
            ran_ms: self.started.map_or(0, |at| now.mono.since(at.mono)),
            queued_ms: self.started.map_or(0, |at| at.mono.since(self.queued)),
        }
    }

    /// The result to report for a run, or `None` when the requester wants changes only and there is none.
    pub(super) fn finish(&mut self, outcome: Outcome, deleted: bool, now: Now) -> Option<OpResult> {
        if outcome.raw_rc != self.raw_rc {
            self.raw_rc = outcome.raw_rc;
            self.rcchange_time = now.wall;
        }
        self.last_rc = outcome.rc;
        let started = self.started.take();
        let news = (outcome.rc, outcome.status);
        if self.options.notify_changes_only() && self.last_notified == Some(news) {
            return None;
        }
        self.last_notified = Some(news);
        self.reported_run = started.map_or(0, |at| at.wall);
        Some(self.result(outcome, started, deleted, now))
    }

    /// The result that says "cancelled".
    pub(super) fn cancel(&mut self, deleted: bool, now: Now) -> OpResult {
        // A waiting recurring operation repeats its last exit code; one that was killed has none.
        let rc = if matches!(self.state, State::Running(_)) { OcfRc::OK } else { self.last_rc };
        let started = self.started.take();
        let outcome = Outcome {
            rc,
            raw_rc: self.raw_rc,
            status: ExecStatus::Cancelled,
            exit_reason: None,
            output: None,
        };
        self.result(outcome, started, deleted, now)
    }

    fn result(&self, outcome: Outcome, started: Option<Now>, deleted: bool, now: Now) -> OpResult {
        OpResult {
            origin: "send_cmd_complete_notify".into(),
            timeout_ms: self.timeout_ms,
            interval_ms: self.interval_ms,
            start_delay_ms: self.start_delay_ms,
            rc: outcome.rc,
            status: outcome.status,
            call_id: self.call_id,
            rsc_deleted: deleted,
            run_time: started.map_or(0, |at| at.wall),
            rcchange_time: self.rcchange_time,
            exec_time_ms: started.map_or(0, |at| now.mono.since(at.mono)),
            queue_time_ms: started.map_or(0, |at| at.mono.since(self.queued)),
            id: self.rsc.clone(),
            action: self.action.clone(),
            userdata: self.userdata.clone(),
            exit_reason: outcome.exit_reason,
            output: outcome.output,
            params: Params::clone(&self.params),
        }
    }
}

//! What the policy refuses, how a refusal is answered so that the cluster can live with it, and what the
//! audit log says.

use std::collections::HashMap;

use pcmk_proto::lrmd::{OpResult, ReplyBody};
use pcmk_proto::types::{AgentSpec, ExecStatus, OcfRc, ResourceId};
use tracing::{error, warn};

use super::core::{Asked, Executor};
use super::operation::{CmdId, Command};
use crate::agent::Outcome;
use crate::audit::{self, Entry};
use crate::ids::ClientId;
use crate::policy::Refusal;

const EACCES: i32 = -13;
const EUSERS: i32 = -87;

/// What runs on this node as far as is known, with the agent that it was started with.
///
/// When a policy is tightened, this is what may still be watched and stopped: the cluster fences a node on
/// which it cannot stop a resource.
///
/// And what is known not to run, as its start was refused: the cluster wants that stopped, too.
#[derive(Debug, Default)]
pub(super) struct Active {
    running: HashMap<ResourceId, AgentSpec>,
    refused: HashMap<ResourceId, AgentSpec>,
}

impl Active {
    /// Takes in how an operation ended. `most` bounds what is remembered.
    pub(super) fn note(&mut self, command: &Command, outcome: &Outcome, most: usize) {
        let probe_found = matches!(outcome.rc, OcfRc::OK | OcfRc::RUNNING_PROMOTED | OcfRc::DEGRADED);
        match command.action.to_ascii_lowercase().as_str() {
            // However it ended: half a start wants a stop, too.
            "start" | "migrate_from" => self.add(command, most),
            _ if outcome.status != ExecStatus::Done => {}
            "monitor" if probe_found => self.add(command, most),
            // After a recurring monitor that finds nothing comes a stop.
            "monitor" if outcome.rc == OcfRc::NOT_RUNNING && !command.is_recurring() => {
                self.remove(&command.rsc);
            }
            "stop" if outcome.rc == OcfRc::OK => self.remove(&command.rsc),
            _ => {}
        }
    }

    fn add(&mut self, command: &Command, most: usize) {
        self.refused.remove(&command.rsc);
        remember(&mut self.running, command, most);
    }

    fn remove(&mut self, id: &ResourceId) {
        self.running.remove(id);
    }

    /// Whether this operation ends something that was never begun.
    fn is_idle_stop(&self, command: &Command) -> bool {
        command.action.eq_ignore_ascii_case("stop")
            && self.refused.get(&command.rsc) == Some(&command.agent)
            && !self.running.contains_key(&command.rsc)
    }

    /// Whether this operation looks after or ends something that runs.
    fn concerns(&self, command: &Command) -> bool {
        !begins(command) && self.running.get(&command.rsc) == Some(&command.agent)
    }
}

fn begins(command: &Command) -> bool {
    ["start", "migrate_from"].iter().any(|action| command.action.eq_ignore_ascii_case(action))
}

fn remember(map: &mut HashMap<ResourceId, AgentSpec>, command: &Command, most: usize) {
    let known = map.get(&command.rsc);
    if known != Some(&command.agent) && (known.is_some() || map.len() < most) {
        map.insert(command.rsc.clone(), command.agent.clone());
    }
}

impl Executor {
    /// How a run ends that the policy forbids, `None` if it does not.
    ///
    /// "Not installed" is the one answer that rules out this node, and only this one, for every action: to
    /// a probe it also says that nothing runs here. With "insufficient privileges" the scheduler would
    /// take a probed resource for running here, want it stopped, and fence this node when it cannot be.
    ///
    /// After a refused start comes a stop, and that one succeeds: nothing was started.
    pub(super) fn refusal(&mut self, key: CmdId) -> Option<Outcome> {
        let command = self.commands.get(&key)?;
        let refusal = self.policy.admit_agent(&command.agent).err()?;
        if self.active.concerns(command) {
            return None;
        }
        if self.active.is_idle_stop(command) {
            return Some(Outcome::done(OcfRc::OK));
        }
        if begins(command) {
            remember(&mut self.active.refused, command, self.settings.max_resources);
        }
        warn!("Refusing {} of {} for {}: {refusal}", command.action, command.rsc, command.who);
        Some(Outcome::failed(ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED, refusal.to_string()))
    }

    /// Whether a cluster node may provide the cluster's services; if not, it is told so.
    pub(super) fn admit_provider(&mut self, asked: &Asked) -> bool {
        let others = self.clients.other_provider_sites(asked.client);
        let Err(refusal) = self.policy.admit_provider(others) else {
            self.audit(asked, "provide", 0, |entry| entry);
            return true;
        };
        error!("Refusing client {}: {refusal}", self.name(asked.client));
        self.audit_refusal(asked, "provide", &refusal, |entry| entry);
        self.clients.refuse(asked.client);
        // Controllers look at the token, and take any code but one for success.
        let body = ReplyBody::Registered {
            client_id: String::new(),
            protocol_version: super::arrivals::PROTOCOL_VERSION.into(),
            uptime_s: None,
            node_start_state: None,
        };
        self.reply_with(asked, EUSERS, "process_lrmd_signon", body);
        false
    }

    /// Answers a client that was refused when it registered.
    pub(super) fn unwelcome(&mut self, client: ClientId, msg_id: i64) {
        self.reply(&self.asked(client, msg_id), EACCES);
    }

    pub(super) fn refuse_alert(&mut self, asked: &Asked, id: &str, path: &str, refusal: &Refusal) {
        warn!("Refusing alert {id} for {}: {refusal}", self.name(asked.client));
        self.audit_refusal(asked, "alert", refusal, |entry| entry.field("alert", id).field("path", path));
        self.reply(asked, EACCES);
    }

    /// Writes down what was done for a request.
    pub(super) fn audit(&self, asked: &Asked, action: &str, rc: i32, fields: impl FnOnce(Entry) -> Entry) {
        if audit::is_on() {
            // An operation under way is not waited for: that is no failure.
            let result = if rc == 0 || rc == super::core::EINPROGRESS { "ok" } else { "failed" };
            fields(Entry::new(action, result)).field("rc", rc).log(&self.clients.who(asked.client));
        }
    }

    fn audit_refusal(
        &self,
        asked: &Asked,
        action: &str,
        refusal: &Refusal,
        fields: impl FnOnce(Entry) -> Entry,
    ) {
        if audit::is_on() {
            let entry = fields(Entry::new(action, "refused")).field("reason", refusal);
            entry.log(&self.clients.who(asked.client));
        }
    }
}

/// Writes down how an operation ended, if it is one that changes something.
pub(super) fn audit_end(command: &Command, result: &OpResult) {
    if changes(&command.action) && audit::is_on() {
        let word = match result.status {
            ExecStatus::Done if result.rc == OcfRc::OK => "ok",
            ExecStatus::Cancelled => "cancelled",
            ExecStatus::Timeout => "timeout",
            _ => "failed",
        };
        operation(command, word)
            .field("rc", result.rc.0)
            .field("ms", result.exec_time_ms)
            .some("reason", result.exit_reason.as_deref())
            .log(&command.who);
    }
}

/// Writes down an operation that was refused, whichever it is.
pub(super) fn audit_refused(command: &Command, result: &OpResult) {
    if audit::is_on() {
        // What was not started is stopped without its agent.
        let word = if result.rc == OcfRc::OK { "skipped" } else { "refused" };
        operation(command, word).some("reason", result.exit_reason.as_deref()).log(&command.who);
    }
}

fn operation(command: &Command, result: &str) -> Entry {
    Entry::new(&command.action, result)
        .field("resource", &command.rsc)
        .field("agent", &command.agent)
        .names(&command.params)
        .field("call", command.call_id)
}

fn changes(action: &str) -> bool {
    const READ_ONLY: [&str; 5] = ["monitor", "status", "meta-data", "metadata", "validate-all"];
    !READ_ONLY.iter().any(|known| action.eq_ignore_ascii_case(known))
}

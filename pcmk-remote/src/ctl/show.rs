//! `status`, `ops` and `history`.

use std::fmt::Write as _;
use std::path::Path;

use super::args::{Filter, HistoryFilter};
use super::table::{Table, ago, clean, moment, or_dash, short_hash, span};
use super::{Exit, Failure, client, print, print_json};
use crate::status::{Operation, Outcome, Phase, State, Status};

/// An expiry this near is worth a word.
const SOON_S: u64 = 30 * 86_400;
/// Failures that are older than this are history.
const RECENT_S: u64 = 3600;
/// Queued bytes that say that a peer does not keep up.
const BACKLOG: u64 = 1 << 20;

pub(super) fn status(socket: &Path, json: bool) -> Result<Exit, Failure> {
    let status = client::status(socket)?;
    if json { print_json(&status) } else { print(overview(&status).as_bytes()) }
}

pub(super) fn operations(socket: &Path, filter: &Filter, json: bool) -> Result<Exit, Failure> {
    let mut status = client::status(socket)?;
    status.operations.retain(|op| {
        filter.resource.as_deref().is_none_or(|id| is_of(&op.resource, id))
            && (!filter.running || matches!(op.phase, Phase::Running | Phase::Undead))
            && (!filter.bad || is_bad(op))
    });
    if json {
        return print_json(&status.operations);
    }
    let mut table =
        Table::new(["RESOURCE", "ACTION", "CALL", "EVERY", "TIMEOUT", "NOW", "NEXT", "LAST RESULT"]);
    for op in &status.operations {
        let every = if op.interval_ms == 0 { "-".to_owned() } else { span(op.interval_ms) };
        let timeout = if op.timeout_ms == 0 { "none".to_owned() } else { span(op.timeout_ms) };
        table.row([
            op.resource.clone(),
            op.action.clone(),
            op.call_id.to_string(),
            every,
            timeout,
            now(op),
            op.next_in_ms.map_or_else(|| "-".to_owned(), |ms| format!("in {}", span(ms))),
            op.last.as_ref().map_or_else(|| "-".to_owned(), |last| result(last, status.at)),
        ]);
    }
    listed(
        &table,
        "operations",
        usize_of(status.operations_total),
        status.operations.len(),
        filter_is_empty(filter),
    )
}

pub(super) fn history(socket: &Path, filter: &HistoryFilter, json: bool) -> Result<Exit, Failure> {
    let mut status = client::status(socket)?;
    status.history.retain(|outcome| {
        filter.resource.as_deref().is_none_or(|id| is_of(&outcome.resource, id))
            && (!filter.bad || outcome.verdict.is_bad())
    });
    if let Some(last) = filter.last {
        status.history = status.history.split_off(status.history.len().saturating_sub(last));
    }
    if json {
        return print_json(&status.history);
    }
    let mut table =
        Table::new(["ENDED", "RESOURCE", "ACTION", "CALL", "RESULT", "RC", "RAN", "QUEUED", "REASON"]);
    for outcome in &status.history {
        table.row([
            moment(outcome.ended_at),
            outcome.resource.clone(),
            action(outcome),
            outcome.call_id.to_string(),
            outcome.verdict.to_string(),
            outcome.rc.to_string(),
            span(outcome.ran_ms),
            span(outcome.queued_ms),
            or_dash(outcome.exit_reason.as_deref()),
        ]);
    }
    listed(&table, "results", status.history.len(), status.history.len(), true)
}

/// Prints a table, or says that there is nothing; says so too if the daemon has told only a part.
fn listed(table: &Table, what: &str, total: usize, shown: usize, unfiltered: bool) -> Result<Exit, Failure> {
    if table.is_empty() {
        return print(format!("No {what}.\n").as_bytes());
    }
    let mut text = table.text();
    if unfiltered && total > shown {
        let _ = writeln!(text, "  and {} more that are not listed", total.saturating_sub(shown));
    }
    print(text.as_bytes())
}

fn filter_is_empty(filter: &Filter) -> bool {
    filter.resource.is_none() && !filter.running && !filter.bad
}

/// A resource or an instance of it (`id:0`).
fn is_of(resource: &str, id: &str) -> bool {
    resource.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

fn is_bad(op: &Operation) -> bool {
    op.phase == Phase::Undead || op.last.as_ref().is_some_and(|last| last.verdict.is_bad())
}

fn overview(status: &Status) -> String {
    let daemon = &status.daemon;
    let mut text = String::new();
    let state = match daemon.state {
        State::Waiting => "waiting for the cluster",
        State::Connected => "connected",
        State::Draining => "draining",
    };
    let _ = writeln!(
        text,
        "pacemaker-remoted {}: {state}, pid {}, up {}, {}",
        clean(&daemon.version),
        daemon.pid,
        span(daemon.uptime_s.saturating_mul(1000)),
        daemon.listening.as_ref().map_or_else(
            || "not listening any more".to_owned(),
            |address| format!("listening on {}", clean(address))
        ),
    );
    if let Some(credentials) = &status.credentials {
        let _ = writeln!(text, "{}", proof(status, credentials));
    }
    if daemon.watchdog.sbd_timeout_ms > 0 || daemon.watchdog.cluster_timeout.is_some() {
        let asked = daemon.watchdog.cluster_timeout.as_deref().map(clean);
        let _ = writeln!(
            text,
            "watchdog: SBD {}, the cluster's stonith-watchdog-timeout {}",
            if daemon.watchdog.sbd_timeout_ms > 0 {
                span(daemon.watchdog.sbd_timeout_ms)
            } else {
                "off".into()
            },
            asked.as_deref().unwrap_or("not told"),
        );
    }
    let needs = needs_attention(status);
    if !needs.is_empty() {
        text.push_str("\nNeeds attention\n");
        for need in needs {
            let _ = writeln!(text, "  * {}", clean(&need));
        }
    }
    section(&mut text, "Peers", status.peers.len(), &peers(status));
    section(&mut text, "Resources", usize_of(status.resources_total), &resources(status));
    section(&mut text, "Local tools", status.tools.len(), &tools(status));
    text
}

fn section(text: &mut String, title: &str, total: usize, table: &Table) {
    let _ = writeln!(text, "\n{title} ({total})");
    if !table.is_empty() {
        text.push_str(&table.text());
    }
}

fn proof(status: &Status, credentials: &crate::status::Credentials) -> String {
    let mut text = format!("{}: {}", clean(&credentials.kind), clean(&credentials.path));
    if let Some(subject) = &credentials.subject {
        let _ = write!(text, ", {}", clean(subject));
    }
    let _ = write!(text, ", sha256 {}", short_hash(&clean(&credentials.sha256)));
    if let Some(at) = credentials.modified_at {
        let _ = write!(text, ", changed {}", ago(at, status.at));
    }
    if let Some(at) = credentials.expires_at {
        let _ = write!(text, ", expires {}", until(at, status.at));
    }
    if let Some(at) = credentials.crl_next_update_at {
        let _ = write!(text, ", revocation list due {}", until(at, status.at));
    }
    text
}

fn until(at: u64, now: u64) -> String {
    if at > now { format!("in {}", span((at - now).saturating_mul(1000))) } else { ago(at, now) }
}

/// What somebody who was woken up should look at first.
fn needs_attention(status: &Status) -> Vec<String> {
    let mut needs = Vec::new();
    match &status.credentials {
        None => needs.push("no key or certificate: the cluster cannot connect (see the log)".to_owned()),
        Some(credentials) => {
            if let Some(problem) = &credentials.problem {
                needs.push(format!("{problem}; what was read before stays in use"));
            }
            for (what, at) in [
                ("the certificate", credentials.expires_at),
                ("the revocation list", credentials.crl_next_update_at),
            ] {
                if let Some(at) = at.filter(|at| *at < status.at.saturating_add(SOON_S)) {
                    let how = if at > status.at { "expires" } else { "has expired" };
                    needs.push(format!("{what} {how} {}", until(at, status.at)));
                }
            }
        }
    }
    match status.daemon.state {
        State::Draining => needs.push("the node is leaving the cluster".to_owned()),
        State::Waiting => {
            let failed = &status.counters.net.handshakes_failed;
            let reasons: Vec<_> = failed.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            needs.push(if reasons.is_empty() {
                "no cluster node has connected: is the connection resource enabled (pcs status), and the port open?"
                    .to_owned()
            } else {
                format!("no cluster node is connected; failed handshakes: {}", reasons.join(", "))
            });
        }
        State::Connected => {
            if !status.peers.iter().any(|peer| peer.provider) {
                needs
                    .push("no peer carries local tools' requests: crm_mon and the like fail here".to_owned());
            }
        }
    }
    for peer in status.peers.iter().filter(|peer| peer.queued_bytes > BACKLOG) {
        needs.push(format!("{} does not keep up reading: {} bytes wait", peer.address, peer.queued_bytes));
    }
    for op in &status.operations {
        if op.phase == Phase::Undead {
            let pid = op.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            needs.push(format!(
                "{} {} was killed and does not die{pid}: look for the disk or NFS server that it waits for",
                op.resource, op.action
            ));
        } else if let Some(last) = op.last.as_ref().filter(|last| last.verdict.is_bad()) {
            needs.push(failure(last, status.at));
        }
    }
    let recent = |outcome: &&Outcome| {
        outcome.interval_ms == 0
            && outcome.verdict.is_bad()
            && outcome.ended_at.saturating_add(RECENT_S) >= status.at
    };
    needs.extend(status.history.iter().filter(recent).map(|outcome| failure(outcome, status.at)));
    needs
}

fn failure(outcome: &Outcome, now: u64) -> String {
    format!("{} {}: {}", outcome.resource, action(outcome), result(outcome, now))
}

fn peers(status: &Status) -> Table {
    let mut table =
        Table::new(["ADDRESS", "NAME", "IDENTITY", "PROTOCOL", "CONNECTED", "QUEUED", "CARRIES TOOLS"]);
    for peer in &status.peers {
        let carries = match (peer.current_provider, peer.provider) {
            (true, _) => "yes",
            (false, true) => "standing by",
            (false, false) => "no",
        };
        table.row([
            peer.address.clone(),
            or_dash(peer.name.as_deref()),
            peer.certificate.clone().unwrap_or_else(|| peer.identity.clone()),
            or_dash(peer.protocol_version.as_deref()),
            ago(peer.connected_at, status.at),
            peer.queued_bytes.to_string(),
            carries.to_owned(),
        ]);
    }
    table
}

fn resources(status: &Status) -> Table {
    let mut table = Table::new(["ID", "AGENT", "NOW", "WAITING", "LAST RESULT"]);
    for resource in &status.resources {
        let running = status
            .operations
            .iter()
            .find(|op| op.resource == resource.id && matches!(op.phase, Phase::Running | Phase::Undead));
        let now = match (running, resource.busy) {
            (Some(op), _) => format!("{} {}", op.action, now(op)),
            (None, true) => "busy".to_owned(),
            (None, false) => "-".to_owned(),
        };
        let recurring = status.operations.iter().filter(|op| op.resource == resource.id);
        let past = status.history.iter().filter(|outcome| outcome.resource == resource.id);
        let last = recurring.filter_map(|op| op.last.as_ref()).chain(past).max_by_key(|last| last.ended_at);
        table.row([
            resource.id.clone(),
            resource.agent.clone(),
            now,
            resource.waiting.to_string(),
            last.map_or_else(
                || "-".to_owned(),
                |last| format!("{} {}", action(last), result(last, status.at)),
            ),
        ]);
    }
    table
}

fn tools(status: &Status) -> Table {
    let mut table = Table::new(["PID", "USER", "SERVER", "CONNECTED", "UNANSWERED"]);
    for tool in &status.tools {
        table.row([
            tool.pid.to_string(),
            tool.user.clone(),
            tool.server.clone(),
            ago(tool.connected_at, status.at),
            tool.outstanding.to_string(),
        ]);
    }
    table
}

fn now(op: &Operation) -> String {
    let phase = match op.phase {
        Phase::Delayed => "delayed",
        Phase::Waiting => "waiting",
        Phase::Running => "running",
        Phase::Undead => "cannot be killed",
        Phase::Sleeping => "idle",
    };
    match op.since_ms {
        Some(ms) => format!("{phase} {}", span(ms)),
        None => phase.to_owned(),
    }
}

fn action(outcome: &Outcome) -> String {
    if outcome.interval_ms == 0 {
        outcome.action.clone()
    } else {
        format!("{}/{}", outcome.action, span(outcome.interval_ms))
    }
}

fn result(outcome: &Outcome, now: u64) -> String {
    let mut text = outcome.verdict.name().replace('_', " ");
    if outcome.verdict.is_bad() {
        let _ = write!(text, " (rc {})", outcome.rc);
    }
    let _ = write!(text, " {}", ago(outcome.ended_at, now));
    if let Some(reason) = &outcome.exit_reason {
        let _ = write!(text, ": {reason}");
    }
    text
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Credentials, Peer, Resource, Verdict};

    fn failed(resource: &str, at: u64) -> Outcome {
        Outcome {
            resource: resource.into(),
            action: "start".into(),
            rc: 1,
            verdict: Verdict::Failed,
            exit_reason: Some("no such \u{1b}[2Jdisk".into()),
            ended_at: at,
            ..Outcome::default()
        }
    }

    #[test]
    fn what_matters_comes_first_and_cannot_steer_the_terminal() {
        let status = Status {
            at: 10_000,
            resources: vec![Resource {
                id: "vip".into(),
                agent: "ocf:heartbeat:IPaddr2".into(),
                ..Resource::default()
            }],
            resources_total: 1,
            history: vec![failed("old", 1000), failed("vip", 9_990)],
            ..Status::default()
        };
        let text = overview(&status);
        assert!(text.contains("* vip start: failed (rc 1) 10s ago: no such \u{fffd}[2Jdisk"), "{text}");
        assert!(!text.contains("old start"), "{text}");
        assert!(
            text.contains("no key or certificate") && text.contains("no cluster node has connected"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_healthy_node_needs_no_attention() {
        let status = Status {
            at: 10_000,
            daemon: crate::status::Daemon { state: State::Connected, ..crate::status::Daemon::default() },
            peers: vec![Peer { provider: true, current_provider: true, ..Peer::default() }],
            credentials: Some(Credentials {
                kind: "key".into(),
                modified_at: Some(1),
                ..Credentials::default()
            }),
            ..Status::default()
        };
        assert_eq!(needs_attention(&status), Vec::<String>::new());
        let expiring = Credentials { expires_at: Some(10_000 + 86_400), ..Credentials::default() };
        let status = Status { credentials: Some(expiring), ..status };
        assert_eq!(needs_attention(&status), ["the certificate expires in 24h"]);
    }

    #[test]
    fn a_resource_is_found_with_its_instances() {
        assert!(is_of("web", "web") && is_of("web:0", "web") && !is_of("webmail", "web"));
    }
}

//! The status document as metrics.

use std::path::Path;
use std::time::Instant;

use super::exposition::{Exposition, Format, Kind, number};
use crate::ctl::status_of;
use crate::status::{BUCKETS_MS, Operation, Outcome, Phase, State, Status, Verdict};

/// Asks the daemon and renders the answer. A daemon that does not answer is a metric too.
pub(super) fn scrape(socket: &Path, format: Format) -> String {
    let began = Instant::now();
    let status = status_of(socket).ok();
    let mut exposition = Exposition::new(format);
    write(&mut exposition, status.as_ref());
    exposition
        .metric("pcmk_remote_scrape_duration_seconds", Kind::Gauge, "Time that the daemon took to answer.")
        .sample(&[], began.elapsed().as_secs_f64());
    exposition.finish()
}

/// The metrics of a status document; those that there are while the daemon does not answer if it is `None`.
pub fn render(status: Option<&Status>, format: Format) -> String {
    let mut exposition = Exposition::new(format);
    write(&mut exposition, status);
    exposition.finish()
}

fn write(out: &mut Exposition, status: Option<&Status>) {
    out.metric("pcmk_remote_up", Kind::Gauge, "Whether the daemon answers on its status socket.")
        .sample(&[], truth(status.is_some()));
    if let Some(status) = status {
        daemon(out, status);
        cluster(out, status);
        operations(out, status);
        recurring(out, status);
        credentials(out, status);
        network(out, status);
    }
}

fn daemon(out: &mut Exposition, status: &Status) {
    let daemon = &status.daemon;
    out.metric("pcmk_remote_build_info", Kind::Gauge, "The daemon's version; always 1.")
        .sample(&[("version", &daemon.version)], 1.0);
    out.metric("pcmk_remote_start_time_seconds", Kind::Gauge, "When the daemon started, since the epoch.")
        .sample(&[], number(status.at.saturating_sub(daemon.uptime_s)));
    let mut state = out.metric("pcmk_remote_state", Kind::Gauge, "1 for the state that the daemon is in.");
    for (name, is) in
        [("waiting", State::Waiting), ("connected", State::Connected), ("draining", State::Draining)]
    {
        state.sample(&[("state", name)], truth(daemon.state == is));
    }
    out.metric("pcmk_remote_listening", Kind::Gauge, "Whether the daemon accepts cluster connections.")
        .sample(&[], truth(daemon.listening.is_some()));
    out.metric(
        "pcmk_remote_watchdog_timeout_seconds",
        Kind::Gauge,
        "SBD_WATCHDOG_TIMEOUT of this node, 0 if it is not set.",
    )
    .sample(&[], seconds(daemon.watchdog.sbd_timeout_ms));
    let latency = &status.counters.event_loop;
    out.metric(
        "pcmk_remote_event_loop_lag_seconds",
        Kind::Gauge,
        "How much too late the daemon last woke up.",
    )
    .sample(&[], micros(latency.lag_us));
    out.metric(
        "pcmk_remote_event_loop_lag_max_seconds",
        Kind::Gauge,
        "The most that the daemon woke up too late.",
    )
    .sample(&[], micros(latency.lag_max_us));
    out.metric(
        "pcmk_remote_event_loop_turn_max_seconds",
        Kind::Gauge,
        "The longest that one event kept the daemon busy.",
    )
    .sample(&[], micros(latency.turn_max_us));
}

fn cluster(out: &mut Exposition, status: &Status) {
    let providers = status.peers.iter().filter(|peer| peer.provider).count();
    let queued = status.peers.iter().map(|peer| peer.queued_bytes).max().unwrap_or(0);
    let outstanding: u64 = status.tools.iter().map(|tool| tool.outstanding).sum();
    out.metric("pcmk_remote_peers", Kind::Gauge, "Connected peers.").sample(&[], count(status.peers.len()));
    out.metric("pcmk_remote_providers", Kind::Gauge, "Connected peers that carry local tools' requests.")
        .sample(&[], count(providers));
    out.metric("pcmk_remote_peer_queued_bytes", Kind::Gauge, "What waits for the slowest peer to read it.")
        .sample(&[], number(queued));
    out.metric("pcmk_remote_tools", Kind::Gauge, "Local tools that are connected.")
        .sample(&[], count(status.tools.len()));
    out.metric(
        "pcmk_remote_tool_requests_outstanding",
        Kind::Gauge,
        "Local tools' requests that the cluster has not answered.",
    )
    .sample(&[], number(outstanding));
    out.metric("pcmk_remote_resources", Kind::Gauge, "Registered resources.")
        .sample(&[], number(status.resources_total));
    let mut requests = out.metric("pcmk_remote_requests", Kind::Counter, "Requests of the cluster.");
    for (kind, value) in &status.counters.requests {
        requests.sample(&[("request", kind)], number(*value));
    }
}

fn operations(out: &mut Exposition, status: &Status) {
    let mut phases = out.metric("pcmk_remote_operations", Kind::Gauge, "Operations by what they are doing.");
    for (name, phase) in [
        ("delayed", Phase::Delayed),
        ("waiting", Phase::Waiting),
        ("running", Phase::Running),
        ("undead", Phase::Undead),
        ("sleeping", Phase::Sleeping),
    ] {
        let n = status.operations.iter().filter(|op| op.phase == phase).count();
        phases.sample(&[("phase", name)], count(n));
    }
    let mut results = out.metric("pcmk_remote_operation_results", Kind::Counter, "Results of operations.");
    for (action, counters) in &status.counters.actions {
        for verdict in Verdict::ALL {
            let n = counters.results.get(&verdict).copied().unwrap_or(0);
            results.sample(&[("action", action), ("result", verdict.name())], number(n));
        }
    }
    let mut durations =
        out.metric("pcmk_remote_operation_duration_seconds", Kind::Histogram, "Time that agents ran.");
    let bounds = BUCKETS_MS.map(seconds);
    for (action, counters) in &status.counters.actions {
        let sum = seconds(counters.total_ms);
        durations.histogram(&[("action", action)], &bounds, &counters.buckets, sum);
    }
}

/// What the cluster watches on this node, one by one.
fn recurring(out: &mut Exposition, status: &Status) {
    let agent = |id: &str| {
        let found = status.resources.binary_search_by(|resource| resource.id.as_str().cmp(id));
        found.ok().and_then(|at| status.resources.get(at)).map_or("", |resource| resource.agent.as_str())
    };
    let all: Vec<(&Operation, String)> = status
        .operations
        .iter()
        .filter(|op| op.interval_ms > 0 && op.last.is_some())
        .map(|op| (op, seconds(op.interval_ms).to_string()))
        .collect();
    let mut each = |name, help, value: &dyn Fn(&Operation, &Outcome) -> f64| {
        let mut metric = out.metric(name, Kind::Gauge, help);
        for (op, interval) in &all {
            let labels = [
                ("resource", op.resource.as_str()),
                ("agent", agent(&op.resource)),
                ("action", op.action.as_str()),
                ("interval", interval.as_str()),
            ];
            if let Some(last) = &op.last {
                metric.sample(&labels, value(op, last));
            }
        }
    };
    each(
        "pcmk_remote_recurring_ok",
        "Whether the last run of a recurring operation said that all is well.",
        &|_, last| truth(last.verdict == Verdict::Ok),
    );
    each("pcmk_remote_recurring_interval_seconds", "Its interval.", &|op, _| seconds(op.interval_ms));
    each(
        "pcmk_remote_recurring_last_end_time_seconds",
        "When it last ended, since the epoch.",
        &|_, last| number(last.ended_at),
    );
    each("pcmk_remote_recurring_last_duration_seconds", "How long its last run took.", &|_, last| {
        seconds(last.ran_ms)
    });
}

fn credentials(out: &mut Exposition, status: &Status) {
    let known = status.credentials.as_ref();
    out.metric(
        "pcmk_remote_credentials_usable",
        Kind::Gauge,
        "Whether there is a key or certificate, and nothing is wrong with its files.",
    )
    .sample(&[], truth(known.is_some_and(|known| known.problem.is_none())));
    let Some(known) = known else { return };
    out.metric("pcmk_remote_credentials_info", Kind::Gauge, "The key or certificate in use; always 1.")
        .sample(&[("kind", &known.kind), ("sha256", &known.sha256)], 1.0);
    for (name, help, at) in [
        (
            "pcmk_remote_key_changed_time_seconds",
            "When the key file was changed, since the epoch.",
            known.modified_at,
        ),
        (
            "pcmk_remote_certificate_expiry_time_seconds",
            "When the node's certificate expires, since the epoch.",
            known.expires_at,
        ),
        (
            "pcmk_remote_crl_next_update_time_seconds",
            "When the revocation list must be renewed, since the epoch.",
            known.crl_next_update_at,
        ),
    ] {
        if let Some(at) = at {
            out.metric(name, Kind::Gauge, help).sample(&[], number(at));
        }
    }
}

fn network(out: &mut Exposition, status: &Status) {
    let net = &status.counters.net;
    let mut handshakes =
        out.metric("pcmk_remote_handshakes", Kind::Counter, "TLS handshakes by how they ended.");
    handshakes.sample(&[("result", "ok")], number(net.handshakes_ok));
    for (reason, value) in &net.handshakes_failed {
        handshakes.sample(&[("result", reason)], number(*value));
    }
    for (name, help, value) in [
        ("pcmk_remote_messages_received", "Messages of peers.", net.messages_in),
        ("pcmk_remote_messages_sent", "Messages to peers.", net.messages_out),
        ("pcmk_remote_received_bytes", "Bytes of peers' messages.", net.bytes_in),
        ("pcmk_remote_sent_bytes", "Bytes of messages to peers.", net.bytes_out),
    ] {
        out.metric(name, Kind::Counter, help).sample(&[], number(value));
    }
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn count(n: usize) -> f64 {
    number(u64::try_from(n).unwrap_or(u64::MAX))
}

fn seconds(ms: u64) -> f64 {
    number(ms) / 1000.0
}

fn micros(us: u64) -> f64 {
    number(us) / 1_000_000.0
}

//! What the engine tells monitoring: `OpenMetrics` text, and the page that serves it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::journal::Event;
use super::run::Status;
use super::server::Progress;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 8;
/// For a request to arrive.
const REQUEST: Duration = Duration::from_secs(5);
/// For a whole connection.
const DEADLINE: Duration = Duration::from_secs(30);
/// Wait after the system ran out of something.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Bounds of the buckets for Nova's answers to evacuations, in seconds.
const BOUNDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What has happened since the engine began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    taken_up: u64,
    ended: BTreeMap<String, u64>,
    posts: BTreeMap<&'static str, u64>,
    servers: BTreeMap<&'static str, u64>,
    holds: BTreeMap<String, u64>,
    buckets: [u64; 9],
    seconds: f64,
}

/// How something that the engine hears from is: the folder of requests, the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// What is watched.
    pub name: String,
    /// Since it was looked at, in milliseconds; none if that has not happened yet.
    pub looked_ms: Option<u64>,
    /// How often the look had stopped and was begun anew.
    pub stopped: u64,
    /// What is wrong now.
    pub trouble: Option<String>,
}

impl Counters {
    /// Counts what the journal is told.
    pub fn count(&mut self, event: &Event) {
        let mut server = |what| add(&mut self.servers, what);
        match event {
            Event::TakenUp { .. } => self.taken_up = self.taken_up.saturating_add(1),
            Event::Ended { outcome, .. } => add(&mut self.ended, outcome.to_string()),
            Event::Posted { took_ms, .. } => {
                add(&mut self.posts, "accepted");
                let seconds = Duration::from_millis(*took_ms).as_secs_f64();
                self.seconds += seconds;
                let place = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
                if let Some(count) = self.buckets.get_mut(place) {
                    *count = count.saturating_add(1);
                }
            }
            Event::Unheard { .. } => add(&mut self.posts, "unheard"),
            Event::Refused { .. } => add(&mut self.posts, "refused"),
            Event::Failed { .. } => server("attempt-failed"),
            Event::WrittenOff { .. } => server("written-off"),
            Event::Moved { .. } => server("moved"),
            Event::Started { .. } => server("started"),
            Event::Done { .. } => server("done"),
            Event::LeftOut { .. } => server("left-out"),
            Event::GaveUp { .. } => server("gave-up"),
            Event::Gate { gate, verdict: super::journal::Verdict::Hold, .. } => {
                add(&mut self.holds, gate.to_string());
            }
            _ => {}
        }
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

/// The whole page.
pub fn text(status: &Status, watched: &[Watched]) -> String {
    let mut out = String::with_capacity(4096);
    let mut metric = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let total = if kind == "counter" { "_total" } else { "" };
            let _ = writeln!(out, "{name}{total}{labels} {value}");
        }
    };
    let counters = &status.counters;
    let one = |value: f64| vec![(String::new(), value)];
    let by = |label: &str, key: &dyn std::fmt::Display, value: f64| (format!("{{{label}=\"{key}\"}}"), value);
    metric(
        "nova_ha_incidents",
        "gauge",
        "Incidents that have not ended.",
        &one(number(status.incidents.len())),
    );
    let mut progress: BTreeMap<Progress, u32> = BTreeMap::new();
    for (state, count) in status.incidents.iter().flat_map(|incident| &incident.servers) {
        let sum = progress.entry(*state).or_default();
        *sum = sum.saturating_add(*count);
    }
    let servers: Vec<_> = progress.iter().map(|(state, n)| by("state", state, f64::from(*n))).collect();
    metric("nova_ha_servers", "gauge", "Servers of open incidents by how far they are.", &servers);
    metric("nova_ha_in_flight", "gauge", "Evacuations in flight.", &one(f64::from(status.in_flight)));
    metric("nova_ha_limit", "gauge", "Evacuations that may be in flight.", &one(f64::from(status.limit)));
    let held = status.incidents.iter().filter(|incident| incident.held.is_some()).count();
    metric("nova_ha_incidents_held", "gauge", "Incidents that a gate holds up.", &one(number(held)));
    metric("nova_ha_quarantine", "gauge", "Hosts in quarantine.", &one(number(status.quarantine.len())));
    metric(
        "nova_ha_frozen",
        "gauge",
        "Whether the operator has frozen recovery.",
        &one(number(status.frozen.into())),
    );
    metric("nova_ha_incidents_taken_up", "counter", "Incidents taken up.", &one(float(counters.taken_up)));
    let ended: Vec<_> = counters.ended.iter().map(|(how, n)| by("outcome", how, float(*n))).collect();
    metric("nova_ha_incidents_ended", "counter", "Incidents by how they ended.", &ended);
    let posts: Vec<_> = counters.posts.iter().map(|(how, n)| by("answer", how, float(*n))).collect();
    metric("nova_ha_evacuation_requests", "counter", "Requests for evacuations by Nova's answer.", &posts);
    let steps: Vec<_> = counters.servers.iter().map(|(what, n)| by("event", what, float(*n))).collect();
    metric("nova_ha_server_events", "counter", "What became of servers.", &steps);
    let holds: Vec<_> = counters.holds.iter().map(|(gate, n)| by("gate", gate, float(*n))).collect();
    metric("nova_ha_gate_holds", "counter", "Holds by gate.", &holds);
    let up = |one: &Watched| by("watcher", &one.name, f64::from(u8::from(one.trouble.is_none())));
    let up: Vec<_> = watched.iter().map(up).collect();
    metric("nova_ha_watcher_up", "gauge", "Whether what it watches is heard.", &up);
    let stopped: Vec<_> = watched.iter().map(|one| by("watcher", &one.name, float(one.stopped))).collect();
    metric("nova_ha_watcher_stops", "counter", "How often it stopped and was begun anew.", &stopped);
    let name = "nova_ha_evacuation_request_seconds";
    let _ = writeln!(out, "# HELP {name} Time that Nova takes to answer.\n# TYPE {name} histogram");
    let mut sum = 0_u64;
    let bounds = BOUNDS.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(counters.buckets) {
        sum = sum.saturating_add(count);
        let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {sum}");
    }
    let _ = writeln!(out, "{name}_sum {}\n{name}_count {sum}\n# EOF", counters.seconds);
    out
}

fn number(n: usize) -> f64 {
    float(u64::try_from(n).unwrap_or(u64::MAX))
}

/// Counters are numbers with a fraction to Prometheus: beyond 2^53 they lose their last digits.
#[allow(clippy::cast_precision_loss, reason = "that is the format's precision")]
fn float(n: u64) -> f64 {
    n as f64
}

/// Serves the page for ever.
pub async fn serve(listener: TcpListener, page: impl Fn() -> String + Clone + Send + 'static) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, page.clone(), place))),
            Err(_) => sleep(EXHAUSTED_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, page: impl Fn() -> String + Clone, _place: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<Incoming>| {
        let page = page.clone();
        async move { Ok::<_, Infallible>(answer(&request, page)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever goes wrong with one scraper is its own affair.
    let _ = timeout(DEADLINE, served).await;
}

fn answer(request: &Request<Incoming>, page: impl Fn() -> String) -> Response<Full<Bytes>> {
    let (code, kind, body) = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned())
    } else if request.uri().path() == "/metrics" {
        (StatusCode::OK, TYPE, page())
    } else {
        (StatusCode::NOT_FOUND, "text/plain", "see /metrics\n".to_owned())
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if code == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::journal::{Gate, Verdict};

    #[test]
    fn the_page_has_what_was_counted() {
        let mut status = Status { in_flight: 3, limit: 12, frozen: true, ..Status::default() };
        let server = "6f70656e-7374-6163-6b20-342065766572".parse().unwrap();
        for took_ms in [40, 300, 99_000] {
            status.counters.count(&Event::Posted { server, attempt: 1, request_id: None, took_ms });
        }
        status.counters.count(&Event::Done { server });
        let why = String::new();
        status.counters.count(&Event::Gate { gate: Gate::Scheduler, verdict: Verdict::Hold, why });
        let watched = |name: &str, stopped, trouble: Option<&str>| Watched {
            name: name.into(),
            looked_ms: Some(1),
            stopped,
            trouble: trouble.map(str::to_owned),
        };
        let watched = [watched("queue", 0, None), watched("cluster", 3, Some("no cluster"))];
        let text = text(&status, &watched);
        for line in [
            "nova_ha_in_flight 3",
            "nova_ha_limit 12",
            "nova_ha_frozen 1",
            "nova_ha_evacuation_requests_total{answer=\"accepted\"} 3",
            "nova_ha_server_events_total{event=\"done\"} 1",
            "nova_ha_gate_holds_total{gate=\"scheduler\"} 1",
            "nova_ha_evacuation_request_seconds_bucket{le=\"0.05\"} 1",
            "nova_ha_evacuation_request_seconds_bucket{le=\"0.5\"} 2",
            "nova_ha_evacuation_request_seconds_bucket{le=\"+Inf\"} 3",
            "nova_ha_watcher_up{watcher=\"queue\"} 1",
            "nova_ha_watcher_up{watcher=\"cluster\"} 0",
            "nova_ha_watcher_stops_total{watcher=\"cluster\"} 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }
}

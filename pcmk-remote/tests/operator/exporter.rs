//! The exporter on the network, and its metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pcmk_remote::exporter::{Format, render};
use pcmk_remote::status::{
    ActionCounters, Credentials, Operation, Outcome, Peer, Resource, Status, Tool, Verdict,
};

use super::support::*;

struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Exporter {
    fn start(daemon: &Daemon) -> Self {
        let address = "127.0.0.1:9811".parse().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pcmk-remote-exporter"))
            .arg("--socket")
            .arg(daemon.socket())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the exporter", || TcpStream::connect(address).ok());
        Self { child, address }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn scrape(&self) -> String {
        let answer = self.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
        body.to_owned()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_daemons_state_is_scraped() {
    let mut daemon = Daemon::start();
    let exporter = Exporter::start(&daemon);
    let mut cluster = daemon.joined().await;
    cluster.runs_something().await;
    let text = exporter.scrape();
    lint(&text);
    for line in [
        "pcmk_remote_up 1",
        "pcmk_remote_peers 1",
        "pcmk_remote_state{state=\"connected\"} 1",
        "pcmk_remote_operation_results_total{action=\"start\",result=\"error\"} 1",
        "pcmk_remote_recurring_ok{resource=\"disk\",agent=\"ocf:nobody:Nothing\",action=\"monitor\",interval=\"60\"} 0",
        "pcmk_remote_handshakes_total{result=\"ok\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
    }
    daemon.kill();
    let text = exporter.scrape();
    lint(&text);
    assert!(text.contains("\npcmk_remote_up 0\n"), "{text}");
}

#[test]
fn what_is_no_scrape_is_answered_or_dropped() {
    let daemon = Daemon::start();
    let exporter = Exporter::start(&daemon);
    let idle: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(exporter.address).unwrap()).collect();
    for (request, answer) in [
        ("GET / HTTP/1.0\r\n\r\n", "200"),
        ("HEAD /metrics HTTP/1.0\r\n\r\n", "200"),
        ("GET /secret HTTP/1.0\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let said = exporter.ask(request);
        assert!(said.split(' ').nth(1) == Some(answer), "{request}: {said}");
    }
    let large = format!("GET /metrics HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    assert!(!exporter.ask(&large).contains("200 OK"));
    let open =
        exporter.ask("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n");
    assert!(open.contains("openmetrics-text; version=1.0.0") && open.ends_with("# EOF\n"), "{open}");
    // Connections that say nothing are given up.
    let mut silent = &idle[0];
    silent.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
}

#[test]
fn metrics_can_be_printed_once() {
    let daemon = Daemon::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcmk-remote-exporter"));
    let said = say(command.args(["--once", "--socket"]).arg(daemon.socket()));
    assert!(said.code == 0 && said.out.contains("pcmk_remote_up 1"), "{said:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcmk-remote-exporter"));
    assert_eq!(say(command.args(["--listen", "nowhere"])).code, 64);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcmk-remote-exporter"));
    let said = say(command.args(["--listen", "192.0.2.1:1"]));
    assert!(said.code == 1 && said.err.contains("cannot listen on 192.0.2.1:1"), "{said:?}");
}

/// A document in which nothing is empty.
pub(crate) fn full() -> Status {
    let outcome = Outcome { verdict: Verdict::Failed, ended_at: 5, ..Outcome::default() };
    let mut status = Status {
        peers: vec![Peer::default()],
        resources: vec![Resource { id: "r".into(), agent: "ocf:a:b".into(), ..Resource::default() }],
        operations: vec![Operation {
            resource: "r".into(),
            action: "monitor".into(),
            interval_ms: 1500,
            last: Some(outcome),
            ..Operation::default()
        }],
        tools: vec![Tool::default()],
        credentials: Some(Credentials {
            modified_at: Some(1),
            expires_at: Some(2),
            crl_next_update_at: Some(3),
            ..Credentials::default()
        }),
        ..Status::default()
    };
    let action = ActionCounters { buckets: vec![1; 11], total_ms: 1, ..ActionCounters::default() };
    status.counters.actions.insert("monitor".into(), action);
    status.counters.requests.insert("exec".into(), 1);
    status.counters.net.handshakes_failed.insert("wrong_key".into(), 1);
    status
}

#[test]
fn all_metrics_are_well_formed() {
    lint(&render(Some(&full()), Format::Text));
    lint(&render(None, Format::Text));
    let open = render(Some(&full()), Format::OpenMetrics);
    assert!(open.ends_with("# EOF\n") && !open.contains("_total counter"));
}

/// What `promtool check metrics` looks for: help and type before samples, names by the conventions, each
/// series once, histograms that add up.
pub(crate) fn lint(text: &str) {
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut helped: BTreeSet<String> = BTreeSet::new();
    let mut series: BTreeSet<String> = BTreeSet::new();
    let mut buckets: BTreeMap<String, f64> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name.into()) && help.ends_with('.'), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name) && types.insert(name.into(), kind.into()).is_none(), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(
                name.starts_with("pcmk_remote_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            for unit in ["_ms", "_us", "_milliseconds", "_kilobytes", "_minutes"] {
                assert!(!name.ends_with(unit), "{name} is not in a base unit");
            }
        } else {
            let (id, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            assert!(series.insert(id.into()), "twice: {id}");
            let name = id.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix).filter(|name| types.contains_key(*name)))
                .unwrap_or(name);
            let kind = types.get(family).unwrap_or_else(|| panic!("no type: {line}"));
            if kind == "histogram" && name.ends_with("_bucket") {
                let of = id.split("le=").next().unwrap().to_owned();
                let before = buckets.insert(of, value).unwrap_or(0.0);
                assert!(value >= before, "{line}");
            }
        }
    }
    assert_eq!(types.len(), helped.len());
}

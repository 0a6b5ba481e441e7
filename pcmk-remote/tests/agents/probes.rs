//! Agents that are part of the daemon: run by its host, without a process.

use std::path::Path;
use std::time::{Duration, Instant};

use libvirt_probe::agents::{Attributes, Value, Wanted};
use pcmk_proto::types::{ExecStatus, OcfRc};
use pcmk_remote::agent::{AgentCall, Outcome};
use pcmk_remote::host::{HostEvent, HostSettings};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, call};

fn rig() -> Rig {
    Rig::in_dir(elsewhere)
}

/// Without systemd, and with a folder of its own.
fn elsewhere(settings: &mut HostSettings, dir: &Path) {
    settings.agent_state_dir = dir.join("state");
    settings.bus_address = Some(format!("unix:path={}", dir.join("no-bus").display()));
}

fn ours(kind: &str, action: &str, params: &[(&str, &str)]) -> AgentCall {
    let mut call = call("ocf", kind, action, params);
    call.agent.provider = Some("pcmk-remote".into());
    call
}

fn recurring(kind: &str, params: &[(&str, &str)]) -> AgentCall {
    AgentCall { interval_ms: 10_000, ..ours(kind, "monitor", params) }
}

/// As it came: code, status, and reason.
fn said(outcome: &Outcome) -> (i32, ExecStatus, &str) {
    (outcome.rc.0, outcome.status, outcome.exit_reason.as_deref().unwrap_or_default())
}

/// A settings file by which a failure counts at once, also of a process as young as this one.
fn strict_config(rig: &Rig) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = rig.dir.path().join("probes.toml");
    std::fs::write(&path, "[verdict]\nfailures = 1\n[libvirt]\ngrace = \"1ms\"\n").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
    path.to_string_lossy().into_owned()
}

#[tokio::test]
async fn what_only_watches_is_started_and_stopped_by_a_file() {
    let mut rig = rig();
    let checks = [("checks", "libvirt"), ("socket", "/no/such/socket")];
    let probe = rig.run(ours("compute-health", "monitor", &checks)).await;
    assert_eq!(probe.rc, OcfRc::NOT_RUNNING);
    assert_eq!(said(&rig.run(ours("compute-health", "start", &checks)).await).0, 0);
    assert!(rig.dir.path().join("state/pcmk-remote-compute-health-rsc:0.state").exists());
    // A socket that was never there may just be a wrong path: unknown, and never a failure.
    for call in [ours("compute-health", "monitor", &checks), recurring("compute-health", &checks)] {
        let outcome = rig.run(call).await;
        let (rc, status, reason) = said(&outcome);
        assert_eq!((rc, status), (190, ExecStatus::Done), "{outcome:?}");
        assert!(reason.contains("libvirt: socket: "), "{reason}");
    }
    let hidden = [checks[0], checks[1], ("degraded", "hide")];
    assert_eq!(rig.run(recurring("compute-health", &hidden)).await.rc, OcfRc::OK);
    for _ in 0..2 {
        assert_eq!(said(&rig.run(ours("compute-health", "stop", &checks)).await).0, 0);
    }
    assert_eq!(rig.run(ours("compute-health", "monitor", &checks)).await.rc, OcfRc::NOT_RUNNING);
}

#[tokio::test]
async fn wrong_parameters_are_said_and_do_not_keep_from_stopping() {
    let mut rig = rig();
    let wrong = [("failures", "many")];
    for action in ["start", "monitor", "validate-all", "reload-agent"] {
        let outcome = rig.run(ours("libvirt", action, &wrong)).await;
        let reason = "parameter failures=many must be a number from 1 to 100";
        assert_eq!(said(&outcome), (6, ExecStatus::Done, reason), "{action}");
    }
    let missing = [("config", "/no/such/file"), ("unit", "none")];
    let outcome = rig.run(ours("libvirt", "validate-all", &missing)).await;
    assert_eq!(outcome.rc, OcfRc(2), "{outcome:?}");
    assert_eq!(said(&rig.run(ours("libvirt", "stop", &missing)).await), (0, ExecStatus::Done, ""));
    let outcome = rig.run(ours("libvirt", "promote", &[])).await;
    assert_eq!(said(&outcome), (3, ExecStatus::Done, "there is no action \"promote\""));
    let secret = [("socket", "lrm://")];
    let outcome = rig.run(ours("libvirt", "validate-all", &secret)).await;
    assert_eq!(outcome.exit_reason.as_deref(), Some("Unable to load CIB secrets"));
    let description = rig.run(ours("nova-compute", "meta-data", &[])).await;
    assert!(description.output.is_some_and(|xml| xml.contains("name=\"evacuation_delay\"")));
}

#[tokio::test]
async fn a_probe_that_hangs_is_killed_like_a_process_and_leaves_nothing() {
    let mut rig = rig();
    let path = rig.dir.path().join("silent");
    let listener = UnixListener::bind(&path).expect("bound");
    let config = strict_config(&rig);
    let params = [("socket", path.to_str().expect("text")), ("unit", "none"), ("config", &config)];
    std::fs::create_dir_all(rig.dir.path().join("state")).expect("made");
    std::fs::write(rig.dir.path().join("state/pcmk-remote-libvirt-rsc:0.state"), "").expect("written");
    let mut peers = Vec::new();
    for _ in 0..20 {
        let op = rig.start(recurring("libvirt", &params));
        let (peer, _) = timeout(PATIENCE, listener.accept()).await.expect("comes").expect("accepted");
        peers.push(peer);
        rig.host.kill(op);
        let killed = Instant::now();
        assert_eq!(rig.finish(op).await.status, ExecStatus::Cancelled);
        assert!(killed.elapsed() < Duration::from_secs(4));
    }
    rig.host.forget(&recurring("libvirt", &[]).id);
    for mut peer in peers {
        let mut rest = Vec::new();
        let read = timeout(PATIENCE, peer.read_to_end(&mut rest)).await;
        read.expect("its connection ends").ok();
    }
}

#[tokio::test]
async fn nova_compute_is_not_started_while_its_guests_may_run_elsewhere() {
    let (attributes, mut asked) = Attributes::channel();
    let mut rig = Rig::in_dir(|settings, dir| {
        elsewhere(settings, dir);
        settings.attributes = attributes;
    });
    tokio::spawn(async move {
        while let Some((wanted, answer)) = asked.recv().await {
            assert_eq!(wanted, Wanted::Values { name: "evacuate".into() });
            let value = Value { node: "compute1".into(), value: "yes".into() };
            let _ = answer.send(Ok(vec![value]));
        }
    });
    let params = [("unit", "none"), ("CRM_meta_on_node", "compute1")];
    let mut start = ours("nova-compute", "start", &params);
    start.timeout_ms = 3_000;
    let outcome = rig.run(start).await;
    let reason = "the evacuation of compute1 is not done (evacuate=yes): its guests may run elsewhere";
    assert_eq!(said(&outcome), (1, ExecStatus::Done, reason));
}

#[tokio::test]
async fn bad_news_comes_between_two_monitors() {
    let (attributes, mut asked) = Attributes::channel();
    let mut rig = Rig::in_dir(|settings, dir| {
        elsewhere(settings, dir);
        settings.attributes = attributes;
    });
    let (told, mut shown) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some((wanted, answer)) = asked.recv().await {
            let _ = told.send(wanted);
            let _ = answer.send(Ok(Vec::new()));
        }
    });
    let path = rig.dir.path().join("libvirt-sock");
    let fake = crate::libvirtd::Libvirtd::start(&path);
    let config = strict_config(&rig);
    let params = [
        ("socket", path.to_str().expect("text")),
        ("unit", "none"),
        ("config", &config),
        ("attribute", "libvirt-health"),
    ];
    assert_eq!(said(&rig.run(ours("libvirt", "start", &params)).await), (0, ExecStatus::Done, ""));
    assert_eq!(said(&rig.run(recurring("libvirt", &params)).await), (0, ExecStatus::Done, ""));
    let set =
        |value: &str| Wanted::Set { name: "libvirt-health".into(), value: Some(value.into()), node: None };
    assert_eq!(timeout(PATIENCE, shown.recv()).await.expect("in time"), Some(set("ok")));
    fake.crash();
    let HostEvent::Hurry { resource } = rig.event().await else { panic!("something else") };
    assert_eq!(resource, recurring("libvirt", &[]).id);
    assert_eq!(timeout(PATIENCE, shown.recv()).await.expect("in time"), Some(set("failed")));
    let outcome = rig.run(recurring("libvirt", &params)).await;
    assert!(matches!(outcome.rc.0, 1 | 7), "{outcome:?}");
    assert!(outcome.exit_reason.is_some_and(|reason| !reason.is_empty()));
}

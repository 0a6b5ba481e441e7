//! The fence agent and the resource agent as Pacemaker runs them: real programs, made-up devices and cluster tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "fence/bench.rs"]
mod bench;
#[path = "fence/cloud.rs"]
mod cloud;

use std::time::{Duration, Instant};

use bench::Bench;
use cloud::Cloud;
use nova_ext::handover::{Marked, Wish};

const LEVEL: &str = r#"<configuration><resources><primitive id="bmc" class="stonith" type="fence_ipmilan"/><primitive id="nova" class="stonith" type="fence_nova"/></resources><fencing-topology><fencing-level id="l" target="c1" index="1" devices="bmc,nova"/></fencing-topology></configuration>"#;
const NO_LEVEL: &str = "<configuration><resources/><fencing-topology/></configuration>";
const PENDING: &str = r#"<pacemaker-result api-version="2.27"><fence_history><fence_event status="pending" action="off" target="c1" client="pacemaker-controld.9" origin="ctl1"/></fence_history><status code="0" message="OK"/></pacemaker-result>"#;

#[tokio::test]
async fn a_host_is_fenced_although_nova_does_not_answer() {
    let bench = Bench::new();
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    let ended = bench.fence("off", "").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("the engine will tell it"), "{ended:?}");
    let requests = bench.requests();
    assert_eq!((requests.len(), requests[0].wish), (1, Wish::Evacuate));
    assert_eq!((requests[0].host.as_str(), requests[0].power_on), ("c1", false));
    assert!(matches!(requests[0].marked, Marked::Open { .. }) && requests[0].not_before.is_none());
    assert!(requests[0].story.iter().any(|entry| entry.event.host().is_some()));
    assert!(bench.told().contains("-n evacuate -N c1 -U yes"), "{}", bench.told());
    // The same once more is the same incident.
    assert_eq!(bench.fence("off", "").await.code, 0);
    assert_eq!(bench.requests().iter().map(|it| it.id).collect::<Vec<_>>(), [requests[0].id]);
    assert_eq!(bench.fence("status", "").await.code, 2);

    // While it is evacuated it stays off, and is wanted back.
    assert_eq!(bench.fence("on", "").await.code, 0);
    assert_eq!(bench.fence("status", "").await.code, 2);
    assert!(bench.requests().iter().any(|it| it.wish == Wish::Return && it.power_on));
}

#[tokio::test]
async fn a_device_that_lies_fences_nobody() {
    let bench = Bench::new();
    bench.device("false", "true", "true");
    let ended = bench.fence("off", "power_timeout=3\n").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("did not read off twice in a row"), "{ended:?}");
    assert!(bench.requests().is_empty() && bench.told().is_empty());
    assert_eq!(bench.fence("status", "").await.code, 0);
}

#[tokio::test]
async fn another_device_counts_only_before_us_in_a_level_that_runs() {
    let bench = Bench::new();
    bench.cluster(NO_LEVEL, PENDING);
    let ended = bench.fence("off", "record_only=1\n").await;
    assert!(ended.code == 1 && ended.err.contains("no power device comes before fence_nova"), "{ended:?}");
    bench.cluster(LEVEL, &PENDING.replace("pending", "success"));
    let ended = bench.fence("off", "record_only=1\n").await;
    assert!(ended.code == 1 && ended.err.contains("is not fencing c1 now"), "{ended:?}");
    assert!(bench.requests().is_empty());
    bench.cluster(LEVEL, PENDING);
    let ended = bench.fence("off", "record_only=1\n").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(bench.requests().len(), 1);
}

#[tokio::test]
async fn the_password_is_told_to_nobody() {
    let bench = Bench::new();
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    let ended = bench.fence("off", "verbose_level=3\n").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("password is in the cluster's configuration"));
    assert!(!format!("{ended:?}{}", bench.told()).contains(bench::PASSWORD));
    for request in bench.requests() {
        assert!(!serde_json::to_string(&request).unwrap().contains(bench::PASSWORD));
    }
}

#[tokio::test]
async fn wrong_parameters_are_one_clear_line() {
    let bench = Bench::new();
    for (text, part) in [
        ("action=diag\n", "there is no action \"diag\""),
        ("action=off\n", "needs plug"),
        ("action=monitor\npower_timeout=soon\n", "power_timeout is \"soon\""),
        ("action=monitor\nconfig=/no/such/file\n", "/no/such/file is missing"),
    ] {
        let ended = bench.agent(text).await;
        assert_eq!(ended.code, 1, "{text}: {ended:?}");
        assert_eq!(ended.err.lines().filter(|line| line.contains("ERROR")).count(), 1, "{ended:?}");
        assert!(ended.err.contains(part), "{text}: {ended:?}");
    }
    let metadata = bench.agent("action=metadata\n").await;
    assert!(
        metadata.code == 0 && metadata.out.starts_with("<?xml") && metadata.err.is_empty(),
        "{metadata:?}"
    );
}

#[tokio::test]
async fn the_resource_agent_starts_watches_and_stops_the_engine() {
    let bench = Bench::new();
    assert_eq!(bench.resource("meta-data").await.code, 0);
    assert_eq!(bench.resource("monitor").await.code, 7);
    let started = bench.resource("start").await;
    assert_eq!(started.code, 0, "{started:?}");
    // It waits for the cloud, which is no reason to restart it.
    assert_eq!(bench.resource("monitor").await.code, 0);
    assert_eq!(bench.resource("start").await.code, 0);
    let status = bench.nova_ha(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert!(status["engine"]["pid"].as_u64().is_some_and(|pid| pid > 1), "{status}");
    let stopped = bench.resource("stop").await;
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(bench.resource("monitor").await.code, 7);
    assert_eq!(bench.resource("stop").await.code, 0);
    assert_eq!(bench.resource("promote").await.code, 3);
}

#[tokio::test]
async fn the_operators_switches() {
    let bench = Bench::new();
    assert_eq!(bench.nova_ha(&["freeze", "--reason", "network works"]).await.code, 0);
    let status = bench.nova_ha(&["status"]).await;
    assert!(status.out.contains("frozen: network works ("), "{status:?}");
    assert_eq!(bench.nova_ha(&["thaw"]).await.out, "thawed\n");
    assert_eq!(bench.nova_ha(&["thaw"]).await.out, "it was not frozen\n");
    assert_eq!(bench.nova_ha(&["return", "c1", "--power-on"]).await.code, 0);
    assert!(bench.requests()[0].power_on && bench.requests()[0].wish == Wish::Return);
    let report = bench.nova_ha(&["report", "--last"]).await;
    assert!(report.code == 1 && report.err.contains("has no incident"), "{report:?}");
    let valid = bench.nova_ha(&["validate", "--offline"]).await;
    assert!(valid.out.contains("names     no name stands for two"), "{valid:?}");
}

/// Waits for it; the machine may be busy.
async fn until(what: &str, bench: &Bench, cloud: &Cloud, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < end, "{what}\n{}\n{:?}", bench.log(), cloud.service.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn from_fence_to_back_in_service() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    let ended = bench.fence("off", "").await;
    assert!(ended.code == 0 && !ended.err.contains("does not know yet"), "{ended:?}");
    {
        let service = cloud.service.lock().unwrap();
        assert!(
            service.forced_down && service.disabled.as_ref().unwrap().starts_with("nova-ha: off "),
            "{service:?}"
        );
        assert_eq!(service.changes.len(), 1, "one call does both");
    }
    let requests = bench.requests();
    assert_eq!(requests[0].marked, Marked::Done);
    // The engine takes it up, finds nothing to move, and waits for nova-compute.
    let started = bench.resource("start").await;
    assert_eq!(started.code, 0, "{started:?}");
    until("the request ends", &bench, &cloud, || bench.requests().is_empty()).await;
    until("the attribute says so", &bench, &cloud, || bench.attribute("evacuate").as_deref() == Some("no"))
        .await;
    assert!(cloud.service.lock().unwrap().forced_down);
    let report = bench.nova_ha(&["report", "--last"]).await;
    assert!(report.code == 0, "{report:?}");
    let all = bench.nova_ha(&["report"]).await;
    assert!(all.out.contains("c1: complete: 0 moved"), "{all:?}");
    let page = bench.nova_ha(&["report", "--format", "html", &requests[0].id.to_string()]).await;
    assert!(page.out.starts_with("<!DOCTYPE html>") && page.out.contains("proven off"), "{page:?}");
    // It starts while the host is still forced down.
    cloud.service.lock().unwrap().reports = true;
    until("the host is back", &bench, &cloud, || {
        let service = cloud.service.lock().unwrap();
        !service.forced_down && service.disabled.is_none()
    })
    .await;
    let service = cloud.service.lock().unwrap();
    let order: Vec<_> = service.changes.iter().skip(1).map(ToString::to_string).collect();
    assert_eq!(order, [r#"{"forced_down":false}"#, r#"{"status":"enabled"}"#]);
    assert!(!bench.log().contains(bench::PASSWORD));
}

//! Services, and starting them again.

use std::time::{Duration, Instant};

use libvirt_probe::services::{Services, Settings};
use libvirt_probe::units::{self, Systemd};
use libvirt_probe::verdict::{Health, Report};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::manager::{self, Bench, FakeUnit};

fn named(units: &[&str]) -> Settings {
    Settings {
        units: units.iter().map(|unit| (*unit).to_owned()).collect(),
        installed: Vec::new(),
        ..Settings::default()
    }
}

fn said(report: &Report) -> Vec<(Health, &str)> {
    report.findings.iter().map(|finding| (finding.health, finding.reason.as_str())).collect()
}

fn failed(result: &'static str) -> FakeUnit {
    FakeUnit { result, ..FakeUnit::is("loaded", "failed", "failed") }
}

#[tokio::test]
async fn each_service_is_a_finding() {
    let bench = Bench::new(&[("a.service", FakeUnit::running(1)), ("b.service", failed("exit-code"))]).await;
    let mut services = Services::with(named(&["a", "b.service", "c"]), bench.systemd.clone());
    assert_eq!(
        said(&services.check().await),
        [
            (Health::Ok, ""),
            (Health::Failed, "b.service has failed (exit-code)"),
            (Health::Unknown, "c.service is not installed"),
        ]
    );
    // To look is not to touch.
    assert!(bench.manager.calls("RestartUnit").is_empty());
}

#[tokio::test]
async fn what_is_installed_and_enabled_is_found() {
    let bench = Bench::new(&[
        ("neutron-l3-agent.service", FakeUnit::is("loaded", "inactive", "dead")),
        ("virtlogd.service", FakeUnit::is("loaded", "inactive", "dead")),
    ])
    .await;
    let mut services = Services::with(Settings::default(), bench.systemd.clone());
    assert_eq!(said(&services.check().await), [(Health::Ok, "no such service is installed")]);
    bench.manager.world().files =
        vec![("/lib/neutron-l3-agent.service", "enabled"), ("/lib/virtlogd.service", "indirect")];
    let mut services = Services::with(Settings::default(), bench.systemd.clone());
    let stopped = "neutron-l3-agent.service does not run: somebody has stopped it";
    assert_eq!(said(&services.check().await), [(Health::Degraded, stopped), (Health::Ok, "")]);
    services.check().await;
    assert_eq!(bench.manager.calls("ListUnitFilesByPatterns").len(), 2, "not at each check");
}

#[tokio::test]
async fn what_has_failed_is_started_again_a_few_times_only() {
    let bench = Bench::new(&[("x.service", failed("start-limit-hit"))]).await;
    let mut services = Services::with(named(&["x"]), bench.systemd.clone()).healing();
    for number in [1, 2] {
        let text = format!("x.service has failed (start-limit-hit); started again here, try {number} of 2");
        assert_eq!(said(&services.check().await), [(Health::Degraded, text.as_str())]);
    }
    for _ in 0..3 {
        let text = "x.service has failed (start-limit-hit), 2 starts here have not helped";
        assert_eq!(said(&services.check().await), [(Health::Failed, text)]);
    }
    assert_eq!(bench.manager.calls("RestartUnit").len(), 2);
    // Else systemd would not do it.
    assert_eq!(bench.manager.calls("ResetFailedUnit").len(), 2);
    bench.manager.world().units.insert("x.service", FakeUnit::running(9));
    assert_eq!(said(&services.check().await), [(Health::Ok, "")]);
}

#[tokio::test]
async fn what_somebody_has_stopped_is_left_alone() {
    for unit in [
        FakeUnit::is("loaded", "inactive", "dead"),
        FakeUnit::is("masked", "inactive", "dead"),
        FakeUnit::is("not-found", "inactive", "dead"),
        FakeUnit::is("loaded", "activating", "auto-restart"),
        FakeUnit::is("loaded", "deactivating", "stop-sigterm"),
    ] {
        let bench = Bench::new(&[("x.service", unit)]).await;
        let mut services = Services::with(named(&["x"]), bench.systemd.clone()).healing();
        assert_ne!(services.check().await.health(), Health::Ok);
        assert!(bench.manager.calls("RestartUnit").is_empty());
    }
}

#[tokio::test]
async fn without_a_bus_nothing_is_known_and_nothing_done() {
    let mut bench = Bench::new(&[("x.service", failed("exit-code"))]).await;
    let mut services = Services::with(named(&["x"]), bench.systemd.clone()).healing();
    bench.stop();
    let report = services.check().await;
    assert_eq!((report.health(), report.findings.len()), (Health::Unknown, 1), "{report:?}");
    bench.start().await;
    assert_eq!(services.check().await.health(), Health::Degraded);
}

#[tokio::test]
async fn a_systemd_that_falls_silent_is_asked_once_and_not_for_each_unit() {
    let bench = Bench::new(&[("a.service", failed("x")), ("b.service", failed("x"))]).await;
    // Long enough for what is answered, however busy the machine is.
    let call = Duration::from_secs(3);
    let systemd = Systemd::new(units::Settings { call, ..manager::settings(bench.dir.path()) });
    let mut services = Services::with(named(&["a", "b"]), systemd).healing();
    assert_eq!(services.check().await.findings.len(), 2);
    bench.manager.world().mute_get = true;
    let begun = Instant::now();
    let report = services.check().await;
    assert_eq!(report.health(), Health::Unknown, "{report:?}");
    assert!(begun.elapsed() < call * 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_change_is_told() {
    let bench = Bench::new(&[("x.service", FakeUnit::running(1))]).await;
    let mut services = Services::with(named(&["x"]), bench.systemd.clone());
    assert_eq!(services.check().await.health(), Health::Ok);
    assert!(timeout(Duration::from_millis(100), services.changed()).await.is_err());
    let manager = bench.manager.clone();
    let news = tokio::spawn(async move { manager.set("x.service", failed("signal")).await });
    timeout(PATIENCE, services.changed()).await.expect("told");
    news.await.unwrap();
    assert_eq!(said(&services.check().await), [(Health::Failed, "x.service has failed (signal)")]);
    // A second look comes by itself.
    timeout(PATIENCE, services.changed()).await.expect("told");
}

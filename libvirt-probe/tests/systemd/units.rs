//! Asking systemd, and having it do something.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use libvirt_probe::units::{Active, Error, Load, Settings, Systemd, Task};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::manager::{Bench, FakeUnit, JobEnd, address, settings};

const SOON: Duration = Duration::from_millis(300);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn units_are_told_in_the_order_asked_for() {
    let failed = FakeUnit::is("loaded", "failed", "failed");
    let bench = Bench::new(&[("a.service", FakeUnit::running(42)), ("b-1@x.service", failed)]).await;
    let units = bench.systemd.units(&names(&["b-1@x.service", "none.service", "a.service"])).await.unwrap();
    let said: Vec<_> = units.iter().map(|unit| (unit.name.as_str(), unit.load, unit.active)).collect();
    assert_eq!(
        said,
        [
            ("b-1@x.service", Load::Loaded, Active::Failed),
            ("none.service", Load::NotFound, Active::Inactive),
            ("a.service", Load::Loaded, Active::Active),
        ]
    );
    assert_eq!(bench.manager.calls("ListUnitsByNames").len(), 1);
    let service = bench.systemd.service(&units[2]).await.unwrap();
    assert_eq!((service.main_pid, service.restarts, service.result.as_str()), (Some(42), 0, "success"));
    assert_eq!(service.group.as_deref(), Some("/system.slice/x.service"));
    assert_eq!(service.active_since, Some(Duration::from_secs(77)));
    let gone = bench.systemd.service(&units[1]).await.unwrap_err();
    assert!(matches!(gone, Error::Refused { .. }), "{gone}");
}

#[tokio::test]
async fn installed_units_are_told_with_whether_they_are_enabled() {
    let bench = Bench::new(&[]).await;
    bench.manager.world().files = vec![
        ("/lib/systemd/system/a.service", "enabled"),
        ("/lib/b.service", "disabled"),
        ("/c.socket", "static"),
    ];
    let installed = bench.systemd.installed(&names(&["a*", "c*"])).await.unwrap();
    let said: Vec<_> = installed.iter().map(|unit| (unit.name.as_str(), unit.enabled)).collect();
    assert_eq!(said, [("a.service", true), ("c.socket", false)]);
}

#[tokio::test]
async fn jobs_are_waited_for() {
    for job in [JobEnd::Early("done"), JobEnd::Late("done"), JobEnd::Unseen] {
        let bench = Bench::new(&[("x.service", FakeUnit::is("loaded", "inactive", "dead"))]).await;
        bench.manager.world().job = job;
        bench.manager.world().after_job = Some(FakeUnit::running(1));
        bench.systemd.run(Task::Start, "x.service", PATIENCE).await.unwrap();
        assert_eq!(bench.manager.calls("StartUnit"), ["StartUnit x.service"], "{job:?}");
    }
}

#[tokio::test]
async fn a_job_that_fails_says_so() {
    let bench = Bench::new(&[("x.service", FakeUnit::is("loaded", "failed", "failed"))]).await;
    bench.manager.world().job = JobEnd::Late("failed");
    let error = bench.systemd.run(Task::Restart, "x.service", PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "systemd could not restart x.service: failed");
    bench.manager.world().job = JobEnd::Unseen;
    let error = bench.systemd.run(Task::Start, "x.service", PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "systemd could not start x.service: failed");
    bench.manager.world().job = JobEnd::Refused("org.freedesktop.systemd1.NoSuchUnit");
    let error = bench.systemd.run(Task::Stop, "x.service", PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "systemd refuses: refused (org.freedesktop.systemd1.NoSuchUnit)");
}

#[tokio::test]
async fn a_job_that_does_not_end_is_waited_for_no_longer_than_said() {
    let bench = Bench::new(&[("x.service", FakeUnit::running(1))]).await;
    bench.manager.world().job = JobEnd::Never;
    let begun = Instant::now();
    let error = bench.systemd.run(Task::Stop, "x.service", SOON).await.unwrap_err();
    assert!(matches!(error, Error::NotInTime { .. }), "{error}");
    assert!(begun.elapsed() < PATIENCE / 2);
    // To ask is not to wait.
    bench.systemd.ask(Task::Stop, "x.service").await.unwrap();
}

#[tokio::test]
async fn no_bus_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let systemd = Systemd::new(settings(dir.path()));
    let error = systemd.unit("x.service").await.unwrap_err();
    assert!(matches!(error, Error::Absent(_)), "{error}");
    assert!(error.to_string().starts_with("systemd cannot be asked: "), "{error}");
}

#[tokio::test]
async fn a_bus_without_systemd_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let _daemon = crate::manager::Daemon::start(dir.path());
    let error = Systemd::new(settings(dir.path())).unit("x.service").await.unwrap_err();
    assert!(matches!(error, Error::Absent(_)), "{error}");
}

#[tokio::test]
async fn a_bus_that_hangs_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("bus")).unwrap();
    let systemd = Systemd::new(Settings { connect: SOON, call: SOON, address: Some(address(dir.path())) });
    let tries = 3;
    for _ in 0..tries {
        let error = systemd.unit("x.service").await.unwrap_err();
        assert!(error.to_string().starts_with("the message bus does not answer within 300 ms"), "{error}");
    }
    // Each has been given up: at the end of what was said there is an end.
    let ended = tokio::task::spawn_blocking(move || {
        for _ in 0..tries {
            let (mut connection, _) = listener.accept().unwrap();
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            connection.read_to_end(&mut Vec::new()).unwrap();
        }
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn a_systemd_that_hangs_is_not_waited_for() {
    let bench = Bench::new(&[("x.service", FakeUnit::running(1))]).await;
    // Long enough for what is answered, however busy the machine is.
    let systemd = Systemd::new(Settings { call: Duration::from_secs(3), ..settings(bench.dir.path()) });
    systemd.unit("x.service").await.unwrap();
    bench.manager.world().mute = true;
    let error = systemd.unit("x.service").await.unwrap_err();
    assert!(error.to_string().starts_with("systemd does not answer within 3000 ms"), "{error}");
    bench.manager.world().mute = false;
    systemd.unit("x.service").await.unwrap();
}

#[tokio::test]
async fn changes_of_the_units_asked_for_are_told_and_kept() {
    let bench = Bench::new(&[("x.service", FakeUnit::running(1)), ("y.service", FakeUnit::running(2))]).await;
    let mut watch = bench.systemd.watch(names(&["x.service"]));
    watch.begin().await;
    bench.manager.tell("y.service").await;
    assert!(timeout(SOON, watch.changed()).await.is_err());
    // Nobody waits just now.
    bench.manager.tell("x.service").await;
    bench.systemd.unit("x.service").await.unwrap();
    timeout(PATIENCE, watch.changed()).await.expect("told");
    assert!(timeout(SOON, watch.changed()).await.is_err());
}

#[tokio::test]
async fn a_lost_bus_is_told_and_found_again() {
    let mut bench = Bench::new(&[("x.service", FakeUnit::running(1))]).await;
    let mut watch = bench.systemd.watch(names(&["x.service"]));
    watch.begin().await;
    bench.stop();
    timeout(PATIENCE, watch.changed()).await.expect("told");
    assert!(bench.systemd.unit("x.service").await.is_err());
    bench.start().await;
    timeout(PATIENCE, watch.changed()).await.expect("told that it is back");
    bench.systemd.unit("x.service").await.unwrap();
    bench.manager.tell("x.service").await;
    timeout(PATIENCE, watch.changed()).await.expect("told");
}

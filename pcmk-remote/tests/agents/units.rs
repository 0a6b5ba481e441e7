//! systemd units, on a systemd that does as it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pcmk_proto::types::{ExecStatus, OcfRc};
use pcmk_remote::agent::{AgentCall, Outcome};

use crate::manager::{Daemon, JobEnd, Manager, NAME, World, address, connect, emit};
use crate::rig::{Rig, call, data};

struct Bench {
    rig: Rig,
    manager: Manager,
    daemon: Option<Daemon>,
}

impl Bench {
    async fn new(world: World) -> Self {
        let rig = Rig::on_bus();
        let daemon = Daemon::start(rig.dir.path());
        let manager = Manager::start(rig.dir.path(), world).await;
        Self { rig, manager, daemon: Some(daemon) }
    }

    fn drop_in(&self) -> PathBuf {
        self.rig.dir.path().join("units/x.service.d/50-pacemaker.conf")
    }

    async fn run(&mut self, action: &str) -> Outcome {
        self.rig.run(unit(action)).await
    }
}

impl Rig {
    /// A host whose bus is in its directory, as soon as there is one.
    fn on_bus() -> Self {
        Self::in_dir(|settings, dir| {
            settings.bus_address = Some(address(dir));
            settings.unit_dir = dir.join("units");
            settings.job_poll = Duration::from_millis(200);
        })
    }
}

fn unit(action: &str) -> AgentCall {
    call("systemd", "x", action, &[])
}

fn codes(outcome: &Outcome) -> (ExecStatus, OcfRc) {
    (outcome.status, outcome.rc)
}

const OK: (ExecStatus, OcfRc) = (ExecStatus::Done, OcfRc::OK);
const FAILED: (ExecStatus, OcfRc) = (ExecStatus::Error, OcfRc::UNKNOWN_ERROR);

#[tokio::test]
async fn start_writes_the_drop_in_and_waits_for_the_job() {
    for job in [JobEnd::Early("done"), JobEnd::Late("done")] {
        let mut bench = Bench::new(World { job, ..World::default() }).await;
        let outcome = bench.run("start").await;
        assert_eq!((codes(&outcome), outcome.exit_reason), (OK, None));
        assert_eq!(
            bench.manager.calls(),
            ["Subscribe", "LoadUnit x.service", "Reload", "StartUnit x.service replace"]
        );
        let text = fs::read_to_string(bench.drop_in()).expect("written");
        assert!(text.contains("Before=pacemaker.service pacemaker_remote.service\n"), "{text}");
        let mode = fs::metadata(bench.drop_in()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(fs::read_dir(bench.drop_in().parent().expect("one")).expect("there").count(), 1);
    }
}

#[tokio::test]
async fn stop_removes_the_drop_in_and_reloads_only_then() {
    let mut bench = Bench::new(World { state_after_job: "inactive", ..World::default() }).await;
    fs::create_dir_all(bench.drop_in().parent().expect("one")).expect("created");
    fs::write(bench.drop_in(), "x").expect("written");
    assert_eq!(codes(&bench.run("stop").await), OK);
    assert!(!bench.drop_in().exists());
    assert_eq!(codes(&bench.run("stop").await), OK);
    let stop = "StopUnit x.service replace";
    let load = "LoadUnit x.service";
    assert_eq!(bench.manager.calls(), ["Subscribe", load, "Reload", stop, load, stop]);
}

#[tokio::test]
async fn restart_waits_for_its_job() {
    let mut bench = Bench::new(World::default()).await;
    assert_eq!(codes(&bench.run("restart").await), OK);
    assert!(bench.manager.calls().contains(&"RestartUnit x.service replace".to_owned()));
}

#[tokio::test]
async fn failed_jobs_are_failures() {
    for (result, status) in [
        ("failed", ExecStatus::Error),
        ("dependency", ExecStatus::Error),
        ("canceled", ExecStatus::Error),
        ("timeout", ExecStatus::Timeout),
    ] {
        let mut bench = Bench::new(World { job: JobEnd::Late(result), ..World::default() }).await;
        let outcome = bench.run("start").await;
        assert_eq!(codes(&outcome), (status, OcfRc::UNKNOWN_ERROR));
        let reason = outcome.exit_reason.expect("given");
        assert!(reason.starts_with("systemd start job for x.service "), "{reason}");
    }
}

#[tokio::test]
async fn unknown_units() {
    let mut bench =
        Bench::new(World { job: JobEnd::Refused("org.freedesktop.systemd1.NoSuchUnit"), ..World::default() })
            .await;
    let outcome = bench.run("start").await;
    assert_eq!(codes(&outcome), (ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED));
    assert_eq!(outcome.exit_reason.as_deref(), Some("systemd unit x not found"));
    assert_eq!(codes(&bench.run("stop").await), OK);

    bench.manager.world().load_error = Some("org.freedesktop.systemd1.LoadFailed");
    assert_eq!(codes(&bench.run("monitor").await), (ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED));
    assert_eq!(codes(&bench.run("stop").await), OK);
}

#[tokio::test]
async fn monitor_reports_the_state() {
    let mut bench = Bench::new(World::default()).await;
    let outcome = bench.run("monitor").await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::NOT_RUNNING));
    assert_eq!(outcome.exit_reason.as_deref(), Some("inactive"));
    bench.manager.world().states = ["active"].into();
    assert_eq!(codes(&bench.run("status").await), OK);
}

#[tokio::test]
async fn monitor_waits_until_the_state_is_settled() {
    let world = World { states: ["activating", "activating", "active"].into(), ..World::default() };
    let mut bench = Bench::new(world).await;
    assert_eq!(codes(&bench.run("monitor").await), OK);
    bench.manager.world().states = ["deactivating", "failed"].into();
    let outcome = bench.run("monitor").await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::NOT_RUNNING));
    assert_eq!(outcome.exit_reason.as_deref(), Some("failed"));
}

#[tokio::test]
async fn monitor_gives_up_before_its_time_is_over() {
    let mut bench = Bench::new(World { states: ["activating"].into(), ..World::default() }).await;
    let begin = Instant::now();
    let mut call = unit("monitor");
    call.timeout_ms = 1000;
    let outcome = bench.rig.run(call).await;
    assert_eq!(codes(&outcome), (ExecStatus::Timeout, OcfRc::UNKNOWN_ERROR));
    assert!(outcome.exit_reason.is_some_and(|reason| reason.starts_with("Investigate reason for timeout")));
    assert!(begin.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn lost_signal_is_made_up_for() {
    let mut bench = Bench::new(World { job: JobEnd::Unseen, ..World::default() }).await;
    assert_eq!(codes(&bench.run("start").await), OK);
    bench.manager.world().state_after_job = "failed";
    let outcome = bench.run("start").await;
    assert_eq!(codes(&outcome), FAILED);
    assert_eq!(outcome.exit_reason.as_deref(), Some("systemd start job for x.service left it failed"));
    assert_eq!(codes(&bench.run("stop").await), OK);
}

#[tokio::test]
async fn job_that_takes_its_time_is_waited_for() {
    let mut bench = Bench::new(World { job: JobEnd::Never, ..World::default() }).await;
    let op = bench.rig.start(unit("start"));
    // Looked at, and not taken for ended.
    bench.manager.called("Get State").await;
    bench.manager.job_removed("done").await;
    assert_eq!(codes(&bench.rig.finish(op).await), OK);
}

#[tokio::test]
async fn others_cannot_pretend_to_be_systemd() {
    let mut bench = Bench::new(World { job: JobEnd::Never, ..World::default() }).await;
    let op = bench.rig.start(unit("start"));
    bench.manager.called("StartUnit x.service replace").await;
    let stranger = connect(bench.rig.dir.path()).await;
    emit(&stranger, None, "done").await;
    for client in 0..10 {
        emit(&stranger, Some(&format!(":1.{client}")), "done").await;
    }
    bench.manager.called("Get State").await;
    bench.manager.job_removed("failed").await;
    assert_eq!(codes(&bench.rig.finish(op).await), FAILED);
}

#[tokio::test]
async fn bus_may_restart_in_the_middle_of_a_job() {
    let mut bench = Bench::new(World { job: JobEnd::Never, ..World::default() }).await;
    let op = bench.rig.start(unit("start"));
    bench.manager.called("StartUnit x.service replace").await;
    drop(bench.daemon.take());
    fs::remove_file(bench.rig.dir.path().join("bus")).ok();
    let _daemon = Daemon::start(bench.rig.dir.path());
    let world = World { states: ["activating", "active"].into(), ..World::default() };
    let _manager = Manager::start(bench.rig.dir.path(), world).await;
    assert_eq!(codes(&bench.rig.finish(op).await), OK);
}

#[tokio::test]
async fn systemd_may_reexecute_itself() {
    let mut bench = Bench::new(World { states: ["active"].into(), ..World::default() }).await;
    assert_eq!(codes(&bench.run("monitor").await), OK);
    bench.manager.connection.release_name(NAME).await.expect("was ours");
    let op = bench.rig.start(unit("monitor"));
    let connection = bench.manager.connection.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        connection.request_name(NAME).await.expect("free");
    });
    assert_eq!(codes(&bench.rig.finish(op).await), OK);
}

#[tokio::test]
async fn without_a_bus_it_fails_at_once() {
    let mut rig = Rig::on_bus();
    let begin = Instant::now();
    for action in ["start", "stop", "monitor"] {
        let outcome = rig.run(unit(action)).await;
        assert_eq!(codes(&outcome), FAILED);
        assert_eq!(outcome.exit_reason.as_deref(), Some("No DBus connection"));
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    // And is used as soon as it is there.
    let _daemon = Daemon::start(rig.dir.path());
    let _manager = Manager::start(rig.dir.path(), World::default()).await;
    assert_eq!(codes(&rig.run(unit("start")).await), OK);
}

#[tokio::test]
async fn kill_forgets_the_exchange() {
    let mut bench = Bench::new(World { job: JobEnd::Silence, ..World::default() }).await;
    let op = bench.rig.start(unit("start"));
    bench.manager.called("StartUnit x.service replace").await;
    bench.rig.host.kill(op);
    assert_eq!(bench.rig.finish(op).await.status, ExecStatus::Cancelled);
}

#[tokio::test]
async fn silent_manager_is_given_up() {
    let mut bench = Bench::new(World { job: JobEnd::Silence, ..World::default() }).await;
    let mut call = unit("start");
    call.timeout_ms = 1;
    let outcome = bench.rig.run(call).await;
    assert_eq!(codes(&outcome), (ExecStatus::Timeout, OcfRc::UNKNOWN_ERROR));
    let expected = "start action for systemd unit x did not complete in time";
    assert_eq!(outcome.exit_reason.as_deref(), Some(expected));
}

#[tokio::test]
async fn start_without_its_drop_in_fails() {
    let mut bench = Bench::new(World::default()).await;
    fs::write(bench.rig.dir.path().join("units"), "in the way").expect("written");
    let outcome = bench.run("start").await;
    assert_eq!(codes(&outcome), FAILED);
    let reason = outcome.exit_reason.expect("given");
    assert!(reason.starts_with("Failed to create systemd override file for x: "), "{reason}");
    assert_eq!(bench.manager.calls(), ["Subscribe", "LoadUnit x.service"]);
}

#[tokio::test]
async fn metadata_and_unknown_actions() {
    let mut bench = Bench::new(World::default()).await;
    let outcome = bench.run("meta-data").await;
    assert_eq!(codes(&outcome), OK);
    assert!(outcome.output.is_some_and(|text| text.contains("A unit &amp; more")));
    let outcome = bench.run("promote").await;
    assert_eq!(codes(&outcome), (ExecStatus::Error, OcfRc::UNIMPLEMENT_FEATURE));
}

#[tokio::test]
async fn service_is_a_script_or_a_unit() {
    let mut bench = Bench::new(World { states: ["active"].into(), ..World::default() }).await;
    // There is an init script of that name.
    let outcome = bench.rig.run(call("service", "script", "monitor", &[])).await;
    assert_eq!((codes(&outcome), outcome.raw_rc), ((ExecStatus::Done, OcfRc::NOT_RUNNING), 3));
    assert!(bench.manager.calls().is_empty());

    for load_state in ["loaded", "masked"] {
        bench.manager.world().load_state = load_state;
        assert_eq!(codes(&bench.rig.run(call("service", "x", "monitor", &[])).await), OK);
    }

    bench.manager.world().load_state = "not-found";
    let outcome = bench.rig.run(call("service", "x", "monitor", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED));
    let expected = format!("{}: No such file or directory", data().join("init.d/x").display());
    assert_eq!(outcome.exit_reason, Some(expected));
}

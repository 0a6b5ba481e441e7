//! nova-compute as a unit.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use libvirt_probe::nova_compute::{Limits, NovaCompute, Settings};
use libvirt_probe::verdict::{Finding, Health, Judge, Rules, Step};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::manager::{Bench, FakeUnit};

const NAME: &str = "nova-compute.service";

/// Something that runs, and ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn sleep() -> Self {
        Self::start(Command::new("sleep").arg("1000"))
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Looks at the process alone.
fn settings() -> Settings {
    let limits = Limits { start: Duration::from_nanos(1), ..Limits::default() };
    Settings { bus: false, limits, ..Settings::default() }
}

fn probe(bench: &Bench) -> NovaCompute {
    NovaCompute::with(settings(), bench.systemd.clone())
}

async fn finding(probe: &mut NovaCompute) -> Finding {
    let report = probe.check().await;
    assert_eq!(report.findings.len(), 1, "{report:?}");
    report.findings.into_iter().next().unwrap()
}

#[tokio::test]
async fn the_unit_leads_to_the_process() {
    let running = Running::sleep();
    let bench = Bench::new(&[(NAME, FakeUnit::running(running.0.id()))]).await;
    let mut probe = probe(&bench);
    let found = finding(&mut probe).await;
    assert_eq!((found.step, found.health, probe.pid()), (Step::Process, Health::Ok, Some(running.0.id())));
    assert!(found.evidence.iter().any(|e| e.name == "unit" && e.value == NAME), "{found:?}");
    let asked = bench.manager.calls("ListUnitsByNames");
    assert!(asked[0].contains("openstack-nova-compute.service nova-compute.service"), "{asked:?}");
    // From then on one call is enough.
    finding(&mut probe).await;
    assert_eq!(bench.manager.calls("ListUnitsByNames")[1], format!("ListUnitsByNames {NAME}"));
}

#[tokio::test]
async fn the_program_is_found_below_the_monitor_of_its_container_once_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("nova-compute");
    std::fs::copy("/usr/bin/sleep", &program).unwrap();
    // As a container's monitor does, it outlives the program.
    let script = format!("read -r _; {} 1000 & echo $!; wait; exec sleep 1000", program.display());
    let monitor =
        Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut monitor = Running(monitor.unwrap());
    let bench = Bench::new(&[(NAME, FakeUnit::running(monitor.0.id()))]).await;
    let mut probe = NovaCompute::with(Settings { bus: true, ..settings() }, bench.systemd.clone());
    let report = probe.check().await;
    assert_eq!((probe.pid(), report.health()), (Some(monitor.0.id()), Health::Unknown), "{report:?}");
    assert!(report.findings[1].reason.contains("does not run nova-compute"), "{report:?}");
    drop(monitor.0.stdin.take());
    let mut line = String::new();
    let stdout = monitor.0.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    // The shell has started it, the kernel may not have loaded it yet.
    let found = async {
        while probe.pid() != Some(pid) {
            assert_eq!(probe.check().await.findings[0].health, Health::Ok);
        }
    };
    timeout(PATIENCE, found).await.expect("found");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.try_into().unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    timeout(PATIENCE, probe.changed()).await.expect("told");
    let monitor = monitor.0.id();
    let text = format!("process {pid} has ended, and nothing below {monitor} runs it again");
    for _ in 0..2 {
        let found = finding(&mut probe).await;
        assert_eq!((found.step, found.health, &found.reason), (Step::Process, Health::Failed, &text));
        assert!(found.certain, "{found:?}");
    }
    // A container that was made anew is given the time to start the program.
    let again = Running::sleep();
    bench.manager.world().units.insert(NAME, FakeUnit::running(again.0.id()));
    let report = probe.check().await;
    assert_eq!((probe.pid(), report.health()), (Some(again.0.id()), Health::Unknown), "{report:?}");
}

#[tokio::test]
async fn a_killed_one_has_failed_at_once_even_if_systemd_does_not_know_yet() {
    let mut running = Running::sleep();
    let bench = Bench::new(&[(NAME, FakeUnit::running(running.0.id()))]).await;
    let mut probe = probe(&bench);
    let mut judge = Judge::new(Rules::default());
    assert_eq!(finding(&mut probe).await.health, Health::Ok);
    let killed = Instant::now();
    running.end();
    timeout(PATIENCE, probe.changed()).await.expect("told");
    let verdict = judge.hear(&probe.check().await, SystemTime::now());
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    assert_eq!((verdict.health, verdict.step), (Health::Failed, Some(Step::Process)), "{verdict:?}");
}

#[tokio::test]
async fn one_that_systemd_has_started_again_is_degraded_once() {
    let (mut first, second) = (Running::sleep(), Running::sleep());
    let bench = Bench::new(&[(NAME, FakeUnit::running(first.0.id()))]).await;
    let mut probe = probe(&bench);
    assert_eq!(finding(&mut probe).await.health, Health::Ok);
    bench.manager.world().units.insert(NAME, FakeUnit::running(second.0.id()));
    let pid = first.0.id();
    first.end();
    let found = finding(&mut probe).await;
    let text = format!("process {pid} has ended and was started again as {}", second.0.id());
    assert_eq!((found.health, found.reason), (Health::Degraded, text));
    assert_eq!(finding(&mut probe).await.health, Health::Ok);
}

#[tokio::test]
async fn one_that_ends_again_and_again_has_failed() {
    let bench = Bench::new(&[(NAME, FakeUnit::running(0))]).await;
    let mut settings = settings();
    settings.limits.start = PATIENCE;
    let mut probe = NovaCompute::with(settings, bench.systemd.clone());
    let mut last = None;
    for _ in 0..4 {
        let mut running = Running::sleep();
        bench.manager.world().units.insert(NAME, FakeUnit::running(running.0.id()));
        last = Some(finding(&mut probe).await);
        running.end();
    }
    let last = last.unwrap();
    assert_eq!((last.health, last.reason.as_str()), (Health::Failed, "it has ended 3 times within 10 min"));
}

#[tokio::test]
async fn what_its_unit_says_counts() {
    let table = [
        (FakeUnit::is("loaded", "inactive", "dead"), Health::Failed, true, "is not running"),
        (FakeUnit::is("loaded", "failed", "failed"), Health::Failed, true, "has failed"),
        (
            FakeUnit::is("loaded", "activating", "auto-restart"),
            Health::Failed,
            true,
            "has ended, systemd is about",
        ),
        (FakeUnit::is("loaded", "deactivating", "stop-sigterm"), Health::Failed, true, "is being stopped"),
        (FakeUnit::is("loaded", "activating", "start-pre"), Health::Degraded, false, "is being started"),
        (FakeUnit::is("loaded", "active", "exited"), Health::Failed, true, "has no process"),
        (FakeUnit::is("masked", "inactive", "dead"), Health::Unknown, false, "is masked"),
    ];
    for (unit, health, certain, words) in table {
        let bench = Bench::new(&[(NAME, unit.clone())]).await;
        let found = finding(&mut probe(&bench)).await;
        assert_eq!((found.health, found.certain), (health, certain), "{unit:?}");
        assert!(found.reason.starts_with(&format!("{NAME} {words}")), "{found:?}");
        assert!(!found.advice.is_empty() || health == Health::Degraded, "{found:?}");
    }
}

#[tokio::test]
async fn being_stopped_is_no_health() {
    let running = Running::sleep();
    let bench = Bench::new(&[(NAME, FakeUnit::running(running.0.id()))]).await;
    let mut probe = probe(&bench);
    assert_eq!(finding(&mut probe).await.health, Health::Ok);
    let stopping = FakeUnit { active: "deactivating", ..FakeUnit::running(running.0.id()) };
    let manager = bench.manager.clone();
    let news = tokio::spawn(async move { manager.set(NAME, stopping).await });
    timeout(PATIENCE, probe.changed()).await.expect("told");
    news.await.unwrap();
    let found = finding(&mut probe).await;
    assert_eq!((found.health, found.reason), (Health::Failed, format!("{NAME} is being stopped")));
}

#[tokio::test]
async fn a_bus_that_is_lost_does_not_make_a_running_process_unknown() {
    let running = Running::sleep();
    let mut bench = Bench::new(&[(NAME, FakeUnit::running(running.0.id()))]).await;
    let mut probe = probe(&bench);
    assert_eq!(finding(&mut probe).await.health, Health::Ok);
    bench.stop();
    let found = finding(&mut probe).await;
    assert_eq!(found.health, Health::Ok, "{found:?}");
    assert!(found.evidence.iter().any(|evidence| evidence.name == "systemd"), "{found:?}");
}

//! Real processes with real connections.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use super::*;
use crate::verdict::{Judge, Rules};

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that sleeps and has a connection to a broker, which never reads.
struct Service {
    child: Child,
    dir: tempfile::TempDir,
    broker: Option<TcpStream>,
    port: u16,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self::with(connection, listener.accept().unwrap().0)
    }

    fn with(connection: TcpStream, broker: TcpStream) -> Self {
        let stdin = Stdio::from(OwnedFd::from(connection));
        let child = Command::new("sleep").arg("1000").stdin(stdin).spawn().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pid"), child.id().to_string()).unwrap();
        let port = broker.local_addr().unwrap().port();
        Self { child, dir, broker: Some(broker), port }
    }

    fn settings(&self) -> Settings {
        let short = Duration::from_millis(200);
        Settings {
            pid_file: Some(self.dir.path().join("pid")),
            ports: vec![self.port],
            limits: Limits {
                start: Duration::from_nanos(1),
                closed: short,
                unread: short,
                ..Limits::default()
            },
            ..Settings::default()
        }
    }

    fn probe(&self) -> NovaCompute {
        NovaCompute::new(self.settings())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn say(&mut self, bytes: &[u8]) {
        self.broker.as_mut().unwrap().write_all(bytes).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs a tool that ends.
#[expect(clippy::disallowed_methods, reason = "waits for a tool that ends")]
fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}: apt-get install iproute2"));
    assert!(output.status.success(), "{line}, as root: {output:?}");
}

fn step(report: &Report, step: Step) -> &Finding {
    report.findings.iter().find(|finding| finding.step == step).unwrap_or_else(|| panic!("{report:?}"))
}

/// Checks until a step is like this.
async fn until(probe: &mut NovaCompute, wanted: Step, health: Health) -> Report {
    let look = async {
        loop {
            let report = probe.check().await;
            if report.findings.iter().any(|f| f.step == wanted && f.health == health) {
                return report;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, look).await.expect("in time")
}

#[tokio::test]
async fn a_healthy_one_is_ok() {
    let mut service = Service::start();
    let mut probe = service.probe();
    // Nothing is said yet; that is not long ago.
    service.say(b"");
    let report = probe.check().await;
    assert_eq!(report.health(), Health::Ok, "{report:?}");
    assert_eq!((report.findings.len(), probe.pid()), (2, Some(service.child.id())));
    assert!(step(&report, Step::Bus).evidence.iter().any(|e| e.name == "connections" && e.value == "1"));
}

#[tokio::test]
async fn its_end_is_told_at_once_and_for_certain() {
    let service = Service::start();
    let mut probe = service.probe();
    assert_eq!(probe.check().await.health(), Health::Ok);
    assert!(timeout(Duration::from_millis(50), probe.changed()).await.is_err());
    let killed = Instant::now();
    service.signal(Signal::SIGKILL);
    timeout(PATIENCE, probe.changed()).await.expect("told");
    let report = probe.check().await;
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    let finding = step(&report, Step::Process);
    assert!(finding.certain && finding.health == Health::Failed, "{report:?}");
    assert!(finding.reason.starts_with(&format!("process {} has ended", service.child.id())), "{report:?}");
    let verdict = Judge::new(Rules::default()).hear(&report, std::time::SystemTime::now());
    assert_eq!((verdict.health, verdict.step), (Health::Failed, Some(Step::Process)));
    // It stays like that; a zombie is no process either.
    assert_eq!(probe.check().await.health(), Health::Failed);
    assert_eq!(probe.pid(), None);
}

#[tokio::test]
async fn a_stopped_one_fails_within_15_seconds() {
    let service = Service::start();
    let mut probe = service.probe();
    let mut judge = Judge::new(Rules::default());
    assert_eq!(probe.check().await.health(), Health::Ok);
    let stopped = Instant::now();
    service.signal(Signal::SIGSTOP);
    let verdict = loop {
        timeout(PATIENCE, probe.changed()).await.expect("told");
        let verdict = judge.hear(&probe.check().await, std::time::SystemTime::now());
        if verdict.health == Health::Failed {
            break verdict;
        }
    };
    assert!(stopped.elapsed() < Duration::from_secs(15), "{:?}", stopped.elapsed());
    assert_eq!(verdict.step, Some(Step::Process));
    assert!(verdict.reason.ends_with("is stopped"), "{verdict:?}");
    service.signal(Signal::SIGCONT);
    assert_eq!(until(&mut probe, Step::Process, Health::Ok).await.health(), Health::Ok);
}

#[tokio::test]
async fn a_queue_that_fills_is_a_freeze() {
    let mut service = Service::start();
    let mut probe = service.probe();
    assert_eq!(probe.check().await.health(), Health::Ok);
    service.say(&[7; 126]);
    let report = until(&mut probe, Step::Bus, Health::Failed).await;
    let finding = step(&report, Step::Bus);
    assert!(finding.certain && finding.reason.contains("126 bytes wait"), "{report:?}");
    assert!(finding.evidence.iter().any(|e| (e.name, e.value.as_str()) == ("cause", "frozen")), "{report:?}");
    assert_eq!(step(&report, Step::Process).health, Health::Ok);
}

#[tokio::test]
async fn a_closed_bus_is_told() {
    let mut service = Service::start();
    let mut settings = service.settings();
    settings.limits.closed = Duration::from_secs(3);
    let mut probe = NovaCompute::new(settings);
    assert_eq!(probe.check().await.health(), Health::Ok);
    service.broker = None;
    timeout(PATIENCE, probe.changed()).await.expect("told");
    assert_eq!(probe.check().await.health(), Health::Degraded);
    timeout(PATIENCE, probe.changed()).await.expect("told when the limit is over");
    let report = probe.check().await;
    let finding = step(&report, Step::Bus);
    assert!(finding.certain && finding.health == Health::Failed, "{report:?}");
    assert!(finding.evidence.iter().any(|e| (e.name, e.value.as_str()) == ("cause", "closed")), "{report:?}");
}

#[tokio::test]
async fn silence_is_told() {
    let mut service = Service::start();
    let mut settings = service.settings();
    settings.limits.silence = Duration::from_secs(3);
    settings.limits.unread = PATIENCE;
    let mut probe = NovaCompute::new(settings);
    service.say(b"x");
    assert_eq!(probe.check().await.health(), Health::Ok);
    let report = until(&mut probe, Step::Bus, Health::Failed).await;
    assert!(step(&report, Step::Bus).reason.contains("says nothing"), "{report:?}");
    service.say(b"x");
    until(&mut probe, Step::Bus, Health::Ok).await;
}

#[tokio::test]
async fn a_start_is_excused_but_an_end_is_not() {
    let mut service = Service::start();
    let mut settings = service.settings();
    settings.limits.start = PATIENCE * 10;
    let mut probe = NovaCompute::new(settings);
    service.broker = None;
    let report = until(&mut probe, Step::Bus, Health::Failed).await;
    assert!(report.grace.is_some_and(|grace| grace.starts_with("started ")));
    service.signal(Signal::SIGKILL);
    timeout(PATIENCE, probe.changed()).await.expect("told");
    let report = probe.check().await;
    assert_eq!((report.health(), report.grace), (Health::Failed, None));
}

#[tokio::test]
async fn nova_knows_better_or_worse() {
    let mut service = Service::start();
    let mut probe = service.probe();
    let say = |age| Some(Arc::new(move || LastSeen::Ago(Duration::from_secs(age))) as AskNova);
    probe.set_nova(say(7));
    assert_eq!(probe.check().await.health(), Health::Ok);
    probe.set_nova(say(99));
    let report = probe.check().await;
    assert_eq!((report.health(), report.worst().unwrap().step), (Health::Degraded, Step::Api));
    probe.set_nova(Some(Arc::new(|| LastSeen::Unknown("no answer".to_owned()))));
    let report = probe.check().await;
    assert_eq!((report.health(), report.findings.len()), (Health::Ok, 3));
    probe.set_nova(say(99));
    service.broker = None;
    let report = probe.check().await;
    assert_eq!((report.health(), report.worst().unwrap().step), (Health::Failed, Step::Bus), "{report:?}");
    assert!(report.worst().unwrap().reason.ends_with("Nova has not heard from it either"), "{report:?}");
}

#[tokio::test]
async fn what_is_not_there_is_unknown() {
    let systemd =
        crate::units::Settings { address: Some("unix:path=/nonexistent".into()), ..Default::default() };
    let settings = Settings { program: "no-such-compute".into(), systemd, ..Settings::default() };
    let report = NovaCompute::new(settings.clone()).check().await;
    assert_eq!(report.health(), Health::Unknown);
    let reason = &report.worst().unwrap().reason;
    assert!(reason.starts_with("no process no-such-compute, and systemd cannot be asked"), "{reason}");
    let report = NovaCompute::new(Settings { units: Vec::new(), ..settings }).check().await;
    assert_eq!(report.health(), Health::Unknown);
    assert!(report.worst().unwrap().reason.contains("not installed?"), "{report:?}");
}

#[tokio::test]
async fn another_network_is_not_looked_into() {
    let service = Service::start();
    let child = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().expect("util-linux");
    let roots = Roots::default();
    let pid = child.id();
    let other = async {
        while roots.network(pid).unwrap() == roots.own_network().unwrap() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, other).await.expect("unshared, as root");
    std::fs::write(service.dir.path().join("pid"), pid.to_string()).unwrap();
    let report = service.probe().check().await;
    // Ends with the test.
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
    let finding = step(&report, Step::Bus);
    assert!(finding.health == Health::Unknown && finding.reason.contains("another network"), "{report:?}");
}

#[tokio::test]
async fn a_frozen_group_is_told() {
    let service = Service::start();
    let pid = service.child.id();
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots { proc: dir.path().join("proc"), sys: dir.path().join("sys") };
    // As it is, but for the group, which this machine may not have.
    let place = roots.of(pid, "");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::copy(format!("/proc/{pid}/stat"), place.join("stat")).unwrap();
    std::fs::write(place.join("cgroup"), "4:memory:/m\n0::/machine.slice/libpod-x.scope\n").unwrap();
    let group = roots.group("machine.slice/libpod-x.scope", "");
    std::fs::create_dir_all(&group).unwrap();
    let mut probe = NovaCompute::new(Settings { roots, bus: false, ..service.settings() });
    for (frozen, health) in [(0, Health::Ok), (1, Health::Failed), (0, Health::Ok)] {
        std::fs::write(group.join("cgroup.events"), format!("populated 1\nfrozen {frozen}\n")).unwrap();
        assert_eq!(probe.check().await.health(), health);
    }
}

/// Both ways of being cut off: the cable is pulled far away, or here.
#[test]
fn a_bus_that_is_cut_off_is_told() {
    use std::sync::mpsc::channel;

    use nix::sched::{CloneFlags, setns, unshare};

    let own_network = || unshare(CloneFlags::CLONE_NEWNET).expect("root");
    let (ready, wait) = channel();
    // Does what it is told in the broker's network.
    let (tell, told) = channel::<&str>();
    let broker = std::thread::spawn(move || {
        own_network();
        ready.send(nix::unistd::gettid()).unwrap();
        told.iter().for_each(run);
    });
    let ours = std::thread::spawn(move || {
        own_network();
        let peer = wait.recv().unwrap();
        run(&format!("ip link add cable type veth peer name cable netns {peer}"));
        run("ip addr add 10.9.9.1/24 dev cable");
        run("ip link set cable up");
        let network = std::fs::File::open(format!("/proc/self/task/{peer}/ns/net")).unwrap();
        let listener = std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            run("ip addr add 10.9.9.2/24 dev cable");
            run("ip link set cable up");
            TcpListener::bind("10.9.9.2:0").unwrap()
        });
        let listener = listener.join().unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (broker, _) = listener.accept().unwrap();
        let mut speaker = client.try_clone().unwrap();
        let mut service = Service::with(client, broker);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut settings = service.settings();
            settings.limits.unanswered = Duration::from_secs(2);
            settings.limits.unread = PATIENCE;
            settings.limits.silence = PATIENCE * 10;
            let mut probe = NovaCompute::new(settings);
            service.say(b"hello");
            assert_eq!(probe.check().await.health(), Health::Ok);
            for far in [true, false] {
                let set = |line| if far { tell.send(line).unwrap() } else { run(line) };
                set("ip link set cable down");
                // Told, but not done yet, it may still be heard.
                let report = loop {
                    speaker.write_all(b"a heartbeat").unwrap();
                    let waits = timeout(Duration::from_secs(3), until(&mut probe, Step::Bus, Health::Failed));
                    if let Ok(report) = waits.await {
                        break report;
                    }
                };
                let finding = step(&report, Step::Bus);
                let cause = finding.evidence.iter().find(|evidence| evidence.name == "cause");
                assert_eq!(cause.map(|cause| cause.value.as_str()), Some("blackholed"), "{report:?}");
                assert!(finding.certain, "{report:?}");
                set("ip link set cable up");
                until(&mut probe, Step::Bus, Health::Ok).await;
            }
        });
    });
    let result = ours.join();
    broker.join().unwrap();
    result.unwrap();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn a_thousand_checks_leave_nothing_behind() {
    let service = Service::start();
    let mut probe = service.probe();
    let round = async |probe: &mut NovaCompute| {
        assert_eq!(probe.check().await.findings.len(), 2);
        assert!(timeout(Duration::from_micros(10), probe.changed()).await.is_err());
    };
    round(&mut probe).await;
    service.signal(Signal::SIGSTOP);
    let before = descriptors();
    let (members, elsewhere) = (probe.connections.own.len(), probe.connections.others.len());
    for _ in 0..1000 {
        round(&mut probe).await;
    }
    assert_eq!((probe.connections.own.len(), probe.connections.others.len()), (members, elsewhere));
    // Other tests run in the same process.
    let patience = Instant::now();
    while descriptors() > before + 20 {
        assert!(patience.elapsed() < PATIENCE, "{} descriptors, {before} before", descriptors());
        sleep(Duration::from_millis(50)).await;
    }
}

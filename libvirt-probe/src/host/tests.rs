//! The whole probe on this machine, and on a disk that hangs.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tokio::time::timeout;

use super::*;
use crate::verdict::{Judge, Rules, Step};

const PATIENCE: Duration = Duration::from_secs(120);

/// A file system on a loop device.
struct Disk {
    dir: tempfile::TempDir,
    /// Thaws and unmounts it when this process ends, however it does: what hangs in a frozen file system
    /// cannot be killed.
    guard: Child,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (image, mounted) = (dir.path().join("image"), dir.path().join("mounted"));
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        run("mkfs.ext4", &["-q", "-F", text(&image)], "e2fsprogs");
        let mut guard = Command::new("sh");
        guard.args(["-c", "read -r _; fsfreeze -u \"$1\"; umount -l \"$1\"", "sh", text(&mounted)]);
        let guard = guard.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let disk = Self { dir, guard };
        run("mount", &["-o", "loop", text(&image), text(&mounted)], "mount");
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn freeze(&self) {
        run("fsfreeze", &["-f", text(&self.path())], "util-linux");
    }

    fn thaw(&self) {
        run("fsfreeze", &["-u", text(&self.path())], "util-linux");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "waits for tools that end")]
fn run(program: &str, arguments: &[&str], package: &str) -> Output {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: apt-get install {package}"));
    assert!(output.status.success(), "{program} {arguments:?}, as root: {output:?}");
    output
}

fn threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "aside").count()
}

fn step(report: &Report, step: Step) -> &Finding {
    report.findings.iter().find(|finding| finding.step == step).unwrap_or_else(|| panic!("{report:?}"))
}

#[tokio::test]
async fn this_machine_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        storage: Storage {
            paths: vec![dir.path().into()],
            slow: PATIENCE,
            limit: PATIENCE,
            ..Storage::default()
        },
        memory: Memory { low: 0, ..Memory::default() },
        pressure: Pressure { memory: 101.0, memory_failed: 101.0, io: 101.0, ..Pressure::default() },
        ..Settings::default()
    };
    let report = Host::new(settings).check().await;
    let steps: Vec<Step> = report.findings.iter().map(|finding| finding.step).collect();
    let all = [Step::Root, Step::Storage, Step::Clock, Step::Memory, Step::Pressure, Step::Panic];
    assert_eq!(steps, all);
    for finding in &report.findings {
        // What the kernel of this machine has gone through is not known.
        assert!(finding.health == Health::Ok || finding.step == Step::Panic, "{finding:?}");
    }
}

#[tokio::test]
async fn each_can_be_turned_off() {
    let settings = Settings {
        root: Root { on: false },
        storage: Storage { on: false, ..Storage::default() },
        clock: Clock { on: false, ..Clock::default() },
        memory: Memory { on: false, ..Memory::default() },
        pressure: Pressure { on: false, ..Pressure::default() },
        panic: Panic { on: false, ..Panic::default() },
        ..Settings::default()
    };
    let mut host = Host::new(settings);
    assert_eq!(host.check().await.findings, []);
    assert!(timeout(Duration::from_millis(20), host.changed()).await.is_err());
}

#[tokio::test]
async fn a_disk_that_hangs_fails_within_10_seconds_and_leaves_one_thread() {
    let disk = Disk::new();
    let settings = Settings {
        storage: Storage { paths: vec![disk.path()], slow: PATIENCE, ..Storage::default() },
        ..Settings::default()
    };
    let mut host = Host::new(settings);
    let mut judge = Judge::new(Rules::default());
    assert_eq!(step(&host.check().await, Step::Storage).health, Health::Ok);
    disk.freeze();
    let frozen = Instant::now();
    timeout(PATIENCE, host.changed()).await.expect("told");
    let report = host.check().await;
    let verdict = judge.hear(&report, std::time::SystemTime::now());
    assert!(frozen.elapsed() < Duration::from_secs(10), "{:?}", frozen.elapsed());
    assert!(step(&report, Step::Storage).reason.contains("hangs for"), "{report:?}");
    assert_eq!((verdict.health, verdict.step), (Health::Failed, Some(Step::Storage)));
    // Nobody waits for it again.
    let begun = Instant::now();
    for _ in 0..1000 {
        let report = host.check().await;
        assert!(step(&report, Step::Storage).certain, "{report:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // Those of other tests are there for a moment.
    let settled = async {
        while threads() > 1 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("one thread hangs, no matter how often it was tried");
    disk.thaw();
    let back = async {
        while step(&host.check().await, Step::Storage).health != Health::Ok {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("works again");
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 1, "lost+found alone");
}

//! A disk that hangs: whoever waits for the program does not wait for the disk.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::{MARGIN, PATIENCE, finish, probe, write};

/// A file system in a file, which can be frozen; thawed and unmounted when dropped.
struct Disk {
    dir: TempDir,
    frozen: bool,
}

impl Disk {
    async fn new() -> Self {
        let disk = Self { dir: tempfile::tempdir().unwrap(), frozen: false };
        let (image, mount) = (disk.path("image"), disk.mount());
        OpenOptions::new().write(true).create_new(true).open(&image).unwrap().set_len(16 << 20).unwrap();
        std::fs::create_dir(&mount).unwrap();
        tool(&["mkfs.ext4", "-q", &image], "e2fsprogs").await;
        tool(&["mount", "-o", "loop", &image, &mount], "mount").await;
        disk
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn mount(&self) -> String {
        self.path("mount")
    }

    async fn freeze(&mut self) {
        tool(&["fsfreeze", "-f", &self.mount()], "util-linux").await;
        self.frozen = true;
    }

    async fn thaw(&mut self) {
        tool(&["fsfreeze", "-u", &self.mount()], "util-linux").await;
        self.frozen = false;
    }
}

impl Drop for Disk {
    #[allow(clippy::disallowed_methods, reason = "ends at once")]
    fn drop(&mut self) {
        let run = |words: &[&str]| drop(std::process::Command::new(words[0]).args(&words[1..]).status());
        if self.frozen {
            run(&["fsfreeze", "-u", &self.mount()]);
        }
        run(&["umount", "-l", &self.mount()]);
    }
}

async fn tool(words: &[&str], package: &str) {
    let mut command = tokio::process::Command::new(words[0]);
    command.args(&words[1..]).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("a tool that ends");
    let output =
        output.unwrap_or_else(|error| panic!("{words:?}: {error} (apt-get install {package}, as root)"));
    assert!(output.status.success(), "{words:?}, as root: {output:?}");
}

/// Processes of the program that have not ended, by what they were asked.
fn left(config: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let of_it = |dir: &Path| {
        let threads = std::fs::read_dir(dir.join("task")).into_iter().flatten().flatten();
        // The leader of a process whose other threads hang has no command line any more.
        threads.into_iter().any(|thread| {
            std::fs::read(thread.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(config))
        })
    };
    processes.filter(|process| of_it(&process.path())).count()
}

#[tokio::test]
async fn a_frozen_disk_is_told_in_time_and_leaves_one_process() {
    let mut disk = Disk::new().await;
    let config = disk.path("probes.toml");
    write(Path::new(&config), &format!("[host.storage]\npaths = [\"{}\"]\n", disk.mount()));
    let check = ["-c", &config, "check", "host", "--deadline", "3000", "--json"];
    let storage = |said: &super::support::Said| {
        let phases = said.json()["phases"].as_array().unwrap().clone();
        phases.into_iter().find(|phase| phase["step"] == "storage").unwrap()
    };
    let said = probe(&check).await;
    assert_eq!(storage(&said)["health"], "ok", "{said:?}");

    disk.freeze().await;
    for round in 0..3 {
        // Waits for the program's end and for the end of its output, as a shell does.
        let said = probe(&check).await;
        assert_eq!((said.code, &storage(&said)["health"]), (2, &"failed".into()), "{said:?}");
        assert!(said.took < Duration::from_secs(3) + MARGIN, "{said:?}");
        let reason = storage(&said)["reason"].as_str().unwrap().to_owned();
        let wanted = if round == 0 { "hangs for" } else { "in an earlier check (process " };
        assert!(reason.contains(wanted), "{reason}");
        assert!(left(&config) <= 1, "{} processes are left", left(&config));
    }
    // A watcher, too.
    let mut watch = super::support::command(&["-c", &config, "watch", "host", "-n", "2", "-i", "100ms"]);
    watch.kill_on_drop(true);
    let said = finish(watch).await;
    assert!(said.out.contains("at storage") && said.took < Duration::from_secs(12), "{said:?}");

    disk.thaw().await;
    let began = Instant::now();
    while left(&config) > 0 {
        assert!(began.elapsed() < PATIENCE, "what hung does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = probe(&check).await;
    assert_eq!(storage(&said)["health"], "ok", "{said:?}");
}

//! One daemon alone on a machine of namespaces (`tests/bench/node`).

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Context as _, Result};

/// Port of the daemon inside its machine.
pub const PORT: u16 = 3121;

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pacemaker 2.1.5 of Debian 12.
    C215,
    /// Pacemaker 3.0.0 of Debian 13.
    C300,
    /// The program that `PCMK_DAEMON` names, or `target/daemon/pacemaker-remoted`.
    Ours,
    /// The same on Debian 13, for what the tools of 3.0.0 say.
    OursWith300,
}

impl Kind {
    /// As on the command line of `tests/bench/node`.
    pub fn name(self) -> &'static str {
        match self {
            Self::C215 => "2.1.5",
            Self::C300 => "3.0.0",
            Self::Ours => "ours",
            Self::OursWith300 => "ours-3.0.0",
        }
    }

    /// Whether it is our daemon.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursWith300)
    }
}

/// The project's top folder.
pub fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).unwrap_or(here).to_owned()
}

/// The daemon to test as ours.
pub fn our_daemon() -> Result<PathBuf> {
    let path = std::env::var_os("PCMK_DAEMON")
        .map_or_else(|| top().join("target/daemon/pacemaker-remoted"), PathBuf::from);
    path.canonicalize().map_err(|error| {
        format!("{}: {error}; build it with: cargo build --profile daemon -p pcmk-remote", path.display())
    })
}

/// Folder for the key and the compiled client: where cargo put this test.
fn workshop() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("own program")?;
    exe.parent().map(Path::to_owned).ok_or_else(|| "own program has no folder".to_owned())
}

/// Puts a file in place in one step: another test may be doing the same.
fn place(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let fresh = path.with_extension(format!("new{}-{:?}", std::process::id(), std::thread::current().id()));
    make(&fresh)?;
    fs::rename(&fresh, path).context("rename")
}

/// The shared key, 4096 bytes as deployments have.
pub fn key_file() -> Result<PathBuf> {
    let path = workshop()?.join("alone.key");
    if !path.exists() {
        let bytes: Vec<u8> = (0..4096_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
        place(&path, |fresh| fs::write(fresh, bytes).context("key file"))?;
    }
    Ok(path)
}

/// The client on `GnuTLS`, compiled when its source is newer.
pub fn driver() -> Result<PathBuf> {
    let source = top().join("tests/bench/gnutls-driver.c");
    let path = workshop()?.join("gnutls-driver");
    let age = |p: &Path| fs::metadata(p).and_then(|m| m.modified()).ok();
    if age(&path) <= age(&source) {
        place(&path, |fresh| {
            let mut gcc = Command::new("gcc")
                .args(["-O2", "-Wall", "-o"])
                .arg(fresh)
                .arg(&source)
                .arg("-lgnutls")
                .spawn()
                .map_err(|error| format!("gcc: {error}; install it with: apt-get install gcc libc6-dev"))?;
            match gcc.wait() {
                Ok(status) if status.success() => Ok(()),
                _ => Err(
                    "tests/bench/gnutls-driver.c does not compile; it needs: apt-get install libgnutls28-dev"
                        .into(),
                ),
            }
        })?;
    }
    Ok(path)
}

/// A machine with one daemon; gone with all its processes when dropped, or when this process ends.
#[derive(Debug)]
pub struct Node {
    kind: Kind,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    init: u32,
    daemon: u32,
}

impl Node {
    /// Makes the machine and starts the daemon; returns once it listens.
    pub fn start(kind: Kind) -> Result<Self> {
        let program = if kind.is_ours() { our_daemon()? } else { PathBuf::from("-") };
        let mut child = Command::new(top().join("tests/bench/node"))
            .arg(kind.name())
            .arg(program)
            .env("NODE_KEY", key_file()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("tests/bench/node")?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut node = Self { kind, child, orders, answers, init: 0, daemon: 0 };
        node.order("root")?;
        let outer = node.child.id();
        let children =
            fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).context("children")?;
        node.init = children
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok())
            .ok_or("the machine has no first process")?;
        node.start_daemon()?;
        Ok(node)
    }

    /// Which daemon this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Starts the daemon (again).
    pub fn start_daemon(&mut self) -> Result<()> {
        let answer = self.order("start")?;
        let inside = answer.strip_prefix("started ").ok_or_else(|| format!("start: {answer}"))?.to_owned();
        self.daemon =
            self.outside(&inside).ok_or_else(|| format!("{}: the daemon ended at once", self.kind.name()))?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.tcp().is_err() {
            if let Some(code) = self.ended()? {
                return Err(format!("{}: the daemon ended with {code} while starting", self.kind.name()));
            }
            if Instant::now() > deadline {
                return Err(format!("{}: the daemon does not listen", self.kind.name()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// This machine's PID of a process seen from inside the node.
    fn outside(&self, inside: &str) -> Option<u32> {
        let space = fs::read_link(format!("/proc/{}/ns/pid", self.init)).ok()?;
        let pids = fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.into_iter().find(|pid| {
            fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|s| s == space)
                && fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
                    status.lines().any(|line| {
                        line.starts_with("NSpid:") && line.split_whitespace().last() == Some(inside)
                    })
                })
        })
    }

    /// PID of the daemon on this machine.
    pub fn daemon(&self) -> u32 {
        self.daemon
    }

    fn order(&mut self, text: &str) -> Result<String> {
        let orders = self.orders.as_mut().ok_or("the machine is gone")?;
        writeln!(orders, "{text}").and_then(|()| orders.flush()).context("order")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("answer")?;
        if answer.is_empty() {
            return Err(format!("the machine of {} ended (order: {text})", self.kind.name()));
        }
        Ok(answer.trim_end().to_owned())
    }

    /// Runs a shell command inside; its exit code and output.
    pub fn run(&mut self, command: &str) -> Result<(i32, String)> {
        let answer = self.order(&format!("run {command}"))?;
        let mut words = answer.split(' ').skip(1).map(str::parse::<usize>);
        let (Some(Ok(code)), Some(Ok(length))) = (words.next(), words.next()) else {
            return Err(format!("run: {answer}"));
        };
        let mut output = vec![0; length];
        self.answers.read_exact(&mut output).context("output")?;
        Ok((i32::try_from(code).context("exit code")?, String::from_utf8_lossy(&output).into_owned()))
    }

    /// Exit code of the daemon if it has ended.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        let answer = self.order("state")?;
        match answer.strip_prefix("ended ") {
            Some(code) => Ok(Some(code.parse().context("exit code")?)),
            None => Ok(None),
        }
    }

    /// Exit code of the daemon once it has ended; `None` if it does not end in this time.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<Option<i32>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(code) = self.ended()? {
                return Ok(Some(code));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A TCP connection to the daemon.
    pub fn tcp(&self) -> Result<TcpStream> {
        // A socket belongs to the network of the thread that makes it.
        let net = fs::File::open(format!("/proc/{}/ns/net", self.init)).context("network of the machine")?;
        std::thread::spawn(move || {
            nix::sched::setns(net, nix::sched::CloneFlags::CLONE_NEWNET).context("setns")?;
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
            TcpStream::connect_timeout(&to, Duration::from_secs(5)).context("connect")
        })
        .join()
        .map_err(|_| "connecting thread failed".to_owned())?
    }

    /// Resident memory of the daemon in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.daemon)).context("status of the daemon")?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| "the daemon has no VmRSS: it ended".to_owned())
    }

    /// Number of open file descriptors of the daemon.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.daemon)).context("descriptors of the daemon")?.count())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The end of its orders ends it; unshare is killed only if that fails.
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

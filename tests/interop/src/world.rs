//! The sandbox in which everything of a test run lives, so that the kernel does the cleaning up.
//!
//! [`World::enter`] runs the program again as a child of PID 1 of new mount, network, PID, IPC and UTS
//! namespaces. Nodes, their network cables and their disks exist only in there. However the program
//! ends (also by Ctrl-C or SIGKILL, also when whoever started it dies), the kernel kills all processes of
//! the PID namespace, and with them go mounts, disks (a tmpfs) and networks. What the kernel leaves, empty
//! cgroup folders, is removed by a janitor: a process outside that waits for the end of the last one inside.
//!
//! The stages are told apart by the environment variable `PCMK_WORLD`:
//! unset (outside), `janitor`, `init` (PID 1), `inside`.

use std::env;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, getpid};

use crate::error::{Context, Result, fail};
use crate::images::{self, Suite};
use crate::node::Node;
use crate::{daemon, run};

const STAGE: &str = "PCMK_WORLD";
const CGROUP: &str = "PCMK_WORLD_CGROUP";
/// Followed by the PID, outside, of the process that holds the sandbox.
const CGROUP_PREFIX: &str = "pcmk-rig-";

/// The sandbox; there is one per process.
pub struct World {
    dir: PathBuf,
    cgroup: PathBuf,
    networks: AtomicU8,
}

impl World {
    /// Moves this program into a sandbox: call it first in `main`, before any thread is started.
    ///
    /// Outside, it makes sure that the images of `suites` and the daemon under test are built (inside there is
    /// no network), and never returns unless that fails. Inside it gives the world.
    pub fn enter(suites: &[Suite]) -> Result<Self> {
        Self::enter_with(suites, || Ok(()))
    }

    /// Like [`World::enter`], with something else to prepare outside.
    pub fn enter_with(suites: &[Suite], prepare: impl FnOnce() -> Result<()>) -> Result<Self> {
        Self::enter_bare(suites, || {
            daemon::ensure()?;
            prepare()
        })
    }

    /// Like [`World::enter_with`], without the daemon: for what no remote node is part of.
    pub fn enter_bare(suites: &[Suite], prepare: impl FnOnce() -> Result<()>) -> Result<Self> {
        match env::var(STAGE).ok().as_deref() {
            None => {
                check_machine()?;
                images::ensure(suites)?;
                prepare()?;
                outside()
            }
            Some("janitor") => janitor(),
            Some("init") => init(),
            Some(_) => Self::inside(),
        }
    }

    fn inside() -> Result<Self> {
        // PID 1 has them blocked, and what is blocked is inherited: by the C daemon too, that then never hears of
        // an agent's end.
        awaited().thread_unblock().context("unblocking signals")?;
        let dir = images::cache()?.join("world");
        let cgroup = env::var_os(CGROUP).context("the sandbox was entered without a cgroup")?;
        mount(Some("world"), &dir, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .context("mounting the nodes' disk")?;
        run::host(&["ip", "link", "set", "lo", "up"])?;
        Ok(Self { dir, cgroup: cgroup.into(), networks: AtomicU8::new(0) })
    }

    /// The root of what the nodes keep: a tmpfs that nobody else sees.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The cgroup below which the nodes make theirs.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The command that gives a shell on a node to somebody outside this sandbox.
    pub fn way_in(&self, node: &Node) -> Result<String> {
        let name = self.cgroup.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let outer = name.trim_start_matches(CGROUP_PREFIX);
        let pid = node.pid()?;
        Ok(format!(
            "nsenter --mount=/proc/{outer}/ns/mnt --pid=/proc/{outer}/ns/pid_for_children \
             nsenter -t {pid} -a -r -w bash"
        ))
    }

    /// Makes a network switch and gives its number n: bridge `br<n>`, network 10.77.n.0/24, this process at
    /// 10.77.n.254.
    pub fn add_switch(&self) -> Result<u8> {
        let n = self.networks.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("br{n}");
        run::host(&["ip", "link", "add", &bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0"])?;
        run::host(&["ip", "addr", "add", &format!("10.77.{n}.254/24"), "dev", &bridge])?;
        run::host(&["ip", "link", "set", &bridge, "up"])?;
        Ok(n)
    }
}

/// Says what is missing and how to get it, before anything is built.
fn check_machine() -> Result<()> {
    if !Uid::effective().is_root() {
        return fail("the rig needs root: it makes namespaces and mounts");
    }
    let path = env::var_os("PATH").unwrap_or_default();
    for (program, package) in [("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2")] {
        if !env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
            return fail(format!("{program} is missing: apt-get install {package} (or run tests/rig/setup)"));
        }
    }
    Ok(())
}

/// Starts the janitor and turns this process into the sandbox's `unshare`.
fn outside() -> Result<World> {
    fs::create_dir_all(images::cache()?.join("world"))?;
    allow_many_systemds()?;
    let root = cgroup_root()?;
    sweep(&root);
    let cgroup = root.join(format!("{CGROUP_PREFIX}{}", getpid()));
    fs::create_dir(&cgroup).context(cgroup.display())?;

    let mut janitor = again("janitor", &cgroup)?;
    janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let alive = janitor.spawn()?.stdin.take().context("no pipe to the janitor")?;
    // Everything inside inherits this pipe: it ends with the last process.
    fcntl(alive.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl")?;

    set_pdeathsig(Signal::SIGKILL).context("prctl")?;
    let inner = again("init", &cgroup)?;
    let mut unshare = Command::new("unshare");
    unshare.args(
        "--mount --net --pid --ipc --uts --fork --kill-child --mount-proc --propagation private".split(' '),
    );
    unshare.arg("--").arg(inner.get_program()).args(inner.get_args());
    unshare.env(STAGE, "init").env(CGROUP, &cgroup);
    Err(unshare.exec()).context("unshare")
}

/// Every systemd watches files, and the kernel's default limit is enough for about a dozen of them. This is
/// the one setting of the machine that a run changes (until the next boot).
fn allow_many_systemds() -> Result<()> {
    const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
    const ENOUGH: u32 = 1024;
    let now = fs::read_to_string(LIMIT)?.trim().parse::<u32>().unwrap_or(0);
    if now < ENOUGH { fs::write(LIMIT, ENOUGH.to_string()).context(LIMIT) } else { Ok(()) }
}

/// This program, with the same arguments, at another stage.
fn again(stage: &str, cgroup: &Path) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(STAGE, stage).env(CGROUP, cgroup);
    Ok(command)
}

/// The signals that PID 1 waits for.
fn awaited() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// PID 1 of the sandbox: starts the program, reaps orphans, and ends everything when the program has ended or
/// somebody wants an end.
fn init() -> ! {
    let signals = awaited();
    let cgroup = env::var_os(CGROUP).unwrap_or_default();
    let started = signals
        .thread_block()
        .context("blocking signals")
        .and_then(|()| again("inside", Path::new(&cgroup)))
        .and_then(|mut command| Ok(command.spawn()?));
    let Ok(program) = started else { exit(125) };
    let program = Pid::from_raw(program.id().cast_signed());
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {}
            Ok(signal) => exit(128 + signal as i32),
            Err(_) => exit(125),
        }
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == program => exit(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => exit(128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                _ => {}
            }
        }
    }
}

/// Waits for the end of the sandbox and removes its cgroup folders.
fn janitor() -> ! {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    if let Some(cgroup) = env::var_os(CGROUP) {
        // Processes that were just killed still count for a moment.
        for _ in 0..500 {
            if remove_cgroup(Path::new(&cgroup)).is_ok() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
    }
    exit(0)
}

/// Removes a cgroup folder and those below it. All must be without processes.
pub(crate) fn remove_cgroup(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

/// Removes what a run left behind whose janitor was killed as well.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix(CGROUP_PREFIX)
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = remove_cgroup(&entry.path());
        }
    }
}

/// Where cgroup version 2 is mounted (on hybrid machines not at the usual place).
fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    mounts
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .find(|(_, fs)| fs.starts_with("cgroup2 "))
        .and_then(|(mount, _)| mount.split(' ').nth(4))
        .map(PathBuf::from)
        .context("no cgroup2 mount on this machine")
}

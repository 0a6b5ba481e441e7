//! One machine: namespaces with systemd as their PID 1, a disk that survives power cuts, a network cable.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Context, Result, fail};
use crate::images::{Suite, rig_file};
use crate::run::{self, Output};
use crate::wait::{self, secs};
use crate::world::{World, remove_cgroup};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a command in a node may take.
const COMMAND: Duration = secs(60);

/// What a node is for, and so of which image layer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// corosync and Pacemaker.
    Full,
    /// `pacemaker_remote`.
    Remote,
}

impl Kind {
    /// Its image layer.
    pub const fn layer(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Remote => "remote",
        }
    }
}

/// What a node is made of.
pub struct Spec<'a> {
    /// Host name.
    pub name: &'a str,
    /// Image layer.
    pub kind: Kind,
    /// Debian release.
    pub suite: Suite,
    /// Number of the switch it hangs on.
    pub switch: u8,
    /// Last part of its address.
    pub octet: u8,
    /// A folder that it sees as `/rig`.
    pub share: &'a Path,
    /// The cluster's key file.
    pub key: &'a [u8],
    /// Trees to lay over the image, uppermost first.
    pub extra: Vec<PathBuf>,
}

/// A machine. It is switched off when dropped.
pub struct Node {
    name: String,
    dir: PathBuf,
    cgroup: PathBuf,
    lower: String,
    share: PathBuf,
    switch: u8,
    octet: u8,
    power: Mutex<Option<Power>>,
    /// Settings of all commands that are run in it.
    environment: Mutex<Vec<String>>,
}

/// A running machine: the process that holds its namespaces, and its PID 1.
struct Power {
    holder: Child,
    pid: u32,
}

impl Node {
    /// Makes a machine with an empty disk. It is off.
    pub fn create(world: &World, spec: &Spec<'_>) -> Result<Self> {
        let unique = format!("{}-{}", spec.switch, spec.name);
        let (upper_layer, base) = (spec.suite.layer(spec.kind.layer())?, spec.suite.layer("base")?);
        let layers = spec.extra.iter().chain([&upper_layer, &base]);
        let layers: Vec<_> = layers.map(|layer| layer.display().to_string()).collect();
        let node = Self {
            name: spec.name.to_owned(),
            dir: world.dir().join("nodes").join(&unique),
            cgroup: world.cgroup().join(&unique),
            lower: layers.join(":"),
            share: spec.share.to_owned(),
            switch: spec.switch,
            octet: spec.octet,
            power: Mutex::new(None),
            environment: Mutex::new(Vec::new()),
        };
        for folder in ["upper", "work", "root"] {
            fs::create_dir_all(node.dir.join(folder))?;
        }
        let disk = node.disk();
        fs::create_dir_all(disk.join("etc/pacemaker"))?;
        fs::create_dir_all(disk.join("etc/default"))?;
        fs::write(disk.join("etc/hostname"), spec.name)?;
        // There is no name server in here: nobody is to wait for one.
        fs::write(
            disk.join("etc/hosts"),
            format!("127.0.0.1 localhost\n{} {}\n", node.address(), spec.name),
        )?;
        fs::write(disk.join("etc/resolv.conf"), "")?;
        let key = disk.join("etc/pacemaker/authkey");
        fs::write(&key, spec.key)?;
        let group = group_id(&[upper_layer, base], "haclient")?;
        chown(&key, Some(0), Some(group))?;
        set_mode(&key, 0o640)?;
        chown(disk.join("etc/pacemaker"), Some(0), Some(group))?;
        set_mode(&disk.join("etc/pacemaker"), 0o750)?;
        fs::write(
            disk.join("etc/default/pacemaker"),
            "PCMK_logfile=/var/log/pacemaker/pacemaker.log\nPCMK_logpriority=info\n",
        )?;
        Ok(node)
    }

    /// Host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Network address.
    pub fn address(&self) -> String {
        format!("10.77.{}.{}", self.switch, self.octet)
    }

    /// What it has written to its disk, or what the rig puts there before it is switched on.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// Switches it on and waits until systemd has booted.
    pub fn power_on(&self) -> Result<()> {
        let mut power = self.lock();
        if power.is_some() {
            return Ok(());
        }
        *power = Some(self.boot("")?);
        drop(power);
        wait::until(secs(60), &format!("systemd on {}", self.name), || {
            let state = self.run(&["systemctl", "is-system-running"])?.stdout;
            match state.trim() {
                "running" | "degraded" => Ok(Some(())),
                other => fail(format!("{other}; console: {}", self.console())),
            }
        })
    }

    /// Switches it on as a container whose first process is this command (words for a shell). Waits for nothing.
    pub fn start_container(&self, init: &str) -> Result<()> {
        let mut power = self.lock();
        if power.is_some() {
            return fail(format!("{} runs already", self.name));
        }
        *power = Some(self.boot(init)?);
        Ok(())
    }

    /// Waits until its first process has ended by itself, and gives the exit code.
    pub fn wait_end(&self, within: Duration) -> Result<i32> {
        let code = wait::until(within, &format!("the first process of {} to end", self.name), || {
            let mut power = self.lock();
            let holder = &mut power.as_mut().context(format!("{} is off", self.name))?.holder;
            Ok(holder.try_wait()?.map(|status| status.code().unwrap_or(-1)))
        })?;
        self.power_off()?;
        Ok(code)
    }

    /// Sends a signal to its first process, as a container engine does.
    pub fn signal_first(&self, signal: &str) -> Result<()> {
        run::host(&["kill", &format!("-{signal}"), &self.pid()?.to_string()]).map(drop)
    }

    fn boot(&self, init: &str) -> Result<Power> {
        fs::create_dir_all(&self.cgroup).context(self.cgroup.display())?;
        let console = File::create(self.dir.join("console.log"))?;
        let mut command = run::command(&["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork"]);
        command
            .args(["--kill-child", "--propagation", "private", "sh"])
            .arg(rig_file("node-init"))
            .arg("cgroup");
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        command
            .env("NODE_NAME", &self.name)
            .env("NODE_DIR", &self.dir)
            .env("NODE_LOWER", &self.lower)
            .env("NODE_CGROUP", &self.cgroup)
            .env("NODE_SHARE", &self.share)
            .env("NODE_ADDRESS", format!("{}/24", self.address()))
            .env("NODE_INIT", init)
            .env("NODE_GATEWAY", format!("10.77.{}.254", self.switch));
        command.stdin(Stdio::piped()).stdout(console.try_clone()?).stderr(console).process_group(0);
        let mut holder = command.spawn().context("unshare")?;
        let mut go = holder.stdin.take().context("no pipe to the node")?;
        let pid = wait::until(secs(10), "the node's first process", || first_child(holder.id()))?;
        self.plug_in(pid)?;
        go.write_all(b"go\n")?;
        Ok(Power { holder, pid })
    }

    /// Makes the cable between the switch and the machine.
    fn plug_in(&self, pid: u32) -> Result<()> {
        let (port, bridge, pid) = (self.port(), format!("br{}", self.switch), pid.to_string());
        // A machine keeps its network card over a reboot: with another one its peers would talk to the old
        // one for some seconds, which is longer than some timeouts here.
        let card = format!("02:00:0a:4d:{:02x}:{:02x}", self.switch, self.octet);
        let peer = ["peer", "name", "eth0", "address", &card, "netns", &pid];
        run::host(&[&["ip", "link", "add", &port, "type", "veth"][..], &peer].concat())?;
        run::host(&["ip", "link", "set", &port, "master", &bridge, "up"]).map(drop)
    }

    /// Cuts its power: nothing on it gets to do anything more.
    pub fn power_off(&self) -> Result<()> {
        let Some(mut power) = self.lock().take() else { return Ok(()) };
        // The holder takes the machine's PID 1 with it, and that one everything else.
        power.holder.kill()?;
        power.holder.wait()?;
        // The cable goes with the machine's network namespace, but that may take the kernel its time.
        let _ = run::host(&["ip", "link", "del", &self.port()]);
        let gone = PathBuf::from(format!("/proc/{}", power.pid));
        wait::until(secs(20), "the node's processes to be gone", || Ok((!gone.exists()).then_some(())))?;
        wait::until(secs(20), "the node's cgroups to be empty", || Ok(Some(remove_cgroup(&self.cgroup)?)))
    }

    /// Whether it is switched on.
    pub fn is_on(&self) -> bool {
        self.lock().is_some()
    }

    /// Plugs the network cable in or pulls it.
    pub fn link(&self, up: bool) -> Result<()> {
        run::host(&["ip", "link", "set", &self.port(), if up { "up" } else { "down" }]).map(drop)
    }

    /// The PID of its PID 1, as seen in this world.
    pub fn pid(&self) -> Result<u32> {
        self.lock().as_ref().map(|power| power.pid).context(format!("{} is off", self.name))
    }

    /// The words that run a command in the node.
    pub fn enter(&self) -> Result<Vec<String>> {
        let pid = self.pid()?.to_string();
        let words =
            ["nsenter", "-t", &pid, "-a", "-r", "-w", "env", "-i", PATH, "HOME=/root", "LC_ALL=C.UTF-8"];
        let own = self.environment.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(words.into_iter().map(str::to_owned).chain(own).collect())
    }

    /// Runs all commands from now on with this setting (`NAME=VALUE`).
    pub fn set_environment(&self, setting: String) {
        self.environment.lock().unwrap_or_else(PoisonError::into_inner).push(setting);
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut all = self.enter()?;
        all.extend(words.iter().map(|word| (*word).to_owned()));
        Ok(run::command(&all.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// Runs a command in the node; any exit code is fine.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        run::run(self.command(words)?, "", COMMAND)
    }

    /// Runs a command in the node that may take a while; any exit code is fine.
    pub fn run_long(&self, words: &[&str], within: Duration) -> Result<Output> {
        run::run(self.command(words)?, "", within)
    }

    /// Runs a command in the node, which must succeed. Gives its standard output.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        self.exec_with(words, "")
    }

    /// Like [`Node::exec`], with something on standard input.
    pub fn exec_with(&self, words: &[&str], input: &str) -> Result<String> {
        run::check(self.command(words)?, input, COMMAND).context(&self.name)
    }

    /// Runs a line of shell in the node, which must succeed.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.exec(&["sh", "-c", line])
    }

    /// A file on the running node.
    pub fn path(&self, path: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.pid()?)).join(path.trim_start_matches('/')))
    }

    /// The PIDs, in the node, of processes whose program has this name.
    pub fn pids_of(&self, program: &str) -> Result<Vec<u32>> {
        let list = self.run(&["pidof", program])?.stdout;
        Ok(list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Sends a signal to the node's remote daemon.
    pub fn signal_daemon(&self, signal: &str) -> Result<()> {
        let pid = self.exec(&["systemctl", "show", "--property=MainPID", "--value", "pacemaker_remote"])?;
        let pid = pid.trim();
        if pid == "0" {
            return fail(format!("no daemon is running on {}", self.name));
        }
        self.exec(&["kill", &format!("-{signal}"), pid]).map(drop)
    }

    /// The last lines of its console.
    pub fn console(&self) -> String {
        let text = fs::read_to_string(self.dir.join("console.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join(" | ")
    }

    fn port(&self) -> String {
        format!("v{}-{}", self.switch, self.octet)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Power>> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.power_off();
    }
}

fn first_child(of: u32) -> Result<Option<u32>> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children"))?;
    Ok(children.split_whitespace().next().and_then(|pid| pid.parse().ok()))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn group_id(layers: &[PathBuf], group: &str) -> Result<u32> {
    let files = layers.iter().map(|layer| layer.join("etc/group"));
    let groups: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    let fields = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.first() == Some(&group))
        .find_map(|fields| fields.get(2)?.parse().ok())
        .context(format!("no group {group} in the image"))
}

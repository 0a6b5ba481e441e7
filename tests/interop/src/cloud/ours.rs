//! Our programs against the cloud, each with a folder of its own: configuration, credentials, policy, state.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nova_ext::engine::journal::{Entry, Journal};

use super::Cloud;
use super::credentials::Login;
use crate::daemon::tool;
use crate::error::{Context, Result, fail};
use crate::run::{self, Output};
use crate::wait::{self, secs};

/// How long a command may take.
const PATIENCE: Duration = secs(120);
/// All servers go, and nothing is lost: the fake driver has no disks. What hangs is given up sooner than usual: here Nova
/// waits 30 s for its own parts.
const POLICY: &str = "mode = \"all\"\n[storage]\nshared = true\n\
                      [patience]\nunheard_seconds = 30\naccepted_seconds = 60\n";

/// A controller's worth of configuration and state.
pub struct Ours {
    dir: PathBuf,
}

impl Ours {
    /// Makes the folder `name` with the administrator's credentials and a policy that evacuates everything.
    pub fn new(cloud: &Cloud, name: &str) -> Result<Self> {
        let dir = cloud.dir().join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let ours = Self { dir };
        fs::create_dir_all(ours.dir.join("hooks"))?;
        cloud.credentials(&format!("{name}/cloud.toml"), &cloud.login())?;
        ours.write("policy.toml", POLICY)?;
        let path = |file: &str| ours.dir.join(file).display().to_string();
        ours.write(
            "nova-ha.toml",
            &format!(
                "[cloud]\nfile = \"{}\"\n[files]\nmap = \"{}\"\npolicy = \"{}\"\nstate = \"{}\"\n\
                 [hooks]\nfolder = \"{}\"\n",
                path("cloud.toml"),
                path("power.toml"),
                path("policy.toml"),
                path("state"),
                path("hooks")
            ),
        )?;
        Ok(ours)
    }

    /// Logs in in another way.
    pub fn login(&self, cloud: &Cloud, login: &Login<'_>) -> Result<()> {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        cloud.credentials(&format!("{name}/cloud.toml"), login).map(drop)
    }

    /// Has the hosts' boards as power devices. They are started if they were not.
    pub fn use_boards(&self, cloud: &Cloud) -> Result<()> {
        cloud.start_boards()?;
        self.write("power.toml", &cloud.board_map()?)
    }

    /// Has more rules in the policy: its tables but `storage` and `patience`.
    pub fn add_to_policy(&self, rules: &str) -> Result<()> {
        self.write("policy.toml", &format!("{POLICY}{rules}"))
    }

    /// Has more in the configuration: its tables but `cloud`, `files` and `hooks`.
    pub fn add_to_configuration(&self, more: &str) -> Result<()> {
        let old = fs::read_to_string(self.dir.join("nova-ha.toml"))?;
        self.write("nova-ha.toml", &format!("{old}{more}"))
    }

    /// Takes over what another controller has written down, as with a state folder that both can reach.
    pub fn take_over(&self, other: &Self) -> Result<()> {
        let own = self.state();
        fs::create_dir_all(&own)?;
        let (from, to) = (other.state().join("."), own.display().to_string());
        run::host(&["cp", "-a", &from.display().to_string(), &to]).map(drop)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a file of it, that nobody else may read.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.join(name);
        fs::write(&path, text).context(path.display())?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?)
    }

    fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(tool(program)?);
        command.current_dir(&self.dir);
        Ok(command)
    }

    /// Runs `nova-ha` with this configuration. Any exit code is fine.
    pub fn nova_ha(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.command("nova-ha")?;
        let (verb, rest) = words.split_first().context("a command")?;
        command.arg(verb).arg("--config").arg(self.dir.join("nova-ha.toml")).args(rest);
        run::run(command, "", PATIENCE)
    }

    /// Runs `fence_nova` as a cluster does: parameters on standard input. `host` is empty for actions about none. Any
    /// exit code is fine.
    pub fn fence_nova(&self, action: &str, host: &str, more: &str) -> Result<Output> {
        let config = self.dir.join("nova-ha.toml");
        let mut input = format!("action={action}\nconfig={}\n{more}", config.display());
        if !host.is_empty() {
            let _ = writeln!(input, "nodename={host}\nplug={host}");
        }
        run::run(self.command("fence_nova")?, &input, PATIENCE)
    }

    /// Runs `nova-ha` with this configuration, which must succeed. Gives its standard output.
    pub fn told(&self, words: &[&str]) -> Result<String> {
        let output = self.nova_ha(words)?;
        if output.code() == 0 { Ok(output.stdout) } else { fail(format!("{words:?}: {}", output.stderr)) }
    }

    /// Starts the engine and waits until it takes orders.
    pub fn engine(&self) -> Result<Running> {
        let engine = self.start_engine()?;
        self.wait_ready(engine)
    }

    /// Starts the engine. Waits for nothing.
    pub fn start_engine(&self) -> Result<Running> {
        let command = Command::new(tool("nova-ha")?);
        self.start(command)
    }

    /// Like [`Ours::start_engine`], and whenever it comes to that system call for its journal it is held for a while.
    pub fn start_engine_held(&self, call: &str, held: Duration) -> Result<Running> {
        let mut command = run::command(&["strace", "--follow-forks", "--quiet=all", "--output=/dev/null"]);
        command.arg(format!("--trace-path={}", self.state().join("journal.jsonl").display()));
        command.arg(format!("--trace={call}"));
        command.arg(format!("--inject={call}:delay_enter={}", held.as_micros()));
        command.arg(tool("nova-ha")?);
        self.start(command)
    }

    /// Like [`Ours::engine`], on a machine of this name.
    pub fn engine_on(&self, controller: &str) -> Result<Running> {
        let mut command = run::command(&["unshare", "--uts", "sh", "-c"]);
        command.args(["hostname \"$0\" && exec \"$@\"", controller]).arg(tool("nova-ha")?);
        let engine = self.start(command)?;
        self.wait_ready(engine)
    }

    fn wait_ready(&self, engine: Running) -> Result<Running> {
        engine.until(secs(60), "the engine to take orders", || {
            let status = self.told(&["status", "--json"])?;
            let status: serde_json::Value = serde_json::from_str(&status).context(&status)?;
            let of =
                |name: &str| status.pointer(&format!("/engine/{name}")).and_then(serde_json::Value::as_u64);
            Ok((of("pid") == Some(engine.id().into()) && of("beat_ms").is_some()).then_some(()))
        })?;
        Ok(engine)
    }

    fn start(&self, mut command: Command) -> Result<Running> {
        command.arg("engine").arg("--config").arg(self.dir.join("nova-ha.toml")).current_dir(&self.dir);
        let log = self.dir.join("engine.log");
        let out = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        let child = command.spawn().context("the engine")?;
        Ok(Running { id: child.id(), child: Mutex::new(child), log })
    }

    /// What the engine has written down.
    pub fn journal(&self) -> Result<Vec<Entry>> {
        Journal::read(&self.state()).context("the journal")
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }
}

/// A program of ours that runs; killed when dropped.
pub struct Running {
    child: Mutex<Child>,
    id: u32,
    log: PathBuf,
}

impl Running {
    /// Ends it and what it has started at once, as a power cut does.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_none() {
            run::host(&["kill", "-KILL", "--", &format!("-{}", self.id)])?;
        }
        child.wait().map(drop).context("waiting for its end")
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&self, within: Duration) -> Result<i32> {
        run::host(&["kill", "-TERM", &self.id.to_string()])?;
        self.wait_end(within)
    }

    /// Waits until it has ended by itself, and gives the exit code; -1 after a signal.
    pub fn wait_end(&self, within: Duration) -> Result<i32> {
        wait::until(within, "a program of ours to end", || {
            Ok(self.child().try_wait()?.map(|status| status.code().unwrap_or(-1)))
        })
    }

    /// The PID.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Says so if it has ended.
    pub fn check(&self) -> Result<()> {
        match self.child().try_wait()? {
            None => Ok(()),
            Some(status) => fail(format!("it has ended ({status}): {}", self.log())),
        }
    }

    /// Waits as [`wait::until`] does, and gives up at once if it ends.
    pub fn until<T>(
        &self,
        within: Duration,
        what: &str,
        mut condition: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        wait::until(within, what, || match self.check() {
            Err(ended) => Ok(Some(Err(ended))),
            Ok(()) => Ok(condition().context(self.log())?.map(Ok)),
        })?
    }

    /// The last lines that it has printed.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

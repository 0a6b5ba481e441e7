//! Any other device: through an installed fence agent.
//!
//! The agent gets its parameters on standard input, as Pacemaker gives them, so that no password is seen in a list
//! of processes. It runs in a process group of its own, which ends with it, at the deadline, or when nobody waits for
//! the answer any more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Device, Look, Order, PowerError, PowerState};
use crate::secret::Secret;

/// Where fence agents are installed.
const FOLDER: &str = "/usr/sbin";
/// So much of what an agent prints is kept.
const KEPT: u64 = 16 * 1024;
/// The exit code of `status` that means off.
const OFF: i32 = 2;

/// How a fence agent is run.
#[derive(Debug, Clone)]
pub struct FenceAgentSettings {
    /// Its name (`fence_apc`), or a path.
    pub agent: PathBuf,
    /// Its parameters, in the names of its metadata; `action` is ours.
    pub parameters: BTreeMap<String, String>,
    /// Its password, if it takes one.
    pub password: Option<Secret>,
}

/// A device behind a fence agent.
#[derive(Debug)]
pub struct FenceAgent {
    program: PathBuf,
    name: String,
    parameters: BTreeMap<String, String>,
    password: Option<Secret>,
}

impl FenceAgent {
    /// Checks the settings; runs nothing.
    pub fn new(settings: FenceAgentSettings) -> Result<Self, PowerError> {
        let FenceAgentSettings { agent, parameters, password } = settings;
        let shown = agent.display().to_string();
        let program = if agent.is_absolute() {
            agent
        } else if agent.components().count() == 1 && shown.starts_with("fence_") {
            Path::new(FOLDER).join(agent)
        } else {
            let text = format!("{shown:?} cannot be a fence agent: give its name (fence_…) or its full path");
            return Err(PowerError::Settings(text));
        };
        if !program.is_file() {
            return Err(PowerError::Settings(format!(
                "there is no fence agent {}: install its package (fence-agents)",
                program.display()
            )));
        }
        for (name, value) in &parameters {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(plain) || value.contains(['\n', '\0']) {
                return Err(PowerError::Settings(format!("{name:?} cannot be a parameter of a fence agent")));
            }
            if name == "action" || name == "option" {
                return Err(PowerError::Settings(format!(
                    "{name} is not for you to set: it is what is done"
                )));
            }
        }
        let place = ["plug", "port", "ip", "ipaddr"].iter().find_map(|key| parameters.get(*key));
        let place = place.map(|place| format!(" {place}")).unwrap_or_default();
        Ok(Self { name: format!("agent {shown}{place}"), program, parameters, password })
    }

    fn input(&self, action: &str) -> String {
        let mut text = format!("action={action}\n");
        for (name, value) in &self.parameters {
            let _ = writeln!(text, "{name}={value}");
        }
        if let Some(password) = &self.password {
            let _ = writeln!(text, "password={}", password.expose());
        }
        text
    }

    async fn run(&self, action: &str, until: Instant) -> Result<Ended, PowerError> {
        let cannot = |error: io::Error| PowerError::Unreachable {
            device: self.name.clone(),
            why: format!("{} cannot be run: {error}", self.program.display()),
        };
        let mut child = Command::new(&self.program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let _group = Group::of(&child);
        let input = self.input(action);
        let ended = async {
            let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let feed = async move {
                if let Some(mut stdin) = stdin {
                    // An agent that does not read everything is no error.
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
            };
            let ((), status, out, err) = tokio::join!(feed, child.wait(), text(out), text(err));
            status.map(|status| Ended { code: status.code(), said: last_line(&err).or(last_line(&out)) })
        };
        match timeout_at(until, ended).await {
            Ok(ended) => ended.map_err(cannot),
            Err(_) => Err(PowerError::Silent {
                device: self.name.clone(),
                waiting: format!("its action {action} runs"),
            }),
        }
    }
}

/// How a run ended.
struct Ended {
    code: Option<i32>,
    said: Option<String>,
}

impl Ended {
    fn why(self) -> String {
        let code = self.code.map_or_else(|| "it was killed".to_owned(), |code| format!("exit code {code}"));
        match self.said {
            Some(said) => format!("{said} ({code})"),
            None => code,
        }
    }
}

impl Device for FenceAgent {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn status(&mut self, until: Instant) -> Answer<'_, Look> {
        Box::pin(async move {
            let ended = self.run("status", until).await?;
            match ended.code {
                Some(0) => Ok(Look { state: PowerState::On, said: "status on".into() }),
                Some(OFF) => Ok(Look { state: PowerState::Off, said: "status off".into() }),
                _ => Err(PowerError::Garbled { device: self.name.clone(), why: ended.why() }),
            }
        })
    }

    fn order(&mut self, order: Order, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            let ended = self.run(&order.to_string(), until).await?;
            match ended.code {
                Some(0) => Ok(()),
                _ => Err(PowerError::Refused { device: self.name.clone(), order, why: ended.why() }),
            }
        })
    }

    fn close(&mut self, _until: Instant) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// The agent's process group. Ends with this value: whatever the agent started must not outlive it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        // Not reaped before this value is dropped or the run is over, so that the number is not used again.
        Self(child.id().and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 1).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// What it prints: the beginning is kept, the rest is read and forgotten so that the agent never blocks.
async fn text(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    let _ = (&mut pipe).take(KEPT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(200).collect())
}

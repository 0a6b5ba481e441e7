//! Any other device: through an installed fence agent.
//!
//! The agent gets its parameters on standard input, as Pacemaker gives them, so that no password is seen in a list
//! of processes. It runs in a process group of its own, which ends with it, at the deadline, or when nobody waits for
//! the answer any more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, Device, Look, Order, PowerError, PowerState};
use crate::process::{Ended, ProcessError, Program};
use crate::proof::powerless::switches_power;
use crate::secret::Secret;

/// Where fence agents are installed.
const FOLDER: &str = "/usr/sbin";
/// The exit code of `status` that means off.
const OFF: i32 = 2;

/// So long an action of it may take at least.
const ACTION: Duration = Duration::from_secs(10);

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
        // A link is called as it likes.
        for name in [Some(program.clone()), program.canonicalize().ok()].iter().flatten() {
            let name = name.file_name().unwrap_or_default().to_string_lossy();
            if !switches_power(&name) {
                let text = format!(
                    "{name} switches no power, so its off proves nothing: name a power device's agent"
                );
                return Err(PowerError::Settings(text));
            }
        }
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
        let program = Program { input: self.input(action).into_bytes(), ..Program::new(&self.program) };
        let device = self.name.clone();
        program.run(until.saturating_duration_since(Instant::now())).await.map_err(|error| match error {
            ProcessError::Late(..) => {
                PowerError::Silent { device, waiting: format!("its action {action} runs") }
            }
            ProcessError::Spawn(..) => PowerError::Unreachable { device, why: error.to_string() },
        })
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
                Some(OFF) if is_failure(&ended) => {
                    let why = format!("its status ends as for off, but is a failure: {}", ended.why());
                    Err(PowerError::Garbled { device: self.name.clone(), why })
                }
                Some(OFF) => Ok(Look { state: PowerState::Off, said: "status off".into() }),
                _ => Err(PowerError::Garbled { device: self.name.clone(), why: ended.why() }),
            }
        })
    }

    fn order(&mut self, order: Order, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            let ended = self.run(&order.to_string(), until).await.map_err(|error| match error {
                PowerError::Unreachable { .. } => PowerError::Unsent(Box::new(error)),
                error => error,
            })?;
            match ended.code {
                Some(0) => Ok(()),
                _ => Err(PowerError::Refused { device: self.name.clone(), order, why: ended.why() }),
            }
        })
    }

    /// An agent logs in, switches and reads by itself; one that is killed in between has perhaps not begun to switch.
    /// Some take minutes: half of the time is for it, and the rest for reading.
    fn answers_within(&self, left: Duration) -> Duration {
        (left / 2).max(ACTION)
    }

    fn reads_within(&self, left: Duration) -> Duration {
        (left / 2).max(ACTION)
    }

    fn close(&mut self, _until: Instant) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Whether an exit code 2 is not the agent's word for off: an interpreter ends so as well if it does not find the agent, or
/// does not understand it, and says why. Whoever says something says that it is off.
fn is_failure(ended: &Ended) -> bool {
    let said = ended.output.to_ascii_lowercase();
    if said.trim().is_empty() {
        !ended.errors.trim().is_empty()
    } else {
        said.contains("status: on") || !said.contains("off")
    }
}

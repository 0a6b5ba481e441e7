//! Running a program: spawned on a side thread, its output read, its end awaited.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::HostSettings;
use super::control::Control;
use super::output::{Captured, Output};
use crate::agent::Outcome;

/// Programs spawned at a time: more threads than that only cost memory.
const SPAWNS: usize = 4;
/// Patience with spawns that hang on a dead disk; after it they no longer count.
const SPAWN_PATIENCE: Duration = Duration::from_millis(100);
/// A killed process that is still there after this is worth a warning.
const DEATH_PATIENCE: Duration = Duration::from_secs(5);

/// Runs programs.
#[derive(Debug)]
pub(super) struct Runner {
    output_limit: usize,
    spawns: Arc<Semaphore>,
}

/// What is to be run.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) file: PathBuf,
    pub(super) argument: Option<String>,
    /// Has the environment that all programs share.
    pub(super) settings: Arc<HostSettings>,
    /// Added to it; of a name's values the last counts.
    pub(super) env: Vec<(String, String)>,
    /// User and group to become, without supplementary groups.
    pub(super) user: Option<(u32, u32)>,
}

/// How a run is named, watched and killed.
pub(super) struct Handling<'a, S> {
    /// For logs.
    pub(super) name: &'a str,
    pub(super) control: &'a Arc<Control>,
    /// Kill the process only, not its group.
    pub(super) leave_group: bool,
    /// Told the process id.
    pub(super) spawned: S,
}

/// A program's end.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) pid: u32,
    pub(super) status: ExitStatus,
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
}

impl Runner {
    pub(super) fn new(output_limit: usize) -> Self {
        Self { output_limit, spawns: Arc::new(Semaphore::new(SPAWNS)) }
    }

    /// Runs what `prepare` says. That function may block; it is called on a side thread.
    pub(super) async fn run<S: FnOnce(u32)>(
        &self,
        handling: Handling<'_, S>,
        prepare: impl FnOnce() -> Result<Program, Outcome> + Send + 'static,
    ) -> Result<Ran, Outcome> {
        let Handling { name, control, leave_group, spawned } = handling;
        let child = self.spawn(control, prepare).await?;
        let running = Running::new(name, child, self.output_limit, leave_group)?;
        spawned(running.pid);
        running.finish(control).await
    }

    async fn spawn(
        &self,
        control: &Arc<Control>,
        prepare: impl FnOnce() -> Result<Program, Outcome> + Send + 'static,
    ) -> Result<Child, Outcome> {
        let permit = timeout(SPAWN_PATIENCE, Arc::clone(&self.spawns).acquire_owned()).await;
        let shared = Arc::clone(control);
        let mut spawning = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let program = prepare()?;
            if !shared.begin_spawning() {
                return Err(Outcome::cancelled());
            }
            spawn(&program)
        });
        let joined = tokio::select! {
            biased;
            joined = &mut spawning => joined,
            () = control.killed() => {
                if !control.may_have_spawned() {
                    return Err(Outcome::cancelled());
                }
                spawning.await
            }
        };
        joined.unwrap_or_else(|_| Err(Outcome::not_runnable("", libc::ECHILD, "Could not spawn")))
    }
}

/// A process and its pipes.
struct Running<'a> {
    name: &'a str,
    pid: u32,
    leave_group: bool,
    child: Child,
    stdout: Output<tokio::process::ChildStdout>,
    stderr: Output<tokio::process::ChildStderr>,
}

impl<'a> Running<'a> {
    fn new(name: &'a str, mut child: Child, limit: usize, leave_group: bool) -> Result<Self, Outcome> {
        // Nobody has awaited it, so that it has an id.
        let pid =
            child.id().ok_or_else(|| Outcome::not_runnable(name, libc::ECHILD, "No child processes"))?;
        let stdout = Output::new(child.stdout.take(), limit);
        let stderr = Output::new(child.stderr.take(), limit);
        Ok(Self { name, pid, leave_group, child, stdout, stderr })
    }

    /// Waits for the process itself. Others that hold its pipes do not matter.
    async fn finish(mut self, control: &Control) -> Result<Ran, Outcome> {
        let (mut killed, mut warned) = (false, false);
        let status = loop {
            let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
            let drain = std::future::poll_fn(|cx| {
                // Both, so that each has its waker in place.
                let (out, err) = (stdout.poll_fill(cx), stderr.poll_fill(cx));
                if out.is_ready() && err.is_ready() { Poll::Ready(()) } else { Poll::Pending }
            });
            let drain = async {
                drain.await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                status = self.child.wait() => break status,
                () = control.killed(), if !killed => {
                    killed = true;
                    self.kill();
                }
                () = async { sleep(DEATH_PATIENCE).await }, if killed && !warned => {
                    tracing::warn!("{} process (PID {}) will not die!", self.name, self.pid);
                    warned = true;
                }
                () = drain => {}
            }
        };
        let status = status.map_err(|error| {
            let (errno, text) = wording(&error);
            Outcome::not_runnable(self.name, errno, &text)
        })?;
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        Ok(Ran { pid: self.pid, status, stdout, stderr })
    }

    /// Its id is its own until `child` has been awaited to the end.
    fn kill(&self) {
        let Ok(pid) = i32::try_from(self.pid).map(Pid::from_raw) else { return };
        let result = if self.leave_group {
            kill(pid, Signal::SIGKILL)
        } else {
            killpg(pid, Signal::SIGKILL).or_else(|_| kill(pid, Signal::SIGKILL))
        };
        if let Err(errno) = result
            && errno != Errno::ESRCH
        {
            tracing::warn!("Could not kill {} (PID {}): {}", self.name, self.pid, errno.desc());
        }
    }
}

impl Ran {
    /// Standard error if there was any, else standard output.
    pub(super) fn output(&self) -> Option<String> {
        self.stderr.text().or_else(|| self.stdout.text())
    }

    /// Exit code, or the signal that the process died by.
    pub(super) fn code(&self) -> Result<i32, i32> {
        self.status.code().ok_or_else(|| self.status.signal().unwrap_or_default())
    }
}

/// An error's number and the system's words for it.
pub(super) fn wording(error: &io::Error) -> (i32, String) {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    (error.raw_os_error().unwrap_or(libc::EINVAL), text)
}

fn spawn(program: &Program) -> Result<Child, Outcome> {
    let result = match command(program, false).spawn() {
        // As execvp does with a script that does not say what runs it.
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => command(program, true).spawn(),
        result => result,
    };
    if let (Ok(child), Some(limit)) = (&result, program.settings.descriptors)
        && let Some(pid) = child.id()
        && let Err(error) = limit.give_to(pid)
    {
        tracing::debug!("Process {pid} keeps the daemon's limit of open files: {error}");
    }
    result.map_err(|error| {
        let (errno, text) = wording(&error);
        tracing::warn!("Unable to execute {}: {text}", program.file.display());
        Outcome::not_executable(&program.file.to_string_lossy(), errno, &text)
    })
}

/// Nothing in here may need code between fork and exec: then it is no copy of the whole daemon that
/// is made, and what the child may run is what the standard library and the C library checked.
fn command(program: &Program, through_shell: bool) -> Command {
    let mut command = if through_shell {
        let mut command = Command::new("/bin/sh");
        command.arg(&program.file);
        command
    } else {
        Command::new(&program.file)
    };
    command
        .args(&program.argument)
        .env_clear()
        .envs(program.settings.base_env.iter().map(|(name, value)| (name, value)))
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some((user, group)) = program.user {
        command.gid(group).uid(user);
    }
    command
}

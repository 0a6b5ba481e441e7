//! Running a command to its end, with a deadline.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::{Context, Result, fail};

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The exit code; 128 + n for signal n, as a shell says it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }
}

/// Runs a command in a process group of its own; it is killed with its children if it takes longer than
/// `within`. Any exit code is a result here, not an error.
pub fn run(mut command: Command, input: &str, within: Duration) -> Result<Output> {
    let shown = shown(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().context(&shown)?;
    let group = Pid::from_raw(child.id().cast_signed());
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input closes it early: no error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let deadline = Instant::now() + within;
    let mut pause = Duration::from_micros(500);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
            return fail(format!("`{shown}` took longer than {} s", within.as_secs()));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    Ok(Output {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// Like [`run`], but anything else than exit code 0 is an error. Gives the standard output.
pub fn check(command: Command, input: &str, within: Duration) -> Result<String> {
    let shown = shown(&command);
    let output = run(command, input, within)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    fail(format!("`{shown}` ended with {}: {}{}", output.code(), output.stderr.trim(), output.stdout.trim()))
}

/// Builds a command out of words.
pub fn command(words: &[&str]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().copied().unwrap_or("true"));
    command.args(words);
    command
}

/// Runs a short command of the machine (not of a node).
pub fn host(words: &[&str]) -> Result<String> {
    check(command(words), "", Duration::from_secs(30))
}

fn collect(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    // What comes before is how a node is entered.
    let own = words.iter().position(|word| word == "LC_ALL=C.UTF-8").map_or(0, |at| at + 1);
    if own == 0 {
        format!("{} {}", command.get_program().to_string_lossy(), words.join(" "))
    } else {
        words.into_iter().skip(own).collect::<Vec<_>>().join(" ")
    }
}

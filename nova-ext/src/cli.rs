//! `nova-ha`: what an operator runs to see, prepare and repair the recovery of computes.

mod agent;
mod args;
mod capacity;
mod engine;
mod evacuate;
mod lint;
mod log;
mod plan;
mod power;
mod report;
mod switch;
mod validate;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use crate::config::Config;
use args::{Args, Command};

/// How this ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done; for `power status`: the host is on.
    Ok = 0,
    /// It is not done, or it cannot be told.
    Failed = 1,
    /// For `power status`, as fence agents say it: the host is off.
    Off = 2,
    /// The command line makes no sense.
    Usage = 64,
}

/// What went wrong, said to the operator.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    /// For the usual end of what did not work.
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

/// The whole program: command line to exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // For Pacemaker alone, through the file in packaging/ocf: no command of people's.
    if let [_, word, kind, action @ ..] = &arguments[..]
        && word == "agent"
        && kind == "nova-evacuate"
    {
        let action = action.first().map_or("usage".into(), |action| action.to_string_lossy());
        let ran = wait_for(async { Ok(agent::run(&action).await) });
        return ExitCode::from(ran.unwrap_or(1));
    }
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are errors too, of the kind that goes to standard output.
            let _ = error.print();
            return code(if error.use_stderr() { Exit::Usage } else { Exit::Ok });
        }
    };
    match run(&args) {
        Ok(exit) => code(exit),
        Err(failure) => {
            complain(&failure.text);
            code(failure.exit)
        }
    }
}

fn run(args: &Args) -> Result<Exit, Failure> {
    let config = || Config::load(args.config.as_deref()).map_err(Failure::failed);
    match &args.command {
        Command::Power(options) => wait_for(power::run(options, &config)),
        Command::Engine(options) => wait_for(engine::run(options, args.config.as_ref())),
        Command::Plan(options) => wait_for(plan::run(options, &config()?)),
        Command::Evacuate(options) => wait_for(evacuate::run(options, &config()?)),
        Command::Lint(options) => wait_for(lint::run(options, &config()?)),
        Command::Capacity(options) => wait_for(capacity::run(options, &config()?)),
        Command::Status(options) => wait_for(report::status(options, &config()?)),
        Command::Report(options) => report::report(options, &config()?),
        Command::Explain(options) => report::explain(options, &config()?),
        Command::Return(options) => switch::comeback(options, &config()?),
        Command::Freeze(options) => switch::freeze(options, &config()?),
        Command::Thaw => switch::thaw(&config()?),
        Command::Maintenance(options) => switch::maintenance(options, &config()?),
        Command::GoAhead(options) => wait_for(switch::go_ahead(options, &config()?)),
        Command::Validate(options) => wait_for(validate::run(options, &config()?)),
        Command::Completions { shell } => print(completions(*shell).as_bytes()),
    }
}

/// For devices to hear that their sessions have ended.
const GOODBYES: Duration = Duration::from_secs(1);

/// Runs a command that waits for networks.
fn wait_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let result = runtime.block_on(async {
        let result = work.await;
        crate::power::farewells(GOODBYES).await;
        result
    });
    // Whatever still hangs somewhere is not waited for.
    runtime.shutdown_background();
    result
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "nova-ha", &mut text);
    // For bash, the generator calls what comes after a hyphen in the program's own name a command in one place and
    // not in the other, so that nothing would be offered behind a command.
    String::from_utf8_lossy(&text).replace("nova__subcmd__ha", "nova__ha")
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

/// To standard error, for people.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "nova-ha: {text}");
}

/// To standard output. A reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &[u8]) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(Exit::Ok),
    }
}

/// A value as one line of JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<Exit, Failure> {
    let mut text = serde_json::to_vec(value).map_err(Failure::failed)?;
    text.push(b'\n');
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}

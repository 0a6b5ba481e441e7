//! `libvirt-probe`: what an operator runs at 3 a.m. on a sick node, and monitoring every minute.
//!
//! Reads and asks, and changes nothing.

mod agent;
mod apart;
mod args;
mod bench;
mod check;
mod domains;
mod explain;
mod look;
mod ocf;
mod output;
mod probe;
mod steps;
mod text;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::config::{Config, ConfigError};
use crate::verdict::{Health, Subject};
use args::{Args, Command};

/// How this ends, as monitoring plug-ins number it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// All is well.
    pub(crate) const OK: Self = Self(0);
    /// It does not work.
    pub(crate) const FAILED: Self = Self(2);
    /// It cannot be told.
    pub(crate) const UNKNOWN: Self = Self(3);
}

impl From<Health> for Exit {
    fn from(health: Health) -> Self {
        Self(match health {
            Health::Ok => 0,
            Health::Degraded => 1,
            Health::Failed => 2,
            Health::Unknown => 3,
        })
    }
}

/// Why there is no verdict, said to the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system says no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What was to be shown could not be had.
    #[error("{text}")]
    NoAnswer {
        /// How this ends.
        exit: Exit,
        /// Why, and what to do.
        text: String,
    },
    /// It cannot be written as JSON.
    #[error("no JSON can be made of it: {0}")]
    Json(#[from] serde_json::Error),
}

/// The whole program: command line to exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // For Pacemaker alone, through the files in packaging/ocf: no command of people's.
    if let [_, word, kind, action @ ..] = &arguments[..]
        && word == "agent"
    {
        let action = action.first().map_or("usage".into(), |action| action.to_string_lossy());
        return agent::run(&kind.to_string_lossy(), &action, &arguments);
    }
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are errors too, of the kind that goes to standard output.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::UNKNOWN.0 } else { Exit::OK.0 });
        }
    };
    let exit = run(&args, &arguments).unwrap_or_else(|failure| {
        let _ = writeln!(io::stderr(), "libvirt-probe: {failure}");
        match failure {
            Failure::NoAnswer { exit, .. } => exit,
            _ => Exit::UNKNOWN,
        }
    });
    if apart::is_other() {
        apart::done(exit);
    }
    ExitCode::from(exit.0)
}

fn run(args: &Args, arguments: &[OsString]) -> Result<Exit, Failure> {
    if let Command::Completions { shell } = &args.command {
        return print(completions(*shell).as_bytes());
    }
    let config = Config::load(args.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io { what: "cannot start", source })?;
    let apart = may_hang(&args.command, &config) && !apart::is_other();
    let exit = runtime.block_on(async {
        match &args.command {
            _ if apart => apart::run(arguments).await,
            Command::Check(options) => check::run(&config, options).await,
            Command::Explain(options) => check::explain(&config, options).await,
            Command::Watch(options) => watch::run(&config, options).await,
            Command::Domains(options) => domains::run(&config, options).await,
            Command::Bench(options) => bench::run(&config, options).await,
            Command::Completions { shell } => print(completions(*shell).as_bytes()),
        }
    });
    // Whatever still hangs somewhere is not waited for.
    runtime.shutdown_background();
    exit
}

/// Whether a disk is written to.
fn may_hang(command: &Command, config: &Config) -> bool {
    let subjects = match command {
        Command::Check(options) => &options.subjects,
        Command::Explain(options) => &options.subjects,
        Command::Watch(options) => &options.subjects,
        _ => return false,
    };
    config.host.storage.on && subjects.list(&config.subjects).contains(&Subject::Host)
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "libvirt-probe", &mut text);
    // For bash, the generator calls what comes after a hyphen in the program's own name a command in one place and
    // not in the other, so that nothing would be offered behind a command.
    String::from_utf8_lossy(&text).replace("libvirt__subcmd__probe", "libvirt__probe")
}

/// To standard output. A reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &[u8]) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Io { what: "cannot write to standard output", source })
        }
        _ => Ok(Exit::OK),
    }
}

/// A value as one line of JSON.
pub(crate) fn json_line(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value).map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}

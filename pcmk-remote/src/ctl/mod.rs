//! `pcmk-remotectl`: the operator's view of the daemon on this node, and checks of what it needs.
//!
//! Reads the status socket alone. It never connects to the cluster's port of a running daemon except in
//! `tls_check`, which leaves before a handshake is complete, and never to Pacemaker's IPC: either would make
//! the cluster drop the node.

mod args;
mod client;
mod decode;
mod drain;
mod show;
mod table;
mod tls_check;
mod validate;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Args, Command};

/// The daemon's status, for others than this tool.
pub(crate) fn status_of(socket: &std::path::Path) -> Result<crate::status::Status, Failure> {
    client::status(socket)
}

/// How this ends, as Pacemaker's own tools number it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Ok = 0,
    /// What was looked at is not as it should be, or the cluster refused.
    Bad = 1,
    /// Not allowed.
    Denied = 4,
    /// The command line makes no sense.
    Usage = 64,
    /// The input cannot be made out.
    Data = 65,
    /// The daemon does not answer.
    NoDaemon = 102,
    /// Time is up.
    Timeout = 124,
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
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Bad, error.to_string())
    }
}

/// The whole program: command line to exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
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
            let _ = writeln!(io::stderr(), "pcmk-remotectl: {failure}");
            code(failure.exit)
        }
    }
}

fn run(args: &Args) -> Result<Exit, Failure> {
    let json = args.json;
    match &args.command {
        Command::Status => show::status(&args.socket, json),
        Command::Ops(filter) => show::operations(&args.socket, filter, json),
        Command::History(filter) => show::history(&args.socket, filter, json),
        Command::Drain(options) => drain::run(&args.socket, options, json),
        Command::TlsCheck(options) => tls_check::run(options, json),
        Command::ValidateConfig(options) => validate::run(options, json),
        Command::Decode(options) => decode::run(options, json),
        Command::Completions { shell } => print(completions(*shell).as_bytes()),
    }
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "pcmk-remotectl", &mut text);
    // For bash, the generator calls what comes after a hyphen in the program's own name a command in one place and
    // not in the other, so that nothing would be offered behind a command.
    String::from_utf8_lossy(&text).replace("pcmk__subcmd__remotectl", "pcmk__remotectl")
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

/// To standard output. A reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &[u8]) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Bad, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(Exit::Ok),
    }
}

/// A value as one line of JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<Exit, Failure> {
    let mut text = serde_json::to_vec(value).map_err(|error| Failure::new(Exit::Bad, error.to_string()))?;
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

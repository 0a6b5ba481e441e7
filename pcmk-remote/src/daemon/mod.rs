//! Puts everything together: the only place that knows both the cluster's side and the executor.

mod attributes;
mod bulk;
mod config;
mod links;
mod log;
mod node;
mod pid1;
mod policy;
mod run;
mod schemas;
mod settings;
mod status;
mod systemd;
mod tools;
mod variables;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use nix::sys::stat::{Mode, umask};
use pcmk_proto::qb::IpcName;
use tracing::{error, info, warn};

use self::config::{CommandLine, Config, Environment, HELP, Options};
use self::log::Logging;
use crate::ipc::IpcError;

pub(crate) use self::settings::{SETTINGS_FILES, Settings};

/// Bad command line (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// Something of the system that cannot be had (`EX_OSERR`): the launcher's IPC name.
const EXIT_OS: u8 = 71;
/// Cannot serve on this node; the unit file tells systemd not to try again.
const EXIT_FATAL: u8 = 100;

/// Why the daemon ends other than on request. All of these mean "do not start me again here".
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("Failed to create TLS listener: shutting down and staying down: {0}")]
    Listener(#[from] crate::net::NetError),
    #[error("Shutting down and staying down, as the policy of this node cannot be used: {0}")]
    Policy(#[from] crate::policy::file::FileError),
    #[error("{0}; verify that pacemaker and pacemaker_remote are not both enabled")]
    Ipc(#[from] IpcError),
    #[error("Could not start the event loop: {0}")]
    Runtime(std::io::Error),
    #[error("Shutting down: {0}")]
    Watchdog(String),
}

/// The whole program: command line to exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match config::parse_command_line(arguments.iter().cloned()) {
        Ok(CommandLine::Help) => print(HELP),
        Ok(CommandLine::Version) => print(concat!(
            "pacemaker-remoted (pcmk-remote) ",
            env!("CARGO_PKG_VERSION"),
            "\nSpeaks the Pacemaker Remote protocol 1.2\n"
        )),
        Ok(CommandLine::Run(options)) => pid1::take_part(&arguments).unwrap_or_else(|| serve(&options)),
        Err(error) => {
            let _ =
                writeln!(std::io::stderr(), "pacemaker-remoted: {error}\nTry 'pacemaker-remoted --help'.");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn print(text: &str) -> ExitCode {
    // A closed pipe (`--help | head -1`) is no reason to panic.
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(options: &Options) -> ExitCode {
    prepare_process();
    let config = Config::new(options, &Environment::of_process());
    let logging = log::start(&config.log);
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let code = match serve_until_told(config, &logging) {
        Ok(()) => {
            info!("Exiting normally");
            ExitCode::SUCCESS
        }
        Err(fatal) => {
            match fatal {
                Fatal::Watchdog(_) => error!(target: "crit", "{fatal}"),
                Fatal::Listener(_) | Fatal::Ipc(_) | Fatal::Policy(_) | Fatal::Runtime(_) => {
                    error!("{fatal}");
                }
            }
            ExitCode::from(exit_code(&fatal))
        }
    };
    logging.flush();
    code
}

fn exit_code(fatal: &Fatal) -> u8 {
    match fatal {
        Fatal::Ipc(
            IpcError::Taken { name: IpcName::Pacemakerd } | IpcError::Bind { name: IpcName::Pacemakerd, .. },
        ) => EXIT_OS,
        Fatal::Listener(_) | Fatal::Ipc(_) | Fatal::Policy(_) | Fatal::Runtime(_) | Fatal::Watchdog(_) => {
            EXIT_FATAL
        }
    }
}

/// What agents inherit from a process is part of their contract: signals, descriptors, umask, directory.
fn prepare_process() {
    crate::sys::keep_little_memory();
    // Nothing of this can fail in a way that another start would mend, so the daemon goes on.
    let _ = crate::sys::reset_signals();
    let _ = crate::sys::reset_scheduling_in_children();
    let _ = crate::sys::close_on_exec_from(3);
    umask(Mode::from_bits_truncate(0o026));
    let _ = std::env::set_current_dir("/var/lib/pacemaker/cores");
}

fn serve_until_told(config: Config, logging: &Logging) -> Result<(), Fatal> {
    // One thread decides and serves; what may block runs on others that come and go.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("worker")
        .thread_stack_size(256 << 10)
        .build()
        .map_err(Fatal::Runtime)?;
    let result = runtime.block_on(run::run(config, logging));
    // A worker that hangs on a dead disk must not keep the daemon from ending.
    runtime.shutdown_background();
    result
}

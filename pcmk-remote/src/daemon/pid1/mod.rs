//! PID 1 of a container: Pacemaker's bundles start the daemon as the first process.
//!
//! The first process then only reaps what others leave behind and passes signals on; the daemon is its
//! child. This is so when the process id is 1 or `PCMK_remote_pid1` is `full`; with `vars` only the
//! environment file is read.
//!
//! Nothing is forked: each role is a fresh start of the same program, so that the environment is settled
//! before any other code has looked at it.

mod env_file;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, setsid};

use super::config::SERVICE;

const ENV_FILE: &str = "/etc/pacemaker/pcmk-init.env";
/// A container need not have the folder of the usual log.
const LOGFILE: &str = "/var/log/pcmk-init.log";
const MODE: &str = "PCMK_remote_pid1";
/// The mode of the daemon below the first process; for nobody else.
const CHILD: &str = "child";
/// The first process's name, to tell it from the daemon.
const INIT: &str = "pcmk-init";

/// Takes the part of the first process if it is ours. `None` if this process is to be the daemon, otherwise
/// what the whole program ends with.
pub(super) fn take_part(arguments: &[OsString]) -> Option<ExitCode> {
    let env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    let mode = setting(&env, "remote_pid1").map(OsStr::to_owned);
    match mode.as_deref().and_then(OsStr::to_str) {
        // Signals that a terminal sends are for the first process.
        Some(CHILD) => drop(setsid()),
        _ if getpid() == Pid::from_raw(1) => return Some(init(arguments, env)),
        Some("full") => return Some(init(arguments, env)),
        Some("vars") => {
            let mut command = daemon(arguments, &with_file(env));
            let error = command.env_remove(MODE).env_remove("HA_remote_pid1").exec();
            complain(&format!("could not start again with the settings of {ENV_FILE}: {error}"));
        }
        _ => {}
    }
    None
}

/// The first process, to its end.
fn init(arguments: &[OsString], env: BTreeMap<OsString, OsString>) -> ExitCode {
    // From here on none gets lost. The mask survives what follows.
    let signals = SigSet::all();
    let _ = signals.thread_block();
    if std::env::args_os().next().is_none_or(|name| name != INIT) {
        // Shown by `ps`, and nothing that looks for the daemon by its name finds it. Goes on if it fails.
        let _ = Command::new(program()).arg0(INIT).args(arguments).exec();
    }
    let _ = prctl::set_name(c"pcmk-init");

    let mut env = with_file(env);
    if setting(&env, "logfile").is_none() {
        env.insert("PCMK_logfile".into(), LOGFILE.into());
    }
    let child = match daemon(arguments, &env).env(MODE, CHILD).spawn() {
        Ok(child) => Pid::from_raw(child.id().cast_signed()),
        Err(error) => {
            complain(&format!("could not start {SERVICE}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let mut asked_to_end = false;
    loop {
        // Signals that have no name are none of ours.
        let Ok(signal) = signals.wait() else { continue };
        match signal {
            Signal::SIGCHLD => {
                if let Some(code) = reap(child, asked_to_end) {
                    return code;
                }
            }
            Signal::SIGINT => return ExitCode::SUCCESS,
            Signal::SIGTERM | Signal::SIGUSR1 | Signal::SIGUSR2 | Signal::SIGTRAP => {
                asked_to_end |= signal == Signal::SIGTERM;
                let _ = kill(child, signal);
            }
            _ => {}
        }
    }
}

/// Takes all dead children; gives what to end with once the daemon is among them.
fn reap(daemon: Pid, asked_to_end: bool) -> Option<ExitCode> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == daemon => {
                return Some(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from));
            }
            // It was not ready for the signal yet.
            Ok(WaitStatus::Signaled(pid, Signal::SIGTERM, _)) if pid == daemon && asked_to_end => {
                return Some(ExitCode::SUCCESS);
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == daemon => {
                complain(&format!("{SERVICE} was ended by {signal}"));
                return Some(ExitCode::FAILURE);
            }
            Ok(WaitStatus::StillAlive) => return None,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

fn daemon(arguments: &[OsString], env: &BTreeMap<OsString, OsString>) -> Command {
    let mut command = Command::new(program());
    command.arg0(SERVICE).args(arguments).env_clear().envs(env);
    command
}

/// By its path, as the name of a process comes from there.
fn program() -> OsString {
    let path = std::env::current_exe().unwrap_or_default();
    if path.exists() { path.into() } else { "/proc/self/exe".into() }
}

/// Adds the file's assignments; what the container was started with counts more.
fn with_file(mut env: BTreeMap<OsString, OsString>) -> BTreeMap<OsString, OsString> {
    match env_file::read(Path::new(ENV_FILE)) {
        Ok(lines) => {
            for line in lines {
                match line {
                    Ok((name, value)) => drop(env.entry(name.into()).or_insert_with(|| value.into())),
                    Err((number, why)) => complain(&format!("{ENV_FILE}: line {number} is ignored: {why}")),
                }
            }
        }
        Err(error) => complain(&format!("{ENV_FILE}: {error}")),
    }
    env
}

/// Looked up as all settings are.
fn setting<'a>(env: &'a BTreeMap<OsString, OsString>, name: &str) -> Option<&'a OsStr> {
    let get =
        |prefix: &str| env.get(OsStr::new(&format!("{prefix}_{name}"))).filter(|value| !value.is_empty());
    get("PCMK").or_else(|| get("HA")).map(OsString::as_os_str)
}

/// There is no log yet; what a container says ends up in its engine's.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{INIT}: {text}");
}

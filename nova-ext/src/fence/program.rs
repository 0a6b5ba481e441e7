//! The program: parameters in, exit code out.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use super::look::{self, Status};
use super::run::{self, Scene};
use super::say::Say;
use super::{Action, Given, Told, UsageError, device, metadata, usage};
use crate::config::{Config, Names};
use crate::{power, process};

/// More than any cluster sends.
const LARGEST_INPUT: u64 = 256 * 1024;
/// For devices to hear that their sessions have ended.
const GOODBYES: Duration = Duration::from_secs(1);
/// For standard input to end.
const INPUT_WITHIN: Duration = Duration::from_secs(30);

const DONE: u8 = 0;
const NOT_DONE: u8 = 1;
/// Of `status`: the host is off.
const OFF: u8 = 2;

/// The whole program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    let mut say = Say::new(false, 0);
    let mut given = match given(arguments) {
        Ok(given) => given,
        Err(why) => {
            say.error(why);
            return ExitCode::from(NOT_DONE);
        }
    };
    ExitCode::from(run(&mut given, &mut say))
}

fn given(arguments: Vec<OsString>) -> Result<Given, String> {
    if arguments.is_empty() {
        return input().map(|text| Given::from_stdin(&text));
    }
    let arguments: Result<Vec<String>, OsString> = arguments.into_iter().map(OsString::into_string).collect();
    let arguments = arguments.map_err(|_| UsageError::NotText.to_string())?;
    Given::from_arguments(&arguments).map_err(|error| error.to_string())
}

/// Standard input. Whoever holds it open for ever does not hold us.
fn input() -> Result<String, String> {
    let (done, text) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = io::stdin().lock().take(LARGEST_INPUT + 1).read_to_end(&mut text);
        // Nobody waits any more.
        let _ = done.send(read.map(|_| text));
    });
    let text = text
        .recv_timeout(INPUT_WITHIN)
        .map_err(|_| format!("standard input did not end within {} s", INPUT_WITHIN.as_secs()))?
        .map_err(|error| format!("standard input: {error}"))?;
    if text.len() as u64 > LARGEST_INPUT {
        return Err("standard input is too long".into());
    }
    String::from_utf8(text).map_err(|_| "standard input is not UTF-8 text".into())
}

fn run(given: &mut Given, say: &mut Say) -> u8 {
    if given.is_on("help") {
        return print(&usage(), say);
    }
    // Other parameters may be missing or wrong then.
    if given.text("action").and_then(Action::named) == Some(Action::Metadata) {
        return print(&metadata(), say);
    }
    if given.is_on("version") {
        return print(concat!(env!("CARGO_PKG_VERSION"), "\n"), say);
    }
    let told = Told::new(given);
    *say = Say::new(given.is_on("quiet"), told.as_ref().map_or(0, |told| told.verbosity));
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            say.error(error);
            return NOT_DONE;
        }
    };
    if let Some(path) = &told.debug_file
        && let Err(error) = say.also_to(path)
    {
        say.warning(format!("{}: {error}", path.display()));
    }
    for warning in &given.warnings {
        say.warning(warning);
    }
    match scene(told) {
        Ok(scene) => wait_for(scene, say),
        Err(why) => {
            say.error(why);
            NOT_DONE
        }
    }
}

fn scene(told: Told) -> Result<Scene, String> {
    let config = Config::load(told.config.as_deref()).map_err(|error| error.to_string())?;
    let names = Names::new(&config.hosts).map_err(|error| error.to_string())?;
    let map = device::map(&told, &config).map_err(|error| error.to_string())?;
    Ok(Scene { told, config, names, map })
}

fn wait_for(scene: Scene, say: &mut Say) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say.error(format!("cannot start: {error}"));
            return NOT_DONE;
        }
    };
    let code = runtime.block_on(async {
        let ended = tokio::select! {
            code = work(scene, say) => Some(code),
            () = process::told_to_end() => None,
        };
        power::farewells(GOODBYES).await;
        ended
    });
    let code = code.unwrap_or_else(|| {
        say.error("told to end (its time is over?): not done");
        NOT_DONE
    });
    // Whatever still hangs somewhere is not waited for.
    runtime.shutdown_background();
    code
}

async fn work(scene: Scene, say: &mut Say) -> u8 {
    match scene.told.action {
        Action::Off | Action::On | Action::Reboot => match run::act(scene, say).await {
            Ok(()) => DONE,
            Err(()) => NOT_DONE,
        },
        Action::Status => match look::status(&scene, say).await {
            Ok(status) => {
                let (word, code) = if status == Status::Off { ("OFF", OFF) } else { ("ON", DONE) };
                let printed = print(&format!("Status: {word}\n"), say);
                if printed == DONE { code } else { printed }
            }
            Err(why) => failed(why, say),
        },
        Action::List | Action::ListStatus => {
            let separator = scene.told.separator.clone();
            let with_status = scene.told.action == Action::ListStatus;
            let mut text = String::new();
            for (host, (node, status)) in look::list(&scene, say).await {
                let status = match status {
                    _ if !with_status => String::new(),
                    Some(Status::On) => format!("{separator}ON"),
                    Some(Status::Off) => format!("{separator}OFF"),
                    None => format!("{separator}UNKNOWN"),
                };
                // No errors: into a string.
                let _ = writeln!(text, "{host}{separator}{node}{status}");
            }
            print(&text, say)
        }
        Action::Monitor => match look::monitor(&scene, say).await {
            Ok(()) => DONE,
            Err(why) => failed(why, say),
        },
        Action::ValidateAll => match look::validate(&scene, say).await {
            Ok(()) => DONE,
            Err(why) => failed(why, say),
        },
        // Printed before.
        Action::Metadata => DONE,
    }
}

fn failed(why: String, say: &mut Say) -> u8 {
    say.error(why);
    NOT_DONE
}

fn print(text: &str, say: &mut Say) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => DONE,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
        Err(error) => {
            say.error(format!("cannot write to standard output: {error}"));
            NOT_DONE
        }
    }
}

//! The agents as executables: parameters from the environment, one action, an exit code.
//!
//! For cluster nodes, and for remote nodes whose daemon is Pacemaker's own.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::attributes::{Answer, AttributeError, Attributes, Value, Wanted};
use super::{Action, Agent, Call, Context, FOLDER, Kind, Outcome, Parameters, Told};
use crate::config::Config;
use crate::units::Systemd;

const PREFIX: &str = "OCF_RESKEY_";
const UPDATER: &str = "attrd_updater";
/// For one run of it.
const PATIENCE: Duration = Duration::from_secs(8);
/// How `attrd_updater` says that there is no such attribute.
const NO_SUCH: i32 = 105;
const REASON_PREFIX: &str = "ocf-exit-reason:";

/// Runs an action of an agent with the parameters of the environment; gives its exit code. `held` is a process that
/// did so earlier and has not come back from a disk.
pub fn main(
    kind: Kind,
    action: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    held: Option<&str>,
) -> u8 {
    let variables: Parameters = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let outcome = match Action::named(action) {
        Some(Action::MetaData) => Outcome { output: kind.metadata(), ..Outcome::ok() },
        Some(action) => run(kind, action, &variables, held),
        None => usage(kind, action),
    };
    let _ = io::stdout().write_all(outcome.output.as_bytes());
    if let Some(reason) = &outcome.reason {
        let prefix = variables.get("OCF_EXIT_REASON_PREFIX").map_or(REASON_PREFIX, String::as_str);
        let _ = writeln!(io::stderr(), "{prefix}{reason}");
    }
    outcome.code
}

fn usage(kind: Kind, action: &str) -> Outcome {
    let output = format!(
        "usage: {} {{start|stop|monitor|reload-agent|validate-all|meta-data}}\n\
         Parameters are taken from the environment, as {PREFIX}NAME.\n",
        kind.name()
    );
    match action {
        "usage" | "help" => Outcome { output, ..Outcome::ok() },
        _ => Outcome {
            output,
            ..Outcome::new(Outcome::UNIMPLEMENTED, format!("there is no action \"{action}\""))
        },
    }
}

fn run(kind: Kind, action: Action, variables: &Parameters, held: Option<&str>) -> Outcome {
    let parameters: Parameters = variables
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value.clone())))
        .collect();
    let told = match Told::new(kind, &parameters) {
        Ok(told) => told,
        Err(_) if action == Action::Stop => Told::lenient(kind, &parameters),
        Err(wrong) => return wrong.into(),
    };
    let config = match Config::load(told.config.as_deref()) {
        Ok(config) => config,
        Err(_) if action == Action::Stop => Config::default(),
        Err(error) => return error.into(),
    };
    if let Some(pid) = held {
        // The one before has said what is to be said of the host, and set its colour.
        let reason =
            format!("host: storage: an earlier check (process {pid}) has not come back from the disk");
        return Outcome::new(told.code_of_storage(), reason);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::new(Outcome::ERROR, format!("cannot start: {error}")),
    };
    let meta = |name: &str| parameters.get(&format!("CRM_meta_{name}"));
    let milliseconds = |name: &str| meta(name).and_then(|text| text.parse().ok()).filter(|&ms| ms > 0);
    let call = Call {
        action,
        recurring: milliseconds("interval").is_some(),
        timeout: milliseconds("timeout").map(Duration::from_millis),
        node: meta("on_node").cloned(),
    };
    let instance = variables.get("OCF_RESOURCE_INSTANCE").map_or("default", String::as_str);
    let outcome = runtime.block_on(async {
        let (attributes, asked) = Attributes::channel();
        tokio::spawn(serve(asked));
        let context = Context {
            attributes,
            systemd: Systemd::new(config.nova_compute.systemd.clone()),
            folder: FOLDER.into(),
            lives_on: false,
        };
        Agent::new(told, instance, config, context).run(&call).await
    });
    // Whatever still hangs somewhere is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Has Pacemaker's own tool do what is wanted.
async fn serve(mut asked: mpsc::Receiver<(Wanted, Answer)>) {
    while let Some((wanted, answer)) = asked.recv().await {
        // Nobody waits any more: came too late.
        let _ = answer.send(updater(&wanted).await);
    }
}

async fn updater(wanted: &Wanted) -> Result<Vec<Value>, AttributeError> {
    let mut command = Command::new(UPDATER);
    match wanted {
        Wanted::Values { name } => {
            command.args(["--name", name, "--query", "--all"]);
        }
        Wanted::Set { name, value, node } => {
            command.args(["--name", name]);
            match value {
                Some(value) => command.args(["--update", value]),
                None => command.arg("--delete"),
            };
            if let Some(node) = node {
                command.args(["--node", node]);
            }
        }
    }
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let unreachable = |text: String| AttributeError::Unreachable(format!("{UPDATER}: {text}"));
    let ran = match timeout(PATIENCE, command.output()).await {
        Ok(ran) => ran.map_err(|error| unreachable(error.to_string()))?,
        Err(_) => return Err(AttributeError::Late),
    };
    match ran.status.code() {
        Some(0) => Ok(values(&String::from_utf8_lossy(&ran.stdout))),
        Some(NO_SUCH) => Ok(Vec::new()),
        _ => Err(unreachable(String::from_utf8_lossy(&ran.stderr).trim().to_owned())),
    }
}

/// Reads `name="evacuate" host="compute1" value="no"`, one a line.
fn values(text: &str) -> Vec<Value> {
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    text.lines()
        .filter_map(|line| Some(Value { node: field(line, " host")?, value: field(line, " value")? }))
        .filter(|value| value.value != "(null)") // how the tool prints one that was removed
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_prints_is_read() {
        let text =
            "name=\"evacuate\" host=\"c1\" value=\"no\"\nname=\"evacuate\" host=\"c2\" value=\"(null)\"\nx\n";
        let value = |node: &str, value: &str| Value { node: node.into(), value: value.into() };
        assert_eq!(values(text), [value("c1", "no")]);
        assert_eq!(values(""), []);
    }

    #[test]
    fn what_is_no_action_is_said_so() {
        assert_eq!(usage(Kind::Libvirt, "help").code, 0);
        let outcome = usage(Kind::Libvirt, "promote");
        assert_eq!((outcome.code, outcome.reason()), (3, "there is no action \"promote\""));
    }

    #[test]
    fn wrong_parameters_are_not_configured_but_never_keep_from_stopping() {
        let variables = Parameters::from([("OCF_RESKEY_failures".to_owned(), "none".to_owned())]);
        let outcome = run(Kind::ComputeHealth, Action::ValidateAll, &variables, None);
        assert_eq!(outcome.code, Outcome::NOT_CONFIGURED);
        let missing = Parameters::from([("OCF_RESKEY_config".to_owned(), "/no/such/file".to_owned())]);
        let outcome = run(Kind::ComputeHealth, Action::ValidateAll, &missing, None);
        assert_eq!(outcome.code, Outcome::BAD_ARGUMENT);
        assert!(outcome.reason().starts_with("/no/such/file is missing"), "{outcome:?}");
        assert_eq!(run(Kind::ComputeHealth, Action::ValidateAll, &Parameters::new(), None), Outcome::ok());
    }
}

//! Alert programs: run as an unprivileged user, with what happened in their environment.

use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{User, geteuid};
use pcmk_proto::types::{ExecStatus, OcfRc};

use super::HostSettings;
use super::control::Control;
use super::process::{Handling, Program, Ran, Runner, wording};
use super::programs::log_output;
use crate::agent::{AlertCall, Outcome};

const KIND: &str = "Alert agent";

/// Runs one alert; `sequence` numbers those of this daemon.
pub(super) async fn run(
    runner: &Runner,
    settings: &Arc<HostSettings>,
    call: &AlertCall,
    sequence: u64,
) -> Outcome {
    let control = Arc::new(Control::default());
    let handling = Handling { name: &call.id, control: &control, leave_group: false, spawned: |_| () };
    let (settings, owned) = (Arc::clone(settings), call.clone());
    let mut running = std::pin::pin!(runner.run(handling, move || program(settings, owned, sequence)));
    let limit = if call.timeout_ms == 0 { u64::MAX } else { u64::from(call.timeout_ms) };
    let (ran, timed_out) = tokio::select! {
        biased;
        ran = &mut running => (ran, false),
        () = tokio::time::sleep(Duration::from_millis(limit)) => {
            control.kill();
            (running.await, true)
        }
    };
    let outcome = outcome(&call.id, ran, timed_out, call.timeout_ms);
    log(&call.id, &outcome);
    outcome
}

fn outcome(id: &str, ran: Result<Ran, Outcome>, timed_out: bool, timeout_ms: u32) -> Outcome {
    if let Ok(ran) = &ran {
        log_output(id, ran);
    }
    if timed_out {
        let reason = format!("{KIND} did not complete within {timeout_ms}ms");
        return Outcome::failed(ExecStatus::Timeout, OcfRc::UNKNOWN_ERROR, reason);
    }
    match ran.map(|ran| (ran.code(), ran.output())) {
        Ok((Ok(code), output)) => Outcome { output, ..Outcome::done(OcfRc(code)) },
        Ok((Err(signal), output)) => Outcome { output, ..Outcome::killed_by(KIND, signal) },
        Err(outcome) => outcome,
    }
}

fn log(id: &str, outcome: &Outcome) {
    match (&outcome.exit_reason, outcome.rc) {
        (Some(reason), _) => tracing::warn!("Could not send alert {id}: {reason}"),
        (None, OcfRc::OK) => tracing::debug!("Alert {id} completed"),
        (None, OcfRc(code)) => tracing::warn!("Alert {id} completed but exited with status {code}"),
    }
}

fn program(settings: Arc<HostSettings>, call: AlertCall, sequence: u64) -> Result<Program, Outcome> {
    if let Err(error) = std::fs::metadata(&call.path) {
        let (errno, text) = wording(&error);
        return Err(Outcome::not_runnable(&call.path, errno, &text));
    }
    let numbers = ["CRM_alert_node_sequence", "CRM_notify_node_sequence"]
        .map(|name| (name.to_owned(), sequence.to_string()));
    let env = call
        .params
        .into_iter()
        .filter(|(name, value)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'))
        .chain(numbers)
        .collect();
    let user = user(&settings.alert_user)?;
    Ok(Program { file: call.path.into(), argument: None, settings, env, user })
}

/// Whom to become; only root can.
fn user(name: &str) -> Result<Option<(u32, u32)>, Outcome> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(Some((user.uid.as_raw(), user.gid.as_raw()))),
        Ok(None) => Err(Outcome::not_runnable(
            name,
            libc::EINVAL,
            "no such user; create it, or install the package that does",
        )),
        Err(errno) => Err(Outcome::not_runnable(name, errno as i32, errno.desc())),
    }
}

//! Agents that are programs: from a call to what is run, from its end to an outcome.

use std::sync::Arc;

use pcmk_proto::types::ExecStatus;

use super::HostSettings;
use super::control::Control;
use super::output::Captured;
use super::process::{Handling, Program, Ran, Runner, wording};
use super::secrets;
use crate::agent::{AgentCall, Outcome, lsb, ocf};

/// Lines of one output that go to the log. More of them do not help, and writing them takes time.
const LOGGED_LINES: usize = 500;
const KIND: &str = "Resource agent";

/// Runs an action of an OCF agent.
pub(super) async fn ocf(
    runner: &Runner,
    settings: &Arc<HostSettings>,
    call: AgentCall,
    control: &Arc<Control>,
    spawned: impl FnOnce(u32),
) -> Outcome {
    let key = call.key();
    let handling = Handling { name: &key, control, leave_group: call.leave_group, spawned };
    let settings = Arc::clone(settings);
    let ran = match runner.run(handling, move || ocf_program(settings, call)).await {
        Ok(ran) => ran,
        Err(outcome) => return outcome,
    };
    log_output(&key, &ran);
    let said = |text: Option<String>| text.and_then(|text| ocf::exit_reason(&text).map(str::to_owned));
    match ran.code() {
        Ok(raw) => Outcome {
            exit_reason: said(ran.stderr.tail()).or_else(|| said(ran.stderr.text())),
            output: ran.output(),
            raw_rc: raw,
            ..Outcome::done(ocf::rc(raw))
        },
        Err(signal) => Outcome { output: ran.output(), ..Outcome::killed_by(KIND, signal) },
    }
}

/// Runs an action of an init script.
pub(super) async fn lsb(
    runner: &Runner,
    settings: &Arc<HostSettings>,
    call: AgentCall,
    control: &Arc<Control>,
    spawned: impl FnOnce(u32),
) -> Outcome {
    let key = call.key();
    let action = lsb::action(&call.action).to_owned();
    let handling = Handling { name: &key, control, leave_group: call.leave_group, spawned };
    let (settings, argument) = (Arc::clone(settings), action.clone());
    let ran = match runner.run(handling, move || lsb_program(settings, &call, argument)).await {
        Ok(ran) => ran,
        // Codes have a meaning of their own there, reasons have no way to get here.
        Err(outcome) if outcome.status == ExecStatus::Done => {
            return Outcome { rc: lsb::rc(&action, outcome.raw_rc), ..outcome };
        }
        Err(outcome) => return outcome,
    };
    log_output(&key, &ran);
    match ran.code() {
        Ok(raw) => Outcome { output: ran.output(), raw_rc: raw, ..Outcome::done(lsb::rc(&action, raw)) },
        Err(signal) => Outcome { output: ran.output(), ..Outcome::killed_by(KIND, signal) },
    }
}

/// What a program wrote, line by line.
pub(super) fn log_output(key: &str, ran: &Ran) {
    for (name, captured) in [("stderr", &ran.stderr), ("stdout", &ran.stdout)] {
        if captured.dropped > 0 {
            tracing::warn!("Truncated {key} {name} (discarded {} bytes)", captured.dropped);
        }
    }
    let pid = ran.pid;
    if tracing::enabled!(tracing::Level::INFO) {
        log_lines(&ran.stderr, |line| tracing::info!("{key}[{pid}] error output [ {line} ]"));
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        log_lines(&ran.stdout, |line| tracing::debug!("{key}[{pid}] output [ {line} ]"));
    }
}

fn log_lines(captured: &Captured, log: impl Fn(&str)) {
    let Some(text) = captured.text() else { return };
    let mut lines = text.lines().filter(|line| !line.is_empty());
    for line in lines.by_ref().take(LOGGED_LINES) {
        log(line);
    }
    let rest = lines.count();
    if rest > 0 {
        log(&format!("... {rest} more lines"));
    }
}

fn ocf_program(settings: Arc<HostSettings>, mut call: AgentCall) -> Result<Program, Outcome> {
    let file = ocf::candidates(&call, &settings.ocf_path)
        .into_iter()
        .find(|file| file.exists())
        .ok_or_else(|| Outcome::not_runnable(&call.agent.kind, libc::ENOENT, "No such file or directory"))?;
    secrets::of_call(&settings, &mut call)?;
    let params = std::mem::take(&mut call.params);
    let env = ocf::environment(&call, &params, &settings.ocf_root);
    Ok(Program { file, argument: Some(call.action), settings, env, user: None })
}

fn lsb_program(settings: Arc<HostSettings>, call: &AgentCall, action: String) -> Result<Program, Outcome> {
    let file = lsb::file(&settings.lsb_dir, &call.agent.kind);
    if let Err(error) = std::fs::metadata(&file) {
        let (errno, text) = wording(&error);
        return Err(Outcome::not_runnable(&file.to_string_lossy(), errno, &text));
    }
    Ok(Program { file, argument: Some(action), settings, env: Vec::new(), user: None })
}

//! Agents of provider `pcmk-remote`: they run in this process.

use std::time::Duration;

use libvirt_probe::agents::{self, Action, Call, Kind, Told};
use pcmk_proto::types::{AgentSpec, OcfRc};

use super::{AgentCall, Outcome};

/// Which of them it is, if any.
pub fn kind(agent: &AgentSpec) -> Option<Kind> {
    let ours = agent.class.eq_ignore_ascii_case("ocf") && agent.provider.as_deref() == Some(Kind::PROVIDER);
    if ours { Kind::named(&agent.kind) } else { None }
}

/// What is to be done: the parameters, read, and the call. As with an agent that is a program, what it cannot do or
/// use is its own answer.
pub fn read(kind: Kind, call: &AgentCall) -> Result<(Told, Call), Outcome> {
    let Some(action) = Action::named(&call.action) else {
        let reason = format!("there is no action \"{}\"", call.action);
        return Err(outcome(agents::Outcome::new(agents::Outcome::UNIMPLEMENTED, reason)));
    };
    let parameters = call.params.iter().cloned().collect();
    let told = match Told::new(kind, &parameters) {
        Ok(told) => told,
        Err(wrong) if action == Action::Stop => {
            tracing::warn!("Stopping {} in spite of its {wrong}", call.id);
            Told::lenient(kind, &parameters)
        }
        Err(wrong) => return Err(outcome(wrong.into())),
    };
    let call = Call {
        action,
        recurring: call.interval_ms > 0,
        timeout: (call.timeout_ms > 0).then(|| Duration::from_millis(call.timeout_ms.into())),
        node: parameters.get("CRM_meta_on_node").cloned(),
    };
    Ok((told, call))
}

/// What a call came to.
pub fn outcome(ended: agents::Outcome) -> Outcome {
    let agents::Outcome { code, reason, output } = ended;
    Outcome {
        exit_reason: reason,
        output: Some(output).filter(|output| !output.is_empty()),
        ..Outcome::done(OcfRc(code.into()))
    }
}

#[cfg(test)]
mod tests {
    use pcmk_proto::types::ExecStatus;

    use super::super::plan::tests::call;
    use super::*;

    fn ours(kind: &str, action: &str) -> AgentCall {
        call("ocf", Some("pcmk-remote"), kind, action)
    }

    #[test]
    fn only_our_own_are_built_in() {
        assert_eq!(kind(&ours("libvirt", "start").agent), Some(Kind::Libvirt));
        assert_eq!(kind(&ours("compute-health", "start").agent), Some(Kind::ComputeHealth));
        assert_eq!(kind(&ours("Dummy", "start").agent), None);
        assert_eq!(kind(&call("ocf", Some("heartbeat"), "libvirt", "start").agent), None);
        assert_eq!(kind(&call("lsb", Some("pcmk-remote"), "libvirt", "start").agent), None);
    }

    #[test]
    fn a_call_is_read() {
        let mut monitor = ours("nova-compute", "monitor");
        monitor.interval_ms = 10_000;
        monitor.params = vec![("CRM_meta_on_node".into(), "compute1".into()), ("host".into(), "c1".into())];
        let (told, call) = read(Kind::NovaCompute, &monitor).unwrap();
        assert_eq!(told.kind, Kind::NovaCompute);
        assert_eq!((call.action, call.recurring), (Action::Monitor, true));
        assert_eq!(call.timeout, Some(Duration::from_secs(20)));
        assert_eq!(call.node.as_deref(), Some("compute1"));
    }

    #[test]
    fn what_cannot_be_done_is_answered_as_a_program_would() {
        let answer = |call: &AgentCall| {
            let outcome = read(Kind::Libvirt, call).unwrap_err();
            (outcome.status, outcome.rc.0, outcome.exit_reason.unwrap())
        };
        let (status, rc, reason) = answer(&ours("libvirt", "promote"));
        assert_eq!((status, rc, reason.as_str()), (ExecStatus::Done, 3, "there is no action \"promote\""));
        let mut wrong = ours("libvirt", "start");
        wrong.params = vec![("failures".into(), "-1".into())];
        let (status, rc, reason) = answer(&wrong);
        assert_eq!((status, rc), (ExecStatus::Done, 6));
        assert_eq!(reason, "parameter failures=-1 must be a number from 1 to 100");
        wrong.action = "stop".into();
        assert!(read(Kind::Libvirt, &wrong).is_ok(), "what cannot be stopped gets its node fenced");
    }
}

//! Which way a call takes: a program, a unit, or an answer at once.

use libvirt_probe::agents::Kind;
use pcmk_proto::types::OcfRc;

use super::{AgentCall, Outcome, builtin, fencing};

/// What has to be done for a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Nothing: this is the result.
    Answer(Outcome),
    /// Run an agent that is part of this program.
    Builtin(Kind),
    /// Run an OCF agent.
    Ocf,
    /// Run an init script.
    Lsb,
    /// Ask systemd.
    Systemd,
    /// Find out whether there is an init script or a unit of that name, then one of these.
    Service,
}

/// Decides by the class, whose case does not matter.
pub fn plan(call: &AgentCall) -> Plan {
    let agent = &call.agent;
    if agent.class.is_empty() || agent.kind.is_empty() || call.action.is_empty() {
        return Plan::Answer(Outcome::incomplete());
    }
    match agent.class.to_ascii_lowercase().as_str() {
        "ocf" if agent.provider.as_deref().is_none_or(str::is_empty) => Plan::Answer(Outcome::incomplete()),
        "ocf" => match builtin::kind(agent) {
            Some(kind) if call.action == "meta-data" => {
                Plan::Answer(Outcome { output: Some(kind.metadata()), ..Outcome::done(OcfRc::OK) })
            }
            Some(kind) => Plan::Builtin(kind),
            None => Plan::Ocf,
        },
        "lsb" => Plan::Lsb,
        "systemd" => Plan::Systemd,
        "service" => Plan::Service,
        "stonith" => Plan::Answer(fencing::answer(call)),
        _ => Plan::Answer(Outcome::not_runnable(&agent.kind, libc::ENOENT, "No such file or directory")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use pcmk_proto::types::{AgentSpec, ExecStatus, OcfRc, ResourceId};

    use super::*;

    pub(crate) fn call(class: &str, provider: Option<&str>, kind: &str, action: &str) -> AgentCall {
        AgentCall {
            id: ResourceId::new("rsc").expect("not empty"),
            agent: AgentSpec { class: class.into(), provider: provider.map(Into::into), kind: kind.into() },
            action: action.into(),
            interval_ms: 0,
            timeout_ms: 20_000,
            params: Vec::new(),
            leave_group: false,
        }
    }

    fn answer(call: &AgentCall) -> (ExecStatus, OcfRc) {
        match plan(call) {
            Plan::Answer(outcome) => (outcome.status, outcome.rc),
            other => panic!("{other:?} is no answer"),
        }
    }

    #[test]
    fn class_decides() {
        assert_eq!(plan(&call("ocf", Some("heartbeat"), "Dummy", "start")), Plan::Ocf);
        assert_eq!(plan(&call("OCF", Some("heartbeat"), "Dummy", "start")), Plan::Ocf);
        let ours = plan(&call("ocf", Some("pcmk-remote"), "libvirt", "start"));
        assert_eq!(ours, Plan::Builtin(Kind::Libvirt));
        assert_eq!(plan(&call("ocf", Some("pcmk-remote"), "other", "start")), Plan::Ocf);
        assert_eq!(plan(&call("lsb", None, "x", "start")), Plan::Lsb);
        assert_eq!(plan(&call("service", None, "x", "start")), Plan::Service);
        assert_eq!(plan(&call("systemd", None, "x", "start")), Plan::Systemd);
    }

    #[test]
    fn our_own_agents_describe_themselves_at_once() {
        let Plan::Answer(outcome) = plan(&call("ocf", Some("pcmk-remote"), "libvirt", "meta-data")) else {
            panic!("no answer")
        };
        assert!(outcome.output.unwrap().contains("<resource-agent name=\"libvirt\""));
    }

    #[test]
    fn unknown_classes_are_not_installed() {
        for class in ["nagios", "upstart", "nonsense"] {
            assert_eq!(
                answer(&call(class, None, "x", "start")),
                (ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED)
            );
        }
    }

    #[test]
    fn missing_parts_are_fatal() {
        let fatal = (ExecStatus::ErrorFatal, OcfRc::UNKNOWN_ERROR);
        assert_eq!(answer(&call("", None, "x", "start")), fatal);
        assert_eq!(answer(&call("ocf", None, "Dummy", "start")), fatal);
        assert_eq!(answer(&call("ocf", Some(""), "Dummy", "start")), fatal);
        assert_eq!(answer(&call("systemd", None, "", "start")), fatal);
        assert_eq!(answer(&call("lsb", None, "x", "")), fatal);
    }
}

//! Class `stonith`: a remote node has no fencer of its own, so nothing can be started here.

use pcmk_proto::types::{ExecStatus, OcfRc};

use super::{AgentCall, Outcome};

/// A probe finds nothing running; everything else would need the fencer.
pub fn answer(call: &AgentCall) -> Outcome {
    if call.interval_ms == 0 && call.action.eq_ignore_ascii_case("monitor") {
        return Outcome { status: ExecStatus::Error, ..Outcome::done(OcfRc::NOT_RUNNING) };
    }
    Outcome::failed(ExecStatus::Error, OcfRc::UNKNOWN_ERROR, "No connection to fencer")
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::call;
    use super::*;

    #[test]
    fn probes_find_nothing_and_the_rest_fails() {
        let mut probe = call("stonith", None, "fence_x", "monitor");
        let outcome = answer(&probe);
        assert_eq!((outcome.status, outcome.rc), (ExecStatus::Error, OcfRc::NOT_RUNNING));
        assert_eq!(outcome.exit_reason, None);

        probe.interval_ms = 10_000;
        for call in
            [probe, call("stonith", None, "fence_x", "start"), call("stonith", None, "fence_x", "stop")]
        {
            let outcome = answer(&call);
            assert_eq!((outcome.status, outcome.rc), (ExecStatus::Error, OcfRc::UNKNOWN_ERROR));
            assert_eq!(outcome.exit_reason.as_deref(), Some("No connection to fencer"));
        }
    }
}

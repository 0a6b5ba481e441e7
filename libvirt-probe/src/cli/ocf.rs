//! Exit codes of OCF resource agents.

use super::Exit;
use super::look::Seen;
use crate::verdict::{Finding, Health, Step};

/// The code that says how it is.
pub(super) fn exit(worst: Option<&Seen>, root: bool) -> Exit {
    let Some(seen) = worst else { return Exit(CONFIGURED) };
    let finding = seen.report.worst();
    Exit(match seen.verdict.health {
        Health::Ok => 0,
        Health::Degraded => DEGRADED,
        Health::Failed if finding.is_some_and(is_gone) => NOT_RUNNING,
        Health::Failed => GENERIC,
        Health::Unknown if finding.is_some_and(|it| matches!(it.step, Step::Socket | Step::Process)) => {
            INSTALLED
        }
        Health::Unknown if root => CONFIGURED,
        Health::Unknown => PERMISSION,
    })
}

const GENERIC: u8 = 1;
const PERMISSION: u8 = 4;
const INSTALLED: u8 = 5;
const CONFIGURED: u8 = 6;
const NOT_RUNNING: u8 = 7;
/// Pacemaker's own: it runs, and needs attention.
const DEGRADED: u8 = 190;

/// Nothing runs: that is certain, and no process was looked at.
fn is_gone(finding: &Finding) -> bool {
    let gone = match finding.step {
        Step::Socket | Step::Connect => true,
        Step::Process => !finding.evidence.iter().any(|fact| fact.name == "pid"),
        _ => false,
    };
    gone && finding.certain
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::verdict::{Report, Rules, Subject};

    #[test]
    fn codes_say_what_agents_say() {
        let finding = |step, health| Finding::new(step, health, "why", Duration::ZERO);
        for (code, root, finding) in [
            (0, true, finding(Step::Storage, Health::Ok)),
            (190, true, finding(Step::Domains, Health::Degraded)),
            (1, true, finding(Step::EventLoop, Health::Failed).at_once()),
            (1, true, finding(Step::Connect, Health::Failed)),
            (7, true, finding(Step::Connect, Health::Failed).at_once()),
            (7, true, finding(Step::Process, Health::Failed).at_once()),
            (1, true, finding(Step::Process, Health::Failed).at_once().with("pid", 7)),
            (5, true, finding(Step::Socket, Health::Unknown)),
            (6, true, finding(Step::Connect, Health::Unknown)),
            (4, false, finding(Step::Connect, Health::Unknown)),
        ] {
            let findings = vec![finding];
            let report = Report { subject: Subject::Libvirt, findings, elapsed: Duration::ZERO, grace: None };
            let seen = Seen::of(report, Rules { failures: 1 });
            assert_eq!(exit(Some(&seen), root), Exit(code), "{:?}", seen.report);
        }
    }
}

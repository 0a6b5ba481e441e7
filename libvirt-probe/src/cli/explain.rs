//! `explain`: question and answer of each step, and what to do next.

use std::fmt::Write as _;

use super::look::Seen;
use super::output::{headline, loud};
use super::steps;
use super::text::{clean, ms};
use crate::verdict::{Finding, Health};

/// All of it.
pub(super) fn text(seen: &[Seen]) -> String {
    let parts: Vec<_> = seen.iter().map(subject).collect();
    parts.join("\n")
}

fn subject(seen: &Seen) -> String {
    let (subject, findings) = (seen.report.subject, &seen.report.findings);
    let mut text = headline(seen);
    text.push('\n');
    if seen.looks > 1 {
        let _ = writeln!(text, "  seen {} times; this is the last:", seen.looks);
    }
    if let Some(grace) = &seen.report.grace {
        let _ = writeln!(text, "  failures do not count now: {}", clean(grace));
    }
    for finding in findings {
        step(&mut text, seen, finding);
    }
    let left_out = steps::after(subject, findings.last().map(|finding| finding.step));
    if !left_out.is_empty() {
        let names: Vec<_> = left_out.iter().map(|step| step.name()).collect();
        let _ = writeln!(text, "  not asked: {}", names.join(", "));
    }
    let mut advice: Vec<&str> = Vec::new();
    for finding in findings {
        if finding.health != Health::Ok && !finding.advice.is_empty() && !advice.contains(&&*finding.advice) {
            advice.push(&finding.advice);
        }
    }
    match (&*advice, seen.verdict.health) {
        ([], Health::Ok) => text.push_str("  Nothing is to be done.\n"),
        ([], _) => {}
        (advice, _) => {
            text.push_str("  What to do next:\n");
            for line in advice {
                let _ = writeln!(text, "    {}", clean(line));
            }
        }
    }
    text
}

fn step(text: &mut String, seen: &Seen, finding: &Finding) {
    let question = steps::question(seen.report.subject, finding.step);
    let (step, health, time) = (finding.step, loud(finding.health), ms(finding.elapsed));
    let _ = writeln!(text, "  {step:<10}  {health:<8}  {time:>8}  {question}");
    if !finding.reason.is_empty() {
        let _ = writeln!(text, "{:34}{}", "", clean(&finding.reason));
    }
    for fact in &finding.evidence {
        let _ = writeln!(text, "{:34}{}: {}", "", clean(fact.name), clean(&fact.value));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::verdict::{Judge, Report, Rules, Step, Subject};

    #[test]
    fn every_step_is_told_with_what_to_do() {
        let time = Duration::from_micros(30);
        let hung = Finding::new(Step::EventLoop, Health::Failed, "no answer", Duration::from_secs(2));
        let findings = vec![
            Finding::ok(Step::Socket, time).with("path", "/run/libvirt/libvirt-sock"),
            Finding::ok(Step::Connect, time),
            hung.advise("kill -CONT 12").with("state", "T (stopped)"),
        ];
        let report = Report { subject: Subject::Libvirt, findings, elapsed: time, grace: None };
        let verdict = Judge::new(Rules { failures: 1 }).hear(&report, UNIX_EPOCH);
        let seen = Seen { verdict, report, looks: 2, elapsed: Duration::from_millis(4250) };
        assert_eq!(
            text(&[seen]),
            "\
libvirt: FAILED at event-loop (4250 ms): no answer
  seen 2 times; this is the last:
  socket      ok         0.03 ms  Is there a socket of libvirt, and does somebody listen?
                                  path: /run/libvirt/libvirt-sock
  connect     ok         0.03 ms  Does the daemon accept a connection and open the driver?
  event-loop  FAILED     2000 ms  Does the daemon's event loop answer a ping?
                                  no answer
                                  state: T (stopped)
  not asked: call, workers, domains, storage
  What to do next:
    kill -CONT 12
"
        );
    }
}

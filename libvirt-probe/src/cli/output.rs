//! What was seen, for people, monitoring systems and scripts.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::json_line;
use super::look::Seen;
use super::text::{clean, moment, ms, to_ms};
use crate::verdict::{Finding, Health, Report, Step, Subject, Verdict};

/// The one that counts: the first of the worst.
pub(super) fn worst(seen: &[Seen]) -> Option<&Seen> {
    let worst = seen.iter().map(|one| one.verdict.health).max()?;
    seen.iter().find(|one| one.verdict.health == worst)
}

/// A subject as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Object<'a> {
    subject: Subject,
    verdict: Health,
    step: Option<Step>,
    reason: &'a str,
    advice: &'a str,
    since: String,
    elapsed_ms: f64,
    looks: u32,
    grace: Option<&'a str>,
    phases: &'a [Finding],
}

impl<'a> Object<'a> {
    pub(super) fn new(seen: &'a Seen) -> Self {
        let one = Self::watched(&seen.verdict, &seen.report);
        Self { elapsed_ms: to_ms(seen.elapsed), looks: seen.looks, ..one }
    }

    /// Of a single check.
    pub(super) fn watched(verdict: &'a Verdict, report: &'a Report) -> Self {
        Self {
            subject: report.subject,
            verdict: verdict.health,
            step: verdict.step,
            reason: &verdict.reason,
            advice: &verdict.advice,
            since: moment(verdict.since),
            elapsed_ms: to_ms(verdict.elapsed),
            looks: 1,
            grace: report.grace.as_deref(),
            phases: &report.findings,
        }
    }
}

/// One object, whatever was looked at: that of the subject; of several subjects that of the worst, and all of them in
/// `subjects`.
pub(super) fn json(seen: &[Seen]) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Several<'a> {
        #[serde(flatten)]
        worst: Option<Object<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        subjects: Vec<Object<'a>>,
    }

    let worst = worst(seen).map(Object::new);
    let subjects = if seen.len() > 1 { seen.iter().map(Object::new).collect() } else { Vec::new() };
    json_line(&Several { worst, subjects })
}

/// A line per subject, and what to do.
pub(super) fn human(seen: &[Seen]) -> String {
    let mut text = String::new();
    for one in seen {
        let _ = writeln!(text, "{}", headline(one));
        if !one.verdict.advice.is_empty() {
            let _ = writeln!(text, "  next: {}", clean(&one.verdict.advice));
        }
    }
    if let Some(bad) = worst(seen).filter(|one| one.verdict.health != Health::Ok) {
        let subject = if seen.len() > 1 { "all" } else { bad.report.subject.name() };
        let _ = writeln!(text, "  more: libvirt-probe explain {subject}");
    }
    text
}

/// The verdict in one line.
pub(super) fn headline(seen: &Seen) -> String {
    let verdict = &seen.verdict;
    let mut text = format!("{}: {}", seen.report.subject.name(), loud(verdict.health));
    if let (Some(step), true) = (verdict.step, verdict.health != Health::Ok) {
        let _ = write!(text, " at {step}");
    }
    let _ = write!(text, " ({})", ms(seen.elapsed));
    if !verdict.reason.is_empty() {
        let _ = write!(text, ": {}", clean(&verdict.reason));
    }
    text
}

/// What is not well stands out.
pub(super) fn loud(health: Health) -> String {
    match health {
        Health::Ok => health.name().to_owned(),
        _ => health.name().to_uppercase(),
    }
}

/// One line as monitoring plug-ins print it: `LIBVIRT OK - … | label=value…`.
pub(super) fn nagios(seen: &[Seen], deadline: Duration) -> String {
    let Some(worst) = worst(seen) else { return "LIBVIRT-PROBE UNKNOWN - nothing to look at\n".to_owned() };
    let service = match seen {
        [one] => one.report.subject.name().to_uppercase(),
        _ => "COMPUTE".to_owned(),
    };
    let state = match worst.verdict.health {
        Health::Ok => "OK",
        Health::Degraded => "WARNING",
        Health::Failed => "CRITICAL",
        Health::Unknown => "UNKNOWN",
    };
    let parts: Vec<_> = match seen {
        [one] => vec![words(one)],
        _ => seen.iter().map(|one| format!("{} {}", one.report.subject.name(), words(one))).collect(),
    };
    let mut text = format!("{service} {state} - {}", parts.join("; "));
    if !worst.verdict.advice.is_empty() {
        let _ = write!(text, ". Next: {}", worst.verdict.advice);
    }
    // A bar would begin the performance data.
    let mut line = clean(&text).replace('|', "/");
    line.push_str(" |");
    for one in seen {
        let subject = one.report.subject.name();
        let _ = write!(line, " {subject}={}ms;;;0;{}", to_ms(one.elapsed), deadline.as_millis());
        for finding in &one.report.findings {
            let _ = write!(line, " {subject}_{}={}ms;;;0", finding.step, to_ms(finding.elapsed));
        }
    }
    line.push('\n');
    line
}

fn words(seen: &Seen) -> String {
    let verdict = &seen.verdict;
    let step = verdict.step.filter(|_| verdict.health != Health::Ok).map(|step| format!(" at {step}"));
    let reason =
        Some(&verdict.reason).filter(|reason| !reason.is_empty()).map(|reason| format!(": {reason}"));
    format!("{}{}{}", verdict.health, step.unwrap_or_default(), reason.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::verdict::{Judge, Rules};

    fn seen(subject: Subject, health: Health) -> Seen {
        let time = Duration::from_micros(40);
        let mut findings = vec![Finding::ok(Step::Socket, time).with("path", "/run/x")];
        if health != Health::Ok {
            let finding =
                Finding::new(Step::Connect, health, "no\u{1b}answer | none", Duration::from_secs(2));
            findings.push(finding.advise("look"));
        }
        let report = Report { subject, findings, elapsed: time, grace: None };
        let verdict = Judge::new(Rules { failures: 1 }).hear(&report, UNIX_EPOCH);
        Seen { verdict, report, looks: 2, elapsed: Duration::from_millis(4250) }
    }

    #[test]
    fn one_line_for_monitoring() {
        assert_eq!(
            nagios(&[seen(Subject::Libvirt, Health::Failed)], Duration::from_secs(8)),
            "LIBVIRT CRITICAL - failed at connect: no\u{fffd}answer / none. Next: look | \
             libvirt=4250ms;;;0;8000 libvirt_socket=0.04ms;;;0 libvirt_connect=2000ms;;;0\n"
        );
        let several = [seen(Subject::Host, Health::Ok), seen(Subject::Services, Health::Degraded)];
        assert_eq!(
            nagios(&several, Duration::from_secs(8)),
            "COMPUTE WARNING - host ok; services degraded at connect: no\u{fffd}answer / none. Next: look | \
             host=4250ms;;;0;8000 host_socket=0.04ms;;;0 \
             services=4250ms;;;0;8000 services_socket=0.04ms;;;0 services_connect=2000ms;;;0\n"
        );
    }

    #[test]
    fn text_for_people_ends_with_what_to_do() {
        assert_eq!(
            human(&[seen(Subject::NovaCompute, Health::Unknown)]),
            "nova-compute: UNKNOWN at connect (4250 ms): no\u{fffd}answer | none\n  next: look\n  \
             more: libvirt-probe explain nova-compute\n"
        );
        assert_eq!(human(&[seen(Subject::Host, Health::Ok)]), "host: ok (4250 ms)\n");
    }

    #[test]
    fn one_object_for_scripts() {
        let object = |seen: &[Seen]| serde_json::from_str::<serde_json::Value>(&json(seen).unwrap()).unwrap();
        let one = object(&[seen(Subject::Libvirt, Health::Failed)]);
        assert_eq!(
            one,
            serde_json::json!({
                "subject": "libvirt", "verdict": "failed", "step": "connect", "reason": "no\u{1b}answer | none",
                "advice": "look", "since": "1970-01-01T00:00:00.000Z", "elapsed_ms": 4250.0, "looks": 2,
                "grace": null,
                "phases": [
                    {"step": "socket", "health": "ok", "reason": "", "advice": "", "elapsed_ms": 0.04,
                     "evidence": [{"name": "path", "value": "/run/x"}]},
                    {"step": "connect", "health": "failed", "reason": "no\u{1b}answer | none", "advice": "look",
                     "elapsed_ms": 2000.0, "evidence": []},
                ],
            })
        );
        let several = object(&[seen(Subject::Host, Health::Ok), seen(Subject::Services, Health::Degraded)]);
        assert_eq!((&several["subject"], &several["verdict"]), (&"services".into(), &"degraded".into()));
        assert_eq!(several["subjects"][0]["subject"], "host");
        assert_eq!(several["subjects"].as_array().unwrap().len(), 2);
    }
}

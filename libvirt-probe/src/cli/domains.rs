//! `domains`: every domain with its state, its monitor and its QEMU process.

use std::time::Duration;

use tokio::time::timeout;

use super::args::DomainsOptions;
use super::probe::libvirt_settings;
use super::text::{Table, clean, span};
use super::{Exit, Failure, json_line, print};
use crate::config::Config;
use crate::libvirt::{ControlInfo, Domain, Error, Guest, Libvirt};

pub(super) async fn run(config: &Config, options: &DomainsOptions) -> Result<Exit, Failure> {
    #[cfg(feature = "virt")]
    if let Some(uri) = &options.connect {
        let host = crate::official::ask(uri, options.deadline.deadline).await;
        let failed = |text| Failure::NoAnswer { exit: Exit::UNKNOWN, text };
        let domains = host.map_err(|error| failed(clean(&error.to_string())))?.domains;
        return show(domains, options, false);
    }
    let deadline = options.deadline.deadline;
    let settings = libvirt_settings(config, options.socket.socket.as_deref(), Some(deadline));
    let mut libvirt = Libvirt::new(settings);
    let domains = match timeout(deadline, libvirt.domains()).await {
        Ok(Ok(domains)) => domains,
        Ok(Err(error)) => return Err(why(&error)),
        Err(_) => return Err(Failure::NoAnswer { exit: Exit::FAILED, text: late(deadline) }),
    };
    show(domains, options, true)
}

/// With monitors, those that were not told of are in trouble.
fn show(mut domains: Vec<Domain>, options: &DomainsOptions, monitors: bool) -> Result<Exit, Failure> {
    if options.bad {
        domains.retain(|domain| is_bad(domain) || (monitors && is_unseen(domain)));
    }
    if options.json {
        return print(json_line(&domains)?.as_bytes());
    }
    print(text(&domains, options.bad).as_bytes())
}

fn late(deadline: Duration) -> String {
    format!(
        "libvirt has not told its domains within {} ms\n  more: libvirt-probe explain",
        deadline.as_millis()
    )
}

fn why(error: &Error) -> Failure {
    let (exit, advice) = match error {
        Error::NoConnection(finding) => (finding.health.into(), finding.advice.clone()),
        Error::Late { .. } => (Exit::FAILED, String::new()),
        Error::Refused { .. } => (Exit::UNKNOWN, String::new()),
    };
    let mut text = clean(&error.to_string());
    if !advice.is_empty() {
        text.push_str("\n  next: ");
        text.push_str(&clean(&advice));
    }
    text.push_str("\n  more: libvirt-probe explain");
    Failure::NoAnswer { exit, text }
}

fn text(domains: &[Domain], bad: bool) -> String {
    if domains.is_empty() {
        return if bad { "No domain is in trouble.\n" } else { "No domains.\n" }.to_owned();
    }
    let mut table = Table::new(["ID", "NAME", "STATE", "MONITOR", "QEMU"]);
    for domain in domains {
        table.row([
            domain.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            domain.name.clone(),
            format!("{} ({})", domain.state, domain.reason),
            domain.control.map_or_else(|| unknown(domain), monitor),
            domain.process.map_or_else(|| unknown(domain), process),
        ]);
    }
    table.text()
}

/// Of a domain that does not run, there is nothing to know.
fn unknown(domain: &Domain) -> String {
    if domain.id.is_some() { "?" } else { "-" }.to_owned()
}

fn monitor(control: ControlInfo) -> String {
    match control.since_ms {
        0..1000 => control.state.to_owned(),
        ms => format!("{} for {}", control.state, span(Duration::from_millis(ms))),
    }
}

fn process(guest: Guest) -> String {
    let Guest { pid, state } = guest;
    match state {
        'R' | 'S' => pid.to_string(),
        'T' => format!("{pid} stopped (T)"),
        't' => format!("{pid} held by a debugger (t)"),
        'D' => format!("{pid} blocked in the kernel (D)"),
        'Z' | 'X' => format!("{pid} ended ({state})"),
        other => format!("{pid} ({other})"),
    }
}

/// Something about it wants an operator.
fn is_bad(domain: &Domain) -> bool {
    let monitor =
        domain.control.as_ref().is_some_and(|control| !matches!(control.state, "ok" | "background job"));
    let process = domain.process.as_ref().is_some_and(|guest| !matches!(guest.state, 'R' | 'S'));
    let crashed = domain.state == "crashed" || domain.reason == "crashed" || domain.reason == "failed";
    domain.has_io_error() || crashed || monitor || process
}

/// It runs, and libvirt does not tell how its monitor is.
fn is_unseen(domain: &Domain) -> bool {
    domain.id.is_some() && domain.control.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str, numbers: (i32, i32), words: (&'static str, &'static str)) -> Domain {
        Domain {
            name: name.to_owned(),
            uuid: "00112233-4455-6677-8899-aabbccddeeff".to_owned(),
            id: Some(3),
            state: words.0,
            reason: words.1,
            numbers,
            control: Some(ControlInfo { state: "ok", since_ms: 0 }),
            process: Some(Guest { pid: 812, state: 'S' }),
        }
    }

    #[test]
    fn a_table_of_all_and_of_those_in_trouble() {
        let fine = domain("web", (1, 1), ("running", "booted"));
        let lost = domain("db", (3, 5), ("paused", "I/O error"));
        let mut stuck = domain("old\u{1b}[2J", (1, 1), ("running", "booted"));
        stuck.control = Some(ControlInfo { state: "occupied", since_ms: 24_400 });
        stuck.process = Some(Guest { pid: 99, state: 'T' });
        let mut off = domain("off", (5, 1), ("shut off", "shutdown"));
        (off.id, off.control, off.process) = (None, None, None);
        let mut unseen = domain("new", (1, 1), ("running", "booted"));
        (unseen.control, unseen.process) = (None, None);
        let all = [fine, lost, stuck, off, unseen];
        let lines = [
            "  ID  NAME     STATE                MONITOR           QEMU",
            "  3   web      running (booted)     ok                812",
            "  3   db       paused (I/O error)   ok                812",
            "  3   old\u{fffd}[2J  running (booted)     occupied for 24s  99 stopped (T)",
            "  -   off      shut off (shutdown)  -                 -",
            "  3   new      running (booted)     ?                 ?",
        ];
        assert_eq!(text(&all, false), lines.join("\n") + "\n");
        let bad: Vec<_> = all
            .iter()
            .filter(|domain| is_bad(domain) || is_unseen(domain))
            .map(|domain| domain.name.as_str())
            .collect();
        assert_eq!(bad, ["db", "old\u{1b}[2J", "new"]);
        assert_eq!(text(&[], true), "No domain is in trouble.\n");
    }
}

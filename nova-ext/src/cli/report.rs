//! `nova-ha report`, `explain` and `status`: what happened, and what happens.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Exit, Failure, print, print_json};
use crate::config::Config;
use crate::engine::journal::{Entry, Journal};
use crate::handover::Queue;
use crate::ids::{HostName, IncidentId, ServerId};
use crate::proof::ledger::Proofs;
use crate::report::{self, say};
use crate::serve;

const ANSWER: Duration = Duration::from_secs(5);

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For terminals
    Text,
    /// For programs
    Json,
    /// A page with the picture of the incident, which needs nothing else
    Html,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// The incident; without it all are listed
    #[arg(value_name = "ID", conflicts_with = "last")]
    incident: Option<IncidentId>,
    /// The last incident
    #[arg(long)]
    last: bool,
    /// How it is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The server or the host
    #[arg(value_name = "SERVER|HOST")]
    what: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn journal(config: &Config) -> Result<Vec<Entry>, Failure> {
    Journal::read(&config.files.state).map_err(Failure::failed)
}

pub(super) fn report(options: &Report, config: &Config) -> Result<Exit, Failure> {
    let entries = journal(config)?;
    let summaries = report::incidents(&entries);
    let incident =
        if options.last { summaries.last().map(|summary| summary.incident) } else { options.incident };
    let Some(incident) = incident else {
        if summaries.is_empty() {
            let state = config.files.state.display();
            return Err(Failure::failed(format!("the journal in {state} has no incident")));
        }
        return match options.format {
            Format::Json => print_json(&summaries),
            Format::Text => print(report::overview(&summaries).as_bytes()),
            Format::Html => {
                Err(Failure::new(Exit::Usage, "a page is about one incident: give its id, or --last"))
            }
        };
    };
    let timeline = report::timeline(&entries, incident).ok_or_else(|| {
        Failure::failed(format!("the journal has no incident {incident}: see nova-ha report"))
    })?;
    match options.format {
        Format::Text => print(report::text(&timeline).as_bytes()),
        Format::Json => print_json(&timeline),
        Format::Html => print(report::html(&timeline).as_bytes()),
    }
}

#[derive(Serialize)]
struct Explained {
    at: crate::stamp::Stamp,
    incident: IncidentId,
    said: String,
}

pub(super) fn explain(options: &Explain, config: &Config) -> Result<Exit, Failure> {
    let entries = journal(config)?;
    let about: Box<dyn Fn(&Entry) -> bool> = if let Ok(server) = options.what.parse::<ServerId>() {
        Box::new(move |entry| entry.event.server() == Some(server))
    } else {
        let host: HostName = super::switch::host(&options.what, config)?;
        Box::new(move |entry| entry.event.host() == Some(&host))
    };
    let lines: Vec<Explained> = entries
        .iter()
        .filter(|entry| about(entry))
        .map(|entry| Explained { at: entry.at, incident: entry.incident, said: say(&entry.event) })
        .collect();
    if options.json {
        return print_json(&lines);
    }
    if lines.is_empty() {
        let text = format!("the journal of this controller says nothing of {}", options.what);
        return Err(Failure::failed(text));
    }
    let mut text = String::new();
    let mut last = None;
    for line in lines {
        if last != Some(line.incident) {
            // No errors: into a string.
            let _ = writeln!(text, "incident {}", line.incident);
            last = Some(line.incident);
        }
        let said: String = line.said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(text, "  {}  {said}", line.at);
    }
    print(text.as_bytes())
}

/// What an operator has switched, and why or who.
#[derive(Serialize)]
struct Switched {
    /// None: the whole cloud.
    host: Option<HostName>,
    said: String,
}

#[derive(Serialize)]
struct Standing {
    /// The engine of this controller; none if none runs here.
    engine: Option<serve::Health>,
    frozen: Option<String>,
    maintenance: Vec<Switched>,
    go_ahead: Vec<Switched>,
    /// Requests that the engine has not finished.
    requests: Vec<crate::handover::Request>,
    /// Hosts that are proven off, and how.
    off: Vec<String>,
}

pub(super) async fn status(options: &Status, config: &Config) -> Result<Exit, Failure> {
    let engine = serve::ask(config.files.socket(), ANSWER).await;
    let why = engine.as_ref().err().map(ToString::to_string);
    let standing = Standing {
        engine: engine.ok(),
        frozen: serve::frozen(config),
        maintenance: serve::in_maintenance(config)
            .into_iter()
            .map(|(host, said)| Switched { host, said })
            .collect(),
        go_ahead: serve::going_ahead(config)
            .into_iter()
            .map(|(host, said)| Switched { host: Some(host), said })
            .collect(),
        requests: Queue::new(config.files.queue()).list().map_err(Failure::failed)?.requests,
        off: Proofs::load(&config.files.proofs())
            .map_err(Failure::failed)?
            .all()
            .map(ToString::to_string)
            .collect(),
    };
    if options.json {
        return print_json(&standing);
    }
    let mut text = String::new();
    match (&standing.engine, why) {
        (Some(health), _) => {
            let beat = health
                .beat_ms
                .map_or("it waits for the cloud".to_owned(), |ms| format!("last heartbeat {ms} ms ago"));
            let _ = writeln!(text, "engine: process {}, {beat}", health.pid);
            for one in health.watchers.iter().filter(|one| one.trouble.is_some()) {
                let why = one.trouble.as_deref().unwrap_or_default();
                let _ = writeln!(text, "NOT HEARD: {}: {why} (stopped {} times)", one.name, one.stopped);
            }
            let number = |name: &str| health.status.get(name).cloned().unwrap_or_default();
            let _ = writeln!(text, "in flight: {} of at most {}", number("in_flight"), number("limit"));
            for incident in health.status.get("incidents").and_then(|it| it.as_array()).into_iter().flatten()
            {
                let part =
                    |name: &str| incident.get(name).and_then(|it| it.as_str()).unwrap_or("-").to_owned();
                let _ =
                    writeln!(text, "incident {} of {}: {}", part("incident"), part("host"), part("phase"));
            }
            for host in health.status.get("quarantine").and_then(|it| it.as_array()).into_iter().flatten() {
                let _ = writeln!(
                    text,
                    "quarantine: {} (nova-ha return --release HOST)",
                    host.as_str().unwrap_or("?")
                );
            }
        }
        (None, why) => {
            let _ = writeln!(text, "engine: none answers on this controller ({})", why.unwrap_or_default());
        }
    }
    if let Some(reason) = &standing.frozen {
        let _ = writeln!(text, "frozen: {reason}");
    }
    for (name, list) in [("maintenance", &standing.maintenance), ("go-ahead", &standing.go_ahead)] {
        for Switched { host, said } in list {
            let host = host.as_ref().map_or("the whole cloud", HostName::as_str);
            let _ = writeln!(text, "{name}: {host}: {said}");
        }
    }
    for request in &standing.requests {
        let wish = serde_json::to_value(request.wish).unwrap_or_default();
        let _ = writeln!(
            text,
            "request: {} {} since {}, by {}",
            wish.as_str().unwrap_or("?"),
            request.host,
            request.at,
            request.by
        );
    }
    for proof in &standing.off {
        let _ = writeln!(text, "off: {proof}");
    }
    print(text.as_bytes())
}

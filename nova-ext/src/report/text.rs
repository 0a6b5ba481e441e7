//! The report as text.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Fate, Lane, Summary, Timeline};
use crate::stamp::Stamp;

/// One line per incident, the last first.
pub fn overview(summaries: &[Summary]) -> String {
    let mut text = String::new();
    for summary in summaries.iter().rev() {
        // No errors: into a string.
        let _ = writeln!(text, "{}  {}  {}", summary.began, summary.incident, line(summary));
    }
    text
}

/// An incident as text.
pub fn text(timeline: &Timeline) -> String {
    let Timeline { summary, marks, servers, lines } = timeline;
    let mut text = format!("Incident {}\n{}\nBegan {}", summary.incident, line(summary), summary.began);
    let _ = writeln!(text, ", last entry {} later\n", span(summary.last, summary.began));
    for mark in marks {
        let _ = writeln!(text, "  {:>10}  {}", seconds(mark.after_ms), mark.name);
    }
    if !servers.is_empty() {
        let widest = servers.iter().map(|lane| clean(&lane.name).chars().count()).max().unwrap_or(0).min(40);
        let _ = writeln!(text, "\nServers");
        for lane in servers {
            let _ = writeln!(
                text,
                "  {}  {:widest$}  {:<9}  {:>10}  {}",
                lane.server,
                clean(&lane.name),
                word(lane.fate),
                lane.took_ms.map_or_else(|| "-".into(), seconds),
                about(lane),
            );
        }
    }
    let _ = writeln!(text, "\nEverything");
    for line in lines {
        let _ = writeln!(text, "  {}  {}", line.at, clean(&line.said));
    }
    text
}

/// In one line.
pub(super) fn line(summary: &Summary) -> String {
    let Summary { host, outcome, moved, failed, left_out, open, .. } = summary;
    let host = host.as_ref().map_or("a host", |host| host.as_str());
    let outcome = outcome.map_or_else(|| "under way".to_owned(), |outcome| outcome.to_string());
    format!("{host}: {outcome}: {moved} moved, {failed} not, {left_out} left out, {open} on their way")
}

pub(super) fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Open => "on its way",
        Fate::Moved => "moved",
        Fate::LeftOut => "left out",
        Fate::GivenUp => "given up",
        Fate::Gone => "deleted",
        Fate::PassedOn => "passed on",
    }
}

/// Where it is, how often it took, or why not.
pub(super) fn about(lane: &Lane) -> String {
    let attempts = match lane.attempts {
        0 | 1 => String::new(),
        more => format!(", {more} attempts"),
    };
    match (&lane.destination, lane.fate) {
        (Some(destination), Fate::Moved) => format!("to {destination}{attempts}"),
        _ => format!("{}{attempts}", clean(&lane.why)),
    }
}

/// Without what could change a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

pub(super) fn span(at: Stamp, began: Stamp) -> String {
    humantime::format_duration(Duration::from_secs(at.since(began).as_secs())).to_string()
}

//! The picture of an incident: time from left to right, the host's story above, one bar per server below. SVG.

use std::fmt::Write as _;

use super::html::escaped;
use super::scale::Scale;
use super::text::{clean, seconds, word};
use super::{Fate, Lane, Phase, Timeline, ms};
use crate::stamp::Stamp;

/// Where bars begin, after the names.
const LEFT: u64 = 220;
/// Room for the bars.
const WIDTH: u64 = 820;
/// Room for what became of the servers.
const RIGHT: u64 = 200;
/// Between two marks of the host.
const MARK: u64 = 16;
/// A mark behind this part of the scale, in percent, has its words before it.
const LATE: u64 = 70;
/// More servers than this are drawn closer.
const MANY: usize = 60;
/// More servers than this are not drawn each: the table has them all.
const MOST: usize = 2000;
/// Of a name, and of what became of a server, so much is shown. Characters of the East are as wide as two.
const NAME: usize = 30;
/// A step of the text, about.
const CHARACTER: u64 = 7;
/// What happens to the host later than so many times the length of the recovery is not to scale: it may return in days.
const STRETCH: u64 = 2;

/// The picture.
pub(super) fn picture(timeline: &Timeline) -> String {
    let scale = Scale::new(shown(timeline));
    let top = 30 + timeline.marks.len() as u64 * MARK;
    let drawn = timeline.servers.iter().take(MOST);
    let row = if drawn.len() > MANY { 14 } else { 18 };
    let bottom = top + 14 + drawn.len() as u64 * row;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Timeline\">\n",
        LEFT + WIDTH + RIGHT,
        bottom + 20
    );
    // No errors from here on: into a string.
    for (at, label) in scale.lines() {
        let x = LEFT + scale.place(at, WIDTH);
        let _ = writeln!(
            svg,
            "<line class=\"tick\" x1=\"{x}\" y1=\"20\" x2=\"{x}\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{x}\" y=\"14\">{label}</text>\
             <text class=\"tick\" x=\"{x}\" y=\"{}\">{label}</text>",
            bottom + 14
        );
    }
    for (place, mark) in timeline.marks.iter().enumerate() {
        let (x, y) = (LEFT + scale.place(mark.after_ms, WIDTH), 34 + place as u64 * MARK);
        let late = x > LEFT + WIDTH * LATE / 100;
        let beyond = if mark.after_ms > scale.length() { " →" } else { "" };
        let _ = writeln!(
            svg,
            "<line class=\"mark\" x1=\"{x}\" y1=\"{y}\" x2=\"{x}\" y2=\"{bottom}\"/>\
             <circle class=\"mark\" cx=\"{x}\" cy=\"{y}\" r=\"3.5\"/>\
             <text class=\"{}\" x=\"{}\" y=\"{}\">{} <tspan class=\"tick\">{}{beyond}</tspan></text>",
            if late { "before" } else { "after" },
            if late { x - 7 } else { x + 7 },
            y + 4,
            mark.name,
            length(mark.after_ms)
        );
    }
    for (place, lane) in drawn.enumerate() {
        let bar = Bar { y: top + 10 + place as u64 * row, height: row - 6, began: timeline.summary.began };
        bar.draw(&mut svg, lane, &scale);
    }
    svg.push_str("</svg>\n");
    if timeline.servers.len() > MOST {
        let _ = writeln!(
            svg,
            "<p>The picture shows {MOST} of {} servers; the table has all.</p>",
            timeline.servers.len()
        );
    }
    svg
}

/// How much time is shown: all of it, unless the recovery is over and the host took much longer to return.
fn shown(timeline: &Timeline) -> u64 {
    let began = timeline.summary.began;
    let all = ms(timeline.summary.last, began);
    if timeline.summary.outcome.is_none() {
        return all;
    }
    let ended = timeline.marks.iter().filter(|mark| mark.name == "ended").map(|mark| mark.after_ms);
    let spans = timeline.servers.iter().flat_map(|lane| &lane.spans);
    let recovery = spans.filter_map(|span| Some(ms(span.to?, began))).chain(ended).max().unwrap_or(all);
    if all > recovery.saturating_mul(STRETCH) { recovery } else { all }
}

/// A span for people: exact while it is short.
fn length(ms: u64) -> String {
    if ms < 3_600_000 {
        return seconds(ms);
    }
    humantime::format_duration(std::time::Duration::from_secs(ms / 1000)).to_string()
}

/// Where a server's bar is.
struct Bar {
    y: u64,
    height: u64,
    began: Stamp,
}

impl Bar {
    fn draw(&self, svg: &mut String, lane: &Lane, scale: &Scale) {
        let Self { y, height, began } = *self;
        let name = clean(&lane.name);
        let name = if name.is_empty() { lane.server.to_string() } else { name };
        let (class_of_end, end) = ended(lane);
        let _ = writeln!(
            svg,
            "<g><title>{} ({}): {} {}</title><text class=\"name\" x=\"{}\" y=\"{}\">{}</text>",
            escaped(&name),
            lane.server,
            word(lane.fate),
            escaped(&super::text::about(lane)),
            LEFT - 8,
            y + height - 2,
            escaped(&middle(&name, NAME))
        );
        let mut last = LEFT;
        for span in &lane.spans {
            let at = |stamp| LEFT + scale.place(ms(stamp, began), WIDTH);
            let (from, to) = (at(span.from), span.to.map_or(LEFT + WIDTH, at));
            last = last.max(to);
            let _ = writeln!(
                svg,
                "<rect class=\"{}\" x=\"{from}\" y=\"{y}\" width=\"{}\" height=\"{height}\"/>",
                class(span.phase),
                to.saturating_sub(from).max(1)
            );
        }
        let room = (LEFT + WIDTH + RIGHT).saturating_sub(last + 4) / CHARACTER;
        let _ = writeln!(
            svg,
            "<text class=\"{class_of_end}\" x=\"{}\" y=\"{}\">{}</text></g>",
            last + 4,
            y + height - 2,
            escaped(&middle(&end, usize::try_from(room).unwrap_or(NAME)))
        );
    }
}

/// How it ended, in a class of the style and in words.
fn ended(lane: &Lane) -> (&'static str, String) {
    let why = || clean(&lane.why);
    match (lane.fate, &lane.destination) {
        (Fate::Moved, Some(destination)) => ("moved", format!("✓ {destination}")),
        (Fate::Moved, None) => ("moved", "✓".into()),
        (Fate::GivenUp, _) => ("given-up", format!("✗ {}", why())),
        (Fate::LeftOut, _) => ("left-out", format!("– stays: {}", why())),
        (Fate::Gone, _) => ("left-out", "– deleted".into()),
        (Fate::PassedOn, _) => ("open", format!("» {}", why())),
        (Fate::Open, _) => ("open", "…".into()),
    }
}

pub(super) fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Asking => "asking",
        Phase::Moving => "moving",
        Phase::Retrying => "retrying",
        Phase::Starting => "starting",
    }
}

/// A text that is too long loses its middle: names often begin alike, and end with a number.
fn middle(text: &str, most: usize) -> String {
    let width = |c: &char| if *c < '\u{1100}' { 1 } else { 2 };
    if text.chars().map(|c| width(&c)).sum::<usize>() <= most {
        return text.to_owned();
    }
    let fitting = |room: usize, from: &mut dyn Iterator<Item = char>| {
        let mut left = room;
        let mut part = Vec::new();
        for c in from {
            match left.checked_sub(width(&c)) {
                Some(rest) => left = rest,
                None => break,
            }
            part.push(c);
        }
        part
    };
    let tail = most.saturating_sub(1) / 3;
    let head = fitting(most.saturating_sub(1 + tail), &mut text.chars());
    let mut tail = fitting(tail, &mut text.chars().rev());
    tail.reverse();
    head.into_iter().chain(['…']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(middle("web-1", 30), "web-1");
        assert_eq!(middle("kubernetes-worker-0001", 13), "kubernet…0001");
        assert_eq!(middle("kubernetes-worker-0001", 13).chars().count(), 13);
        // Wide characters count twice.
        assert_eq!(middle("データベース", 12), "データベース");
        assert_eq!(middle("データベースサーバー", 10), "データ…ー");
        assert_eq!(middle("abc", 0), "…");
    }
}

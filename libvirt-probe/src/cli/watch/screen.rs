//! One picture of the history: lines of styled text, made for a width and a height.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::history::{Change, History, Past, Point};
use crate::cli::text::{clean, ms, span};
use crate::verdict::Health;

/// Heights of a sparkline.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Up to these times a bar has the height of the same place: equal steps on a logarithmic scale, the same
/// for all, so that phases can be compared by eye.
const SCALE_MICROS: [u128; 7] = [100, 500, 2_000, 10_000, 50_000, 200_000, 1_000_000];
/// Columns before a sparkline.
const LEGEND: usize = 24;
/// Lines for the latest changes.
const CHANGES: usize = 6;
/// A check that takes longer is worth a word.
const LONG: Duration = Duration::from_secs(1);

/// What the picture is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) colour: bool,
    pub(super) now: SystemTime,
    pub(super) title: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Dim,
    Of(Health),
}

/// One line: pieces of text.
#[derive(Debug, Default)]
struct Line(Vec<(Style, String)>);

impl Line {
    fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        let text = text.into();
        match self.0.last_mut() {
            Some((last, piece)) if *last == style => piece.push_str(&text),
            _ => self.0.push((style, text)),
        }
        self
    }

    /// Cut to a width; what ends a style is never cut.
    fn text(&self, width: usize, colour: bool) -> String {
        let mut text = String::new();
        let mut left = width;
        for (style, piece) in &self.0 {
            let cut: String = piece.chars().take(left).collect();
            left = left.saturating_sub(cut.chars().count());
            match (style.code(), colour) {
                (Some(code), true) if !cut.is_empty() => {
                    let _ = write!(text, "\u{1b}[{code}m{cut}\u{1b}[0m");
                }
                _ => text.push_str(&cut),
            }
        }
        text
    }
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim | Self::Of(Health::Unknown) => Some("2"),
            Self::Of(Health::Ok) => Some("32"),
            Self::Of(Health::Degraded) => Some("33"),
            Self::Of(Health::Failed) => Some("1;31"),
        }
    }
}

/// The lines, at most as many as fit.
pub(super) fn picture(history: &History, frame: &Frame<'_>) -> Vec<String> {
    let mut lines = vec![title(frame)];
    for past in &history.subjects {
        lines.push(Line::default());
        subject(&mut lines, past, frame);
    }
    let changes = changes(history, frame);
    // The subjects give way, as a change is what somebody waits for.
    lines.truncate(frame.height.saturating_sub(changes.len()));
    lines.extend(changes);
    lines.truncate(frame.height);
    lines.iter().map(|line| line.text(frame.width, frame.colour)).collect()
}

fn title(frame: &Frame<'_>) -> Line {
    const KEYS: &str = "q quits";
    let room = frame.width.saturating_sub(KEYS.len());
    let mut left: String = clean(frame.title).chars().take(room.saturating_sub(1)).collect();
    let length = left.chars().count();
    left.extend(std::iter::repeat_n(' ', room.saturating_sub(length)));
    Line::default().with(Style::Bold, left).with(Style::Dim, KEYS)
}

fn subject(lines: &mut Vec<Line>, past: &Past, frame: &Frame<'_>) {
    let mut head = Line::default().with(Style::Bold, past.subject.name()).with(Style::Plain, "  ");
    let Some((verdict, _)) = &past.last else {
        lines.push(head.with(Style::Dim, format!("first check{}", checking(past, frame))));
        return;
    };
    head = head.with(Style::Of(verdict.health), verdict.health.name().to_uppercase());
    let since = frame.now.duration_since(verdict.since).unwrap_or_default();
    let mut text = String::new();
    if let (Some(step), true) = (verdict.step, verdict.health != Health::Ok) {
        let _ = write!(text, " at {step}");
    }
    let _ = write!(text, " for {}, {}{}", span(since), ms(verdict.elapsed), checking(past, frame));
    lines.push(head.with(Style::Plain, text));
    for (label, said) in [("", &verdict.reason), ("next: ", &verdict.advice)] {
        if !said.is_empty() {
            lines.push(Line::default().with(Style::Plain, format!("  {label}{}", clean(said))));
        }
    }
    for (step, points) in &past.steps {
        let last = points.back().copied().flatten();
        let time = last.map_or_else(|| "-".to_owned(), |(_, elapsed)| ms(elapsed));
        let mut line = Line::default().with(Style::Plain, format!("  {step:<10} {time:>9}  "));
        let room = frame.width.saturating_sub(LEGEND);
        for point in points.iter().skip(points.len().saturating_sub(room)) {
            let (style, bar) = bar(*point);
            line = line.with(style, bar);
        }
        lines.push(line);
    }
}

fn checking(past: &Past, frame: &Frame<'_>) -> String {
    let since = past.checking.and_then(|since| frame.now.duration_since(since).ok());
    match since.filter(|since| *since >= LONG) {
        Some(since) => format!(", no answer for {}", span(since)),
        None => String::new(),
    }
}

fn bar(point: Point) -> (Style, char) {
    match point {
        None => (Style::Dim, '·'),
        Some((Health::Failed, _)) => (Style::Of(Health::Failed), '×'),
        Some((Health::Unknown, _)) => (Style::Dim, '?'),
        Some((health, elapsed)) => {
            let height = SCALE_MICROS.partition_point(|limit| *limit < elapsed.as_micros());
            (Style::Of(health), BARS.get(height).copied().unwrap_or('█'))
        }
    }
}

fn changes(history: &History, frame: &Frame<'_>) -> Vec<Line> {
    if history.changes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::default(), Line::default().with(Style::Bold, "Changes")];
    for change in history.changes.iter().rev().take(CHANGES) {
        let ago = span(frame.now.duration_since(change.at).unwrap_or_default());
        let line = Line::default().with(Style::Dim, format!("  {ago:>7} ago  "));
        lines.push(line.with(Style::Of(change.to), words(change)));
    }
    lines
}

/// A change in one line.
pub(super) fn words(change: &Change) -> String {
    let mut text = change.subject.name().to_owned();
    if let Some(from) = change.from {
        let _ = write!(text, " {from} ->");
    }
    let _ = write!(text, " {}", change.to);
    if let Some(step) = change.step {
        let _ = write!(text, " at {step}");
    }
    if !change.reason.is_empty() {
        let _ = write!(text, ": {}", clean(&change.reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::verdict::{Finding, Judge, Report, Rules, Step, Subject};

    fn history() -> History {
        let mut history = History::of(&[Subject::Libvirt, Subject::Host]);
        let mut judge = Judge::new(Rules::default());
        for (second, health, micros) in [
            (0, Health::Ok, 40),
            (2, Health::Ok, 30_000),
            (4, Health::Failed, 2_000_000),
            (8, Health::Failed, 1),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(second);
            let time = Duration::from_micros(micros);
            let mut findings = vec![Finding::ok(Step::Socket, Duration::from_micros(40))];
            findings.push(Finding::new(Step::Connect, health, "\u{1b}[2Jno answer", time).advise("look"));
            if health == Health::Ok {
                findings.push(Finding::ok(Step::Call, time));
            }
            let report = Report { subject: Subject::Libvirt, findings, elapsed: time, grace: None };
            history.ends(judge.hear(&report, at), report, at);
        }
        history.begins(Subject::Host, UNIX_EPOCH);
        history
    }

    fn frame(width: usize, height: usize) -> Frame<'static> {
        let now = UNIX_EPOCH + Duration::from_secs(70);
        Frame { width, height, colour: false, now, title: "libvirt-probe" }
    }

    #[test]
    fn a_picture() {
        let expected = "\
libvirt-probe                                        q quits

libvirt  FAILED at connect for 1m 2s, 0.00 ms
  \u{fffd}[2Jno answer
  next: look
  socket       0.04 ms  ▁▁▁▁
  connect      0.00 ms  ▁▅××
  call               -  ▁▅··

host  first check, no answer for 1m 10s

Changes
    1m 2s ago  libvirt degraded -> failed at connect: \u{fffd}[2Jno
    1m 6s ago  libvirt ok -> degraded at connect: failed 1 o
   1m 10s ago  libvirt ok";
        assert_eq!(picture(&history(), &frame(60, 40)).join("\n"), expected);
    }

    #[test]
    fn it_fits() {
        for (width, height) in [(0, 0), (1, 1), (20, 5), (26, 12), (200, 3)] {
            let lines = picture(&history(), &frame(width, height));
            assert!(lines.len() <= height && lines.iter().all(|line| line.chars().count() <= width));
        }
    }

    #[test]
    fn styles_end_in_each_line() {
        let lines = picture(&history(), &Frame { colour: true, ..frame(30, 40) });
        assert!(lines.iter().any(|line| line.contains("\u{1b}[1;31mFAILED\u{1b}[0m")));
        for line in lines {
            assert_eq!(line.matches('\u{1b}').count(), 2 * line.matches("\u{1b}[0m").count(), "{line:?}");
        }
    }
}

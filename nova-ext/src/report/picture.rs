//! The picture of an incident: time from left to right, the host's story above, one bar per server below. SVG.

use std::fmt::Write as _;

use super::html::escaped;
use super::text::{clean, seconds, word};
use super::{Fate, Lane, Phase, Timeline, ms};

/// Where bars begin, after the names.
const LEFT: u64 = 220;
/// Room for the bars.
const WIDTH: u64 = 900;
/// Between two servers.
const ROW: u64 = 18;
/// Between two marks of the host.
const MARK: u64 = 16;
/// More servers than this are not drawn each: the table has them all.
const MOST: usize = 2000;
/// Lines of the time scale, about.
const TICKS: u64 = 8;

/// The picture.
pub(super) fn picture(timeline: &Timeline) -> String {
    let began = timeline.summary.began;
    let length = ms(timeline.summary.last, began).max(1);
    let x = |at: u64| LEFT + at.min(length) * WIDTH / length;
    let marks = timeline.marks.len() as u64;
    let top = 30 + marks * MARK;
    let drawn = timeline.servers.iter().take(MOST);
    let height = top + 20 + drawn.len() as u64 * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"Timeline\">\n",
        LEFT + WIDTH + 120
    );
    // No errors from here on: into a string.
    for at in ticks(length) {
        let (x, label) = (x(at), seconds(at));
        let _ = writeln!(
            svg,
            "<line class=\"tick\" x1=\"{x}\" y1=\"20\" x2=\"{x}\" y2=\"{height}\"/><text class=\"tick\" x=\"{x}\" y=\"14\">{label}</text>"
        );
    }
    for (place, mark) in timeline.marks.iter().enumerate() {
        let (x, y) = (x(mark.after_ms), 34 + place as u64 * MARK);
        let _ = writeln!(
            svg,
            "<line class=\"mark\" x1=\"{x}\" y1=\"{y}\" x2=\"{x}\" y2=\"{height}\"/><circle class=\"mark\" cx=\"{x}\" cy=\"{y}\" r=\"3.5\"/>\
             <text x=\"{}\" y=\"{}\">{} {}</text>",
            x + 7,
            y + 4,
            mark.name,
            seconds(mark.after_ms)
        );
    }
    for (place, lane) in drawn.enumerate() {
        bar(&mut svg, lane, top + 10 + place as u64 * ROW, began, length, &x);
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

fn bar(
    svg: &mut String,
    lane: &Lane,
    y: u64,
    began: crate::stamp::Stamp,
    length: u64,
    x: &dyn Fn(u64) -> u64,
) {
    let name = escaped(&clean(&lane.name));
    let short: String = clean(&lane.name).chars().take(30).collect();
    let _ = writeln!(
        svg,
        "<g><title>{name} ({}): {}</title><text class=\"name\" x=\"{}\" y=\"{}\">{}</text>",
        lane.server,
        word(lane.fate),
        LEFT - 8,
        y + 10,
        escaped(&short)
    );
    let mut end = LEFT;
    for span in &lane.spans {
        let (from, to) = (x(ms(span.from, began)), x(span.to.map_or(length, |to| ms(to, began))));
        end = end.max(to);
        let _ = writeln!(
            svg,
            "<rect class=\"{}\" x=\"{from}\" y=\"{y}\" width=\"{}\" height=\"12\"/>",
            class(span.phase),
            to.saturating_sub(from).max(1)
        );
    }
    let (class, sign) = match lane.fate {
        Fate::Moved => ("moved", "✓"),
        Fate::GivenUp => ("given-up", "✗"),
        Fate::LeftOut => ("left-out", "–"),
        Fate::Gone => ("left-out", "deleted"),
        Fate::PassedOn => ("open", "»"),
        Fate::Open => ("open", "…"),
    };
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{}\" y=\"{}\">{sign}</text></g>", end + 4, y + 10);
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

/// Round points in time.
fn ticks(length: u64) -> Vec<u64> {
    let wanted = (length / TICKS).max(1);
    let mut step: u64 = 1;
    while step < wanted {
        // 1, 2, 5, 10, 20, 50, …
        let leading = step.to_string().bytes().next().unwrap_or(b'1');
        step = match leading {
            b'2' => step.saturating_mul(5) / 2,
            _ => step.saturating_mul(2),
        };
    }
    (0..=length / step).map(|tick| tick.saturating_mul(step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_round_numbers_and_few() {
        assert_eq!(ticks(10_000), [0, 2000, 4000, 6000, 8000, 10_000]);
        assert_eq!(ticks(1), [0, 1]);
        for length in [3, 999, 61_000, 86_400_000, u64::MAX / 2] {
            assert!(ticks(length).len() <= 9, "{length}: {}", ticks(length).len());
        }
    }
}

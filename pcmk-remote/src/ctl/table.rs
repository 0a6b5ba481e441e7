//! Text in columns, times and sizes as people read them.

use std::fmt::Write as _;

use crate::sys::local_time;

/// Rows under headings; columns are as wide as they must be.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// Each line begins with two spaces.
    pub(super) fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, " {cell:width$} ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What agents and peers wrote must not steer the terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `-` for nothing.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// A time span with its two largest units: `350ms`, `12.3s`, `4m 5s`, `3h 20m`, `12d 4h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if ms < 1000 {
        format!("{ms}ms")
    } else if seconds < 60 {
        let tenths = ms % 1000 / 100;
        if tenths == 0 { format!("{seconds}s") } else { format!("{seconds}.{tenths}s") }
    } else if minutes < 60 {
        two(minutes, "m", seconds % 60, "s")
    } else if hours < 48 {
        two(hours, "h", minutes % 60, "m")
    } else {
        two(days, "d", hours % 24, "h")
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit} {small}{small_unit}")
    }
}

/// How long ago a moment was.
pub(super) fn ago(at: u64, now: u64) -> String {
    match now.saturating_sub(at) {
        0 => "now".to_owned(),
        seconds => format!("{} ago", span(seconds.saturating_mul(1000))),
    }
}

/// A moment on the local calendar: `Nov 25 03:55:16`.
pub(super) fn moment(at: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let local = local_time(i64::try_from(at).unwrap_or(0));
    let month = MONTHS.get(usize::from(local.month)).unwrap_or(&"");
    let (hour, minute, second) = local.time;
    format!("{month} {:2} {hour:02}:{minute:02}:{second:02}", local.day)
}

/// The first digits of a hash.
pub(super) fn short_hash(hash: &str) -> String {
    hash.get(..16).map_or_else(|| hash.to_owned(), |start| format!("{start}\u{2026}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(["A", "LONG"]);
        assert!(table.is_empty());
        table.row(["é\u{1b}[31mx".into(), "1".into()]);
        assert_eq!(table.text(), "  A        LONG\n  é\u{fffd}[31mx  1\n");
    }

    #[test]
    fn times_are_short() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (12_340, "12.3s"),
            (60_000, "1m"),
            (245_000, "4m 5s"),
            (12_000_000, "3h 20m"),
            (1_051_200_000, "12d 4h"),
        ] {
            assert_eq!(span(ms), text);
        }
        assert_eq!((ago(100, 100), ago(40, 100)), ("now".into(), "1m ago".into()));
    }
}

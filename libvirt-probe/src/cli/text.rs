//! Text in columns, times as people and programs read them.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

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

/// What others wrote (names of domains, errors of libvirt) must not steer the terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A measured time: `0.04 ms`, `12.3 ms`, `2000 ms`.
pub(super) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ..9.995 => format!("{ms:.2} ms"),
        ..99.95 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

/// Milliseconds, to a thousandth.
pub(super) fn to_ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A time span with its two largest units: `3s`, `4m 5s`, `3h 20m`, `12d 4h`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit} {small}{small_unit}")
        }
    };
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => two(minutes, "m", seconds % 60, "s"),
        3600..172_800 => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// A moment as RFC 3339 has it, in UTC, with milliseconds.
pub(super) fn moment(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(["A", "LONG"]);
        table.row(["é\u{1b}[31mx".into(), "1".into()]);
        assert_eq!(table.text(), "  A        LONG\n  é\u{fffd}[31mx  1\n");
    }

    #[test]
    fn times_are_short() {
        for (micros, text) in [
            (40, "0.04 ms"),
            (12_340, "12.3 ms"),
            (2_000_100, "2000 ms"),
            (9_999, "10.0 ms"),
            (99_990, "100 ms"),
        ] {
            assert_eq!(ms(Duration::from_micros(micros)), text);
        }
        for (seconds, text) in
            [(0, "0s"), (60, "1m"), (245, "4m 5s"), (12_000, "3h 20m"), (1_051_200, "12d 4h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}

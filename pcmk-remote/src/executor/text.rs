//! Wording that operators and test suites look for.

use std::fmt::Write as _;

/// An interval as Pacemaker's messages print it: `600ms`, `20s`, `1m30s`.
///
/// Exact multiples print in the smaller unit (`60s`), as in every release.
pub fn readable_interval(ms: u64) -> String {
    const SECOND: u64 = 1000;
    let mut text = String::new();
    let mut left = ms;
    for (unit, name) in [(86_400 * SECOND, "d"), (3600 * SECOND, "h"), (60 * SECOND, "m")] {
        if left > unit {
            let _ = write!(text, "{}{name}", left / unit);
            left %= unit;
        }
    }
    if left > SECOND {
        text.push_str(&(left / SECOND).to_string());
        if !left.is_multiple_of(SECOND) {
            let _ = write!(text, ".{:03}", left % SECOND);
        }
        text.push('s');
    } else if left > 0 {
        let _ = write!(text, "{left}ms");
    } else if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// What an agent's class is called in an exit reason.
pub(super) fn action_kind(class: &str) -> &'static str {
    if class.eq_ignore_ascii_case("stonith") { "Fence agent" } else { "Resource agent" }
}

#[cfg(test)]
mod tests {
    use super::readable_interval;

    #[test]
    fn intervals_read_as_pacemaker_prints_them() {
        for (ms, text) in [
            (0, "0s"),
            (600, "600ms"),
            (20_000, "20s"),
            (60_000, "60s"),
            (90_000, "1m30s"),
            (1000, "1000ms"),
            (1500, "1.500s"),
            (3_661_001, "1h1m1.001s"),
        ] {
            assert_eq!(readable_interval(ms), text);
        }
    }
}

//! Does this node meet the cluster's watchdog fencing timeout?
//!
//! A cluster that relies on watchdog self-fencing counts a lost node as dead once that time is over. A
//! node whose own watchdog is absent or slower must not serve such a cluster.

/// What to do about the cluster's setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The cluster does not use watchdog fencing for this node.
    Unused,
    /// This node meets the setting.
    Met,
    /// This node does not; it must stop serving, for this reason.
    Violated(String),
}

/// Compares the cluster's setting with this node's SBD. `sbd_timeout_ms` is `SBD_WATCHDOG_TIMEOUT`.
pub fn judge(cluster: Option<&str>, sbd_running: bool, sbd_timeout_ms: u64) -> Verdict {
    let Some(text) = cluster else { return Verdict::Unused };
    let timeout = match parse_ms(text) {
        Some(ms) if ms >= 0 => ms.unsigned_abs(),
        // Negative means "twice the watchdog timeout", whatever that is here; so does what is no time.
        Some(_) | None => sbd_timeout_ms.saturating_mul(2),
    };
    if timeout == 0 {
        Verdict::Unused
    } else if !sbd_running {
        Verdict::Violated(format!("stonith-watchdog-timeout configured ({text}) but SBD not active"))
    } else if timeout < sbd_timeout_ms {
        Verdict::Violated(format!(
            "stonith-watchdog-timeout ({text}) too short (must be >{sbd_timeout_ms}ms)"
        ))
    } else {
        Verdict::Met
    }
}

/// A time in Pacemaker's syntax, in milliseconds: a number with an optional unit, seconds by default.
pub fn parse_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let unit_at = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || (at == 0 && (c == '-' || c == '+'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: i64 = number.parse().ok()?;
    // Of a decimal only what stands before the point counts.
    let unit = unit.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim().to_ascii_lowercase();
    // How a unit begins is what counts: `seconds` is one, too.
    let begins = |with: &str| unit.starts_with(with);
    match () {
        () if begins("ms") => Some(number),
        () if begins("us") => Some(number / 1000),
        () if unit.is_empty() || begins("s") => number.checked_mul(1000),
        () if begins("m") => number.checked_mul(60_000),
        () if begins("h") => number.checked_mul(3_600_000),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge, parse_ms};

    #[test]
    fn times_in_pacemaker_syntax() {
        for (text, ms) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("10 seconds", 10_000),
            ("500ms", 500),
            ("3.14 ms", 3),
            ("1000us", 1),
            ("2min", 120_000),
            ("1hr", 3_600_000),
            ("-1", -1000),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
        assert_eq!(parse_ms("soon"), None);
        assert_eq!(parse_ms(""), None);
        assert_eq!(parse_ms("99999999999999999999"), None);
    }

    #[test]
    fn a_cluster_without_watchdog_fencing_asks_nothing() {
        for value in [None, Some("0"), Some("-1"), Some("garbage")] {
            assert_eq!(judge(value, false, 0), Verdict::Unused, "{value:?}");
        }
        assert_eq!(judge(Some("0"), false, 5000), Verdict::Unused);
    }

    #[test]
    fn watchdog_fencing_needs_a_running_and_faster_sbd() {
        assert!(matches!(judge(Some("10s"), false, 5000), Verdict::Violated(_)));
        assert!(matches!(judge(Some("4s"), true, 5000), Verdict::Violated(_)));
        assert_eq!(judge(Some("10s"), true, 5000), Verdict::Met);
        for automatic in ["-1", "auto"] {
            assert_eq!(judge(Some(automatic), true, 5000), Verdict::Met);
            assert!(matches!(judge(Some(automatic), false, 5000), Verdict::Violated(_)));
        }
    }
}

//! Time spans as people write them: `"500ms"`, `"2s"`, `"5m"`, `"1h 30m"`; a number alone is seconds.
//!
//! For serde: `#[serde(with = "crate::config::span")]`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

/// Longest span.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Text that is no time span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time span such as 500ms, 2s or 5m, longer than 0 and at most 7 days")]
pub struct NotASpan(String);

/// Reads a time span.
pub fn parse(text: &str) -> Result<Duration, NotASpan> {
    let seconds = text.trim().parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
    match seconds.or_else(|| humantime::parse_duration(text.trim()).ok()) {
        Some(span) if !span.is_zero() && span <= LONGEST => Ok(span),
        _ => Err(NotASpan(text.to_owned())),
    }
}

/// For serde's `with`.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    struct Span;

    impl Visitor<'_> for Span {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time span such as \"500ms\", \"2s\" or \"5m\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            parse(&seconds.to_string()).map_err(E::custom)
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
            parse(&seconds.to_string()).map_err(E::custom)
        }
    }

    from.deserialize_any(Span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, ms) in [
            ("500ms", 500),
            ("2s", 2000),
            ("1s 500ms", 1500),
            ("1.5", 1500),
            ("3", 3000),
            ("5m", 300_000),
            (" 1h ", 3_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "s", "0", "0ms", "-1s", "2 weeks", "inf", "nan", "8d", "1..5s"] {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.starts_with(&format!("`{text}` is not a time span")), "{said}");
        }
    }
}

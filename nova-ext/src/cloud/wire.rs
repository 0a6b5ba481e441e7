//! Fields of answers that are good to have: of an unexpected kind they count as absent, so that a cloud with a
//! strange value in one of them is no cloud without servers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::stamp::Stamp;

/// A text, or a number or flag as text.
fn as_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text that is not empty.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(as_text(Value::deserialize(from)?).filter(|text| !text.is_empty()))
}

/// A whole number that is not negative.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Number(number) => number.as_u64(),
        // An empty `swap` of old flavors means none.
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

/// A flag.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Bool(flag) => Some(flag),
        _ => None,
    })
}

/// Names with texts; a value that is no text is left out.
pub(super) fn map<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Object(map) => {
            Some(map.into_iter().filter_map(|(key, value)| Some((key, as_text(value)?))).collect())
        }
        _ => None,
    })
}

/// Texts.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Array(list) => list.into_iter().filter_map(as_text).collect(),
        _ => Vec::new(),
    })
}

/// A point in time; Nova's are UTC and mostly do not say so.
pub(super) fn stamp<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Stamp>, D::Error> {
    Ok(Value::deserialize(from)?.as_str().and_then(read_stamp))
}

/// A point in time as Nova writes it.
pub(super) fn read_stamp(text: &str) -> Option<Stamp> {
    let text = text.trim();
    text.strip_suffix("+00:00").unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_in_all_of_novas_spellings() {
        let expected = "2026-11-22T09:35:22Z".parse::<Stamp>().ok();
        for text in [
            "2026-11-22T09:35:22Z",
            "2026-11-22T09:35:22.000000",
            "2026-11-22 09:35:22",
            "2026-11-22T09:35:22+00:00",
        ] {
            assert_eq!(read_stamp(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9T:.Z+ -]{0,40}") {
            let _ = read_stamp(&text);
        }
    }
}

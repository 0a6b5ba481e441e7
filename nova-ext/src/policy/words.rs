//! What people write for yes, no and numbers.

/// Highest and lowest priority.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Yes or no, as OpenStack's own services read it; nothing if it is neither.
pub fn truth(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "yes", "on", "1", "t", "y"]) {
        Some(true)
    } else if is(&["false", "no", "off", "0", "f", "n"]) {
        Some(false)
    } else {
        None
    }
}

/// A priority from -1000 to 1000.
pub fn priority(text: &str) -> Option<i32> {
    text.trim().parse().ok().filter(|n| PRIORITIES.contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_yes_nor_no_says_nothing() {
        for (text, said) in [
            ("True", Some(true)),
            (" yes ", Some(true)),
            ("0", Some(false)),
            ("OFF", Some(false)),
            ("maybe", None),
        ] {
            assert_eq!(truth(text), said, "{text}");
        }
        assert_eq!(truth(""), None);
        for (text, said) in [("5", Some(5)), ("-1000", Some(-1000)), ("1001", None), ("high", None)] {
            assert_eq!(priority(text), said, "{text}");
        }
    }
}

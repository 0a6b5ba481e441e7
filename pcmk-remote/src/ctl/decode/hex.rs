//! Hex dumps: plain digits, `xxd`, `hexdump -C`, `tcpdump -x`.

/// The bytes of a dump, or why it is none.
pub(super) fn parse(input: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(input).map_err(|_| "not a hex dump: it is not text".to_owned())?;
    let mut bytes = Vec::new();
    for (line, number) in text.lines().zip(1_usize..) {
        if line.trim() == "*" {
            return Err(format!("line {number}: lines were left out (`*`): use hexdump -v"));
        }
        for word in digits(line).split_whitespace() {
            word_into(word, &mut bytes)
                .ok_or_else(|| format!("line {number}: `{word}` is not hexadecimal"))?;
        }
    }
    Ok(bytes)
}

/// A line without its offset and its column of text.
fn digits(line: &str) -> &str {
    let line = line.split('|').next().unwrap_or_default().trim();
    if line.starts_with('#') {
        return "";
    }
    match line.split_once(':') {
        // After an offset, the text column is set off by two spaces.
        Some((offset, rest)) if is_offset(offset) => {
            let rest = rest.trim_start();
            rest.split("  ").next().unwrap_or_default()
        }
        _ => match line.split_once("  ") {
            Some((offset, rest)) if is_offset(offset) => rest,
            // The last line of hexdump is only an offset.
            None if line.len() == 8 && is_offset(line) && line.starts_with("0000") => "",
            _ => line,
        },
    }
}

fn is_offset(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    (4..=16).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn word_into(word: &str, bytes: &mut Vec<u8>) -> Option<()> {
    if !word.len().is_multiple_of(2) {
        return None;
    }
    for at in (0..word.len()).step_by(2) {
        bytes.push(u8::from_str_radix(word.get(at..at + 2)?, 16).ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn dumps_are_read_and_other_text_is_not() {
        assert_eq!(parse(b"0102 0a\n").unwrap(), [1, 2, 10]);
        assert_eq!(parse(b"00000000  01 02  03 04  |....|\n00000004\n").unwrap(), [1, 2, 3, 4]);
        assert_eq!(parse(b"\t0x0000:  0102 0304  ....\n").unwrap(), [1, 2, 3, 4]);
        assert!(parse(b"<xml/>").is_err());
        assert!(parse(b"012\n").is_err());
        assert!(parse(b"00000000  00 00\n*\n00000100\n").unwrap_err().contains("hexdump -v"));
    }
}

//! Characters and names that XML 1.0 allows.

/// Makes text of what a program printed, fit for an attribute or an element.
///
/// Bytes that are not UTF-8 and characters that XML cannot carry become U+FFFD; line ends stay as they
/// are. The result is at most `cap` bytes long; what is beyond is cut off between two characters.
pub fn sanitize(bytes: &[u8], cap: usize) -> String {
    let mut text = String::new();
    // Every byte of input makes at least one of output, but for a sequence that is not UTF-8.
    let kept = bytes.get(..cap.saturating_mul(3)).unwrap_or(bytes);
    for chunk in kept.utf8_chunks() {
        let invalid = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for char in chunk.valid().chars().chain(invalid) {
            let char = if is_char(char) { char } else { char::REPLACEMENT_CHARACTER };
            if text.len() + char.len_utf8() > cap {
                return text;
            }
            text.push(char);
        }
    }
    text
}

/// May this character occur in a document, be it as a reference?
pub fn is_char(char: char) -> bool {
    match char {
        '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'.. => true,
        '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => false,
    }
}

/// May an element or an attribute have this name?
pub fn is_name(name: &str) -> bool {
    // Almost every name is ASCII and need not be decoded.
    if let Some((first, rest)) = name.as_bytes().split_first()
        && is_ascii_name_start(*first)
        && rest.iter().all(|byte| is_ascii_name_start(*byte) || matches!(byte, b'0'..=b'9' | b'-' | b'.'))
    {
        return true;
    }
    let mut chars = name.chars();
    chars.next().is_some_and(is_name_start) && chars.all(|char| is_name_start(char) || is_name_rest(char))
}

fn is_ascii_name_start(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'_' | b'A'..=b'Z' | b':')
}

fn is_name_start(char: char) -> bool {
    matches!(char,
        ':' | '_' | 'A'..='Z' | 'a'..='z'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}'
        | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}'
        | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

fn is_name_rest(char: char) -> bool {
    matches!(char,
        '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

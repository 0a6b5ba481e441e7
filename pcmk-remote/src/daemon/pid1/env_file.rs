//! `/etc/pacemaker/pcmk-init.env`: what a host tells the daemon in its container.
//!
//! One assignment a line, written as for a POSIX shell: quotes, backslashes, `#` comments, and no
//! expansion of anything.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Largest file.
const LARGEST: u64 = 1 << 20;

/// An assignment, or the line that is none and why.
pub(super) type Line = Result<(String, String), (usize, &'static str)>;

/// Reads a file; none is no error.
pub(super) fn read(path: &Path) -> io::Result<Vec<Line>> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse(text: &str) -> Vec<Line> {
    let lines = text.lines().zip(1..);
    lines.filter_map(|(line, number)| assignment(line).map_err(|why| (number, why)).transpose()).collect()
}

fn assignment(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let word = match &words(line)?[..] {
        [] => return Ok(None),
        [word] => word.clone(),
        _ => return Err("there is more than one word"),
    };
    let name = line.split('=').next().unwrap_or_default().trim_start();
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    match word.split_once('=') {
        Some((_, value)) if first && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Ok(Some((name.to_owned(), value.to_owned())))
        }
        _ => Err("it is not NAME=VALUE"),
    }
}

/// Splits a line as a shell does.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '#' if word.is_none() => break,
            c if c.is_whitespace() || c == '\0' => words.extend(word.take()),
            '\'' => quoted(&mut rest, word.get_or_insert_default())?,
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(rest.next().ok_or("it ends with a backslash")?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match rest.next().ok_or("a quote is not closed")? {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
}

fn double_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "a quote is not closed";
    loop {
        match rest.next().ok_or(OPEN)? {
            '"' => return Ok(()),
            '\\' => match rest.next().ok_or(OPEN)? {
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_a_shell_reads_them() {
        for (line, value) in [
            ("N=plain", "plain"),
            ("  N=plain  ", "plain"),
            ("N=plain # comment", "plain"),
            ("N=a#b", "a#b"),
            ("N=", ""),
            ("N='two words' # comment", "two words"),
            ("N=\"two 'words'\"", "two 'words'"),
            ("N='a'\"b\"c", "abc"),
            ("N=a\\ b", "a b"),
            (r#"N="a\"b\$c\d""#, r#"a"b$c\d"#),
            ("N='$HOME'", "$HOME"),
            ("N=$HOME", "$HOME"),
            ("N=a=b", "a=b"),
            ("N=#x", "#x"),
        ] {
            assert_eq!(parse(line), [Ok(("N".to_owned(), value.to_owned()))], "{line}");
        }
    }

    #[test]
    fn other_lines_are_named() {
        let text = "\n# comment\n   \nA=1\nexport B=2\nC = 3\n4D=4\nE\n'F'=6\nG='open\nH=\"open\nI=x\\\nJ=10";
        let lines = parse(text);
        let (good, bad): (Vec<_>, Vec<_>) = lines.into_iter().partition(Result::is_ok);
        let good: Vec<_> = good.into_iter().flatten().collect();
        assert_eq!(good, [("A".into(), "1".into()), ("J".into(), "10".into())]);
        let numbers: Vec<_> = bad.into_iter().filter_map(Result::err).map(|(number, _)| number).collect();
        assert_eq!(numbers, [5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_missing_file_has_no_lines() {
        assert!(read(Path::new("/nonexistent/pcmk-init.env")).unwrap().is_empty());
    }
}

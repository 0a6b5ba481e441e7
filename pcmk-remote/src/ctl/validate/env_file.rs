//! `EnvironmentFile=` as systemd reads it, with line numbers.

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EnvFile {
    /// Line, name, value.
    pub(super) variables: Vec<(usize, String, String)>,
    /// Lines that systemd ignores, or reads otherwise than a shell would.
    pub(super) problems: Vec<(usize, String)>,
}

impl EnvFile {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut file = Self::default();
        let mut lines = text.lines().zip(1_usize..);
        while let Some((line, number)) = lines.next() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let Some((name, rest)) = line.split_once('=') else {
                file.problems.push((number, format!("ignored: `{}` is no NAME=VALUE", line.trim_end())));
                continue;
            };
            let name = name.trim_end();
            if let Some(exported) = name.strip_prefix("export ") {
                let fix = format!("ignored: this is no shell script, write {}=", exported.trim());
                file.problems.push((number, fix));
                continue;
            }
            if !is_name(name) {
                file.problems.push((number, format!("ignored: `{name}` is no name of a variable")));
                continue;
            }
            match value(rest, &mut lines) {
                Some(value) => {
                    if value.contains("$(") || value.contains("${") || value.contains('`') {
                        let said = format!("{name}: `{value}` is taken as it is, nothing is replaced in it");
                        file.problems.push((number, said));
                    }
                    file.variables.push((number, name.to_owned(), value));
                }
                None => file.problems.push((number, format!("{name}: a quotation mark is missing"))),
            }
        }
        file
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `None` if a quotation mark is missing.
fn value<'a>(first: &'a str, lines: &mut impl Iterator<Item = (&'a str, usize)>) -> Option<String> {
    let mut value = String::new();
    let mut kept = 0; // what is behind this is trailing space
    let mut quote = None;
    let mut rest = first.trim_start().chars();
    loop {
        match (rest.next(), quote) {
            (None, None) => break,
            (None, Some(_)) => {
                value.push('\n');
                rest = lines.next()?.0.chars();
            }
            (Some('\\'), Some('\'')) => value.push('\\'),
            (Some('\\'), _) => match rest.next() {
                None => rest = lines.next().map_or("", |(line, _)| line).chars(),
                // In double quotes only these can be escaped.
                Some(c) if quote.is_some() && !matches!(c, '"' | '\\' | '`' | '$') => {
                    value.push('\\');
                    value.push(c);
                }
                Some(c) => value.push(c),
            },
            (Some(c), Some(open)) if c == open => quote = None,
            (Some(c), Some(_)) => value.push(c),
            (Some(c @ ('"' | '\'')), None) => quote = Some(c),
            (Some(c), None) => {
                value.push(c);
                if c.is_whitespace() {
                    continue;
                }
            }
        }
        kept = value.len();
    }
    value.truncate(kept);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::EnvFile;

    fn values(text: &str) -> Vec<(usize, String, String)> {
        let file = EnvFile::parse(text.as_bytes());
        assert_eq!(file.problems, []);
        file.variables
    }

    #[test]
    fn values_are_read_as_systemd_does() {
        let text = "# comment\n; comment\n\nA=1\n B = two words  \nC=\"quoted # \\\" \\x\"\nD='a\\b'\nE=a\\\nb\nF=\n";
        let expected = [
            (4, "A", "1"),
            (5, "B", "two words"),
            (6, "C", "quoted # \" \\x"),
            (7, "D", "a\\b"),
            (8, "E", "ab"),
            (10, "F", ""),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(line, name, value)| (line, name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(values(text), expected);
    }

    #[test]
    fn what_systemd_ignores_is_told_with_its_line() {
        let file = EnvFile::parse(b"export PCMK_debug=yes\nnonsense\n1A=2\nB=$(date)\nC='open\n");
        let lines: Vec<usize> = file.problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
        assert!(file.problems[0].1.contains("write PCMK_debug="), "{:?}", file.problems);
        assert_eq!(file.variables, [(4, "B".to_owned(), "$(date)".to_owned())]);
    }
}

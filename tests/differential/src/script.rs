//! The script: scenarios of a controller's orders, one per line. The language is described at the head
//! of `script` itself.

use crate::Result;

/// A part of the script that stands for itself.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// Whether the machine's own tools play a part: their release must be that of the C daemon.
    pub fn has_tools(&self) -> bool {
        self.name.starts_with("tool")
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct Step {
    /// Line number in the script.
    pub line: usize,
    /// The line.
    pub text: String,
    /// The connection that acts; empty for steps about the machine.
    pub who: String,
    /// What it does.
    pub verb: String,
    /// With what.
    pub words: Vec<String>,
    /// Everything after the verb, as written.
    pub rest: String,
}

/// Splits at spaces outside of single quotes.
fn words(text: &str) -> Result<Vec<String>> {
    let mut list = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => list.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    list.extend(word);
    if quoted { Err("a quote is not closed".to_owned()) } else { Ok(list) }
}

/// Reads a script.
pub fn parse(text: &str) -> Result<Vec<Scenario>> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            scenarios.push(Scenario { name: name.to_owned(), steps: Vec::new() });
            continue;
        }
        let fail = |what: &str| format!("script line {}: {what}", number + 1);
        let scenario = scenarios.last_mut().ok_or_else(|| fail("no scenario has begun"))?;
        let (first, after) = line.split_once(' ').unwrap_or((line, ""));
        let (who, verb, rest) = if first.chars().all(|c| c.is_ascii_uppercase()) {
            let (verb, rest) = after.split_once(' ').unwrap_or((after, ""));
            (first, verb, rest)
        } else {
            ("", first, after)
        };
        // Shell commands stay as they are.
        let words = if who.is_empty() { Vec::new() } else { words(rest).map_err(|error| fail(&error))? };
        scenario.steps.push(Step {
            line: number + 1,
            text: line.to_owned(),
            who: who.to_owned(),
            verb: verb.to_owned(),
            words,
            rest: rest.to_owned(),
        });
    }
    Ok(scenarios)
}

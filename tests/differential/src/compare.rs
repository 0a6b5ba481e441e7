//! What differs between two transcripts, and which differences are accepted.

use crate::Result;
use crate::message::Entry;
use crate::play::Transcript;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The connection that saw it.
    pub connection: String,
    /// Key of the message.
    pub message: String,
    /// Attribute, or "message" when one side has none like it, or "order of attributes".
    pub what: String,
    /// What the C daemon says ("(none)" where it says nothing).
    pub theirs: String,
    /// What ours says.
    pub ours: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "    connection {:?}, message '{}', {}", self.connection, self.message, self.what)?;
        writeln!(f, "        theirs: {}", self.theirs)?;
        write!(f, "        ours:   {}", self.ours)
    }
}

const NONE: &str = "(none)";

/// Everything in which two plays of one scenario differ.
pub fn differences(theirs: &Transcript, ours: &Transcript) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut names: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let left = theirs.get(name).map_or(&[][..], Vec::as_slice);
        let right = ours.get(name).map_or(&[][..], Vec::as_slice);
        for (l, r) in align(left, right) {
            compare(name, l, r, &mut found);
        }
    }
    found
}

/// Longest common subsequence by key.
fn align<'a>(left: &'a [Entry], right: &'a [Entry]) -> Vec<(Option<&'a Entry>, Option<&'a Entry>)> {
    let mut best = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    let at = |best: &[Vec<usize>], i: usize, j: usize| {
        best.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0)
    };
    for (i, l) in left.iter().enumerate().rev() {
        for (j, r) in right.iter().enumerate().rev() {
            let value = if l.key == r.key {
                at(&best, i + 1, j + 1) + 1
            } else {
                at(&best, i + 1, j).max(at(&best, i, j + 1))
            };
            if let Some(cell) = best.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = value;
            }
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    loop {
        match (left.get(i), right.get(j)) {
            (None, None) => return pairs,
            (Some(l), Some(r)) if l.key == r.key => {
                pairs.push((Some(l), Some(r)));
                i += 1;
                j += 1;
            }
            (Some(l), r) if r.is_none() || at(&best, i + 1, j) >= at(&best, i, j + 1) => {
                pairs.push((Some(l), None));
                i += 1;
            }
            (_, r) => {
                pairs.push((None, r));
                j += 1;
            }
        }
    }
}

fn compare(connection: &str, theirs: Option<&Entry>, ours: Option<&Entry>, found: &mut Vec<Difference>) {
    let mut add = |message: &str, what: &str, theirs: String, ours: String| {
        found.push(Difference {
            connection: connection.to_owned(),
            message: message.to_owned(),
            what: what.to_owned(),
            theirs,
            ours,
        });
    };
    let (l, r) = match (theirs, ours) {
        (Some(l), Some(r)) => (l, r),
        (Some(l), None) => return add(&l.key, "message", l.to_string(), NONE.to_owned()),
        (None, Some(r)) => return add(&r.key, "message", NONE.to_owned(), r.to_string()),
        (None, None) => return,
    };
    let same = |a: &Entry, b: &Entry, name: &str| a.get(name).is_some() && b.get(name).is_some();
    for (name, value) in &l.fields {
        match r.get(name) {
            Some(other) if other == value => {}
            other => add(&l.key, name, value.clone(), other.unwrap_or(NONE).to_owned()),
        }
    }
    for (name, value) in r.fields.iter().filter(|(name, _)| l.get(name).is_none()) {
        add(&r.key, name, NONE.to_owned(), value.clone());
    }
    let order = |a: &Entry, b: &Entry| -> Vec<String> {
        a.fields.iter().filter(|(n, _)| same(a, b, n)).map(|(n, _)| n.clone()).collect()
    };
    let (left, right) = (order(l, r), order(r, l));
    if left != right {
        add(&l.key, "order of attributes", left.join(" "), right.join(" "));
    }
}

/// A difference that is meant to be there.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// Release it is accepted against, or "*".
    pub against: String,
    /// Scenario, or "*".
    pub scenario: String,
    /// As in [`Difference`]; "*" fits everything, a "*" at the end everything that begins so.
    pub message: String,
    /// As in [`Difference`].
    pub what: String,
    /// As in [`Difference`].
    pub theirs: String,
    /// As in [`Difference`].
    pub ours: String,
    /// Why.
    pub reason: String,
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

impl Accepted {
    /// Whether this is that difference.
    pub fn covers(&self, against: &str, scenario: &str, difference: &Difference) -> bool {
        fits(&self.against, against)
            && fits(&self.scenario, scenario)
            && fits(&self.message, &difference.message)
            && fits(&self.what, &difference.what)
            && fits(&self.theirs, &difference.theirs)
            && fits(&self.ours, &difference.ours)
    }
}

/// Reads the list: TOML, restricted to `[[difference]]` and `name = 'text'`.
pub fn parse_accepted(text: &str) -> Result<Vec<Accepted>> {
    let mut list: Vec<Accepted> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let fail = |what: &str| format!("accepted differences, line {}: {what}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[difference]]" {
            list.push(Accepted {
                against: "*".to_owned(),
                scenario: "*".to_owned(),
                message: "*".to_owned(),
                ..Accepted::default()
            });
            continue;
        }
        let entry = list.last_mut().ok_or_else(|| fail("[[difference]] expected"))?;
        let (name, value) = line.split_once('=').ok_or_else(|| fail("name = 'text' expected"))?;
        let value = value.trim();
        let value = value
            .strip_prefix('\'')
            .and_then(|v| v.strip_suffix('\''))
            .ok_or_else(|| fail("'text' expected"))?
            .to_owned();
        match name.trim() {
            "against" => entry.against = value,
            "scenario" => entry.scenario = value,
            "message" => entry.message = value,
            "what" => entry.what = value,
            "theirs" => entry.theirs = value,
            "ours" => entry.ours = value,
            "reason" => entry.reason = value,
            other => return Err(fail(&format!("unknown name '{other}'"))),
        }
    }
    match list.iter().find(|entry| entry.reason.is_empty() || entry.what.is_empty()) {
        Some(entry) => Err(format!("accepted differences: one without 'what' or 'reason': {entry:?}")),
        None => Ok(list),
    }
}

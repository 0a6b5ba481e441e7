//! Messages of the daemon as comparable entries: parsed by a small tolerant reader of this crate's own,
//! with everything that may differ between two runs replaced.

use std::fmt::Write as _;

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What kind of message and about what: entries with the same key are compared with each other.
    pub key: String,
    /// Names and normalised values, in order.
    pub fields: Vec<(String, String)>,
}

impl Entry {
    /// An entry that says something about the run itself.
    pub fn note(text: impl Into<String>) -> Self {
        Self { key: text.into(), fields: Vec::new() }
    }

    /// Value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}]", self.key)?;
        for (name, value) in &self.fields {
            write!(f, " {name}={value:?}")?;
        }
        Ok(())
    }
}

/// Attributes of all elements in document order, with the path of nested elements in front of the
/// name; `None` if the text is not well-formed.
pub fn flatten(xml: &str) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = xml;
    let mut ended = false;
    while let Some(at) = rest.find('<') {
        if !rest.get(..at)?.trim().is_empty() || ended {
            return None;
        }
        rest = rest.get(at + 1..)?;
        if let Some(tail) = rest.strip_prefix('/') {
            let (name, tail) = tail.split_once('>')?;
            if open.pop()? != name {
                return None;
            }
            ended = open.is_empty();
            rest = tail;
            continue;
        }
        let end = rest.find(|c: char| c.is_whitespace() || c == '/' || c == '>')?;
        let (name, tail) = rest.split_at_checked(end)?;
        // The root's name is a field of its own; further elements are marked even when empty.
        let path = open.iter().skip(1).chain([&name.to_owned()]).cloned().collect::<Vec<_>>().join("/");
        if open.is_empty() {
            fields.push(("<>".to_owned(), name.to_owned()));
        } else {
            fields.push((format!("<{path}>"), String::new()));
        }
        let prefix = if open.is_empty() { String::new() } else { format!("{path}/") };
        rest = tail.trim_start();
        loop {
            if let Some(tail) = rest.strip_prefix("/>") {
                ended = open.is_empty();
                rest = tail;
                break;
            }
            if let Some(tail) = rest.strip_prefix('>') {
                open.push(name.to_owned());
                rest = tail;
                break;
            }
            let (attribute, tail) = rest.split_once('=')?;
            let quote = tail.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (value, tail) = tail.get(1..)?.split_once(quote)?;
            if attribute.contains(|c: char| c.is_whitespace() || matches!(c, '<' | '"' | '&'))
                || value.contains('<')
            {
                return None;
            }
            fields.push((format!("{prefix}{attribute}"), unescape(value)?));
            rest = tail.trim_start();
        }
    }
    (ended && open.is_empty() && rest.trim().is_empty()).then_some(fields)
}

fn unescape(value: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        text.push_str(rest.get(..at)?);
        let (name, tail) = rest.get(at + 1..)?.split_once(';')?;
        text.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = tail;
    }
    text.push_str(rest);
    Some(text)
}

/// Text as releases up to 2.1.7 write it, into which all others are turned: the original is lost there.
fn plain_controls(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("    "),
            c if u32::from(c) < 0x20 => {
                let _ = write!(text, "\\{:03o}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}

/// What is remembered to make the daemon's counter comparable.
#[derive(Debug, Default)]
pub struct Normaliser {
    first_call: Option<i64>,
}

impl Normaliser {
    /// A call id counted from the scenario's first one.
    fn call(&mut self, value: &str) -> String {
        match value.parse::<i64>() {
            Ok(0) | Err(_) => value.to_owned(),
            Ok(id) => format!("+{}", id - *self.first_call.get_or_insert(id)),
        }
    }

    /// Makes a comparable entry of a message.
    pub fn entry(&mut self, xml: &str) -> Entry {
        let Some(mut fields) = flatten(xml) else {
            return Entry {
                key: "malformed XML".to_owned(),
                fields: vec![("text".to_owned(), xml.to_owned())],
            };
        };
        let get = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let is_reply = get("lrmd_remote_msg_type").as_deref() == Some("reply");
        let mut key = vec![get("lrmd_remote_msg_type").unwrap_or_else(|| "message".to_owned())];
        if is_reply {
            key.extend(get("lrmd_remote_msg_id"));
        } else {
            key.extend(get("lrmd_op").or_else(|| get("lrmd_ipc_op")));
            key.extend(get("lrmd_rsc_id"));
            key.extend(get("lrmd_rsc_action"));
            key.extend(get("lrmd_rsc_interval"));
        }
        // Named before the user data is: a result belongs to one request.
        let never_ran = get("lrmd_run_time").as_deref() == Some("0");
        for (name, value) in &mut fields {
            let known = match name.as_str() {
                "lrmd_origin" | "lrmd_clientid" | "lrmd_ipc_session" => "*".to_owned(),
                // Made up of the tool's PID and the time.
                name if name.starts_with("lrmd_ipc_msg/")
                    && ["/reference", "/crm_sys_from", "/client_uuid", "/st_clientid", "/crm_ipc_id"]
                        .iter()
                        .any(|end| name.ends_with(end)) =>
                {
                    "*".to_owned()
                }
                // PID and session at its end.
                "lrmd_ipc_client" => value.rsplitn(3, '-').last().unwrap_or_default().to_owned(),
                "lrmd_callid" => self.call(value),
                "lrmd_rc" if is_reply && !value.starts_with('-') && value != "0" => self.call(value),
                "lrmd_run_time" | "lrmd_rcchange_time" if value != "0" => "time".to_owned(),
                "lrmd_exec_time" | "lrmd_queue_time" if !never_ran && value.parse::<u64>().is_ok() => {
                    "ms".to_owned()
                }
                // The C daemons subtract a time that never was from their clock.
                "lrmd_queue_time" if never_ran && value.starts_with('-') => "negative".to_owned(),
                "uptime" if value.parse::<u64>().is_ok() => "seconds".to_owned(),
                _ => plain_controls(value),
            };
            *value = known;
        }
        sort_parameters(&mut fields);
        number_repeated(&mut fields);
        Entry { key: key.join(" "), fields }
    }
}

/// Parameters come back in the order of a hash table: by name, the numbered ones included.
fn sort_parameters(fields: &mut Vec<(String, String)>) {
    let mut parameters = Vec::new();
    let mut name = String::new();
    fields.retain_mut(|(path, value)| {
        match path.as_str() {
            "<attributes/param>" => {}
            "attributes/param/name" => name.clone_from(value),
            "attributes/param/value" => {
                parameters.push((format!("attributes/param {name}"), std::mem::take(value)));
            }
            other if other.starts_with("attributes/") => {
                parameters.push((std::mem::take(path), std::mem::take(value)));
            }
            _ => return true,
        }
        false
    });
    parameters.sort();
    fields.append(&mut parameters);
}

/// Gives every name after its first occurrence a number, so that each stands for one value.
fn number_repeated(fields: &mut [(String, String)]) {
    let mut seen = std::collections::HashMap::new();
    for (name, _) in fields {
        let count = seen.entry(name.clone()).and_modify(|n| *n += 1).or_insert(1);
        if *count > 1 {
            let _ = write!(name, " #{count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_elements_are_named_by_their_path() {
        let fields = flatten("<a x=\"1\"><b y=\"&lt;&#x0A;\"><c/></b></a>").unwrap();
        let expected = [("<>", "a"), ("x", "1"), ("<b>", ""), ("b/y", "<\n"), ("<b/c>", "")];
        assert_eq!(fields, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn broken_documents_are_noticed() {
        for text in
            ["", "x", "<a", "<a x=\"1>", "<a x=\"<\"/>", "<a></b>", "<a/><b/>", "<a x=\"&bad;\"/>", "<a>"]
        {
            assert_eq!(flatten(text), None, "{text}");
        }
    }
}

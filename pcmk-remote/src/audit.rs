//! The audit log: one line for each operation that changes something on this node, and for each that was
//! refused. Who asked, what for, how it ended; names of parameters and never their values.
//!
//! Lines are logfmt (`name=value`, quoted where needed) and begin with `action=`; names of fields do not
//! change between releases, new ones are added before `peer=` or `pid=`.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use pcmk_proto::types::Params;
use tracing::{Level, enabled, info};

use crate::caller::{Access, Caller};

/// The target by which the log tells these lines from others.
pub const TARGET: &str = "audit";

/// Longest value; peers choose what stands in there.
const VALUE: usize = 256;
/// Names of parameters that are listed; cloned resources in large clusters have hundreds.
const NAMES: usize = 32;

/// Where a client of the executor comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    site: Arc<str>,
    fields: Arc<str>,
    /// Set for a process of this node.
    local: Option<Local>,
}

/// What the executor must know of a process of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Its number: a process that gives no name is called by it.
    pub pid: u32,
    /// Whether it may do more than register and poke.
    pub privileged: bool,
}

impl Default for Origin {
    fn default() -> Self {
        Self { site: "unknown".into(), fields: "peer=unknown".into(), local: None }
    }
}

impl Origin {
    /// A cluster node, with what it has proved itself with: `key`, or the names of its certificate.
    pub fn peer(address: SocketAddr, identity: &str, subject: Option<&str>) -> Self {
        let mut fields = Entry(String::new()).field("peer", address).field("identity", identity);
        if let Some(subject) = subject {
            fields = fields.field("subject", subject);
        }
        let site = address.ip().to_canonical().to_string();
        Self { site: site.into(), fields: fields.0.into(), local: None }
    }

    /// A process of this node.
    pub fn process(caller: &Caller) -> Self {
        let fields = Entry(String::new())
            .field("pid", caller.pid)
            .field("uid", caller.uid)
            .field("user", &caller.user);
        let privileged = caller.access == Access::Privileged;
        let local = Some(Local { pid: caller.pid, privileged });
        Self { site: "local".into(), fields: fields.0.into(), local }
    }

    /// The same for all connections from one place.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// The process that it is, if it is one of this node and no cluster node.
    pub fn local(&self) -> Option<Local> {
        self.local
    }

    /// As it stands in a line.
    pub fn fields(&self) -> &str {
        &self.fields
    }
}

/// Whether anybody reads these lines.
pub fn is_on() -> bool {
    enabled!(target: TARGET, Level::INFO)
}

/// A line that is being written.
#[derive(Debug)]
#[must_use]
pub struct Entry(String);

impl Entry {
    /// Begins a line.
    pub fn new(action: &str, result: &str) -> Self {
        Self(String::new()).field("action", action).field("result", result)
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: impl Display) -> Self {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(name);
        self.0.push('=');
        let _ = quote(&mut self.0, &value.to_string());
        self
    }

    /// Adds a field if there is a value.
    pub fn some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// Adds the names of parameters, without what the cluster adds for its own purposes.
    pub fn names(self, params: &Params) -> Self {
        let mut names =
            params.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("CRM_meta_"));
        let mut list = names.by_ref().take(NAMES).collect::<Vec<_>>().join(",");
        let more = names.count();
        if more > 0 {
            let _ = write!(list, ",+{more}");
        }
        if list.is_empty() { self } else { self.field("params", list) }
    }

    /// Begins the part that says who it was.
    pub fn who(origin: &Origin) -> Self {
        Self(origin.fields.to_string())
    }

    /// What has been written so far.
    pub fn text(self) -> String {
        self.0
    }

    /// Adds who it was, and writes the line.
    pub fn log(self, who: &str) {
        info!(target: TARGET, "{} {who}", self.0);
    }
}

fn quote(into: &mut String, value: &str) -> std::fmt::Result {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && value.len() <= VALUE && value.chars().all(plain) {
        into.push_str(value);
        return Ok(());
    }
    into.push('"');
    let end = into.len().saturating_add(VALUE);
    for c in value.chars() {
        if into.len() >= end {
            into.push('…');
            break;
        }
        match c {
            '"' | '\\' => write!(into, "\\{c}")?,
            '\n' => into.push_str("\\n"),
            '\t' => into.push_str("\\t"),
            c if c.is_control() => write!(into, "\\u{:04x}", u32::from(c))?,
            c => into.push(c),
        }
    }
    into.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(value: &str) -> String {
        let mut text = String::new();
        quote(&mut text, value).unwrap();
        text
    }

    #[test]
    fn values_stay_one_value_whatever_peers_put_into_them() {
        for (value, expected) in [
            ("plain", "plain"),
            ("ocf:heartbeat:Dummy", "ocf:heartbeat:Dummy"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a=b", "\"a=b\""),
            ("line\nresult=ok", "\"line\\nresult=ok\""),
            ("\u{1b}[31m\"\\", "\"\\u001b[31m\\\"\\\\\""),
        ] {
            assert_eq!(quoted(value), expected);
        }
        let long = quoted(&"ä".repeat(10_000));
        assert!(long.len() <= VALUE + 8 && long.ends_with("…\""), "{long}");
    }

    #[test]
    fn parameters_are_named_and_their_values_are_not() {
        let mut params: Params = [("ip", "192.0.2.1"), ("CRM_meta_timeout", "20"), ("passwd", "secret")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        let entry = Entry::new("start", "ok").names(&params);
        assert_eq!(entry.0, "action=start result=ok params=ip,passwd");
        params.extend((0..100).map(|n| (format!("p{n}"), String::new())));
        assert!(Entry::new("start", "ok").names(&params).0.ends_with(",p29,+70"));
        assert_eq!(Entry::new("start", "ok").names(&Params::new()).0, "action=start result=ok");
    }

    #[test]
    fn origins_say_where_and_how() {
        let address = "[::ffff:192.0.2.1]:4000".parse().unwrap();
        let peer = Origin::peer(address, "certificate", Some("CN=c1,O=Example"));
        assert_eq!(peer.site(), "192.0.2.1");
        assert!(peer.fields().ends_with("identity=certificate subject=\"CN=c1,O=Example\""));
    }
}

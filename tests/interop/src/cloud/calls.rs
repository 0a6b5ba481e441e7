//! The calls that an API has answered, as it has written them down.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Context, Result};

/// A call. It is written down when the application has answered, also if nobody waited for the answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    /// When it came, in seconds of the epoch.
    pub at: f64,
    /// How long the answer took.
    pub seconds: f64,
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Query.
    pub query: String,
    /// The action in a POST to a server's actions.
    pub action: Option<String>,
    /// The microversion that was asked for.
    pub version: Option<String>,
    /// The client's name for itself.
    pub agent: Option<String>,
    /// The answer.
    pub status: u16,
    /// The request's id.
    pub request: Option<String>,
}

impl Call {
    /// The server that it is about.
    pub fn server(&self) -> Option<&str> {
        self.path.split("/servers/").nth(1)?.split('/').next()
    }
}

/// Reads the lines of a log.
pub fn parse(log: &str) -> Result<Vec<Call>> {
    log.lines().map(|line| serde_json::from_str(line).context(line)).collect()
}

/// The requests to evacuate among these.
pub fn evacuations(calls: &[Call]) -> Vec<Call> {
    calls.iter().filter(|call| call.action.as_deref() == Some("evacuate")).cloned().collect()
}

/// How many requests to evacuate each server were accepted.
pub fn accepted(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in evacuations(calls).iter().filter(|call| call.status < 300) {
        *counts.entry(call.server().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_per_server() {
        let line = |server: &str, action: &str, status: u16| {
            format!(
                r#"{{"at": 1.5, "seconds": 0.1, "method": "POST", "path": "/v2.1/servers/{server}/action", "query": "",
                "action": "{action}", "version": null, "agent": null, "status": {status}, "request": "req-1"}}"#
            )
            .replace('\n', "")
        };
        let log = [
            line("a", "evacuate", 200),
            line("a", "evacuate", 200),
            line("b", "evacuate", 409),
            line("c", "os-start", 202),
        ];
        let calls = parse(&log.join("\n")).unwrap();
        assert_eq!(evacuations(&calls).len(), 3);
        assert_eq!(accepted(&calls).into_iter().collect::<Vec<_>>(), [("a".to_owned(), 2)]);
        assert!(parse("{").is_err());
    }
}

//! What Nova's own processes tell the engine, so that it need not wait for its next look: a server has arrived, an
//! evacuation has failed.
//!
//! A hint and no more: what is true is read from Nova. So whoever could forge events could make the engine read sooner,
//! and nothing else.

mod address;
mod sender;

use serde::{Deserialize, Serialize};

pub use address::{Address, BadAddress, Peer};
pub use sender::{Sender, Stats};

use crate::ids::{HostName, ServerId};
use crate::stamp::Stamp;

/// What an engine says to whoever connects: only then is it one, and lets us in. (TLS 1.3 tells a client that its
/// handshake is done before the server has looked at its certificate.)
pub const GREETING: &[u8] = b"nova-ha events 1\n";
/// The longest line.
pub const LONGEST: usize = 4096;

/// What happened in Nova.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Nova's name for it: `service.update`, `instance.rebuild.end`, ….
    pub kind: String,
    /// When.
    pub at: Stamp,
    /// Who says so: service and host.
    pub publisher: String,
    /// The host that it is about.
    #[serde(default)]
    pub host: Option<HostName>,
    /// The server that it is about.
    #[serde(default)]
    pub server: Option<ServerId>,
    /// Of a service: whether it is forced down.
    #[serde(default)]
    pub forced_down: Option<bool>,
}

impl Event {
    /// Reads a line.
    pub fn from_line(line: &[u8]) -> Option<Self> {
        if line.len() > LONGEST { None } else { serde_json::from_slice(line).ok() }
    }

    /// The line, with its end; none if it is too long for anybody.
    pub fn to_line(&self) -> Option<String> {
        let mut line = serde_json::to_string(self).ok()?;
        line.push('\n');
        (line.len() <= LONGEST).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let event = Event {
            kind: "instance.rebuild.end".into(),
            at: Stamp::now(),
            publisher: "nova-compute:c2".into(),
            host: Some("c2".parse().unwrap()),
            server: Some("6f70656e-7374-6163-6b20-342065766572".parse().unwrap()),
            forced_down: None,
        };
        let line = event.to_line().unwrap();
        assert_eq!(Event::from_line(line.trim_end().as_bytes()), Some(event.clone()));
        assert_eq!(Event::from_line(b"{}"), None);
        assert_eq!(Event { kind: "x".repeat(LONGEST), ..event }.to_line(), None);
    }
}

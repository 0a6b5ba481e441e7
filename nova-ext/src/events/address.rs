//! Where an engine listens: `unix:/PATH` on this controller, `tls:HOST:PORT` on another one.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On this machine.
    Local(PathBuf),
    /// On another one.
    Tls(Peer),
}

/// Another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name, which its certificate has, or its address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of an engine: unix:/PATH or tls:HOST:PORT")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.chars().take(100).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Local(path.into())) } else { Err(bad()) };
        }
        let (host, port) =
            text.strip_prefix("tls:").and_then(|rest| rest.rsplit_once(':')).ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        if host.is_empty() || host.len() > 255 || host.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(bad());
        }
        Ok(Self::Tls(Peer { host: host.to_owned(), port }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "unix:{}", path.display()),
            Self::Tls(Peer { host, port }) if host.contains(':') => write!(f, "tls:[{host}]:{port}"),
            Self::Tls(Peer { host, port }) => write!(f, "tls:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["unix:/run/x.sock", "tls:ctl1:9471", "tls:[fe80::1]:9471"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["", "unix:x", "tls:ctl1", "tls::1", "tls:a b:1", "tls:a:0", "http://ctl1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}

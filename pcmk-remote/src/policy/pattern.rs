//! What the lists of a policy are made of: networks, and names with `*`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pcmk_proto::types::AgentSpec;
use serde::Deserialize;

/// An address, or a network as `ADDRESS/BITS`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `address` must be in canonical form.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && network_of(address, self.bits) == self.address
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("\"{address}\" is not an IP address (names are not looked up: write addresses)")
        })?;
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits.map(str::parse::<u8>) {
            None => most,
            Some(Ok(bits)) if bits <= most => bits,
            Some(_) => return Err(format!("\"{text}\": the number behind / must be 0 to {most}")),
        };
        let network = network_of(address, bits);
        if network != address {
            return Err(format!(
                "\"{text}\" is an address within the network {network}/{bits}: write one or the other"
            ));
        }
        Ok(Self { address, bits })
    }
}

fn network_of(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & !host).into()
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & !host).into()
        }
    }
}

/// A certificate's name; `*` stands for any part of one label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct NamePattern(String);

impl NamePattern {
    pub(super) fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.to_ascii_lowercase().as_bytes(), |byte, _| byte != b'.')
    }
}

impl TryFrom<String> for NamePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() { Err("a name is empty".into()) } else { Ok(Self(text.to_ascii_lowercase())) }
    }
}

/// `CLASS:TYPE` or `ocf:PROVIDER:TYPE`; `*` in provider and type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AgentPattern {
    class: String,
    provider: Option<String>,
    kind: String,
}

impl AgentPattern {
    /// The case of letters counts as it does for the files that are run.
    pub(super) fn matches(&self, agent: &AgentSpec) -> bool {
        let class = agent.class.to_ascii_lowercase();
        let provider = match &self.provider {
            Some(pattern) => agent
                .provider
                .as_deref()
                .is_some_and(|provider| !provider.is_empty() && file(pattern, provider)),
            None => true,
        };
        let kind = plain_kind(&class, &agent.kind);
        class == self.class && provider && !kind.is_empty() && file(&self.kind, kind)
    }
}

impl TryFrom<String> for AgentPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const CLASSES: [&str; 5] = ["ocf", "systemd", "lsb", "service", "stonith"];
        let Some((class, rest)) = text.split_once(':') else {
            return Err(format!("\"{text}\" is not CLASS:TYPE or ocf:PROVIDER:TYPE"));
        };
        let class = class.to_ascii_lowercase();
        if !CLASSES.contains(&class.as_str()) {
            return Err(format!("\"{text}\": there is no agent class {class} ({})", CLASSES.join(", ")));
        }
        let (provider, kind) = match rest.split_once(':') {
            Some((provider, kind)) if class == "ocf" => (Some(provider.to_owned()), kind),
            None if class == "ocf" => return Err(format!("\"{text}\" is not ocf:PROVIDER:TYPE")),
            _ => (None, rest),
        };
        if kind.is_empty() || provider.as_deref().is_some_and(str::is_empty) {
            return Err(format!("\"{text}\": a part is empty"));
        }
        let kind = plain_kind(&class, kind).to_owned();
        Ok(Self { class, provider, kind })
    }
}

/// systemd adds what is left out.
fn plain_kind<'a>(class: &str, kind: &'a str) -> &'a str {
    if class == "systemd" { kind.strip_suffix(".service").unwrap_or(kind) } else { kind }
}

/// An absolute path; `*` in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PathPattern(String);

impl PathPattern {
    pub(super) fn matches(&self, path: &str) -> bool {
        file(&self.0, path)
    }
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') {
            Ok(Self(text))
        } else {
            Err(format!("\"{text}\" is not an absolute path"))
        }
    }
}

/// As a shell matches files: `*` takes neither a `/` nor a dot at the beginning, so that nothing leads
/// to another directory.
fn file(pattern: &str, name: &str) -> bool {
    matches(pattern.as_bytes(), name.as_bytes(), |byte, before| {
        byte != b'/' && !(byte == b'.' && matches!(before, None | Some(b'/')))
    })
}

/// Whether `*` can be filled in so that the pattern becomes the text. `takes` is asked about each byte
/// that a star would take and the one before it. Time grows with the product of both lengths at most.
fn matches(pattern: &[u8], text: &[u8], takes: impl Fn(u8, Option<u8>) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and how far it reaches.
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                p += 1;
                star = Some((p, t));
            }
            (Some(wanted), Some(found)) if wanted == found => {
                p += 1;
                t += 1;
            }
            (None, None) => return true,
            _ => {
                let Some((behind, reach)) = star else { return false };
                let before = reach.checked_sub(1).and_then(|at| text.get(at)).copied();
                match text.get(reach) {
                    Some(byte) if takes(*byte, before) => {
                        star = Some((behind, reach + 1));
                        (p, t) = (behind, reach + 1);
                    }
                    _ => return false,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_take_any_number_of_bytes() {
        let any = |pattern: &str, text: &str| matches(pattern.as_bytes(), text.as_bytes(), |_, _| true);
        for (pattern, text, yes) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("a**", "a", true),
            ("*ab*ab", "abaab", true),
            ("*aab", "aaaab", true),
        ] {
            assert_eq!(any(pattern, text), yes, "{pattern} {text}");
        }
        let long = "a".repeat(20_000);
        assert!(!any(&"a*".repeat(50), &format!("{}b", "c".repeat(20_000))));
        assert!(!any(&format!("{}b", "*a".repeat(50)), &long));
    }

    /// A star that could not take a byte is not saved by an earlier one: that one would have to take it.
    #[test]
    fn stars_stop_at_slashes_and_leading_dots() {
        assert!(file("/a/*.sh", "/a/b.c.sh"));
        assert!(file("/a/.x*", "/a/.xy"));
        for (pattern, name) in [
            ("/a/*", "/a/b/c"),
            ("/a/*", "/a/.b"),
            ("/a/*", "/a/.."),
            ("/*/*", "/../x"),
            ("*", ".."),
            ("*x*", "a/x"),
        ] {
            assert!(!file(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn the_whole_address_space_is_a_network() {
        let all: Network = "0.0.0.0/0".to_owned().try_into().unwrap();
        assert!(all.contains([1, 2, 3, 4].into()) && !all.contains(Ipv6Addr::LOCALHOST.into()));
        let all: Network = "::/0".to_owned().try_into().unwrap();
        assert!(all.contains(Ipv6Addr::LOCALHOST.into()) && !all.contains([1, 2, 3, 4].into()));
    }
}

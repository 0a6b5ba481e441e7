//! Where a device is: `HOST[:PORT]`.

use super::PowerError;

/// A name or address, and a port if one is given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port, if it is not the usual one.
    pub port: Option<u16>,
}

impl std::str::FromStr for Place {
    type Err = PowerError;

    fn from_str(text: &str) -> Result<Self, PowerError> {
        let wrong = || {
            PowerError::Settings(format!(
                "{text:?} is no address: it is HOST, HOST:PORT, IPv6 or [IPv6]:PORT"
            ))
        };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            match port {
                "" => (host, None),
                _ => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            }
        } else if text.matches(':').count() > 1 {
            // An IPv6 address without brackets has no room for a port.
            (text, None)
        } else {
            text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/@[]?#".contains(c);
        if host.is_empty() || host.len() > 255 || host.contains(odd) || host.starts_with('-') {
            return Err(wrong());
        }
        let port =
            port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)).transpose()?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_ports() {
        for (text, host, port) in [
            ("bmc-1", "bmc-1", None),
            ("bmc-1:6230", "bmc-1", Some(6230)),
            ("10.0.0.1:623", "10.0.0.1", Some(623)),
            ("fe80::1", "fe80::1", None),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            ("[::1]", "::1", None),
            ("[::1]:9623", "::1", Some(9623)),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.host.as_str(), place.port), (host, port));
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
        for bad in ["", ":623", "a:b", "a:0", "[::1", "[::1]623", "a b", "https://bmc", "root@bmc", "-x"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}

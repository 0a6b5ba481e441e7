//! One host, three names: in Nova, in the cluster, in the map of power devices. Never guessed where it is not certain.

use std::collections::BTreeMap;

use super::Host;
use crate::ids::{HostName, NodeName};

/// How hosts are called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    by_node: BTreeMap<NodeName, HostName>,
    by_host: BTreeMap<HostName, Host>,
}

/// A name that does not stand for one host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A node twice.
    #[error("node {0} stands for both {1} and {2}")]
    Node(NodeName, HostName, HostName),
    /// A host twice.
    #[error("Nova host {0} is both node {1} and node {2}")]
    Host(HostName, NodeName, NodeName),
    /// A power device twice.
    #[error("{0} and {1} both have the power device {2}")]
    Power(HostName, HostName, String),
    /// Several hosts of Nova could be meant.
    #[error("{name} could be {}: say which with [[host]] in nova-ha.toml, or with domain", candidates.join(" or "))]
    Ambiguous {
        /// The name.
        name: String,
        /// What it could be.
        candidates: Vec<String>,
    },
    /// None.
    #[error(
        "Nova has no compute host {0}: is it spelled as `openstack compute service list` shows it? Otherwise say it with [[host]] in nova-ha.toml"
    )]
    Unknown(String),
}

impl Names {
    /// Those that the configuration lists.
    pub fn new(hosts: &[Host]) -> Result<Self, NameError> {
        let mut names = Self::default();
        for host in hosts {
            if let Some(other) = names.by_node.insert(host.node.clone(), host.nova.clone()) {
                return Err(NameError::Node(host.node.clone(), other, host.nova.clone()));
            }
            if let Some(power) = &host.power
                && let Some(other) = names.by_host.values().find(|other| other.power.as_ref() == Some(power))
            {
                return Err(NameError::Power(other.nova.clone(), host.nova.clone(), power.clone()));
            }
            if let Some(other) = names.by_host.insert(host.nova.clone(), host.clone()) {
                return Err(NameError::Host(host.nova.clone(), other.node, host.node.clone()));
            }
        }
        Ok(names)
    }

    /// The Nova host that a name of the cluster or of Nova stands for, as far as the configuration says it.
    pub fn configured(&self, name: &str) -> Option<&HostName> {
        let by_node = self.by_node.iter().find(|(node, _)| node.as_str() == name).map(|(_, host)| host);
        by_node.or_else(|| self.by_host.keys().find(|host| host.as_str() == name))
    }

    /// The node of a host, as far as the configuration says it.
    pub fn node(&self, host: &HostName) -> Option<&NodeName> {
        self.by_host.get(host).map(|host| &host.node)
    }

    /// The node of a host: as the configuration says, else the short name, as clusters are commonly built.
    pub fn node_of(&self, host: &HostName) -> Option<NodeName> {
        let short = || host.as_str().split('.').next().and_then(|name| name.parse().ok());
        self.node(host).cloned().or_else(short)
    }

    /// What the map of power devices calls a host.
    pub fn power<'a>(&'a self, host: &'a HostName) -> &'a str {
        self.by_host.get(host).and_then(|host| host.power.as_deref()).unwrap_or(host.as_str())
    }

    /// What the map of power devices calls a host, if the configuration says it.
    pub fn power_of(&self, host: &HostName) -> Option<&str> {
        self.by_host.get(host).and_then(|host| host.power.as_deref())
    }

    /// Whether the configuration has another host that has this name in the map.
    pub fn is_power_of_another(&self, name: &str, host: &HostName) -> bool {
        let mut others = self.by_host.keys().filter(|other| *other != host);
        others.any(|other| self.power(other) == name)
    }

    /// The host that has this name in the map of power devices, as far as the configuration says it.
    pub fn of_power(&self, name: &str) -> Option<&HostName> {
        self.by_host.values().find(|host| host.power.as_deref() == Some(name)).map(|host| &host.nova)
    }

    /// The Nova host that a name stands for, among those that Nova has: the configuration's word, the same name, the
    /// name with the domain, or the one host with the same first label.
    pub fn resolve(
        &self,
        name: &str,
        domain: Option<&str>,
        known: &[HostName],
    ) -> Result<HostName, NameError> {
        if let Some(host) = self.configured(name) {
            return if known.contains(host) {
                Ok(host.clone())
            } else {
                Err(NameError::Unknown(host.to_string()))
            };
        }
        let is = |wanted: &str| known.iter().find(|host| host.as_str() == wanted).cloned();
        if let Some(host) = is(name) {
            return Ok(host);
        }
        let short = first_label(name);
        if let Some(domain) = domain {
            return is(&format!("{short}.{domain}"))
                .or_else(|| is(short))
                .ok_or_else(|| NameError::Unknown(name.to_owned()));
        }
        // Two full names with different domains are two machines.
        let same = |host: &HostName| {
            first_label(host.as_str()) == short && (short == name || short == host.as_str())
        };
        let candidates: Vec<_> = known.iter().filter(|host| same(host)).collect();
        match candidates[..] {
            [] => Err(NameError::Unknown(name.to_owned())),
            [host] => Ok(host.clone()),
            _ => Err(NameError::Ambiguous {
                name: name.to_owned(),
                candidates: candidates.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}

fn first_label(name: &str) -> &str {
    // An address is no name with a domain.
    if name.parse::<std::net::IpAddr>().is_ok() { name } else { name.split('.').next().unwrap_or(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(nova: &str, node: &str, power: Option<&str>) -> Host {
        Host { nova: nova.parse().unwrap(), node: node.parse().unwrap(), power: power.map(str::to_owned) }
    }

    fn known(list: &[&str]) -> Vec<HostName> {
        list.iter().map(|it| it.parse().unwrap()).collect()
    }

    fn resolved(
        names: &Names,
        name: &str,
        domain: Option<&str>,
        hosts: &[&str],
    ) -> Result<String, NameError> {
        names.resolve(name, domain, &known(hosts)).map(String::from)
    }

    #[test]
    fn a_name_is_found_where_it_is_certain() {
        let names = Names::default();
        let fqdn = ["c1.example.org", "c2.example.org"];
        assert_eq!(resolved(&names, "c1", None, &fqdn).as_deref(), Ok("c1.example.org"));
        assert_eq!(resolved(&names, "c1.example.org", None, &["c1", "c2"]).as_deref(), Ok("c1"));
        assert_eq!(resolved(&names, "c2", Some("example.org"), &fqdn).as_deref(), Ok("c2.example.org"));
        assert_eq!(
            resolved(&names, "192.0.2.1", None, &["192.0.2.2"]),
            Err(NameError::Unknown("192.0.2.1".into()))
        );
    }

    #[test]
    fn a_name_is_not_guessed() {
        let names = Names::default();
        let two = ["c1.a.org", "c1.b.org"];
        let error = resolved(&names, "c1", None, &two).unwrap_err();
        assert!(error.to_string().starts_with("c1 could be c1.a.org or c1.b.org: say which"), "{error}");
        assert_eq!(resolved(&names, "c1", Some("b.org"), &two).as_deref(), Ok("c1.b.org"));
        // Another domain is another machine.
        assert!(resolved(&names, "c1.c.org", None, &two).is_err());
        assert!(resolved(&names, "c1.a.org", None, &["c1.b.org"]).is_err());
        assert!(resolved(&names, "c10", None, &["c1"]).is_err());
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        let names = Names::new(&[host("c1", "remote-1", Some("bmc-7"))]).unwrap();
        assert_eq!(resolved(&names, "remote-1", None, &["c1", "remote-1"]).as_deref(), Ok("c1"));
        assert_eq!(names.power(&"c1".parse().unwrap()), "bmc-7");
        assert_eq!(names.of_power("bmc-7").map(HostName::as_str), Some("c1"));
        assert_eq!(names.of_power("c1"), None);
        let (c1, c2): (HostName, HostName) = ("c1".parse().unwrap(), "c2".parse().unwrap());
        assert_eq!((names.power_of(&c1), names.power_of(&c2)), (Some("bmc-7"), None));
        assert!(names.is_power_of_another("bmc-7", &c2) && !names.is_power_of_another("bmc-7", &c1));
        // By that name it is not in the map.
        assert!(!names.is_power_of_another("c1", &c2));
        assert_eq!(names.node(&"c1".parse().unwrap()).map(NodeName::as_str), Some("remote-1"));
        // It names one that Nova does not have: nothing else will do.
        assert!(resolved(&names, "remote-1", None, &["remote-1"]).is_err());
    }

    #[test]
    fn a_host_has_one_node_and_one_device() {
        let error = |hosts: &[Host]| Names::new(hosts).unwrap_err().to_string();
        assert_eq!(error(&[host("a", "x", None), host("b", "x", None)]), "node x stands for both a and b");
        assert_eq!(
            error(&[host("a", "x", None), host("a", "y", None)]),
            "Nova host a is both node x and node y"
        );
        assert_eq!(
            error(&[host("a", "x", Some("p")), host("b", "y", Some("p"))]),
            "a and b both have the power device p"
        );
    }
}

//! What this node refuses although the peer can prove that it belongs to the cluster.
//!
//! A [`Policy`] is read from text and asked; it knows no file and no connection ([`mod@file`] reads it). Without a rule
//! everything is allowed, as with the C daemon. A list that is there and empty allows nothing.

pub mod file;
mod pattern;

use std::net::IpAddr;
use std::path::PathBuf;

use pcmk_proto::types::AgentSpec;
use serde::{Deserialize, Deserializer, de};

use pattern::{AgentPattern, NamePattern, Network, PathPattern};

/// Where the policy is looked for unless `PCMK_remote_policy_file` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/pcmk-remote/policy.toml";

/// All rules of this node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    peers: Peers,
    agents: Agents,
    alerts: Alerts,
    audit: Audit,
}

/// What is written down about operations that change something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Whether audit lines go where all log lines go.
    pub log: bool,
    /// A file of their own.
    #[serde(deserialize_with = "absolute_path")]
    pub file: Option<PathBuf>,
}

impl Default for Audit {
    fn default() -> Self {
        Self { log: true, file: None }
    }
}

/// Text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct PolicyError {
    /// Where, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// Why something is refused, in words for the operator of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer's address is not listed.
    #[error("{0} is not among the addresses that this node's policy allows ([peers] addresses)")]
    Address(IpAddr),
    /// None of the names of the peer's certificate is listed.
    #[error(
        "none of its certificate's names ({0}) is among those that this node's policy allows ([peers] names)"
    )]
    Name(String),
    /// The policy asks for a name, and the peer has no certificate.
    #[error(
        "this node's policy asks for a certificate's name ([peers] names), and the peer has only the key"
    )]
    NoName,
    /// As many cluster nodes as are allowed are connected already.
    #[error("{0} cluster nodes are connected, and this node's policy allows no more ([peers] max_providers)")]
    Providers(usize),
    /// The agent is not listed.
    #[error("Agent {0} is not allowed by this node's policy")]
    Agent(String),
    /// The alert program is not listed.
    #[error("alert program {0} is not among those that this node's policy allows ([alerts] allow)")]
    Alert(String),
    /// The alert carries a variable that changes what a program runs.
    #[error("the variable {0} would change what an alert program runs")]
    AlertVariable(String),
}

impl Policy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
            PolicyError { line, message: error.message().lines().collect::<Vec<_>>().join(" ") }
        })
    }

    /// Whether this policy refuses anything at all.
    pub fn allows_everything(&self) -> bool {
        *self == Self { audit: self.audit.clone(), ..Self::default() }
    }

    /// Before a handshake: may somebody at this address connect?
    pub fn admit_address(&self, address: IpAddr) -> Result<(), Refusal> {
        let address = address.to_canonical();
        match &self.peers.addresses {
            Some(allowed) if !allowed.iter().any(|network| network.contains(address)) => {
                Err(Refusal::Address(address))
            }
            _ => Ok(()),
        }
    }

    /// After a handshake: may a peer stay whose certificate has these names (`None`: it has the key)?
    pub fn admit_names(&self, names: Option<&[String]>) -> Result<(), Refusal> {
        match (&self.peers.names, names) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Refusal::NoName),
            (Some(allowed), Some(names)) => {
                if names.iter().any(|name| allowed.iter().any(|pattern| pattern.matches(name))) {
                    Ok(())
                } else {
                    Err(Refusal::Name(names.join(", ")))
                }
            }
        }
    }

    /// May another cluster node provide the cluster's services, when `others` do already?
    pub fn admit_provider(&self, others: usize) -> Result<(), Refusal> {
        match self.peers.max_providers {
            Some(MaxProviders(most)) if others >= most => Err(Refusal::Providers(others)),
            _ => Ok(()),
        }
    }

    /// May this agent be run?
    pub fn admit_agent(&self, agent: &AgentSpec) -> Result<(), Refusal> {
        match &self.agents.allow {
            Some(allowed) if !allowed.iter().any(|pattern| pattern.matches(agent)) => {
                Err(Refusal::Agent(agent.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// May this alert program be run, with variables of these names?
    pub fn admit_alert<'a>(
        &self,
        path: &str,
        variables: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Refusal> {
        let Some(allowed) = &self.alerts.allow else { return Ok(()) };
        if !allowed.iter().any(|pattern| pattern.matches(path)) {
            return Err(Refusal::Alert(path.to_owned()));
        }
        match variables.into_iter().find(|name| changes_what_runs(name)) {
            Some(name) => Err(Refusal::AlertVariable(name.to_owned())),
            None => Ok(()),
        }
    }

    /// What is to be written down.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Peers {
    addresses: Option<Vec<Network>>,
    names: Option<Vec<NamePattern>>,
    max_providers: Option<MaxProviders>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Agents {
    allow: Option<Vec<AgentPattern>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Alerts {
    allow: Option<Vec<PathPattern>>,
}

/// Cluster nodes that may provide the cluster's services at a time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "i64")]
struct MaxProviders(usize);

impl TryFrom<i64> for MaxProviders {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        match usize::try_from(number) {
            Ok(number @ 2..) => Ok(Self(number)),
            _ => Err(format!(
                "max_providers is {number} and must be at least 2: while the cluster moves the connection, \
                 two of its nodes are connected"
            )),
        }
    }
}

fn absolute_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if path.is_absolute() {
        Ok(Some(path))
    } else {
        Err(de::Error::custom(format!("\"{}\" is not an absolute path", path.display())))
    }
}

/// Variables by which the dynamic linker, a shell or an interpreter loads something else. Alerts are
/// given any variable that the peer names.
fn changes_what_runs(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["LD_", "BASH_FUNC_", "PYTHON", "PERL5"];
    const NAMES: [&str; 9] =
        ["PATH", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "IFS", "PS4", "RUBYOPT", "GCONV_PATH"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse(text).unwrap()
    }

    fn agent(text: &str) -> AgentSpec {
        let parts: Vec<_> = text.split(':').collect();
        match parts[..] {
            [class, kind] => AgentSpec { class: class.into(), provider: None, kind: kind.into() },
            [class, provider, kind] => {
                AgentSpec { class: class.into(), provider: Some(provider.into()), kind: kind.into() }
            }
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn without_rules_everything_is_allowed() {
        for text in ["", "# nothing\n", "[peers]\n[agents]\n[alerts]\n[audit]\n"] {
            let policy = policy(text);
            assert_eq!(policy, Policy::default());
            assert!(policy.allows_everything());
            assert_eq!(policy.admit_address([192, 0, 2, 1].into()), Ok(()));
            assert_eq!(policy.admit_names(None), Ok(()));
            assert_eq!(policy.admit_provider(1000), Ok(()));
            assert_eq!(policy.admit_agent(&agent("ocf:heartbeat:anything")), Ok(()));
            assert_eq!(policy.admit_alert("/any/thing", ["LD_PRELOAD"]), Ok(()));
            assert_eq!(*policy.audit(), Audit { log: true, file: None });
        }
        assert!(policy("[audit]\nlog = false").allows_everything());
        assert!(!policy("[agents]\nallow = []").allows_everything());
    }

    #[test]
    fn the_example_that_is_shipped_is_a_policy_and_allows_everything() {
        let example = include_str!("../../../packaging/policy/policy.toml");
        assert_eq!(policy(example), Policy::default());
        // And everything in it that is commented out is right, too.
        let rules = example.split_once("\n\n").unwrap().1.lines();
        let all: Vec<_> = rules.map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        let all = all.join("\n");
        let tables = all.lines().filter(|line| line.starts_with('[')).count();
        assert_eq!(tables, 4, "{all}");
        assert!(!policy(&all).allows_everything());
    }

    #[test]
    fn addresses_are_single_or_networks_of_both_families() {
        let policy = policy("[peers]\naddresses = ['192.0.2.7', '10.1.0.0/16', '2001:db8::/32', 'fd00::1']");
        for (address, allowed) in [
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("fd00::1", true),
            ("fd00::2", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(policy.admit_address(address).is_ok(), allowed, "{address}");
        }
        let nobody = Policy::parse("[peers]\naddresses = []").unwrap();
        assert!(nobody.admit_address([127, 0, 0, 1].into()).is_err());
    }

    #[test]
    fn names_are_compared_label_by_label_and_asked_for() {
        let policy = policy("[peers]\nnames = ['controller*.example.com', 'c1']");
        let admits = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            policy.admit_names(Some(&names)).is_ok()
        };
        assert!(admits(&["controller1.example.com"]) && admits(&["x", "C1"]));
        assert!(admits(&["Controller.EXAMPLE.com"]));
        for other in ["controller1.evil.example.com", "controller1.example.com.evil", "c11", "", "compute1"] {
            assert!(!admits(&[other]), "{other}");
        }
        assert!(!admits(&[]));
        assert_eq!(policy.admit_names(None), Err(Refusal::NoName));
    }

    #[test]
    fn letters_that_only_look_alike_are_other_names() {
        let policy = policy("[peers]\nnames = ['k1']");
        assert_eq!(policy.admit_names(Some(&["K1".into()])), Ok(()));
        // The sign for kelvin, whose lower case is the letter.
        assert!(policy.admit_names(Some(&["\u{212a}1".into()])).is_err());
    }

    #[test]
    fn agents_are_matched_as_they_would_be_run() {
        let policy = policy(
            "[agents]\nallow = ['ocf:heartbeat:*', 'ocf:pacemaker:ping', 'systemd:libvirt*', 'lsb:/opt/x/init']",
        );
        for (text, allowed) in [
            ("ocf:heartbeat:IPaddr2", true),
            ("OCF:heartbeat:IPaddr2", true),
            ("ocf:Heartbeat:IPaddr2", false),
            ("ocf:heartbeat:../../../../../tmp/evil", false),
            ("ocf:heartbeat:..", false),
            ("ocf:heartbeat:.hidden", false),
            ("ocf:heartbeat:", false),
            ("ocf:heartbeat/../evil:x", false),
            ("ocf:pacemaker:ping", true),
            ("ocf:pacemaker:ping2", false),
            ("ocf:pacemaker:Ping", false),
            ("systemd:libvirtd", true),
            ("systemd:libvirtd.service", true),
            ("systemd:sshd", false),
            ("service:libvirtd", false),
            ("lsb:/opt/x/init", true),
            ("lsb:init", false),
            ("stonith:fence_x", false),
        ] {
            assert_eq!(policy.admit_agent(&agent(text)).is_ok(), allowed, "{text}");
        }
        let refused = policy.admit_agent(&agent("ocf:pacemaker:Dummy")).unwrap_err();
        assert_eq!(refused.to_string(), "Agent ocf:pacemaker:Dummy is not allowed by this node's policy");
        assert!(
            Policy::parse("[agents]\nallow = ['systemd:x.service']")
                .unwrap()
                .admit_agent(&agent("systemd:x"))
                .is_ok()
        );
    }

    #[test]
    fn a_provider_is_needed_where_the_class_has_one() {
        let policy = policy("[agents]\nallow = ['ocf:*:*', 'lsb:*']");
        assert!(policy.admit_agent(&agent("ocf:x:y")).is_ok());
        assert!(policy.admit_agent(&agent("ocf:y")).is_err());
        assert!(policy.admit_agent(&agent("ocf:..:y")).is_err());
        // A class without providers ignores one that is given.
        assert!(policy.admit_agent(&agent("lsb:p:y")).is_ok());
        assert!(policy.admit_agent(&agent("lsb:/etc/passwd")).is_err());
    }

    #[test]
    fn alerts_are_paths_and_may_not_bring_a_loader() {
        let policy = policy("[alerts]\nallow = ['/usr/share/pacemaker/alerts/*', '/opt/alert.sh']");
        let ok = ["CRM_alert_kind", "trap_node_states", "LDAP", "MYPATH"];
        assert_eq!(policy.admit_alert("/usr/share/pacemaker/alerts/x.sh", ok), Ok(()));
        assert_eq!(policy.admit_alert("/opt/alert.sh", ok), Ok(()));
        for path in
            ["/usr/share/pacemaker/alerts/../../../bin/sh", "/usr/share/pacemaker/alerts/a/b", "x", ""]
        {
            assert!(policy.admit_alert(path, ok).is_err(), "{path}");
        }
        for name in ["LD_PRELOAD", "BASH_ENV", "PATH", "PYTHONPATH"] {
            let refused = policy.admit_alert("/opt/alert.sh", ["CRM_alert_kind", name]);
            assert_eq!(refused, Err(Refusal::AlertVariable(name.into())));
        }
    }

    #[test]
    fn providers_are_counted() {
        let policy = policy("[peers]\nmax_providers = 2");
        assert_eq!(policy.admit_provider(1), Ok(()));
        assert_eq!(policy.admit_provider(2), Err(Refusal::Providers(2)));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, part) in [
            ("[peers]\nadresses = []\n", 2, "unknown field `adresses`"),
            ("\n[peer]\n", 2, "unknown field `peer`"),
            (
                "[peers]\naddresses = [\n '10.0.0.1',\n '10.0.0.1/8',\n]\n",
                2,
                "\"10.0.0.1/8\" is an address within the network 10.0.0.0/8",
            ),
            ("[peers]\naddresses = ['controller1']\n", 2, "not an IP address"),
            ("[peers]\naddresses = ['10.0.0.0/33']\n", 2, "0 to 32"),
            ("[peers]\naddresses = '10.0.0.0'\n", 2, "invalid type"),
            ("[peers]\nnames = ['']\n", 2, "empty"),
            ("[peers]\nmax_providers = 1\n", 2, "at least 2"),
            ("[peers]\nmax_providers = -1\n", 2, "at least 2"),
            ("[agents]\nallow = ['ocf:Dummy']\n", 2, "ocf:PROVIDER:TYPE"),
            ("[agents]\nallow = ['Dummy']\n", 2, "CLASS"),
            ("[agents]\nallow = ['osf:x:y']\n", 2, "class"),
            ("[alerts]\nallow = ['alert.sh']\n", 2, "absolute"),
            ("[audit]\n\nfile = 'a'\n", 3, "absolute"),
            ("[audit]\nlog = 'yes'\n", 2, "invalid type"),
            ("[peers\n", 1, ""),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.message.contains(part), "{text}: {error}");
        }
    }
}

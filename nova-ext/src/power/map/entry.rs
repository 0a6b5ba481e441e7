//! One host's device, as the file describes it; the command line makes the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use crate::power::{
    Device, FenceAgent, FenceAgentSettings, Ipmi, IpmiSettings, Place, PowerError, Redfish, RedfishSettings,
};
use crate::secret::Secret;

/// How a device is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// IPMI 2.0.
    Ipmi,
    /// Redfish.
    Redfish,
    /// An installed fence agent.
    Agent,
}

/// A device and how to log in to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How it is spoken to.
    pub driver: Driver,
    /// `HOST[:PORT]`; for an agent its `ip`.
    pub address: Option<String>,
    /// The port, if it is not in the address.
    pub port: Option<u16>,
    /// The user.
    pub user: Option<String>,
    /// The password.
    #[serde(default, deserialize_with = "secret")]
    pub password: Option<Secret>,
    /// The file with the password; mode 0600.
    pub password_file: Option<PathBuf>,
    /// IPMI: the cipher suite, `17`, `3` or `auto`.
    pub cipher: Option<String>,
    /// IPMI: the privilege level.
    pub privlvl: Option<String>,
    /// IPMI: the file with the board's key.
    pub kg_file: Option<PathBuf>,
    /// Redfish: the system.
    pub system: Option<String>,
    /// Redfish: a session instead of the password with each request.
    #[serde(default)]
    pub session: bool,
    /// Redfish: authority of the certificate.
    pub ca_file: Option<PathBuf>,
    /// Redfish: believe any certificate.
    #[serde(default)]
    pub insecure: bool,
    /// Agent: its name.
    pub agent: Option<PathBuf>,
    /// Agent: its parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Whether other hosts hang on the same device.
    #[serde(default)]
    pub shared: bool,
    /// Addresses from which its crash kernel speaks.
    #[serde(default)]
    pub kdump: Vec<IpAddr>,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    Option::<String>::deserialize(from).map(|text| text.map(Secret::new))
}

impl Entry {
    /// An entry of this driver with nothing set.
    pub fn new(driver: Driver) -> Self {
        Self {
            driver,
            address: None,
            port: None,
            user: None,
            password: None,
            password_file: None,
            cipher: None,
            privlvl: None,
            kg_file: None,
            system: None,
            session: false,
            ca_file: None,
            insecure: false,
            agent: None,
            parameters: BTreeMap::new(),
            shared: false,
            kdump: Vec::new(),
        }
    }

    /// What makes it this device and no other, however it is written; no secrets.
    pub fn identity(&self) -> String {
        let base = self.base();
        match (self.driver, &self.system) {
            (Driver::Redfish, Some(system)) => {
                // Its id, or its path, which ends with it.
                let id = system.trim_end_matches('/').rsplit('/').next().unwrap_or(system);
                format!("{base} system {id}")
            }
            _ => base,
        }
    }

    /// The same, without the part that may be left out: a device with one system is that system.
    pub(super) fn base(&self) -> String {
        let written = || self.parameter(&["ip", "ipaddr"]).or(self.address.as_ref()).cloned();
        // Simulated boards share an address, so the port is part of it.
        let board = self.board().map(|(host, port)| Place { host, port }.to_string()).or_else(written);
        match (self.driver, board, self.outlet()) {
            (Driver::Ipmi, board, _) => format!("ipmi {}", board.unwrap_or_default()),
            (Driver::Redfish, board, _) => format!("redfish {}", board.unwrap_or_default()),
            // Several agents speak to one switch.
            (Driver::Agent, Some(board), Some(outlet)) => format!("agent {board} outlet {outlet}"),
            (Driver::Agent, board, outlet) => {
                let mut text = format!("agent {}", self.agent_name());
                for part in board.iter().chain(outlet) {
                    text = text + " " + part;
                }
                text
            }
        }
    }

    /// Where it is, whatever speaks to it: the bare host, and the port if it is not the usual one. None if it does not
    /// say, as agents for what has no address of its own.
    pub(super) fn board(&self) -> Option<(String, Option<u16>)> {
        let place = match (self.driver, self.parameter(&["ip", "ipaddr"])) {
            (Driver::Agent, Some(ip)) => ip.parse().ok()?,
            _ => self.place().ok()?,
        };
        let host = place.host.trim_end_matches('.').to_ascii_lowercase();
        // One address is written in several ways.
        let host = host.parse::<IpAddr>().map_or(host, |address| address.to_canonical().to_string());
        let port = self.parameter(&["ipport"]).and_then(|port| port.parse().ok());
        let port = place.port.or(self.port).or(port).filter(|port| Some(*port) != self.usual_port());
        Some((host, port))
    }

    /// Whether both are one device, or may be.
    pub(super) fn is(&self, other: &Self) -> bool {
        let (one, two) = (self.identity(), other.identity());
        let (base, board) = (self.base(), self.board());
        // One without a system named may be the system that the other one names.
        let whole = base == other.base() && (one == base || two == base);
        one == two || whole || board.is_some() && board == other.board() && self.kind() != other.kind()
    }

    /// Who speaks to it: with one kind, devices at one address are told apart by what their driver knows of them.
    pub(super) fn kind(&self) -> String {
        match (self.driver, &self.agent) {
            (Driver::Agent, Some(_)) if self.outlet().is_none() => self.agent_name(),
            (driver, _) => format!("{driver:?}").to_ascii_lowercase(),
        }
    }

    /// One outlet has several parameters' names.
    fn outlet(&self) -> Option<&String> {
        self.parameter(&["plug", "port", "nodename", "pcmk_host_list", "uuid", "systems_uri"])
    }

    fn parameter(&self, names: &[&str]) -> Option<&String> {
        names.iter().find_map(|name| self.parameters.get(*name))
    }

    /// The agent; those that are installed by their name alone.
    fn agent_name(&self) -> String {
        let agent = self.agent.as_deref().unwrap_or(Path::new(""));
        let installed = ["/usr/sbin", "/sbin"].iter().find_map(|folder| agent.strip_prefix(folder).ok());
        installed.unwrap_or(agent).display().to_string()
    }

    fn usual_port(&self) -> Option<u16> {
        let agent = self.agent.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        match self.driver {
            Driver::Ipmi => Some(623),
            Driver::Redfish => Some(443),
            Driver::Agent if agent.starts_with("fence_ipmi") => Some(623),
            Driver::Agent if agent == "fence_redfish" => Some(443),
            Driver::Agent => None,
        }
    }

    /// What works and should be changed.
    pub(super) fn weakness(&self) -> Option<String> {
        match self.driver {
            Driver::Redfish if self.insecure => {
                Some("insecure: whoever answers at this address gets the password; give ca_file".into())
            }
            Driver::Ipmi if self.cipher.as_deref() == Some("3") => {
                Some("cipher suite 3 uses SHA-1: use 17 if the board has it".into())
            }
            _ => None,
        }
    }

    fn place(&self) -> Result<Place, PowerError> {
        let address = self.address.as_deref();
        let address = address.ok_or_else(|| PowerError::Settings("address is not set".into()))?;
        let mut place: Place = address.parse()?;
        match (place.port, self.port) {
            (Some(one), Some(other)) if one != other => {
                return Err(PowerError::Settings(format!("address says port {one}, and port says {other}")));
            }
            (port, other) => place.port = port.or(other).filter(|port| *port != 0),
        }
        Ok(place)
    }

    fn password(&self) -> Result<Option<Secret>, PowerError> {
        match (&self.password, &self.password_file) {
            (Some(_), Some(_)) => {
                Err(PowerError::Settings("password and password_file are both set: which one is it?".into()))
            }
            (Some(password), None) => Ok(Some(password.clone())),
            (None, Some(path)) => Ok(Some(Secret::from_file(path)?)),
            (None, None) => Ok(None),
        }
    }

    /// The device. Sends nothing.
    pub fn device(&self) -> Result<Box<dyn Device>, PowerError> {
        self.refuse_foreign()?;
        let password = self.password()?;
        let needed = || {
            password
                .clone()
                .ok_or_else(|| PowerError::Settings("neither password_file nor password is set".into()))
        };
        let user = self.user.clone();
        Ok(match self.driver {
            Driver::Ipmi => Box::new(Ipmi::new(IpmiSettings {
                place: self.place()?,
                user: user.unwrap_or_default(),
                password: needed()?,
                kg_file: self.kg_file.clone(),
                privlvl: self.privlvl.clone(),
                cipher: self.cipher.clone(),
            })?),
            Driver::Redfish => Box::new(Redfish::new(RedfishSettings {
                place: self.place()?,
                user: user.ok_or_else(|| PowerError::Settings("user is not set".into()))?,
                password: needed()?,
                system: self.system.clone(),
                session: self.session,
                ca_file: self.ca_file.clone(),
                insecure: self.insecure,
            })?),
            Driver::Agent => {
                let agent = self.agent.clone();
                let agent = agent.ok_or_else(|| PowerError::Settings("agent is not set".into()))?;
                let mut parameters = self.parameters.clone();
                let port = self.port.map(|port| port.to_string());
                for (name, value) in [("ip", &self.address), ("ipport", &port), ("username", &user)] {
                    let Some(value) = value else { continue };
                    if parameters.insert(name.into(), value.clone()).is_some() {
                        return Err(PowerError::Settings(format!("{name} is set twice")));
                    }
                }
                Box::new(FenceAgent::new(FenceAgentSettings { agent, parameters, password })?)
            }
        })
    }

    /// A setting that the driver does not have is a mistake about the device.
    fn refuse_foreign(&self) -> Result<(), PowerError> {
        use Driver::{Agent, Ipmi, Redfish};
        let set = [
            (self.cipher.is_some(), "cipher", Ipmi),
            (self.privlvl.is_some(), "privlvl", Ipmi),
            (self.kg_file.is_some(), "kg_file", Ipmi),
            (self.system.is_some(), "system", Redfish),
            (self.session, "session", Redfish),
            (self.ca_file.is_some(), "ca_file", Redfish),
            (self.insecure, "insecure", Redfish),
            (self.agent.is_some(), "agent", Agent),
            (!self.parameters.is_empty(), "parameters", Agent),
        ];
        match set.iter().find(|(set, _, of)| *set && *of != self.driver) {
            Some((_, name, of)) => {
                let of = format!("{of:?}").to_ascii_lowercase();
                Err(PowerError::Settings(format!("{name} is for the driver {of}")))
            }
            None => Ok(()),
        }
    }
}

//! The hosts' boards: IPMI as `ipmi_sim` plays it, Redfish as sushy-tools' emulator does, with power switches that are
//! real.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use super::Cloud;
use crate::cluster::Cluster;
use crate::daemon::{put, put_rig_file};
use crate::error::{Context, Result};
use crate::fence;
use crate::images::rig_file;
use crate::node::Node;
use crate::run;
use crate::wait::{self, secs};

/// The board of compute1 listens at the port after this.
const PORTS: u16 = 6230;
/// The same of metal1, or whatever a machine of its own is called.
const MACHINES: u16 = 6330;
/// What asks the rig's power switch, and what of the cloud's it is laid over.
const CHASSIS: (&str, &str) = ("/usr/local/bin/rig-chassis", "/usr/local/bin/cloud-chassis");
/// The port of a board that speaks Redfish, likewise.
const REDFISH_PORTS: u16 = 8440;
/// The boards' administrator and the password.
pub const BOARD: (&str, &str) = ("admin", "of-the-board");

impl Cloud {
    /// Where a host's board listens.
    pub fn board(&self, host: &str) -> Result<SocketAddr> {
        let number = host.trim_start_matches(|c: char| !c.is_ascii_digit());
        let number: u16 = number.parse().context(host)?;
        let first = if host.starts_with("compute") { PORTS } else { MACHINES };
        Ok(SocketAddr::new(self.ip(), first + number))
    }

    /// Starts the boards of all hosts. They are powered on.
    pub fn start_boards(&self) -> Result<()> {
        self.hosts().iter().try_for_each(|host| self.start_board(host))
    }

    fn start_board(&self, host: &str) -> Result<()> {
        let port = self.board(host)?.port();
        fs::write(self.node.path(&format!("/etc/cloud/bmc-{host}"))?, format!("PORT={port}\n"))?;
        self.node.exec(&["systemctl", "start", &format!("bmc@{host}")])?;
        wait::until(secs(20), &format!("the board of {host}"), || {
            let seen = self.node.exec(&["ss", "-Hlun", &format!("sport = :{port}")])?;
            Ok((!seen.trim().is_empty()).then_some(()))
        })
    }

    /// Starts the board of a machine of a cluster, an adopted host (see [`Cloud::adopt`]): off cuts the machine's power,
    /// on boots it. The board lives while the power switch is kept that this gives.
    pub fn start_board_of(&self, cluster: &Cluster, machine: &Node) -> Result<fence::Server> {
        let switch = cluster.switch_by(self.dir().join("power"))?;
        let (host, (program, over)) = (machine.name(), CHASSIS);
        put_rig_file("agents/chassis", &self.node.path(program)?, 0o755)?;
        let settings = self.node.path(&format!("/run/systemd/system/bmc@{host}.service.d"))?;
        fs::create_dir_all(&settings)?;
        fs::write(settings.join("machine.conf"), format!("[Service]\nBindReadOnlyPaths={program}:{over}\n"))?;
        self.node.exec(&["systemctl", "daemon-reload"])?;
        self.start_board(host)?;
        Ok(switch)
    }

    /// Gives a host a board that speaks Redfish, besides the other one, on the same power switch. As boards do, it takes
    /// seconds for what it is told. Gives where it listens, and the authority of its certificate.
    pub fn start_redfish(&self, host: &str) -> Result<(SocketAddr, PathBuf)> {
        let number: u16 = host.trim_start_matches("compute").parse().context(host)?;
        let at = SocketAddr::new(self.ip(), REDFISH_PORTS + number);
        let dir = self.dir().join("boards");
        let pki = |words: &[&str]| {
            let script = rig_file("pki");
            run::host(&[&[&*script.to_string_lossy(), &*dir.to_string_lossy()], words].concat())
        };
        if !dir.join("boards.pem").exists() {
            pki(&["authority", "boards"])?;
        }
        pki(&["issue", "boards", host, &format!("subjectAltName = IP:{}", at.ip())])?;
        for kind in ["pem", "key"] {
            let to = self.node.path(&format!("/etc/cloud/redfish-{host}.{kind}"))?;
            put(&dir.join(format!("{host}.{kind}")), &to, 0o600)?;
        }
        fs::write(self.node.path(&format!("/etc/cloud/redfish-{host}"))?, format!("PORT={}\n", at.port()))?;
        self.node.exec(&["systemctl", "start", &format!("redfish@{host}")])?;
        wait::until(secs(60), &format!("the Redfish board of {host}"), || {
            TcpStream::connect_timeout(&at, secs(5)).map(|_| Some(())).context(at)
        })?;
        Ok((at, dir.join("boards.pem")))
    }

    /// How often a host's power switch was told to switch off.
    pub fn times_switched_off(&self, host: &str) -> Result<usize> {
        let path = self.node.path(&format!("/var/log/cloud/bmc-{host}"))?;
        let log = match fs::read_to_string(&path) {
            // It was told nothing yet.
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            log => log.context(path.display())?,
        };
        Ok(log.lines().filter(|line| line.ends_with(" set power 0")).count())
    }

    /// Whether a host's board says that it is powered on.
    pub fn board_is_on(&self, host: &str) -> Result<bool> {
        Ok(fs::read_to_string(self.node.path(&format!("/run/cloud/power-{host}"))?)?.trim() == "1")
    }

    /// The map of the hosts' power devices, for our programs.
    pub fn board_map(&self) -> Result<String> {
        let hosts = self.hosts();
        self.board_map_of(&hosts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, for these hosts.
    pub fn board_map_of(&self, hosts: &[&str]) -> Result<String> {
        let (user, password) = BOARD;
        let mut map = String::new();
        for host in hosts {
            let at = self.board(host)?;
            let _ = write!(
                map,
                "[host.\"{host}\"]\ndriver = \"ipmi\"\naddress = \"{at}\"\nuser = \"{user}\"\npassword = \"{password}\"\n\n"
            );
        }
        Ok(map)
    }
}

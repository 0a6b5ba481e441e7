//! The hosts' boards: IPMI as `ipmi_sim` plays it, with power switches that are real.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;

use super::Cloud;
use crate::error::{Context, Result};
use crate::wait::{self, secs};

/// The board of compute1 listens at the port after this.
const PORTS: u16 = 6230;
/// The boards' administrator and the password.
pub const BOARD: (&str, &str) = ("admin", "of-the-board");

impl Cloud {
    /// Where a host's board listens.
    pub fn board(&self, host: &str) -> Result<SocketAddr> {
        let number: u16 = host.trim_start_matches("compute").parse().context(host)?;
        Ok(SocketAddr::new(self.ip(), PORTS + number))
    }

    /// Starts the boards of all hosts. They are powered on.
    pub fn start_boards(&self) -> Result<()> {
        for host in &self.hosts() {
            let port = self.board(host)?.port();
            fs::write(self.node.path(&format!("/etc/cloud/bmc-{host}"))?, format!("PORT={port}\n"))?;
            self.node.exec(&["systemctl", "start", &format!("bmc@{host}")])?;
            wait::until(secs(20), &format!("the board of {host}"), || {
                let seen = self.node.exec(&["ss", "-Hlun", &format!("sport = :{port}")])?;
                Ok((!seen.trim().is_empty()).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Whether a host's board says that it is powered on.
    pub fn board_is_on(&self, host: &str) -> Result<bool> {
        Ok(fs::read_to_string(self.node.path(&format!("/run/cloud/power-{host}"))?)?.trim() == "1")
    }

    /// The map of the hosts' power devices, for our programs.
    pub fn board_map(&self) -> Result<String> {
        let (user, password) = BOARD;
        let mut map = String::new();
        for host in self.hosts() {
            let at = self.board(&host)?;
            let _ = write!(
                map,
                "[host.\"{host}\"]\ndriver = \"ipmi\"\naddress = \"{at}\"\nuser = \"{user}\"\npassword = \"{password}\"\n\n"
            );
        }
        Ok(map)
    }
}

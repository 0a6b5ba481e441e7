//! What recovers hosts elsewhere: Debian's `fence_compute` and `fence_evacuate`, unmodified.

use std::time::Duration;

use super::Cloud;
use crate::error::Result;
use crate::run::Output;

/// How long an agent may take: more than a cluster gives it.
const PATIENCE: Duration = Duration::from_secs(300);

impl Cloud {
    /// Runs `fence_ipmilan` against a host's board. Any exit code is fine.
    pub fn their_switch(&self, action: &str, host: &str) -> Result<Output> {
        let (address, port) = (self.board(host)?.ip().to_string(), self.board(host)?.port().to_string());
        let (user, password) = super::boards::BOARD;
        self.node.run_long(
            &[
                "fence_ipmilan",
                "--action",
                action,
                "--ip",
                &address,
                "--ipport",
                &port,
                "--username",
                user,
                "--password",
                password,
                "--lanplus",
                // The board speaks no other one.
                "--cipher",
                "3",
            ],
            PATIENCE,
        )
    }

    /// Runs one of them for a host, on the controller. Any exit code is fine.
    pub fn their_agent(&self, agent: &str, action: &str, host: &str) -> Result<Output> {
        let keystone = format!("http://{}/v3", self.keystone());
        let (user, password) = super::ADMIN;
        self.node.run_long(
            &[
                agent,
                "--action",
                action,
                "--plug",
                host,
                "--auth-url",
                &keystone,
                "--username",
                user,
                "--password",
                password,
                "--tenant-name",
                "admin",
                "--project-domain",
                "Default",
                "--user-domain",
                "Default",
                "--region-name",
                "RegionOne",
                // The servers' disks are not shared here: with the default, none would survive.
                "--no-shared-storage",
            ],
            PATIENCE,
        )
    }
}

//! Hosts of the cloud that are machines of their own: remote nodes of a cluster with nova-compute.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::{Cloud, computes};
use crate::error::{Context, Result, fail};
use crate::node::Node;
use crate::wait;

impl Cloud {
    /// Makes a host of a node that has the cloud's layer and is switched on, starts its nova-compute (as every boot does
    /// from then on) and waits until it is up. The host has the node's name, and is none of [`Cloud::computes`].
    pub fn adopt(&self, node: &Node) -> Result<()> {
        // The networks are joined by this process's machine alone.
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("ip_forward")?;
        let host = node.name();
        self.introduce(node)?;
        for file in ["nova.conf", "own.conf"] {
            let path = format!("/etc/nova/{file}");
            let conf = fs::read_to_string(self.node.path(&path)?).context(&path)?;
            fs::write(node.path(&path)?, without_databases(&conf))?;
        }
        fs::write(node.path(&format!("/etc/nova/compute-{host}.conf"))?, computes::conf(host))?;
        fs::create_dir_all(node.path(&format!("/var/lib/nova/{host}"))?)?;
        let unit = format!("nova-compute@{host}.service");
        let wants = node.path("/etc/systemd/system/multi-user.target.wants")?;
        fs::create_dir_all(&wants)?;
        let link = wants.join(&unit);
        if !link.is_symlink() {
            symlink("/etc/systemd/system/nova-compute@.service", link)?;
        }
        node.exec(&["systemctl", "start", &unit])?;
        let waited = wait::until(super::START, &format!("{host} to be up and mapped to the cell"), || {
            let known =
                self.sql(&format!("select count(*) from nova_api.host_mappings where host = '{host}'"))?;
            let service = self.compute_service(host)?;
            let ready = service["state"] == "up" && known.trim() == "1";
            if ready { Ok(Some(())) } else { fail(format!("mapped: {}; {service}", known.trim())) }
        });
        match waited {
            Ok(()) => Ok(()),
            Err(error) => {
                let said = crate::nova::journal(node, &unit)?;
                fail(format!("{error}\nits nova-compute: {said}\nthe controller: {}", self.complaints()))
            }
        }
    }

    /// Has an adopted host whose machine runs serve again, whatever has been done to its service.
    pub fn take_back(&self, host: &str) -> Result<()> {
        let before = self.reports(host)?;
        // Nova-compute does not survive it if what it settles when it starts is taken away meanwhile.
        wait::until(super::START, &format!("{host} to settle its evacuations"), || {
            let all = self.evacuations(host)?;
            let open = |status: &str| ["accepted", "pre-migrating", "done"].contains(&status);
            match all.iter().find(|one| open(&one.status)) {
                None => Ok(Some(())),
                Some(one) => fail(format!("{one:?}")),
            }
        })?;
        let change = json!({"forced_down": false, "status": "enabled"});
        self.set_compute_service(host, &change)?.ok().context(host)?;
        // One that has just started is taken for up by what it said before it died, and no server can be put on it yet.
        wait::until(super::START, &format!("{host} to report"), || {
            Ok((self.reports(host)? != before).then_some(()))
        })?;
        self.wait_up(&[host.to_owned()])
    }

    /// Tells a machine where the cloud is.
    pub fn introduce(&self, node: &Node) -> Result<()> {
        let path = node.path("/etc/hosts")?;
        let known = fs::read_to_string(&path)?;
        if !known.contains(super::NAME) {
            fs::write(path, format!("{known}{} {}\n", self.node.address(), super::NAME))?;
        }
        Ok(())
    }
}

/// Settings without those of the databases: where they stand, nova-compute tries for over a minute to reach them when it
/// starts, and from a machine of its own it never does.
fn without_databases(conf: &str) -> String {
    let mut databases = false;
    let mut kept = String::new();
    for line in conf.lines() {
        if line.starts_with('[') {
            databases = ["[database]", "[api_database]"].contains(&line.trim());
        }
        if !databases {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_knows_no_database() {
        let conf = "[api]\na = 1\n[api_database]\nconnection = x\n[database]\nconnection = y\n[conductor]\nworkers = 1\n";
        assert_eq!(without_databases(conf), "[api]\na = 1\n[conductor]\nworkers = 1\n");
    }
}

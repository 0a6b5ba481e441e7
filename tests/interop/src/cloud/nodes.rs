//! Hosts of the cloud that are machines of their own: remote nodes of a cluster with nova-compute.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::fs;

use serde_json::json;

use super::{Cloud, computes};
use crate::error::{Context, Result, fail};
use crate::node::Node;
use crate::wait::{self, secs};

impl Cloud {
    /// Makes a host of a node that has the cloud's layer and is switched on, starts its nova-compute and waits until
    /// it is up. The host has the node's name, and is none of [`Cloud::computes`].
    pub fn adopt(&self, node: &Node) -> Result<()> {
        // The networks are joined by this process's machine alone.
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("ip_forward")?;
        let host = node.name();
        self.introduce(node)?;
        for file in ["nova.conf", "own.conf"] {
            fs::copy(
                self.node.path(&format!("/etc/nova/{file}"))?,
                node.path(&format!("/etc/nova/{file}"))?,
            )?;
        }
        fs::write(node.path(&format!("/etc/nova/compute-{host}.conf"))?, computes::conf(host))?;
        fs::create_dir_all(node.path(&format!("/var/lib/nova/{host}"))?)?;
        self.start_adopted(node)?;
        wait::until(secs(60), &format!("{host} to be mapped to the cell"), || {
            let known =
                self.sql(&format!("select count(*) from nova_api.host_mappings where host = '{host}'"))?;
            Ok((known.trim() == "1").then_some(()))
        })
    }

    /// Starts nova-compute of an adopted node and waits until it is up, or says that it is forced down.
    pub fn start_adopted(&self, node: &Node) -> Result<()> {
        let host = node.name();
        node.exec(&["systemctl", "start", &format!("nova-compute@{host}")])?;
        let unit = format!("nova-compute@{host}");
        wait::until(secs(120), &format!("nova-compute on {host}"), || {
            let Ok(service) = self.compute_service(host) else {
                return fail(crate::nova::journal(node, &unit)?);
            };
            Ok((service["state"] == "up" || service["forced_down"] == true).then_some(()))
        })
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

    /// Forgets an adopted host whose machine is gone.
    pub fn disown(&self, host: &str) -> Result<()> {
        self.set_compute_service(host, &json!({"forced_down": true}))?;
        let id = self.compute_service(host)?["id"].as_str().unwrap_or_default().to_owned();
        self.admin.nova("DELETE", &format!("/os-services/{id}"), &serde_json::Value::Null, "2.53").map(drop)
    }
}

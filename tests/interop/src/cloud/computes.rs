//! The cloud's hosts: killed, stopped, started, cleaned.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Cloud;
use crate::error::{Context, Result, fail};
use crate::wait::{self, secs};

/// The own settings of a host's nova-compute.
pub(super) fn conf(host: &str) -> String {
    format!(
        "[DEFAULT]\nhost = {host}\nstate_path = /var/lib/nova/{host}\n\
         [oslo_concurrency]\nlock_path = /run/cloud/lock-{host}\n"
    )
}

/// Puts what a host's nova-compute needs on the controller's file system.
pub(super) fn prepare(root: &Path, host: &str) -> Result<()> {
    fs::write(root.join(format!("etc/nova/compute-{host}.conf")), conf(host))?;
    Ok(fs::create_dir_all(root.join("var/lib/nova").join(host))?)
}

/// The unit of a host's nova-compute.
pub(super) fn unit(host: &str) -> String {
    format!("nova-compute@{host}.service")
}

impl Cloud {
    /// Starts a host's nova-compute. Waits for nothing.
    pub fn start_compute(&self, host: &str) -> Result<()> {
        self.node.exec(&["systemctl", "start", &unit(host)]).map(drop)
    }

    /// Ends a host's nova-compute in an orderly way.
    pub fn stop_compute(&self, host: &str) -> Result<()> {
        self.node.exec(&["systemctl", "stop", &unit(host)]).map(drop)
    }

    /// Cuts the power of all these hosts at the same time.
    pub fn kill_computes(&self, hosts: &[String]) -> Result<()> {
        let units: Vec<_> = hosts.iter().map(|host| unit(host)).collect();
        let kill = ["systemctl", "kill", "--signal=KILL"];
        self.node.exec(&kill.into_iter().chain(units.iter().map(String::as_str)).collect::<Vec<_>>())?;
        wait::until(secs(20), "the hosts to be dead", || {
            for host in hosts {
                if self.compute_runs(host)? {
                    return fail(format!("{host} lives"));
                }
            }
            Ok(Some(()))
        })
    }

    /// Ends a host's nova-compute, and all its guests, at once: what a power cut does.
    pub fn kill_compute(&self, host: &str) -> Result<()> {
        self.kill_service(&unit(host))
    }

    /// Whether a host's nova-compute runs.
    pub fn compute_runs(&self, host: &str) -> Result<bool> {
        Ok(self.node.run(&["systemctl", "is-active", &unit(host)])?.stdout.trim() == "active")
    }

    /// A host's compute service, as Nova says it.
    pub fn compute_service(&self, host: &str) -> Result<Value> {
        let found = self.admin.get(&format!("/os-services?binary=nova-compute&host={host}"))?;
        found["services"].get(0).cloned().context(format!("no service on {host}"))
    }

    /// Changes a host's compute service. Any answer is fine.
    pub fn set_compute_service(&self, host: &str, change: &Value) -> Result<super::api::Reply> {
        let id = self.compute_service(host)?["id"].as_str().unwrap_or_default().to_owned();
        self.admin.nova("PUT", &format!("/os-services/{id}"), change, "2.53")
    }

    /// Waits until these hosts' services are up and enabled.
    pub fn wait_up(&self, hosts: &[String]) -> Result<()> {
        wait::until(super::START, "all compute services to be up", || {
            let found = self.admin.get("/os-services?binary=nova-compute")?;
            let is_up = |host: &String| {
                let services = found["services"].as_array().map(Vec::as_slice).unwrap_or_default();
                services.iter().any(|service| service["host"] == **host && service["state"] == "up")
            };
            match hosts.iter().find(|host| !is_up(host)) {
                None => Ok(Some(())),
                Some(host) => fail(format!("{host} is down")),
            }
        })
    }

    /// Waits until Nova's cell is known to hold these hosts: before that, none of them can be found by its name.
    pub(super) fn wait_mapped(&self, hosts: &[String]) -> Result<()> {
        let names: Vec<_> = hosts.iter().map(|host| format!("'{host}'")).collect();
        let count =
            format!("select count(*) from nova_api.host_mappings where host in ({})", names.join(","));
        wait::until(super::START, "all hosts to be mapped to the cell", || {
            Ok((self.sql(&count)?.trim() == hosts.len().to_string()).then_some(()))
        })
    }

    /// Cuts a host's power and tells Nova: what is to be so before an evacuation.
    pub fn fence(&self, host: &str) -> Result<()> {
        self.kill_compute(host)?;
        self.set_compute_service(host, &json!({"forced_down": true}))?.ok().map(drop)
    }

    /// How a host's guests are to be from now on: each takes so many seconds to start, or fails to. Only with
    /// [`super::Options::wilful_guests`].
    pub fn guests(&self, host: &str, seconds: f32, fail: bool) -> Result<()> {
        let path = self.node.path(&format!("/etc/cloud/guests-{host}.json"))?;
        let new = path.with_extension("new");
        fs::write(&new, json!({"seconds": seconds, "fail": fail}).to_string())?;
        Ok(fs::rename(new, path)?)
    }

    /// Deletes all servers and brings all hosts back to how they were at the beginning.
    pub fn reset(&self) -> Result<()> {
        for unit in super::SERVICES {
            self.service("start", unit)?;
        }
        self.wait_api()?;
        // They come up while the servers go: their start takes longest.
        let mut started = Vec::new();
        for host in &self.computes {
            let _ = fs::remove_file(self.node.path(&format!("/etc/cloud/guests-{host}.json"))?);
            let power = self.node.path(&format!("/run/cloud/power-{host}"))?;
            if power.exists() {
                fs::write(power, "1")?;
            }
            if !self.compute_runs(host)? {
                // What Placement knows of it is told when it starts, or while it is up.
                self.enable(host)?;
                started.push((host, self.reports(host)?));
                self.start_compute(host)?;
            }
        }
        self.delete_servers()?;
        self.sql("delete from nova_cell1.migrations")?;
        self.forget_more()?;
        for host in &self.computes {
            if self.compute_service(host)?["forced_down"] == true {
                self.set_compute_service(host, &json!({"forced_down": false}))?.ok().context(host)?;
            }
        }
        // Nova takes one that died a moment ago for up: what it says of itself after its start counts.
        for (host, before) in started {
            wait::until(super::START, &format!("{host} to have started"), || {
                Ok((self.reports(host)? != before).then_some(()))
            })?;
        }
        self.wait_up(&self.computes)?;
        self.computes.iter().try_for_each(|host| self.enable(host))
    }

    /// How often a host's nova-compute has reported, which it does when it has started.
    pub fn reports(&self, host: &str) -> Result<String> {
        self.sql(&format!(
            "select report_count from nova_cell1.services where host = '{host}' and `binary` = 'nova-compute' and deleted = 0"
        ))
    }

    fn enable(&self, host: &str) -> Result<()> {
        if self.compute_service(host)?["status"] != "enabled" {
            self.set_compute_service(host, &json!({"status": "enabled"}))?.ok().context(host)?;
        }
        Ok(())
    }
}

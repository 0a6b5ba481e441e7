//! More hosts than the cloud began with, for as long as a test needs them.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::sync::PoisonError;

use serde_json::{Value, json};

use super::{Cloud, computes};
use crate::error::{Context, Result};
use crate::wait;

impl Cloud {
    /// All hosts: those that were there from the beginning, and those that a test has added.
    pub fn hosts(&self) -> Vec<String> {
        let more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        self.computes.iter().chain(more.iter()).cloned().collect()
    }

    /// Adds so many hosts, waits until they are up, and gives their names. [`Cloud::reset`] removes them.
    pub fn add_hosts(&self, count: usize) -> Result<Vec<String>> {
        let before = self.hosts().len();
        let names: Vec<_> = (1..=count).map(|n| format!("compute{}", before + n)).collect();
        let root = self.node.path("/")?;
        for host in &names {
            computes::prepare(&root, host)?;
        }
        // Known from here on, so that whatever comes of them is removed.
        self.more.lock().unwrap_or_else(PoisonError::into_inner).extend(names.iter().cloned());
        for host in &names {
            self.start_compute(host)?;
        }
        self.wait_mapped(&names)?;
        for host in &names {
            // Placement knows of it by then; Nova takes it for up before.
            wait::until(super::START, &format!("{host} to have started"), || {
                Ok((self.reports(host)?.trim() != "0").then_some(()))
            })?;
        }
        self.wait_up(&names)?;
        Ok(names)
    }

    /// Removes the hosts that were added. There are no servers on them.
    pub(super) fn forget_more(&self) -> Result<()> {
        let names = std::mem::take(&mut *self.more.lock().unwrap_or_else(PoisonError::into_inner));
        for host in names {
            for unit in [computes::unit(&host), format!("bmc@{host}")] {
                self.node.exec(&["systemctl", "kill", "--signal=KILL", &unit]).or_else(|error| {
                    // One that does not run cannot be killed.
                    if self.node.run(&["systemctl", "is-active", &unit])?.code() == 0 {
                        Err(error)
                    } else {
                        Ok(String::new())
                    }
                })?;
            }
            let Ok(service) = self.compute_service(&host) else { continue };
            let id = service["id"].as_str().unwrap_or_default().to_owned();
            self.set_compute_service(&host, &json!({"forced_down": true}))?.ok().context(&host)?;
            self.admin
                .nova("DELETE", &format!("/os-services/{id}"), &Value::Null, "2.53")?
                .ok()
                .context(&host)?;
        }
        Ok(())
    }
}

//! The module, put into the Python that Nova runs with, and enabled by the manual's own snippets.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pcmk_interop::Result;
use pcmk_interop::cloud::Cloud;
use pcmk_interop::error::{Context as _, fail};
use pcmk_interop::images::workspace;
use pcmk_interop::run;
use pcmk_interop::wait::{self, secs};
use serde_json::{Value, json};

/// Where Nova's Python looks.
pub(crate) const SITE: &str = "/opt/cloud/lib/python3.11/site-packages";
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The services that have the module, once they are restarted.
pub(crate) const SERVICES: [&str; 3] = ["nova-scheduler", "nova-conductor", "cloud-nova"];

/// A cloud with the module.
pub(crate) struct Installed {
    pub(crate) cloud: Cloud,
    manual: String,
    /// What is set beside what the manual says.
    more: Mutex<String>,
}

impl Installed {
    /// Puts it there and enables it.
    pub(crate) fn new(cloud: Cloud) -> Result<Self> {
        let manual = fs::read_to_string(workspace().join("docs/nova-module.md"))?;
        let it = Self { cloud, manual, more: Mutex::default() };
        let stage = it.cloud.dir().join("module");
        let package = stage.join(SITE.trim_start_matches('/')).join("nova_ext");
        fs::create_dir_all(&package)?;
        for entry in fs::read_dir(workspace().join("python/nova_ext"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "py") {
                fs::copy(&path, package.join(path.file_name().context("a name")?))?;
            }
        }
        fs::copy(native(), package.join("_native.abi3.so")).context(native().display())?;
        let mut metadata = run::command(&["packaging/python-metadata"]);
        metadata.arg(&stage).arg(SITE).current_dir(workspace());
        run::check(metadata, "", secs(60))?;
        it.cloud.node().sh("cp -r /rig/module/. /")?;
        it.cloud.private_file("nova-ha.key", KEY)?;
        it.cloud.node().sh("install -m 600 /rig/nova-ha.key /etc/nova/nova-ha.key")?;
        it.enable("")?;
        Ok(it)
    }

    /// The manual's settings, with these lines in place of others of the same name.
    pub(crate) fn enable(&self, more: &str) -> Result<()> {
        let node = self.cloud.node();
        more.clone_into(&mut self.more.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut conf, mut paste) = (String::new(), String::new());
        for block in self.blocks() {
            let to = if block.contains("api-paste.ini") { &mut paste } else { &mut conf };
            to.push_str(block);
        }
        // Later lines of the same section count.
        fs::write(self.cloud.dir().join("module.conf"), format!("{conf}\n{more}"))?;
        fs::write(self.cloud.dir().join("paste.ini"), paste)?;
        // The pipelines of the manual take the place of Nova's.
        node.exec_with(&["/opt/cloud/bin/python3", "-"], MERGE)?;
        self.restart()
    }

    /// As it was before a trial: the manual's settings alone, no aggregates.
    pub(crate) fn restore(&self) -> Result<()> {
        let changed = !self.more.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if changed {
            self.enable("")?;
        }
        self.forget_aggregates()
    }

    /// An aggregate with these words in its metadata.
    pub(crate) fn aggregate(&self, name: &str, hosts: &[&str], metadata: &Value) -> Result<()> {
        let api = self.cloud.admin();
        let body = json!({"aggregate": {"name": name}});
        let id = api.nova("POST", "/os-aggregates", &body, "2.1")?.ok()?["aggregate"]["id"].clone();
        let act = |action: &Value| api.nova("POST", &format!("/os-aggregates/{id}/action"), action, "2.1");
        for host in hosts {
            act(&json!({"add_host": {"host": host}}))?.ok()?;
        }
        act(&json!({"set_metadata": {"metadata": metadata}}))?.ok().map(drop)
    }

    /// Removes all aggregates.
    pub(crate) fn forget_aggregates(&self) -> Result<()> {
        let api = self.cloud.admin();
        let all = api.nova("GET", "/os-aggregates", &Value::Null, "2.1")?.ok()?;
        for aggregate in all["aggregates"].as_array().into_iter().flatten() {
            let id = &aggregate["id"];
            for host in aggregate["hosts"].as_array().into_iter().flatten() {
                let act = json!({"remove_host": {"host": host}});
                api.nova("POST", &format!("/os-aggregates/{id}/action"), &act, "2.1")?.ok()?;
            }
            api.nova("DELETE", &format!("/os-aggregates/{id}"), &Value::Null, "2.1")?.ok()?;
        }
        Ok(())
    }

    /// Everything that has the module starts anew, and answers. Hosts that a trial has lost are as they are.
    pub(crate) fn restart(&self) -> Result<()> {
        for service in SERVICES {
            self.cloud.service("restart", service)?;
        }
        self.cloud.wait_api()?;
        // A host that was telling the conductor something waits for its answer, and is silent meanwhile.
        let running = self.cloud.hosts();
        let running: Vec<_> =
            running.iter().filter(|host| self.cloud.compute_runs(host).unwrap_or(false)).collect();
        let before = self.reports()?;
        wait::until(secs(120), "all hosts that run to report", || {
            let now = self.reports()?;
            Ok(running.iter().all(|host| now.get(*host) != before.get(*host)).then_some(()))
        })?;
        wait::until(secs(120), "a scheduler", || {
            let services = self.cloud.admin().get("/os-services?binary=nova-scheduler")?;
            Ok((services["services"][0]["state"] == "up").then_some(()))
        })
    }

    /// How often each host has reported.
    fn reports(&self) -> Result<BTreeMap<String, String>> {
        let rows = self.cloud.sql(
            "select host, report_count from nova_cell1.services where `binary` = 'nova-compute' and deleted = 0",
        )?;
        Ok(rows
            .lines()
            .filter_map(|row| row.split_once('\t'))
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect())
    }

    /// What the services have said of it since they were started last.
    pub(crate) fn said(&self) -> Result<String> {
        SERVICES.iter().map(|unit| self.said_by(unit)).collect()
    }

    /// The same of one of them. systemd has a name for each start of a service.
    pub(crate) fn said_by(&self, unit: &str) -> Result<String> {
        self.cloud.node().sh(&format!(
            "start=$(systemctl show --value -p InvocationID {unit}) && journalctl --sync && \
             journalctl -q -o cat _SYSTEMD_INVOCATION_ID=$start | {{ grep -a instance_ha || true; }}"
        ))
    }

    /// The key by which proofs are signed.
    pub(crate) fn key(&self) -> PathBuf {
        self.cloud.dir().join("nova-ha.key")
    }

    /// A file of the package, as the node sees it.
    pub(crate) fn package(name: &str) -> String {
        format!("{SITE}/nova_ext/{name}")
    }

    fn blocks(&self) -> Vec<&str> {
        self.manual
            .split("```ini\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```").map(|(block, _)| block))
            .filter(|block| !block.contains("tls:ctl1"))
            .collect()
    }
}

/// The native part.
fn native() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    env::var_os("PCMK_MODULE").map_or_else(|| target.join("release/lib_native.so"), PathBuf::from)
}

/// Says which file is missing before a cloud is started for it.
pub(crate) fn ensure() -> Result<()> {
    if native().exists() {
        Ok(())
    } else {
        fail(format!("{} is missing: make test-module", native().display()))
    }
}

/// Puts the manual's snippets where they belong: multi-valued options keep all their lines.
const MERGE: &str = include_str!("merge.py");

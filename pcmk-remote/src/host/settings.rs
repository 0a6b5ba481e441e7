//! Where things are on this machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use libvirt_probe::agents::{self, Attributes};

use crate::sys::DescriptorLimit;

/// Places and limits of a host.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Environment of every agent, before its own variables are added.
    pub base_env: Vec<(OsString, OsString)>,
    /// The limit of open descriptors that programs start with, if the daemon has another one.
    pub descriptors: Option<DescriptorLimit>,
    /// `OCF_ROOT`.
    pub ocf_root: PathBuf,
    /// Directories with one directory per provider of OCF agents.
    pub ocf_path: Vec<PathBuf>,
    /// Where agents keep what outlives a process of theirs.
    pub agent_state_dir: PathBuf,
    /// Node attributes of the cluster, for agents that run in this process.
    pub attributes: Attributes,
    /// Init scripts.
    pub lsb_dir: PathBuf,
    /// Values of secret parameters, one directory per resource.
    pub secrets_dir: PathBuf,
    /// Where systemd looks for what lives until the next boot.
    pub unit_dir: PathBuf,
    /// Bytes kept of each of a program's two outputs; the rest is read and dropped.
    pub output_limit: usize,
    /// Who runs alert programs, when the daemon is root.
    pub alert_user: String,
    /// Address of the bus that systemd is on; `None` is the system bus.
    pub bus_address: Option<String>,
    /// After this time without a signal a job of systemd is looked at.
    pub job_poll: Duration,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            base_env: std::env::vars_os().filter(|(name, _)| name != "NOTIFY_SOCKET").collect(),
            descriptors: None,
            ocf_root: "/usr/lib/ocf".into(),
            ocf_path: vec!["/usr/lib/ocf/resource.d".into()],
            agent_state_dir: agents::FOLDER.into(),
            attributes: Attributes::channel().0, // nobody is there
            lsb_dir: "/etc/init.d".into(),
            secrets_dir: "/var/lib/pacemaker/lrm/secrets".into(),
            unit_dir: "/run/systemd/system".into(),
            output_limit: 1 << 20,
            alert_user: "hacluster".to_owned(),
            bus_address: None,
            job_poll: Duration::from_secs(5),
        }
    }
}

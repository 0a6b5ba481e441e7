//! What settings amount to, for whoever checks them before the daemon meets them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::config::{Config, Environment, Options};
use crate::net::tls::CertificateFiles;

/// The files that the unit reads, in this order.
pub(crate) const SETTINGS_FILES: [&str; 4] =
    ["/etc/default/pacemaker", "/etc/default/sbd", "/etc/sysconfig/pacemaker", "/etc/sysconfig/sbd"];

/// The daemon's settings as far as they name something that can be looked at.
pub(crate) struct Settings {
    pub(crate) address: Option<String>,
    pub(crate) port: u16,
    pub(crate) key_location: Option<PathBuf>,
    pub(crate) certificates: Option<CertificateFiles>,
    pub(crate) policy_file: Option<PathBuf>,
    pub(crate) log_files: Vec<PathBuf>,
    pub(crate) sbd_timeout_ms: u64,
    /// What the daemon would warn about.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// As the daemon reads them from its environment.
    pub(crate) fn of(variables: BTreeMap<OsString, OsString>) -> Self {
        let env = Environment::of(variables);
        let config = Config::new(&Options::default(), &env);
        Self {
            address: config.address,
            port: config.port,
            key_location: config.credentials.key_location,
            certificates: config.credentials.certificates,
            policy_file: config.policy_file,
            log_files: config.log.files,
            sbd_timeout_ms: config.sbd_timeout_ms,
            warnings: config.warnings,
        }
    }
}

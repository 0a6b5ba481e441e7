//! The official binding, which is C libvirt: for remote URIs, and a second opinion on what [`crate::rpc`] says.
//!
//! Never part of the daemon. A call into C libvirt cannot be given up, so each is made in a thread that is not
//! waited for longer than the limit; while it hangs, no other one is made for the same URI.

use std::time::Duration;

use crate::aside::{self, Aside};
use crate::libvirt::Domain;
use crate::libvirt::domain::{uuid_text, words};
use crate::rpc::message::{State, Version};

/// What C libvirt tells of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Version of the library at the other end.
    pub version: Version,
    /// All domains, in the order of names.
    pub domains: Vec<Domain>,
}

/// Why C libvirt has no answer.
#[derive(Debug, thiserror::Error)]
pub enum OfficialError {
    /// It does not come back.
    #[error("C libvirt, asked for {uri}, {reason}")]
    Hangs {
        /// Which URI.
        uri: String,
        /// For how long.
        reason: Aside,
    },
    /// It says why.
    #[error("{uri}: {source}")]
    Refused {
        /// Which URI.
        uri: String,
        /// In its words.
        source: virt::error::Error,
    },
}

/// Asks for version and domains. Opens the URI read-only.
pub async fn ask(uri: &str, limit: Duration) -> Result<Host, OfficialError> {
    let asked = uri.to_owned();
    // It would print errors by itself, too.
    virt::error::clear_error_callback();
    match aside::run(uri, limit, move || look(&asked)).await {
        Ok(Ok(host)) => Ok(host),
        Ok(Err(source)) => Err(OfficialError::Refused { uri: uri.to_owned(), source }),
        Err(reason) => Err(OfficialError::Hangs { uri: uri.to_owned(), reason }),
    }
}

fn look(uri: &str) -> Result<Host, virt::error::Error> {
    let connection = Connection(virt::connect::Connect::open_read_only(Some(uri))?);
    let version = Version(connection.0.get_lib_version()?.into());
    let mut domains = Vec::new();
    for domain in connection.0.list_all_domains(0)? {
        let (state, reason) = domain.get_state()?;
        let numbers = (state.cast_signed(), reason);
        let (state, reason) = words(State { state: numbers.0, reason: numbers.1 });
        domains.push(Domain {
            name: domain.get_name()?,
            uuid: uuid_text(domain.get_uuid()?.into_bytes()),
            id: domain.get_id().and_then(|id| id.try_into().ok()),
            state,
            reason,
            numbers,
            control: None,
            process: None,
        });
    }
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Host { version, domains })
}

/// Closed when dropped.
struct Connection(virt::connect::Connect);

impl Drop for Connection {
    fn drop(&mut self) {
        // Nothing is left to be done if even that fails.
        let _ = self.0.close();
    }
}

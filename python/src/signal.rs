//! Events on their way from Nova's processes to the engine.

use std::path::PathBuf;
use std::sync::Mutex;

use nova_ext::cloud::Tls;
use nova_ext::events::{Address, Event, Sender};
use nova_ext::stamp::Stamp;
use pyo3::prelude::*;

use crate::errors::{Failure, Kind};
use crate::guard::{guarded, lock};

/// Sends events. Each process has its own thread for it, begun with the first event.
#[pyclass(frozen, module = "nova_ext._native")]
pub(crate) struct Signal {
    addresses: Vec<Address>,
    certificates: Tls,
    room: usize,
    /// Taken with Python's lock held, and forks are done with it: no child finds it locked.
    sender: Mutex<Option<(u32, Sender)>>,
}

#[pymethods]
impl Signal {
    #[new]
    #[pyo3(signature = (addresses, ca, certificate, key, room))]
    fn new(
        addresses: Vec<String>,
        ca: Option<PathBuf>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        room: usize,
    ) -> PyResult<Self> {
        guarded("Signal", || {
            let addresses: Result<Vec<Address>, _> = addresses.iter().map(|text| text.parse()).collect();
            let addresses = addresses.map_err(|error| Failure::new(Kind::ConfigError, error.to_string()))?;
            let certificates = Tls { ca, certificate, key, insecure: false };
            Ok(Self { addresses, certificates, room, sender: Mutex::default() })
        })
    }

    /// Takes an event, if there is room for it: whether there was. Never waits. A name that cannot be one is left out.
    #[pyo3(signature = (kind, publisher, host, server, forced_down))]
    fn offer(
        &self,
        kind: String,
        publisher: String,
        host: Option<&str>,
        server: Option<&str>,
        forced_down: Option<bool>,
    ) -> PyResult<bool> {
        guarded("Signal.offer", || {
            let event = Event {
                kind,
                at: Stamp::now(),
                publisher,
                host: host.and_then(|host| host.parse().ok()),
                server: server.and_then(|server| server.parse().ok()),
                forced_down,
            };
            let Some(line) = event.to_line() else { return Ok(false) };
            let mut sender = lock(&self.sender);
            let pid = std::process::id();
            if sender.as_ref().is_none_or(|(of, _)| *of != pid) {
                let made = Sender::start(self.addresses.clone(), self.certificates.clone(), self.room)
                    .map_err(|error| Failure::retryable(Kind::EngineError, error.to_string()))?;
                // The parent's: its thread is not here.
                std::mem::forget(sender.replace((pid, made)));
            }
            Ok(sender.as_ref().is_some_and(|(_, sender)| sender.offer(line)))
        })
    }

    /// Sent, lost, who takes them now, and why nobody did last.
    fn stats(&self) -> PyResult<(u64, u64, Option<String>, Option<String>)> {
        guarded("Signal.stats", || {
            let sender = lock(&self.sender);
            let stats = sender.as_ref().map(|(_, sender)| sender.stats()).unwrap_or_default();
            Ok((stats.sent, stats.lost, stats.peer, stats.trouble))
        })
    }
}

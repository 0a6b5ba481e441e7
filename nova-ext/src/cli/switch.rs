//! `nova-ha freeze`, `thaw` and `return`: what the operator decides.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use clap::Args;

use super::{Exit, Failure, print};
use crate::config::{Config, Names, known_hosts};
use crate::handover::{Marked, Queue, Request, Wish};
use crate::ids::{HostName, IncidentId};
use crate::serve;
use crate::stamp::Stamp;

/// Arguments of `freeze`.
#[derive(Debug, Args)]
pub(super) struct Freeze {
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    reason: String,
}

/// Arguments of `return`.
#[derive(Debug, Args)]
pub(super) struct Return {
    /// The host, by its name in Nova or in the cluster
    #[arg(value_name = "HOST")]
    host: String,
    /// Switch it on first, by its device in the map
    #[arg(long)]
    power_on: bool,
    /// Release it from quarantine
    #[arg(long)]
    release: bool,
}

pub(super) fn freeze(options: &Freeze, config: &Config) -> Result<Exit, Failure> {
    serve::freeze(config, &format!("{} ({})", options.reason, who())).map_err(Failure::failed)?;
    print(b"frozen: nothing is begun until nova-ha thaw; fencing goes on, and its requests wait\n")
}

pub(super) fn thaw(config: &Config) -> Result<Exit, Failure> {
    let was = serve::thaw(config).map_err(Failure::failed)?;
    print(if was { b"thawed\n" } else { b"it was not frozen\n" })
}

/// Asks the engine for it; the engine reports each step in the journal and in `status`.
pub(super) fn comeback(options: &Return, config: &Config) -> Result<Exit, Failure> {
    let host = host(&options.host, config)?;
    if options.release {
        serve::release(config, &host, &who()).map_err(Failure::failed)?;
    }
    let node = Names::new(&config.hosts).map_err(Failure::failed)?.node(&host).cloned();
    let request = Request {
        id: IncidentId::new_random(),
        wish: Wish::Return,
        at: Stamp::now(),
        by: format!("{} on {}", who(), serve::controller()),
        node: node
            .or_else(|| options.host.parse().ok())
            .ok_or_else(|| Failure::failed("it cannot be a node"))?,
        host: host.clone(),
        proof: None,
        marked: Marked::Done,
        power_on: options.power_on,
        evacuates: false,
        shared_storage: None,
        not_before: None,
        story: Vec::new(),
    };
    Queue::new(config.files.queue()).put(&request).map_err(Failure::failed)?;
    let text = format!("the engine of this controller lets {host} return to service: see nova-ha status\n");
    print(text.as_bytes())
}

/// The host of a name, without asking Nova.
pub(super) fn host(name: &str, config: &Config) -> Result<HostName, Failure> {
    let names = Names::new(&config.hosts).map_err(Failure::failed)?;
    let known = known_hosts(&config.files.known_hosts());
    if known.is_empty() {
        return match names.configured(name) {
            Some(host) => Ok(host.clone()),
            None => name.parse().map_err(Failure::failed),
        };
    }
    names.resolve(name, None, &known).map_err(Failure::failed)
}

/// Who decides: whoever logged in, before any change of users.
pub(super) fn who() -> String {
    let named = ["SUDO_USER", "LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
    let named = named.filter(|name| !name.is_empty() && name.len() <= 64);
    named.unwrap_or_else(|| format!("user {}", nix::unistd::getuid()))
}

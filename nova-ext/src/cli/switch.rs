//! `nova-ha freeze`, `thaw`, `maintenance`, `go-ahead` and `return`: what the operator decides.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Exit, Failure, print};
use crate::client::hosts;
use crate::config::{Config, Names};
use crate::handover::{Marked, Queue, Request, Wish};
use crate::ids::{HostName, IncidentId};
use crate::serve;
use crate::stamp::Stamp;

const ANSWER: Duration = Duration::from_secs(5);

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

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Onoff {
    /// It begins
    On,
    /// It is over
    Off,
}

/// Arguments of `maintenance`.
#[derive(Debug, Args)]
pub(super) struct Maintenance {
    /// Whether it begins or is over
    #[arg(value_enum, value_name = "on|off")]
    switch: Onoff,
    /// The host, by its name in Nova or in the cluster; without it the whole cloud
    #[arg(value_name = "HOST")]
    host: Option<String>,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    reason: String,
}

/// Arguments of `go-ahead`.
#[derive(Debug, Args)]
pub(super) struct GoAhead {
    /// The host, by its name in Nova or in the cluster
    #[arg(value_name = "HOST")]
    host: String,
}

pub(super) fn maintenance(options: &Maintenance, config: &Config) -> Result<Exit, Failure> {
    let host = options.host.as_deref().map(|name| host(name, config)).transpose()?;
    let what = host.as_ref().map_or("the whole cloud", HostName::as_str);
    let text = match options.switch {
        Onoff::On => {
            let reason = format!("{} ({})", options.reason, serve::who());
            serve::maintenance_on(config, host.as_ref(), &reason).map_err(Failure::failed)?;
            format!(
                "{what} is in maintenance: its evacuations wait until nova-ha maintenance off; fencing goes on\n"
            )
        }
        Onoff::Off if serve::maintenance_off(config, host.as_ref()).map_err(Failure::failed)? => {
            format!("{what} is not in maintenance any more\n")
        }
        Onoff::Off => format!("{what} was not in maintenance\n"),
    };
    print(text.as_bytes())
}

pub(super) async fn go_ahead(options: &GoAhead, config: &Config) -> Result<Exit, Failure> {
    let host = host(&options.host, config)?;
    let queued = Queue::new(config.files.queue()).list().map_err(Failure::failed)?.requests;
    let queued = queued.iter().any(|one| one.wish == Wish::Evacuate && one.host == host);
    if !queued && !is_at(config, &host).await {
        let text = format!(
            "nobody has asked this controller for an evacuation of {host}, so that nothing of it waits: see nova-ha status"
        );
        return Err(Failure::failed(text));
    }
    serve::go_ahead(config, &host, &serve::who()).map_err(Failure::failed)?;
    let text =
        format!("{host} is evacuated however many hosts are down; for this failure, and for 24 h at most\n");
    print(text.as_bytes())
}

/// Whether the engine of this controller has an incident of the host.
async fn is_at(config: &Config, host: &HostName) -> bool {
    let Ok(health) = serve::ask(config.files.socket(), ANSWER).await else { return false };
    let incidents = health.status.get("incidents").and_then(|it| it.as_array());
    incidents.into_iter().flatten().any(|one| one.get("host").is_some_and(|it| it == host.as_str()))
}

pub(super) fn freeze(options: &Freeze, config: &Config) -> Result<Exit, Failure> {
    serve::freeze(config, &format!("{} ({})", options.reason, serve::who())).map_err(Failure::failed)?;
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
        serve::release(config, &host, &serve::who()).map_err(Failure::failed)?;
    }
    let node = Names::new(&config.hosts).map_err(Failure::failed)?.node(&host).cloned();
    let request = Request {
        id: IncidentId::new_random(),
        wish: Wish::Return,
        at: Stamp::now(),
        by: format!("{} on {}", serve::who(), serve::controller()),
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
    hosts::known_here(name, config).map_err(Failure::failed)
}

//! `nova-ha evacuate`: hands a host that is proven off to the engine, as the fence agent does, and follows it if asked.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::time::Duration;

use clap::Args;

use super::plan::clean;
use super::{Exit, Failure, complain, print};
use crate::client::{ClientError, evacuate, hosts, proof};
use crate::config::{Config, Names};
use crate::engine::journal::{Entry, Outcome};
use crate::ids::{HostName, NodeName};
use crate::proof::FenceProof;
use crate::proof::ledger::Proofs;
use crate::proof::signed::Signer;
use crate::report::say;
use crate::serve;

/// For the engine's socket.
const ANSWER: Duration = Duration::from_secs(5);

/// Arguments of `evacuate`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The host, by its name in Nova or in the cluster
    #[arg(value_name = "HOST")]
    host: String,
    /// Who has seen that the host is off, and vouches for it by name; for a host without another proof
    #[arg(long, value_name = "NAME")]
    operator_confirms_off: Option<String>,
    /// Follow it to its end
    #[arg(long)]
    wait: bool,
    /// Seconds to follow it at most; it goes on without us
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "wait")]
    timeout: u32,
}

pub(super) async fn run(options: &Options, config: &Config) -> Result<Exit, Failure> {
    let host = hosts::find(&options.host, config).await.map_err(Failure::failed)?;
    let proof = prove(options, config, &host).await.map_err(Failure::failed)?;
    let line = match Signer::from_file(&config.files.key) {
        Ok(signer) => Some(signer.sign(&proof)),
        Err(error) => {
            complain(&format!("other controllers cannot check the proof: {error}"));
            None
        }
    };
    let node = node(options, config, &host)?;
    let by = format!("{} on {}", serve::who(), serve::controller());
    let asked = evacuate::ask(config, &host, &node, line.as_deref(), by).map_err(Failure::failed)?;
    if let Some(line) = &line
        && let Err(error) = evacuate::announce(&node, line).await
    {
        complain(&format!("this controller alone knows of the request: {error}"));
    }
    let engine = serve::ask(config.files.socket(), ANSWER).await;
    if let Err(error) = &engine {
        complain(&format!("no engine answers on this controller, the request waits for one: {error}"));
    }
    let incident = asked.incident;
    let text = format!(
        "the engine is asked to evacuate {host}, incident {incident}\n{proof}\nfollow it: nova-ha status; nova-ha report {incident}\n"
    );
    print(text.as_bytes())?;
    if !options.wait {
        return Ok(Exit::Ok);
    }
    let mut printed = Ok(Exit::Ok);
    let tell = |entry: &Entry| {
        let line = format!("{}  {}\n", entry.at, clean(&say(&entry.event)));
        if printed.is_ok() {
            printed = print(line.as_bytes());
        }
    };
    let patience = Duration::from_secs(options.timeout.into());
    let outcome = evacuate::follow(config, &asked, patience, tell).await.map_err(Failure::failed)?;
    printed?;
    Ok(if outcome == Outcome::Complete { Exit::Ok } else { Exit::Failed })
}

fn node(options: &Options, config: &Config, host: &HostName) -> Result<NodeName, Failure> {
    let names = Names::new(&config.hosts).map_err(Failure::failed)?;
    let node = names.node(host).cloned().or_else(|| options.host.parse().ok());
    node.ok_or_else(|| Failure::failed("it cannot be a node"))
}

/// The proof that holds; a new one if somebody vouches for it.
async fn prove(options: &Options, config: &Config, host: &HostName) -> Result<FenceProof, ClientError> {
    let known = Proofs::load(&config.files.proofs())?.current(host).cloned();
    if known.is_none() && options.operator_confirms_off.is_none() {
        return Err(ClientError::NotProven(host.clone()));
    }
    let may_be_on = known.as_ref().is_some_and(|proof| proof.evidence().leaves_power_on());
    if !may_be_on && serve::reads_on(config, host).await? {
        return Err(ClientError::IsOn(host.clone()));
    }
    if let Some(proof) = known {
        return Ok(proof);
    }
    proof::vouch(config, host, options.operator_confirms_off.as_deref().unwrap_or_default()).await
}

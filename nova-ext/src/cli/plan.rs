//! `nova-ha plan`: what the engine would do about a host. Reads, and changes nothing.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, print, print_json};
use crate::cloud::Cloud;
use crate::config::{Config, NameError, Names};
use crate::engine::nova::Compute as _;
use crate::ids::{HostName, ServerId};
use crate::plan::{LeftOut, Move, plan};
use crate::serve;

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The host, by its name in Nova or in the cluster
    #[arg(value_name = "HOST")]
    host: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Planned<'a> {
    host: &'a HostName,
    moves: Vec<Moved<'a>>,
    left_out: Vec<Left<'a>>,
}

#[derive(Serialize)]
struct Moved<'a> {
    /// Counted from 1.
    place: usize,
    server: ServerId,
    name: &'a str,
    priority: i32,
    group: Option<&'a str>,
    /// Whether it runs, so that it must run again.
    runs: bool,
    why: &'a str,
}

#[derive(Serialize)]
struct Left<'a> {
    server: ServerId,
    name: &'a str,
    reason: &'static str,
    why: String,
}

pub(super) async fn run(options: &Options, config: &Config) -> Result<Exit, Failure> {
    let policy = serve::policy(config).map_err(Failure::failed)?;
    let cloud = connect(config).await?;
    let host = host_in_nova(&options.host, config, &cloud).await?;
    let (inventory, ..) = cloud.inventory(&host).await.map_err(|trouble| Failure::failed(trouble.why))?;
    let plan = plan(&inventory, &policy);
    let planned = Planned {
        host: &host,
        moves: plan.moves.iter().enumerate().map(moved).collect(),
        left_out: plan.left_out.iter().map(left).collect(),
    };
    if options.json { print_json(&planned) } else { print(text(&planned).as_bytes()) }
}

/// The cloud, by the configuration's credentials.
pub(super) async fn connect(config: &Config) -> Result<Cloud, Failure> {
    let settings = config.cloud_settings().map_err(Failure::failed)?;
    Cloud::connect(&settings).await.map_err(Failure::failed)
}

/// The host of a name, among those that Nova has now.
pub(super) async fn host_in_nova(name: &str, config: &Config, cloud: &Cloud) -> Result<HostName, Failure> {
    let names = Names::new(&config.hosts).map_err(Failure::failed)?;
    let services = cloud.compute_services().await.map_err(Failure::failed)?;
    let known: Vec<HostName> = services.into_iter().map(|service| service.host).collect();
    match names.resolve(name, None, &known) {
        Ok(host) => Ok(host),
        Err(NameError::Unknown(unknown)) => {
            // The client knows names that are near, and cells that are down.
            let host: HostName = unknown.parse().map_err(Failure::failed)?;
            cloud.compute_service(&host).await.map(|service| service.host).map_err(Failure::failed)
        }
        Err(error) => Err(Failure::failed(error)),
    }
}

fn moved((place, one): (usize, &Move)) -> Moved<'_> {
    Moved {
        place: place.saturating_add(1),
        server: one.server,
        name: &one.name,
        priority: one.priority,
        group: one.group.as_deref(),
        runs: one.ran,
        why: &one.why,
    }
}

fn left(one: &LeftOut) -> Left<'_> {
    Left { server: one.server, name: &one.name, reason: one.reason.code(), why: one.reason.to_string() }
}

fn text(planned: &Planned<'_>) -> String {
    let Planned { host, moves, left_out } = planned;
    let names = moves.iter().map(|one| one.name).chain(left_out.iter().map(|one| one.name));
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0).clamp(4, 40);
    let mut text = format!(
        "{host}: {} servers would be moved, {} would stay. Nothing was changed.\n",
        moves.len(),
        left_out.len()
    );
    // No errors: into a string.
    if !moves.is_empty() {
        let _ = writeln!(
            text,
            "\n{:>5}  {:<36}  {:<width$}  {:>8}  {:<12}  WHY",
            "ORDER", "SERVER", "NAME", "PRIORITY", "GROUP"
        );
    }
    for one in moves {
        let (name, group, why) = (clean(one.name), clean(one.group.unwrap_or("-")), clean(one.why));
        let stopped = if one.runs { "" } else { "; it does not run, and stays stopped" };
        let _ = writeln!(
            text,
            "{:>5}  {:<36}  {name:<width$}  {:>8}  {group:<12}  {why}{stopped}",
            one.place,
            one.server.to_string(),
            one.priority,
        );
    }
    if !left_out.is_empty() {
        let _ = writeln!(text, "\nSTAY   {:<36}  {:<width$}  WHY", "SERVER", "NAME");
    }
    for one in left_out {
        let (name, why) = (clean(one.name), clean(&one.why));
        let _ = writeln!(text, "       {:<36}  {name:<width$}  {why}", one.server.to_string());
    }
    text
}

/// What a project calls its servers is not for the terminal to obey.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Reason};

    #[test]
    fn a_plan_is_a_table_that_obeys_nobody() {
        let id = |n: u8| format!("00000000-0000-4000-8000-0000000000{n:02}").parse().unwrap();
        let one = Move {
            server: id(1),
            name: "db\u{1b}[2J".into(),
            ran: false,
            reset: false,
            priority: 7,
            group: Some("databases".into()),
            why: "the mode is all".into(),
        };
        let stays = LeftOut { server: id(2), name: "lb".into(), reason: Reason::Amphora };
        let plan = Plan { moves: vec![one], left_out: vec![stays] };
        let host = "c1".parse().unwrap();
        let planned = Planned {
            host: &host,
            moves: plan.moves.iter().enumerate().map(moved).collect(),
            left_out: plan.left_out.iter().map(left).collect(),
        };
        let said = text(&planned);
        assert!(said.starts_with("c1: 1 servers would be moved, 1 would stay."), "{said}");
        assert!(
            !said.contains('\u{1b}') && said.contains("    1  00000000-0000-4000-8000-000000000001  db [2J")
        );
        assert!(
            said.contains("7  databases     the mode is all; it does not run, and stays stopped\n"),
            "{said}"
        );
        assert!(said.contains("000000000002  lb"), "{said}");
        let json = serde_json::to_value(&planned).unwrap();
        assert_eq!(
            (&json["moves"][0]["place"], &json["left_out"][0]["reason"]),
            (&1.into(), &"amphora".into())
        );
    }
}

//! `nova-ha plan`: what the engine would do about a host. Reads, and changes nothing.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::fmt::Write as _;

use clap::Args;

use super::{Exit, Failure, print, print_json};
use crate::client::hosts::{self, Planned};
use crate::config::Config;

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

pub(super) async fn run(options: &Options, config: &Config) -> Result<Exit, Failure> {
    let planned = hosts::plan(config, &options.host).await.map_err(Failure::failed)?;
    if options.json { print_json(&planned) } else { print(text(&planned).as_bytes()) }
}

fn text(planned: &Planned) -> String {
    let Planned { host, moves, left_out } = planned;
    let names = moves.iter().map(|one| &one.name).chain(left_out.iter().map(|one| &one.name));
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
        let (name, group, why) =
            (clean(&one.name), clean(one.group.as_deref().unwrap_or("-")), clean(&one.why));
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
        let (name, why) = (clean(&one.name), clean(&one.why));
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
    use crate::plan::{LeftOut, Move, Plan, Reason};

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
        let planned = Planned::new("c1".parse().unwrap(), plan);
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

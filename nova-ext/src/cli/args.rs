//! The command line. Each command's own arguments stand with the command.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use clap::{Parser, Subcommand};

use std::path::PathBuf;

use super::{capacity, engine, evacuate, lint, plan, power, report, switch, validate};

const AFTER_HELP: &str = "\
Exit codes:
  0   done; for power status: the host is on; for capacity: yes; for lint: nothing is wrong
  1   not done, or it cannot be told; for capacity: no; for lint: something is wrong
  2   for power status: the host is off
  64  the command line makes no sense";

/// Recovery of a failed compute: fence with proof, force down, evacuate, bring back.
#[derive(Debug, Parser)]
#[command(name = "nova-ha", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(super) struct Args {
    /// The configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one
    #[arg(long, short = 'c', global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read and switch the power of a host
    Power(Box<power::Options>),
    /// Run the engine, as ocf:pcmk-remote:nova-evacuate does
    Engine(engine::Options),
    /// Say what would be done about the servers of a host, in which order and why; does nothing
    Plan(plan::Options),
    /// Ask the engine to evacuate a host that is proven off
    Evacuate(evacuate::Options),
    /// Say whether the other hosts could take the servers of any one host, or of any K
    Capacity(capacity::Options),
    /// Find words about evacuation that are misspelt, not understood or contradicting, over the whole cloud
    Lint(lint::Options),
    /// Say how the engine of this controller is, what waits for it, and which hosts are proven off
    Status(report::Status),
    /// List incidents, or report one: timeline as text, JSON or page
    Report(report::Report),
    /// Say what was decided about a server or a host, and why
    Explain(report::Explain),
    /// Let a host return to service
    Return(switch::Return),
    /// Begin nothing until thaw; fencing goes on
    Freeze(switch::Freeze),
    /// Begin things again
    Thaw,
    /// Begin no evacuation of a host, or of any, or do so again; fencing goes on
    Maintenance(switch::Maintenance),
    /// Let a host be evacuated although too many are down at once
    GoAhead(switch::GoAhead),
    /// Check configuration, credentials, roles, power devices and names
    Validate(validate::Options),
    /// Print a completion script
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

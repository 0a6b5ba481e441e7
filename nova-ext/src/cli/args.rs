//! The command line. Each command's own arguments stand with the command.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use clap::{Parser, Subcommand};

use super::power;

const AFTER_HELP: &str = "\
Exit codes:
  0   done; for power status: the host is on
  1   not done, or it cannot be told
  2   for power status: the host is off
  64  the command line makes no sense";

/// Recovery of a failed compute: fence with proof, force down, evacuate, bring back.
#[derive(Debug, Parser)]
#[command(name = "nova-ha", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read and switch the power of a host
    Power(Box<power::Options>),
    /// Print a completion script
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

//! The command line.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::status::SOCKET;

const AFTER_HELP: &str = "\
Exit codes:
  0    all is well
  1    a check found something wrong, or the cluster refused
  4    not permitted
  64   bad command line
  65   the input cannot be decoded
  102  the daemon does not answer
  124  time is up";

/// Looks after pacemaker-remoted on this node.
#[derive(Debug, Parser)]
#[command(name = "pcmk-remotectl", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(super) struct Args {
    /// The daemon's status socket
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET)]
    pub(super) socket: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the daemon, its peers and resources, and what needs attention
    Status,
    /// List operations that run, wait or recur
    Ops(Filter),
    /// List the latest results, oldest first
    History(HistoryFilter),
    /// Leave the cluster in order, as `systemctl stop pacemaker_remote` does, and show the progress
    Drain(DrainOptions),
    /// Find out why a node cannot be connected to, or that it can
    ///
    /// Leaves before the handshake is complete, so that a connected cluster does not notice. The daemon
    /// there logs a failed handshake for each try.
    TlsCheck(TlsCheckOptions),
    /// Check settings, keys, certificates, users and the port, before the daemon meets them
    ValidateConfig(ValidateOptions),
    /// Turn recorded messages into XML
    ///
    /// Reads decrypted remote messages or local IPC messages: as they are, as a hex dump, or in a pcap file
    /// of unencrypted TCP.
    Decode(DecodeOptions),
    /// Print a completion script
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct Filter {
    /// Only this resource (or instance)
    #[arg(long, short, value_name = "ID")]
    pub(super) resource: Option<String>,
    /// Only what runs now
    #[arg(long)]
    pub(super) running: bool,
    /// Only what is not well: failed, timed out, overdue
    #[arg(long)]
    pub(super) bad: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct HistoryFilter {
    /// Only this resource (or instance)
    #[arg(long, short, value_name = "ID")]
    pub(super) resource: Option<String>,
    /// Only failures, timeouts and what could not be run
    #[arg(long)]
    pub(super) bad: bool,
    /// Only the last N
    #[arg(long, short = 'n', value_name = "N")]
    pub(super) last: Option<usize>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DrainOptions {
    /// Give up waiting after this many seconds; the drain itself goes on
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = seconds)]
    pub(super) timeout: Duration,
}

#[derive(Debug, ClapArgs)]
pub(super) struct TlsCheckOptions {
    /// Node to check: a name or address, and a port if it is not 3121
    #[arg(value_name = "HOST[:PORT]")]
    pub(super) target: String,
    /// The cluster's key file; default: where the daemon looks for it
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// This node's certificate; default: PCMK_cert_file
    #[arg(long, value_name = "FILE")]
    pub(super) cert_file: Option<PathBuf>,
    /// The authorities' certificates; default: PCMK_ca_file
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// The certificate's private key; default: PCMK_key_file
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// For each step
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(super) timeout: Duration,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ValidateOptions {
    /// Settings file; may be given more than once; default: those that the unit reads
    #[arg(long, value_name = "FILE")]
    pub(super) file: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DecodeOptions {
    /// What to read; standard input if it is not given or `-`
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// What is in it
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(super) format: Format,
}

/// How recorded messages are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Find out
    Auto,
    /// The bytes as they are
    Raw,
    /// Hexadecimal, with or without offsets and a text column
    Hex,
    /// A pcap file of unencrypted TCP
    Pcap,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.strip_suffix('s').unwrap_or(text).parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds".to_owned()),
    }
}

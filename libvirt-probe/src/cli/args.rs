//! The command line.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::config::span;
use crate::verdict::Subject;

const AFTER_HELP: &str = "\
Exit codes, as those of monitoring plug-ins:
  0  ok
  1  degraded: it works with restrictions
  2  failed
  3  unknown: no permission, not installed, wrong configuration or command line
With check --ocf: 0 ok, 190 degraded, 1 failed, 7 not running, 4 no permission, 5 not installed,
6 wrong configuration

At 3 a.m. on a sick node: libvirt-probe explain all";

/// Finds the hangs of a compute node that process lists miss.
#[derive(Debug, Parser)]
#[command(name = "libvirt-probe", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(super) struct Args {
    /// Settings of the probes; default: /etc/pcmk-remote/probes.toml if there is one
    #[arg(long, short = 'c', global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check once and say how it is, for people, monitoring and scripts
    ///
    /// A failure is confirmed by a second look within the deadline, unless there is no doubt.
    Check(CheckOptions),
    /// Say what was asked, what came back, how long it took, and what to do next
    Explain(ExplainOptions),
    /// Check again and again, with history; one line per change if the output is not a terminal
    Watch(WatchOptions),
    /// List the domains with their state, their monitor and their QEMU process
    Domains(DomainsOptions),
    /// Measure what the probe costs
    Bench(BenchOptions),
    /// Print a completion script
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Chosen {
    /// The libvirt daemon and its domains
    Libvirt,
    /// Nova's agent on this host
    NovaCompute,
    /// Other units of a compute node
    Services,
    /// The host itself
    Host,
    /// What the configuration lists as `subjects`; without that, all of these
    All,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Subjects {
    /// What to look at
    #[arg(value_enum, value_name = "SUBJECT", default_value = "libvirt")]
    pub(super) chosen: Vec<Chosen>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Socket {
    /// libvirt's socket, instead of those that the configuration lists
    #[arg(long, short, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Deadline {
    /// It never takes longer than this: milliseconds, or with a unit as in 5s
    #[arg(long, short, value_name = "MS", default_value = "8000", value_parser = milliseconds)]
    pub(super) deadline: Duration,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CheckOptions {
    #[command(flatten)]
    pub(super) subjects: Subjects,
    #[command(flatten)]
    pub(super) socket: Socket,
    #[command(flatten)]
    pub(super) deadline: Deadline,
    /// Print one JSON object
    #[arg(long, conflicts_with = "nagios")]
    pub(super) json: bool,
    /// Print one line with performance data, for monitoring systems
    #[arg(long)]
    pub(super) nagios: bool,
    /// Exit with the codes of OCF resource agents
    #[arg(long, conflicts_with = "nagios")]
    pub(super) ocf: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ExplainOptions {
    #[command(flatten)]
    pub(super) subjects: Subjects,
    #[command(flatten)]
    pub(super) socket: Socket,
    #[command(flatten)]
    pub(super) deadline: Deadline,
}

#[derive(Debug, ClapArgs)]
pub(super) struct WatchOptions {
    #[command(flatten)]
    pub(super) subjects: Subjects,
    #[command(flatten)]
    pub(super) socket: Socket,
    /// Time between two checks: seconds, or with a unit as in 500ms
    #[arg(long, short, value_name = "SECONDS", default_value = "2", value_parser = span::parse)]
    pub(super) interval: Duration,
    /// End after so many checks of each subject
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Print one JSON object per check
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DomainsOptions {
    #[command(flatten)]
    pub(super) socket: Socket,
    /// Asks C libvirt instead, for a URI such as qemu+ssh://root@host/system
    #[cfg(feature = "virt")]
    #[arg(long, short = 'C', value_name = "URI", conflicts_with = "socket")]
    pub(super) connect: Option<String>,
    #[command(flatten)]
    pub(super) deadline: Deadline,
    /// Only domains that are not well: paused by an error, crashed, with a monitor that does not answer
    #[arg(long)]
    pub(super) bad: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct BenchOptions {
    #[command(flatten)]
    pub(super) socket: Socket,
    /// So often is each thing measured
    #[arg(long, short = 'n', value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) rounds: u32,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Subjects {
    /// What to look at, each once, in the order asked for; `all` stands for these.
    pub(super) fn list(&self, all: &[Subject]) -> Vec<Subject> {
        let mut list = Vec::new();
        for chosen in &self.chosen {
            let subjects: &[Subject] = match chosen {
                Chosen::Libvirt => &[Subject::Libvirt],
                Chosen::NovaCompute => &[Subject::NovaCompute],
                Chosen::Services => &[Subject::Services],
                Chosen::Host => &[Subject::Host],
                Chosen::All => all,
            };
            list.extend(subjects.iter().filter(|subject| !list.contains(*subject)).collect::<Vec<_>>());
        }
        list
    }
}

/// A number alone is milliseconds.
fn milliseconds(text: &str) -> Result<Duration, span::NotASpan> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { span::parse(&format!("{text}ms")) } else { span::parse(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_come_once() {
        let all = [Subject::Libvirt, Subject::NovaCompute];
        let list = |chosen: &[Chosen]| Subjects { chosen: chosen.to_vec() }.list(&all);
        let (nova, libvirt) = (Subject::NovaCompute, Subject::Libvirt);
        assert_eq!(list(&[Chosen::NovaCompute, Chosen::All, Chosen::NovaCompute]), [nova, libvirt]);
        assert_eq!(list(&[Chosen::NovaCompute]), [nova]);
    }

    #[test]
    fn a_number_alone_is_milliseconds() {
        assert_eq!(milliseconds("1500"), Ok(Duration::from_millis(1500)));
        assert_eq!(milliseconds("2s"), Ok(Duration::from_secs(2)));
        assert!(milliseconds("0").is_err() && milliseconds("").is_err());
    }
}

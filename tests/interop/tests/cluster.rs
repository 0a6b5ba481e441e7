//! The behaviour of a remote daemon in a real cluster, under Pacemaker 2.1.5 and 3.0.0.
//!
//! Each suite gets one cluster for all trials: two cluster nodes c1 and c2, remote nodes r1 and r2 with the
//! daemon under test (`PCMK_UNDER_TEST=ours|theirs`), and, when that is ours, a remote node `ref` with the C
//! daemon to compare with. The suites run at the same time, the trials of a suite one after the other.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod cluster {
    pub(crate) mod admin;
    pub(crate) mod agents;
    pub(crate) mod basics;
    pub(crate) mod bed;
    pub(crate) mod connection;
    pub(crate) mod credentials;
    pub(crate) mod faults;
    pub(crate) mod lifecycle;
    pub(crate) mod operator;
    pub(crate) mod output;
}

use std::process::ExitCode;
use std::sync::Arc;

use cluster::bed::{Bed, Test};
use cluster::{admin, agents, basics, connection, credentials, faults, lifecycle, operator, output};
use libtest_mimic::{Arguments, Conclusion, Trial};
use pcmk_interop::{Daemon, Result, Suite, World};

/// Trials of our tools, which need our daemon; they run before the others.
const TOOLS: &[(&str, Test)] = &[
    ("operator_status", operator::status_is_the_clusters),
    ("operator_frozen_readers", operator::frozen_readers_do_not_matter),
    ("operator_tls_check", operator::tls_check_is_not_noticed),
    ("operator_exporter", operator::exporter_counts_failures),
    ("operator_drain", operator::drain_moves_resources),
    ("operator_drain_refused", operator::drain_is_refused_in_maintenance),
];

/// The trials, in the order in which they run: what breaks nodes comes last.
const TESTS: &[(&str, Test)] = &[
    ("online", basics::online),
    ("probe_start_monitor", basics::probe_start_monitor),
    ("failed_monitor_recovers", basics::failed_monitor_recovers),
    ("failed_start_moves_on", basics::failed_start_moves_on),
    ("soft_parameter_reloads", basics::soft_parameter_reloads),
    ("hard_parameter_restarts", basics::hard_parameter_restarts),
    ("changed_interval", basics::changed_interval),
    ("promote_demote_notify", basics::promote_demote_notify),
    ("move_between_nodes", basics::move_between_nodes),
    ("delete_while_running", basics::delete_while_running),
    ("cleanup_and_refresh", admin::cleanup_and_refresh),
    ("unmanage", admin::unmanage),
    ("maintenance_mode", admin::maintenance_mode),
    ("systemd_unit", agents::systemd_unit),
    ("lsb_script", agents::lsb_script),
    ("service_is_systemd_unit", agents::service_is_systemd_unit),
    ("service_is_lsb_script", agents::service_is_lsb_script),
    ("output_utf8", output::utf8),
    ("output_binary", output::binary),
    ("output_large", output::large),
    ("exit_reason_utf8", output::exit_reason_utf8),
    ("exit_reason_markup", output::exit_reason_markup),
    ("exit_reason_utf8_and_markup", output::exit_reason_utf8_and_markup),
    ("connection_moves", connection::moves),
    ("life_files", lifecycle::files),
    ("life_names_taken", lifecycle::names_taken),
    ("life_schemas", lifecycle::schemas),
    ("life_stop_unconnected", lifecycle::stop_unconnected),
    ("stop_drains", connection::stop_drains),
    ("life_stop_waits", lifecycle::stop_waits),
    ("life_stop_in_maintenance", lifecycle::stop_in_maintenance),
    ("life_stop_refused", lifecycle::stop_refused),
    ("credentials_new_key", credentials::new_key_without_a_restart),
    ("credentials_certificates", credentials::to_certificates_and_back),
    ("killed_daemon_is_fenced", faults::killed),
    ("frozen_daemon_is_fenced", faults::frozen),
    ("pulled_link_is_fenced", faults::unplugged),
    ("cluster_node_dies", connection::cluster_node_dies),
];

/// What is known to go wrong: a trial that fails as expected passes, and one that passes unexpectedly fails.
const KNOWN: &[Known] = &[
    Known {
        test: "stop_drains",
        suite: Suite::Bookworm,
        daemons: &[Daemon::Theirs],
        reason: "2.1.5 exits at once on SIGTERM (a regression, reverted in 2.1.6) and is fenced for it",
    },
    Known {
        test: "life_stop_waits",
        suite: Suite::Bookworm,
        daemons: &[Daemon::Theirs],
        reason: "2.1.5 exits at once on SIGTERM (see stop_drains)",
    },
    Known {
        test: "life_names_taken",
        suite: Suite::Bookworm,
        daemons: &[Daemon::Theirs],
        reason: "2.1.5 is aborted by libqb where a name is taken, with signal 6 instead of exit code 100",
    },
    Known {
        test: "output_binary",
        suite: Suite::Trixie,
        daemons: &[Daemon::Theirs],
        reason: "3.0.0 puts bytes that are not UTF-8 into its XML: the result never arrives",
    },
    Known {
        test: "exit_reason_utf8_and_markup",
        suite: Suite::Bookworm,
        daemons: &[Daemon::Ours, Daemon::Theirs],
        reason: "the controller of 2.1.5 stops escaping after two bytes beyond ASCII: its own change of the CIB is \
                 malformed",
    },
];

/// A trial that fails for a reason that lies outside our daemon.
struct Known {
    test: &'static str,
    suite: Suite,
    daemons: &'static [Daemon],
    reason: &'static str,
}

impl Known {
    fn reason(test: &str, suite: Suite, daemon: Daemon) -> Option<&'static str> {
        let mut known = KNOWN.iter();
        let entry = known.find(|k| k.test == test && k.suite == suite && k.daemons.contains(&daemon));
        entry.map(|known| known.reason)
    }
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trials = if args.list { Ok((None, listed())) } else { prepared() };
    match trials {
        Ok((_world, trials)) => conclude(args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Enters the sandbox, starts the clusters and gives their trials.
fn prepared() -> Result<(Option<World>, Vec<Trial>)> {
    let suites = Suite::chosen()?;
    let daemon = Daemon::under_test()?;
    let world = World::enter(&suites)?;
    let beds = std::thread::scope(|scope| {
        let starts: Vec<_> = suites
            .iter()
            .map(|suite| scope.spawn(|| Bed::start(&world, *suite, daemon).map(Arc::new)))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap_or_else(|_| pcmk_interop::fail("a cluster's start panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut trials = Vec::new();
    let tools = if daemon == Daemon::Ours { TOOLS } else { &[] };
    for (name, test) in tools.iter().chain(TESTS) {
        for bed in beds.iter().filter(|bed| exists(name, bed.suite())) {
            let known = Known::reason(name, bed.suite(), daemon);
            let (bed, test) = (Arc::clone(bed), *test);
            trials.push(Trial::test(full_name(name, bed.suite()), move || Ok(bed.run(test, known)?)));
        }
    }
    Ok((Some(world), trials))
}

fn listed() -> Vec<Trial> {
    let names = TOOLS.iter().chain(TESTS).flat_map(|(name, _)| {
        Suite::STABLE.into_iter().filter(|suite| exists(name, *suite)).map(|suite| full_name(name, suite))
    });
    names.map(|name| Trial::test(name, || Ok(()))).collect()
}

/// Whether a release has what a trial is about: Pacemaker 2 knows no certificates for remote nodes.
fn exists(test: &str, suite: Suite) -> bool {
    test != "credentials_certificates" || suite != Suite::Bookworm
}

fn full_name(test: &str, suite: Suite) -> String {
    format!("pacemaker_{}::{test}", suite.pacemaker())
}

fn conclude(mut args: Arguments, trials: Vec<Trial>) -> Conclusion {
    // One thread per cluster.
    args.test_threads = Some(Suite::ALL.len());
    libtest_mimic::run(&args, trials)
}

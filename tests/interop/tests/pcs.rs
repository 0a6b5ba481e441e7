//! pcs and crmsh against the daemon: what an operator types on a cluster node and on the remote node, under
//! Pacemaker 2.1.5 (pcs 0.11, crmsh 4.4) and 3.0.0 (pcs 0.12, crmsh 4.6).
//!
//! Each suite gets one cluster for all trials: two cluster nodes c1 and c2 and two machines r1 and g1 with the
//! daemon under test (`PCMK_UNDER_TEST=ours|theirs`), all with pcsd. r1 becomes a remote node, g1 a guest node.
//! The suites run at the same time, the trials of a suite one after the other.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod pcs {
    pub(crate) mod bed;
    pub(crate) mod crm;
    pub(crate) mod daily;
    pub(crate) mod guest;
    pub(crate) mod on_node;
    pub(crate) mod recovery;
    pub(crate) mod remote;
    pub(crate) mod replace;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::{Daemon, Result, Suite, World, images};
use pcs::bed::{Bed, Test};
use pcs::{crm, daily, guest, on_node, recovery, remote, replace};

const ALL: &[Suite] = &Suite::STABLE;
/// pcs 0.11 under Pacemaker 2.1.5 removes the connection's constraints first and the connection later: the cluster
/// starts the connection again in between, to a daemon that has just been stopped, and fences the node when that
/// fails, whatever daemon it has.
const NEW_PCS: &[Suite] = &[Suite::Trixie];

/// The trials, in the order in which they run: the first one needs a cluster without a key.
const TESTS: &[(&str, &[Suite], Test)] = &[
    ("first_remote_gets_a_key", ALL, remote::first_gets_a_key),
    ("add_remote_refuses_a_running_daemon", ALL, remote::running_daemon_is_refused),
    ("status", ALL, daily::status),
    ("node_attributes", ALL, daily::node_attributes),
    ("standby_and_maintenance", ALL, daily::standby_and_maintenance),
    ("resource_commands", ALL, daily::resource_commands),
    ("debug_actions", ALL, daily::debug_actions),
    ("pcs_on_the_node", ALL, on_node::pcs),
    ("debug_actions_on_the_node", ALL, on_node::debug_actions),
    ("crm_on_the_node", ALL, on_node::crm),
    ("crm_node", ALL, crm::node),
    ("crm_resource", ALL, crm::resource),
    ("recovery_agents_with_pcs", ALL, recovery::pcs),
    ("recovery_agents_with_crm", ALL, recovery::crm),
    ("replace_with_pcs", ALL, replace::with_pcs),
    ("replace_with_crm", ALL, replace::with_crm),
    ("remove_remote", ALL, remote::remove),
    ("remove_running_remote", NEW_PCS, remote::remove_running),
    ("add_and_remove_guest", ALL, guest::add_and_remove),
    ("crm_remote", ALL, crm::remote),
    ("crm_guest", ALL, crm::guest),
];

/// What is known to go wrong: a trial that fails as expected passes, and one that passes unexpectedly fails.
const KNOWN: &[Known] = &[];

/// A trial that fails for a reason that lies outside our daemon.
struct Known {
    test: &'static str,
    suite: Suite,
    daemon: Daemon,
    reason: &'static str,
}

impl Known {
    fn reason(test: &str, suite: Suite, daemon: Daemon) -> Option<&'static str> {
        let mut known = KNOWN.iter();
        let entry = known.find(|k| k.test == test && k.suite == suite && k.daemon == daemon);
        entry.map(|known| known.reason)
    }
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trials = if args.list { Ok((None, 1, listed())) } else { prepared() };
    match trials {
        Ok((_world, clusters, trials)) => conclude(args, clusters, trials),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Enters the sandbox, starts the clusters and gives their number and trials.
fn prepared() -> Result<(Option<World>, usize, Vec<Trial>)> {
    let suites = Suite::chosen()?;
    let daemon = Daemon::under_test()?;
    let world = World::enter_with(&suites, || images::ensure_pcs(&suites))?;
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
    for (name, suites, test) in TESTS {
        for bed in beds.iter().filter(|bed| suites.contains(&bed.suite())) {
            let known = Known::reason(name, bed.suite(), daemon);
            let (bed, test) = (Arc::clone(bed), *test);
            trials.push(Trial::test(full_name(name, bed.suite()), move || Ok(bed.run(test, known)?)));
        }
    }
    Ok((Some(world), beds.len(), trials))
}

fn listed() -> Vec<Trial> {
    let names = TESTS.iter().flat_map(|(name, suites, _)| suites.iter().map(|suite| full_name(name, *suite)));
    names.map(|name| Trial::test(name, || Ok(()))).collect()
}

fn full_name(test: &str, suite: Suite) -> String {
    format!("pacemaker_{}::{test}", suite.pacemaker())
}

fn conclude(mut args: Arguments, clusters: usize, trials: Vec<Trial>) -> ExitCode {
    // One thread per cluster: so the first trial of each comes first.
    args.test_threads = Some(clusters);
    libtest_mimic::run(&args, trials).exit_code()
}

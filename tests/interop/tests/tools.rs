//! Pacemaker's tools on remote nodes: the same output and the same exit code on a node with the daemon under test
//! (`PCMK_UNDER_TEST=ours|theirs`) as on one with the C daemon, in the same cluster at the same time.
//!
//! The table is in `tools/rows`; each row says how the tool ends on the C daemon's node. `theirs` plays it between
//! two C daemons: a row that differs there proves nothing. Clusters: 2.1.5, 3.0.0 and the newest release, with
//! nodes of the same release, and one of 3.0.0 with nodes of the newest and of 2.1.5.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod tools {
    pub(crate) mod bed;
    pub(crate) mod large;
    pub(crate) mod live;
    pub(crate) mod plain;
    pub(crate) mod promotable;
    pub(crate) mod row;
    pub(crate) mod rows;
    pub(crate) mod stress;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::{Daemon, Result, Suite, World, fail};
use tools::bed::{Bed, Pair, Test};
use tools::{large, live, promotable, rows, stress};

/// What does not fit into a table: with nodes of the cluster's own suite.
const TESTS: &[(&str, Test)] = &[
    ("live_events", live::shows_events),
    ("live_connection_moves", live::survives_a_move),
    ("promotable_stateful", promotable::stateful),
    ("promotable_notified", promotable::notified),
    ("two_hundred_at_once", stress::two_hundred_at_once),
    ("killed_tools", stress::killed_tools),
    ("controller_dies_while_waiting", stress::controller_dies_while_waiting),
];

/// A test with a cluster of its own.
const LARGE: &str = "large_cib";

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Most of them wait for the turn of their cluster: so many that none of the clusters waits for another.
    args.test_threads = Some(16);
    if args.list {
        return libtest_mimic::run(&args, listed()).exit_code();
    }
    match prepared(&args) {
        Ok(trials) => libtest_mimic::run(&args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The suites of the nodes in a cluster of this suite, as far as they are to be tested.
fn nodes(cluster: Suite, chosen: &[Suite]) -> Vec<Suite> {
    let guests: &[Suite] = match cluster {
        Suite::Trixie => &[Suite::Newest, Suite::Bookworm],
        Suite::Bookworm | Suite::Newest => &[],
    };
    let guests = guests.iter().copied().filter(|suite| chosen.contains(suite));
    [cluster].into_iter().chain(guests).collect()
}

fn prepared(args: &Arguments) -> Result<Vec<Trial>> {
    let suites = Suite::chosen_or(&Suite::ALL)?;
    let daemon = Daemon::under_test()?;
    let world = Arc::new(World::enter(&suites)?);
    // For the test with a cluster of its own alone the others need not be there.
    let alone = args.filter.as_deref().is_some_and(|filter| filter.contains(LARGE));
    let common: &[Suite] = if alone { &[] } else { &suites };
    let beds = std::thread::scope(|scope| {
        let start = |suite| Bed::start(&world, suite, &nodes(suite, &suites), daemon).map(Arc::new);
        let starts: Vec<_> = common.iter().map(|suite| scope.spawn(move || start(*suite))).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap_or_else(|_| fail("a cluster's start panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut trials = Vec::new();
    // Those that change nothing first: they run side by side.
    let (acts, looks): (Vec<_>, Vec<_>) = rows::all().partition(|row| row.changes());
    for row in looks.into_iter().chain(acts) {
        for bed in &beds {
            let fit = |pair: &Pair| row.fits(bed.cluster.suite(), pair.suite);
            for (number, pair) in bed.pairs.iter().enumerate().filter(|(_, pair)| fit(pair)) {
                let bed = Arc::clone(bed);
                let name = full_name(row.name, bed.cluster.suite(), pair.suite);
                trials.push(Trial::test(name, move || Ok(bed.row(row, number)?)));
            }
        }
    }
    for (name, test) in TESTS {
        for bed in &beds {
            let (bed, test) = (Arc::clone(bed), *test);
            let name = full_name(name, bed.cluster.suite(), bed.cluster.suite());
            trials.push(Trial::test(name, move || Ok(bed.test(test)?)));
        }
    }
    for suite in suites {
        let world = Arc::clone(&world);
        let name = full_name(LARGE, suite, suite);
        trials.push(Trial::test(name, move || Ok(large::tools(&world, suite, daemon)?)));
    }
    Ok(trials)
}

fn listed() -> Vec<Trial> {
    let mut names = Vec::new();
    for cluster in Suite::ALL {
        let same = TESTS.iter().map(|(name, _)| *name).chain([LARGE]);
        names.extend(same.map(|name| full_name(name, cluster, cluster)));
        for node in nodes(cluster, &Suite::ALL) {
            let rows = rows::all().filter(|row| row.fits(cluster, node));
            names.extend(rows.map(|row| full_name(row.name, cluster, node)));
        }
    }
    names.into_iter().map(|name| Trial::test(name, || Ok(()))).collect()
}

fn full_name(test: &str, cluster: Suite, node: Suite) -> String {
    if cluster == node {
        format!("pacemaker_{}::{test}", cluster.pacemaker())
    } else {
        format!("pacemaker_{}::node_{}::{test}", cluster.pacemaker(), node.pacemaker())
    }
}

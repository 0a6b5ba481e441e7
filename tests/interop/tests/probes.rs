//! The probes against a real libvirtd with real guests on a remote node, and what the cluster hears of it.
//!
//! Each suite gets one cluster for all trials: a cluster node c1 and a compute r1 with libvirtd (9.0 in bookworm, 11.3
//! in trixie) and QEMU, which a resource of `ocf:pcmk-remote:libvirt` watches in our daemon. Each trial makes one fault
//! and says what the probe finds within which time, when the cluster shows it, what today's tools see of it, and that the
//! daemon goes on answering meanwhile.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod probes {
    pub(crate) mod bed;
    pub(crate) mod daemon;
    pub(crate) mod guests;
    pub(crate) mod hung;
    pub(crate) mod opinion;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::{Result, Suite, World, images};
use probes::bed::{Bed, Test};
use probes::{daemon, guests, hung, opinion};

/// The trials, in the order in which they run.
const TESTS: &[(&str, Test)] = &[
    ("second_opinion", opinion::agrees),
    ("stopped", daemon::stopped),
    ("crashed", daemon::crashed),
    ("socket_removed", daemon::socket_removed),
    ("frozen", daemon::frozen),
    ("anonymous_slots_taken", daemon::anonymous_slots_taken),
    ("client_slots_taken", daemon::client_slots_taken),
    ("no_permission", daemon::no_permission),
    ("not_libvirt", daemon::not_libvirt),
    ("workers_taken", guests::workers_taken),
    ("one_qemu_frozen", guests::one_qemu_frozen),
    ("storage_lost", guests::storage_lost),
    ("thousand_domains", guests::thousand_domains),
    ("restart_with_many_guests", guests::restart_with_many),
    ("thousand_hung_probes", hung::leave_nothing),
    ("frozen_is_restarted", daemon::frozen_is_restarted),
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One thread per cluster.
    args.test_threads = Some(Suite::ALL.len());
    let trials = if args.list { Ok((None, listed())) } else { prepared() };
    match trials {
        Ok((_world, trials)) => libtest_mimic::run(&args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepared() -> Result<(Option<World>, Vec<Trial>)> {
    let suites = Suite::chosen()?;
    let world = World::enter_with(&suites, || images::ensure_libvirt(&suites))?;
    let beds = std::thread::scope(|scope| {
        let starts: Vec<_> =
            suites.iter().map(|suite| scope.spawn(|| Bed::start(&world, *suite).map(Arc::new))).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap_or_else(|_| pcmk_interop::fail("a cluster's start panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut trials = Vec::new();
    for (name, test) in TESTS {
        for bed in &beds {
            let (bed, test) = (Arc::clone(bed), *test);
            trials.push(Trial::test(full_name(name, bed.suite()), move || Ok(bed.run(test)?)));
        }
    }
    Ok((Some(world), trials))
}

fn listed() -> Vec<Trial> {
    let names = TESTS.iter().flat_map(|(name, _)| Suite::STABLE.map(|suite| full_name(name, suite)));
    names.map(|name| Trial::test(name, || Ok(()))).collect()
}

fn full_name(test: &str, suite: Suite) -> String {
    format!("pacemaker_{}::{test}", suite.pacemaker())
}

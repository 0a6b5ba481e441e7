//! The probe of nova-compute and its agent against a real nova-compute, a real RabbitMQ and real systemd, in a real
//! cluster.
//!
//! One cluster node c1, a machine `bus` with RabbitMQ, Placement and nova-conductor, and two remote nodes with
//! nova-compute: r1 with threads of the system, r2 with eventlet. On both `libvirt-probe watch` looks all the time.
//! Trials run one after the other.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod nova {
    pub(crate) mod bed;
    pub(crate) mod bus;
    pub(crate) mod graded;
    pub(crate) mod healthy;
    pub(crate) mod host;
    pub(crate) mod process;
    pub(crate) mod services;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use nova::bed::{Bed, Test};
use nova::{bus, graded, healthy, host, process, services};
use pcmk_interop::{Daemon, Result, Suite, World, images};

/// The trials, in the order in which they run: those that touch the bus come after two quiet minutes.
const TESTS: &[(&str, Test)] = &[
    ("disk_blocks", host::disk_blocks),
    ("restart_loop", services::restart_loop),
    ("dead_agent", services::dead_agent),
    ("guests_are_spared", graded::guests_are_spared),
    ("killed", process::killed),
    ("killed_in_a_cluster", process::killed_in_a_cluster),
    ("frozen", process::frozen),
    ("idle_for_two_minutes", healthy::idle),
    ("bus_closed", bus::closed),
    ("bus_blackholed", bus::blackholed),
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
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
    let suites = Suite::chosen_or(&[Suite::Bookworm])?;
    let daemon = Daemon::under_test()?;
    let mut images = suites.clone();
    if !images.contains(&pcmk_interop::nova::SUITE) {
        images.push(pcmk_interop::nova::SUITE);
    }
    let world = World::enter_with(&images, || {
        images::ensure_nova()?;
        images::ensure_libvirt(&[pcmk_interop::nova::SUITE])
    })?;
    let mut trials = Vec::new();
    for suite in suites {
        let bed = Arc::new(Bed::start(&world, suite, daemon)?);
        for (name, test) in TESTS {
            let (bed, test) = (Arc::clone(&bed), *test);
            trials.push(Trial::test(full_name(name, suite), move || Ok(bed.run(test)?)));
        }
    }
    Ok((Some(world), trials))
}

fn listed() -> Vec<Trial> {
    TESTS.iter().map(|(name, _)| Trial::test(full_name(name, Suite::Bookworm), || Ok(()))).collect()
}

fn full_name(test: &str, suite: Suite) -> String {
    format!("pacemaker_{}::{test}", suite.pacemaker())
}

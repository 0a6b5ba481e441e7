//! Recovery against a real cloud: Keystone, Placement, Nova's API, conductor, scheduler and nova-computes, RabbitMQ and
//! `MariaDB`.
//!
//! One cloud with four hosts for all trials; they run one after the other, and each finds it without servers and with
//! all hosts up. `PCMK_RIG_TIMES` has them say how long each took.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod recovery {
    pub(crate) mod bed;
    pub(crate) mod client;
    pub(crate) mod power;
    pub(crate) mod semantics;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::{Result, World, cloud, daemon, images};
use recovery::bed::{Bed, Test};
use recovery::{client, power, semantics};

/// The trials, in the order in which they run.
const TESTS: &[(&str, Test)] = &[
    ("nova::up_until_forced_down", semantics::up_until_forced_down),
    ("nova::second_request_is_accepted", semantics::second_request_is_accepted),
    ("nova::force_up_is_refused", semantics::force_up_is_refused),
    ("nova::stopped_from_2_95_on", semantics::stopped_from_2_95_on),
    ("nova::no_valid_host", semantics::no_valid_host),
    ("nova::scheduler_dead", semantics::scheduler_dead),
    ("client::reads", client::reads),
    ("client::forces_down", client::forces_down),
    ("client::small_role", client::small_role),
    ("client::survives_faults", client::survives_faults),
    ("client::evacuates", client::evacuates),
    ("power::switches", power::switches),
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
    let world = World::enter_bare(&[cloud::SUITE], || {
        images::ensure_cloud()?;
        daemon::ensure_ours("nova-ext")
    })?;
    let bed = Arc::new(Bed::start(&world)?);
    let trial = |(name, test): &(&str, Test)| {
        let (bed, test) = (Arc::clone(&bed), *test);
        Trial::test(*name, move || Ok(bed.run(test)?))
    };
    let trials = TESTS.iter().map(trial).collect();
    Ok((Some(world), trials))
}

fn listed() -> Vec<Trial> {
    TESTS.iter().map(|(name, _)| Trial::test(*name, || Ok(()))).collect()
}

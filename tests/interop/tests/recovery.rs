//! Recovery against a real cloud: Keystone, Placement, Nova's API, conductor, scheduler and nova-computes, RabbitMQ and
//! `MariaDB`.
//!
//! One cloud with four hosts for all trials; they run one after the other, and each finds it without servers and with
//! all hosts up. `PCMK_RIG_TIMES` has them say how long each took.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod recovery {
    pub(crate) mod bed;
    pub(crate) mod client;
    pub(crate) mod config;
    pub(crate) mod engine;
    pub(crate) mod pacemaker;
    pub(crate) mod power;
    pub(crate) mod semantics;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::{Result, World, cloud, daemon, images};
use recovery::bed::{Bed, Test};
use recovery::{client, config, engine, pacemaker, power, semantics};

/// The trials, in the order in which they run.
const TESTS: &[(&str, Test)] = &[
    ("nova::up_until_forced_down", Test::Cloud(semantics::up_until_forced_down)),
    ("nova::second_request_is_accepted", Test::Cloud(semantics::second_request_is_accepted)),
    ("nova::force_up_is_refused", Test::Cloud(semantics::force_up_is_refused)),
    ("nova::stopped_from_2_95_on", Test::Cloud(semantics::stopped_from_2_95_on)),
    ("nova::no_valid_host", Test::Cloud(semantics::no_valid_host)),
    ("nova::scheduler_dead", Test::Cloud(semantics::scheduler_dead)),
    ("client::reads", Test::Cloud(client::reads)),
    ("client::forces_down", Test::Cloud(client::forces_down)),
    ("client::small_role", Test::Cloud(client::small_role)),
    ("client::survives_faults", Test::Cloud(client::survives_faults)),
    ("client::evacuates", Test::Cloud(client::evacuates)),
    ("power::switches", Test::Cloud(power::switches)),
    ("config::fence_agent", Test::Cloud(config::fence_agent)),
    ("engine::fifty", Test::Cloud(engine::fifty)),
    ("engine::fifty_at_2_53", Test::Cloud(engine::fifty_at_2_53)),
    ("engine::fifty_at_2_68", Test::Cloud(engine::fifty_at_2_68)),
    ("engine::fifty_at_2_95", Test::Cloud(engine::fifty_at_2_95)),
    ("engine::faults", Test::Cloud(engine::faults)),
    ("engine::api_down", Test::Cloud(engine::api_down)),
    ("engine::killed_at_each_step", Test::Cloud(engine::killed_at_each_step)),
    ("engine::scheduler_down", Test::Cloud(engine::scheduler_down)),
    ("engine::no_capacity", Test::Cloud(engine::no_capacity)),
    ("engine::comes_back_in_the_middle", Test::Cloud(engine::comes_back_in_the_middle)),
    ("pacemaker::behind_a_switch", Test::Cluster(pacemaker::behind_a_switch)),
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    let trials = if args.list { Ok(listed()) } else { prepared() };
    match trials {
        Ok(trials) => libtest_mimic::run(&args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepared() -> Result<Vec<Trial>> {
    let world = World::enter_bare(&[cloud::SUITE], || {
        images::ensure_cloud()?;
        daemon::ensure_ours("nova-ext")
    })?;
    let bed = Arc::new(Bed::start(world)?);
    let trial = |(name, test): &(&str, Test)| {
        let (bed, test) = (Arc::clone(&bed), *test);
        Trial::test(*name, move || Ok(bed.run(test)?))
    };
    Ok(TESTS.iter().map(trial).collect())
}

fn listed() -> Vec<Trial> {
    TESTS.iter().map(|(name, _)| Trial::test(*name, || Ok(()))).collect()
}

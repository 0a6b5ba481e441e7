//! Recovery against a real cloud: Keystone, Placement, Nova's API, conductor, scheduler and nova-computes, RabbitMQ and
//! `MariaDB`.
//!
//! One cloud with four hosts for all trials; they run one after the other, and each finds it without servers and with
//! all hosts up. Those with a cluster share one beside it. `PCMK_RIG_TIMES` has them say how long each took. Those that take
//! long run if they are asked for: `make test-recovery-all`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod recovery {
    pub(crate) mod bed;
    pub(crate) mod certificates;
    pub(crate) mod client;
    pub(crate) mod config;
    pub(crate) mod engine;
    pub(crate) mod faults;
    pub(crate) mod hosts;
    pub(crate) mod incident;
    pub(crate) mod many;
    pub(crate) mod pacemaker;
    pub(crate) mod power;
    pub(crate) mod resume;
    pub(crate) mod semantics;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::{Result, World, cloud, daemon, images};
use recovery::bed::When::{self, Always, Asked};
use recovery::bed::{Bed, Test};
use recovery::{
    certificates, client, config, engine, faults, hosts, many, pacemaker, power, resume, semantics,
};

/// The trials, in the order in which they run.
const TESTS: &[(&str, Test, When)] = &[
    ("nova::up_until_forced_down", Test::Cloud(semantics::up_until_forced_down), Always),
    ("nova::second_request_is_accepted", Test::Cloud(semantics::second_request_is_accepted), Asked),
    ("nova::force_up_is_refused", Test::Cloud(semantics::force_up_is_refused), Always),
    ("nova::stopped_from_2_95_on", Test::Cloud(semantics::stopped_from_2_95_on), Always),
    ("nova::no_valid_host", Test::Cloud(semantics::no_valid_host), Always),
    ("nova::scheduler_dead", Test::Cloud(semantics::scheduler_dead), Asked),
    ("client::reads", Test::Cloud(client::reads), Always),
    ("client::forces_down", Test::Cloud(client::forces_down), Always),
    ("client::small_role", Test::Cloud(client::small_role), Always),
    ("client::survives_faults", Test::Cloud(client::survives_faults), Always),
    ("client::evacuates", Test::Cloud(client::evacuates), Always),
    ("power::switches", Test::Cloud(power::switches), Always),
    ("power::redfish", Test::Cloud(power::redfish), Always),
    ("config::fence_agent", Test::Cloud(config::fence_agent), Always),
    ("config::nova_ha", Test::Cloud(config::nova_ha), Always),
    ("certificates::keystone", Test::Cloud(certificates::keystone), Always),
    ("engine::fifty", Test::Cloud(engine::fifty), Always),
    ("engine::fifty_at_2_53", Test::Cloud(engine::fifty_at_2_53), Asked),
    ("engine::fifty_at_2_68", Test::Cloud(engine::fifty_at_2_68), Asked),
    ("engine::fifty_at_2_95", Test::Cloud(engine::fifty_at_2_95), Asked),
    ("engine::starts_what_ran", Test::Cloud(engine::starts_what_ran), Always),
    ("engine::scheduler_down", Test::Cloud(engine::scheduler_down), Asked),
    ("engine::no_capacity", Test::Cloud(engine::no_capacity), Always),
    ("engine::comes_back_in_the_middle", Test::Cloud(engine::comes_back_in_the_middle), Always),
    ("faults::unheard", Test::Cloud(faults::unheard), Always),
    ("faults::uncertain", Test::Cloud(faults::uncertain), Asked),
    ("faults::refusals", Test::Cloud(faults::refusals), Asked),
    ("faults::api_down", Test::Cloud(faults::api_down), Asked),
    ("resume::killed_at_each_step", Test::Cloud(resume::killed_at_each_step), Always),
    ("resume::elsewhere_with_journal", Test::Cloud(resume::elsewhere_with_journal), Asked),
    ("resume::elsewhere_without_journal", Test::Cloud(resume::elsewhere_without_journal), Always),
    ("hosts::returns", Test::Cloud(hosts::returns), Always),
    ("hosts::flaps", Test::Cloud(hosts::flaps), Asked),
    ("hosts::too_many_at_once", Test::Cloud(hosts::too_many_at_once), Asked),
    ("hosts::ten_at_once", Test::Cloud(hosts::ten_at_once), Asked),
    ("many::two_thousand", Test::Cloud(many::two_thousand), Asked),
    ("pacemaker::parameters", Test::Cluster(pacemaker::parameters), Always),
    ("pacemaker::behind_a_switch", Test::Cluster(pacemaker::behind_a_switch), Always),
    ("pacemaker::fence_nova_alone", Test::Cluster(pacemaker::fence_nova_alone), Always),
    ("pacemaker::behind_fence_ipmilan", Test::Cluster(pacemaker::behind_fence_ipmilan), Asked),
    ("pacemaker::returns_unfenced", Test::Cluster(pacemaker::returns_unfenced), Always),
    ("pacemaker::engine_moves", Test::Cluster(pacemaker::engine_moves), Asked),
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
    let world = World::enter_with(&[cloud::SUITE], || {
        images::ensure_cloud()?;
        daemon::ensure_ours("nova-ext")
    })?;
    let bed = Arc::new(Bed::start(world)?);
    let trial = |(name, test, when): &(&str, Test, When)| {
        let (bed, test) = (Arc::clone(&bed), *test);
        Trial::test(*name, move || Ok(bed.run(test)?)).with_ignored_flag(*when == Asked)
    };
    Ok(TESTS.iter().map(trial).collect())
}

fn listed() -> Vec<Trial> {
    let trial = |(name, _, when): &(&str, Test, When)| {
        Trial::test(*name, || Ok(())).with_ignored_flag(*when == Asked)
    };
    TESTS.iter().map(trial).collect()
}

//! The packages: installed over Pacemaker's own and back, upgraded, removed; what is in them.
//!
//! Needs what `make packages` makes (`PCMK_PACKAGES`, default `target/packages`) and fetches the C daemon's
//! package of each suite. Every trial has a machine or a cluster of its own. Those of the Python module need what
//! `make packages-python` makes, and are ignored: `make test-packages-python` runs them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

mod packages {
    pub(crate) mod live;
    pub(crate) mod machine;
    pub(crate) mod probe;
    pub(crate) mod python;
    pub(crate) mod recovery;
    pub(crate) mod replace;
    pub(crate) mod rpm;
    pub(crate) mod statics;
    pub(crate) mod texts;
    pub(crate) mod upgrade;
}

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use packages::machine::Files;
use packages::{live, probe, python, recovery, replace, rpm, statics, texts, upgrade};
use pcmk_interop::{Result, Suite, World, images};

type OnSuite = fn(&World, Suite, &Files) -> Result<()>;
type Alone = fn(&World, &Files) -> Result<()>;

/// What is done on a machine or a cluster of each suite.
const ON_SUITES: &[(&str, OnSuite)] = &[
    ("live_replacement", live::replacement),
    ("replaces_enabled", replace::enabled),
    ("replaces_disabled", replace::disabled),
    ("fresh_installation", replace::fresh),
    ("upgrade_leaves_daemon_alone", upgrade::leaves_daemon_alone),
    ("remove_and_purge", upgrade::remove_and_purge),
    ("check_says_what_is_wrong", upgrade::check_says_what_is_wrong),
    ("probes_beside_either_daemon", probe::beside_either_daemon),
    ("recovery_on_a_controller", recovery::on_a_controller),
    ("recovery_without_a_cluster", recovery::without_a_cluster),
    ("recovery_is_upgraded", recovery::upgrade),
    ("recovery_is_removed_and_purged", recovery::remove_and_purge),
    ("static_daemon_in_empty_root", statics::in_empty_root),
];

/// The same with the Python module.
const PYTHON_ON_SUITES: &[(&str, OnSuite)] = &[("python_module", python::installed)];

/// And without a suite.
const PYTHON_ALONE: &[(&str, Alone)] =
    &[("rpm_python_module_contents", python::rpm_contents), ("rpm_python_module", python::rpm_installed)];

/// What needs no suite.
const ALONE: &[(&str, Alone)] = &[
    ("rpm_contents", rpm::contents),
    ("rpm_probe_contents", rpm::probe_contents),
    ("rpm_recovery_contents", rpm::recovery_contents),
    ("rpm_fresh_installation", rpm::fresh),
    ("rpm_replaces", rpm::replaces),
    ("options_are_documented", texts::options_are_documented),
    ("manuals_are_clean", texts::manuals_are_clean),
    ("fence_agent_fits_the_schema", texts::fence_agent_fits_the_schema),
    ("units_are_valid", texts::units_are_valid),
    ("lint", texts::lint),
];

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(3);
    match trials(args.list) {
        Ok((_world, trials)) => libtest_mimic::run(&args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Enters the sandbox, unless only names are wanted, and gives the trials.
fn trials(only_names: bool) -> Result<(Option<Arc<World>>, Vec<Trial>)> {
    let name = |test: &str, suite: Suite| format!("{}::{test}", suite.name());
    if only_names {
        let listed = |on_suites: &[(&str, OnSuite)], alone: &[(&str, Alone)], ignored| {
            let names = on_suites
                .iter()
                .flat_map(|(test, _)| Suite::chosen().unwrap_or_default().into_iter().map(|s| name(test, s)));
            let names: Vec<_> = names.chain(alone.iter().map(|(test, _)| (*test).to_owned())).collect();
            names.into_iter().map(move |name| Trial::test(name, || Ok(())).with_ignored_flag(ignored))
        };
        let python = listed(PYTHON_ON_SUITES, PYTHON_ALONE, true);
        return Ok((None, listed(ON_SUITES, ALONE, false).chain(python).collect()));
    }
    let suites = Suite::chosen()?;
    let world = Arc::new(World::enter_with(&suites, || prepare(&suites))?);
    let files = Arc::new(Files::find()?);
    let mut trials = Vec::new();
    for (on_suites, alone, ignored) in [(ON_SUITES, ALONE, false), (PYTHON_ON_SUITES, PYTHON_ALONE, true)] {
        for (test, run) in on_suites {
            for suite in &suites {
                let (world, files, run, suite) = (Arc::clone(&world), Arc::clone(&files), *run, *suite);
                let trial = Trial::test(name(test, suite), move || Ok(run(&world, suite, &files)?));
                trials.push(trial.with_ignored_flag(ignored));
            }
        }
        for (test, run) in alone {
            let (world, files, run) = (Arc::clone(&world), Arc::clone(&files), *run);
            trials.push(Trial::test(*test, move || Ok(run(&world, &files)?)).with_ignored_flag(ignored));
        }
    }
    Ok((Some(world), trials))
}

/// What is done outside the sandbox, where there is a network.
fn prepare(suites: &[Suite]) -> Result<()> {
    images::ensure(&[Suite::Bookworm])?;
    images::ensure_rpm_layer()?;
    images::ensure_c_packages(suites)
}

//! Pacemaker's own executor tests (`cts-exec -R`) of 2.1.5 and 3.0.0 against the daemon under test
//! (`PCMK_UNDER_TEST=ours|theirs`), on several machines per suite at the same time. What is expected to fail is
//! listed in `cts-exec.expected.toml`.
#![allow(clippy::print_stderr, reason = "the harness talks to whoever runs it")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::cts::{Expected, Outcome, Pool};
use pcmk_interop::{Daemon, Result, Suite, World, fail, images};

/// Machines per suite. Most tests mostly sleep.
const MACHINES: u8 = 5;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = Some(Suite::ALL.len() * usize::from(MACHINES));
    if args.list {
        // The tests' names are known only inside the machines.
        return libtest_mimic::run(&args, vec![Trial::test("cts_exec", || Ok(()))]).exit_code();
    }
    match prepared() {
        Ok((_world, trials)) => libtest_mimic::run(&args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Enters the sandbox, boots the machines and gives one trial per test of cts-exec.
fn prepared() -> Result<(World, Vec<Trial>)> {
    let suites = Suite::chosen()?;
    let daemon = Daemon::under_test()?;
    let world = World::enter_with(&suites, || images::ensure_cts(&suites))?;
    let expected = Expected::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cts-exec.expected.toml"))?;
    let mut trials = Vec::new();
    for suite in suites {
        let pool = Arc::new(Pool::start(&world, suite, daemon, MACHINES)?);
        let names = pool.tests()?;
        for entry in
            expected.failing.iter().filter(|entry| entry.pacemaker.iter().any(|r| r == suite.pacemaker()))
        {
            if !names.contains(&entry.test) {
                return fail(format!(
                    "cts-exec.expected.toml lists {}, which {suite} does not have",
                    entry.test
                ));
            }
        }
        for name in names {
            let reason = expected.reason(&name, suite, daemon).map(str::to_owned);
            let pool = Arc::clone(&pool);
            let full = format!("cts_exec_{}::{name}", suite.pacemaker());
            trials.push(Trial::test(full, move || Ok(judge(pool.run(&name)?, reason.as_deref())?)));
        }
    }
    // Both suites' machines get work from the start.
    trials.sort_by_key(|trial| trial.name().rsplit("::").next().unwrap_or_default().to_owned());
    Ok((world, trials))
}

fn judge(outcome: Outcome, reason: Option<&str>) -> Result<()> {
    match (outcome, reason) {
        (Outcome::Passed, None) | (Outcome::Failed(_), Some(_)) => Ok(()),
        (Outcome::Passed, Some(reason)) => {
            fail(format!("passed, although it is listed as failing: {reason}"))
        }
        (Outcome::Failed(said), None) => fail(said),
    }
}

//! The Python module inside a real Nova: nova-api, scheduler, conductor and computes as processes of their own, enabled by
//! what the manual says, pasted as it is.
//!
//! One cloud for all trials, which run in this order. The native part is the one that `make test-module` builds, or
//! `PCMK_MODULE`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

mod module {
    pub(crate) mod check;
    pub(crate) mod guarded;
    pub(crate) mod heard;
    pub(crate) mod installed;
    pub(crate) mod loaded;
    pub(crate) mod placed;
    pub(crate) mod survival;
    pub(crate) mod words;
}

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};
use module::installed::{self, Installed};
use module::{guarded, heard, loaded, placed, survival, words};
use pcmk_interop::cloud::{Cloud, Options, SUITE};
use pcmk_interop::error::Context as _;
use pcmk_interop::{Result, World, images};

type Test = fn(&Installed) -> Result<()>;

/// The trials, in the order in which they run.
const TESTS: &[(&str, Test)] = &[
    ("module::is_loaded", loaded::with_the_manual_s_settings),
    ("module::refuses_wrong_words", words::are_refused),
    ("module::finds_wrong_words", words::are_found),
    ("module::guards_evacuation", guarded::evacuation),
    ("module::spreads_fifty", placed::fifty),
    ("module::keeps_to_hosts_that_may", placed::where_they_may),
    ("module::keeps_room", placed::with_room_to_spare),
    ("module::tells_the_engine", heard::by_the_engine),
    ("module::survives_wrong_settings", survival::wrong_settings),
    ("module::survives_bugs", survival::bugs),
    ("module::survives_its_absence", survival::absence),
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
    installed::ensure()?;
    let world = World::enter_bare(&[SUITE], images::ensure_cloud)?;
    let cloud = Cloud::up(&world, 5, &Options::default())?;
    let bed = Arc::new(Mutex::new((world, Installed::new(cloud)?)));
    let trial = |(name, test): &(&str, Test)| {
        let (bed, test) = (Arc::clone(&bed), *test);
        Trial::test(*name, move || {
            let bed = bed.lock().unwrap_or_else(PoisonError::into_inner);
            let result = test(&bed.1);
            // Also what failed leaves nothing to the next one.
            let restored = bed.1.restore();
            let reset = bed.1.cloud.reset();
            result?;
            restored.and(reset).context("afterwards")?;
            Ok(())
        })
    };
    Ok(TESTS.iter().map(trial).collect())
}

fn listed() -> Vec<Trial> {
    TESTS.iter().map(|(name, _)| Trial::test(*name, || Ok(()))).collect()
}

//! How long an unmodified cluster takes to stop and to start a resource on a remote node, with the C daemon and
//! with ours, measured in one run in one cluster. Prints one JSON object.
//!
//! `bench-transition [RUNS]`; `PCMK_RIG_SUITES` chooses the Pacemaker, default bookworm (2.1.5).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

use std::env;
use std::process::ExitCode;

use pcmk_interop::error::Context;
use pcmk_interop::{Result, Suite, World, bench};

fn main() -> ExitCode {
    match measured() {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured() -> Result<serde_json::Value> {
    let runs = match env::args().nth(1) {
        Some(runs) => runs.parse().context("the number of runs")?,
        None => 7,
    };
    let suite = match env::var("PCMK_RIG_SUITES") {
        Ok(_) => Suite::chosen()?.first().copied().context("PCMK_RIG_SUITES is empty")?,
        Err(_) => Suite::Bookworm,
    };
    bench::transition(&World::enter(&[suite])?, suite, runs)
}

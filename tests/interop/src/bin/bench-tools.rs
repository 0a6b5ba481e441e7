//! What local tools cost on a remote node, with the C daemon and with ours, measured beside each other in one
//! cluster per suite. Prints one JSON array.
//!
//! `bench-tools [ROUNDS]`; `PCMK_RIG_SUITES` chooses the suites, default bookworm (2.1.5) and trixie (3.0.0).
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
    let rounds = match env::args().nth(1) {
        Some(rounds) => rounds.parse().context("the number of rounds")?,
        None => 10,
    };
    let suites = Suite::chosen()?;
    let world = World::enter(&suites)?;
    suites.into_iter().map(|suite| bench::tools::tools(&world, suite, rounds)).collect()
}

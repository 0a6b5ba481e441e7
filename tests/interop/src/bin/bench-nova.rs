//! What it costs to know how a real nova-compute is: the probe beside the list of processes. Prints one JSON object.
//!
//! `bench-nova [ROUNDS]`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

use std::env;
use std::process::ExitCode;

use pcmk_interop::error::Context;
use pcmk_interop::{Result, World, bench, images, nova};

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
        None => 100,
    };
    let world = World::enter_with(&[nova::SUITE], images::ensure_nova)?;
    bench::nova::nova(&world, rounds)
}

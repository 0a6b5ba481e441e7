//! What it costs to know how a compute is: the native probe beside `virsh`, `VirtualDomain`, the list of processes
//! and libvirt's Python binding, on one compute with a hundred guests. Prints one JSON object.
//!
//! `bench-probes [ROUNDS]`; `PCMK_RIG_SUITES` chooses the suite, default bookworm.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

use std::env;
use std::process::ExitCode;

use pcmk_interop::error::Context;
use pcmk_interop::{Result, Suite, World, bench, images};

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
        None => 30,
    };
    let suites = Suite::chosen_or(&[Suite::Bookworm])?;
    let world = World::enter_with(&suites, || images::ensure_libvirt(&suites))?;
    let suite = suites.first().copied().context("no suite was chosen")?;
    bench::probes::probes(&world, suite, rounds)
}

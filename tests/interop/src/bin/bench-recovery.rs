//! A host with 50 servers dies: how its servers come up elsewhere, by the agents in use, with a fixed number of
//! evacuations in flight, and by us; one after the other in one cloud. Prints one JSON object.
//!
//! `bench-recovery [SERVERS [LIMIT...]]`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

use std::env;
use std::process::ExitCode;

use pcmk_interop::error::Context;
use pcmk_interop::{Result, World, bench, cloud, images};

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
    let numbers: Vec<usize> =
        env::args().skip(1).map(|word| word.parse().context(word)).collect::<Result<_>>()?;
    let (servers, limits) = match numbers.split_first() {
        Some((servers, limits)) => (*servers, limits.to_vec()),
        None => (50, vec![4, 8, 16, 24]),
    };
    let world = World::enter_bare(&[cloud::SUITE], images::ensure_cloud)?;
    bench::recovery::recovery(&world, servers, &limits)
}

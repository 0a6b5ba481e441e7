//! The cloud of the tests of recovery, to look around in: `cloud [HOSTS]`. It stays until Enter, the end of the input or
//! Ctrl-C.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use pcmk_interop::cloud::{self, Cloud, Options};
use pcmk_interop::error::Context;
use pcmk_interop::{Result, World, images};

fn main() -> ExitCode {
    match stay() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stay() -> Result<()> {
    let hosts = match env::args().nth(1) {
        Some(hosts) => hosts.parse().context("the number of hosts")?,
        None => 3,
    };
    let world = World::enter_bare(&[cloud::SUITE], images::ensure_cloud)?;
    let started = Instant::now();
    let cloud = Cloud::up(&world, hosts, &Options { wilful_guests: true, ..Options::default() })?;
    let (name, password) = cloud::ADMIN;
    println!("up after {:.1} s: {}", started.elapsed().as_secs_f32(), cloud.computes().join(" "));
    println!("Keystone: http://{}/v3, user {name}, password {password}, project admin", cloud.keystone());
    println!("a shell on the controller: {}", world.way_in(cloud.node())?);
    println!("Enter ends it.");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

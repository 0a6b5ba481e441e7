//! One controller's script (`script`), played against Pacemaker's C executors 2.1.5 and 3.0.0 and ours
//! in one run. What they answer must be equal, except what `accepted-differences.toml` lists; an entry
//! there that is no longer needed fails too.
//!
//!     cargo test -p pcmk-differential --test differential -- [PART OF A SCENARIO'S NAME] [--print KIND]
//!
//! Needs root, gcc, libgnutls28-dev, the rig's images (made when missing) and our daemon
//! (`cargo build --profile daemon -p pcmk-remote`, or `PCMK_DAEMON`).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the test's own front")]

use std::process::ExitCode;
use std::time::Instant;

use pcmk_differential::compare::{Accepted, differences, parse_accepted};
use pcmk_differential::node::{Kind, Node, top};
use pcmk_differential::play::{Transcript, play};
use pcmk_differential::script::{Scenario, parse};
use pcmk_differential::{Context as _, Result};

type Plays = Vec<Result<Transcript>>;

fn main() -> ExitCode {
    let mut filter = String::new();
    let mut print = None;
    let mut list = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--print" => print = arguments.next(),
            "--list" => list = true,
            // What test runners add.
            "--nocapture" | "--no-capture" | "--exact" | "--ignored" | "--include-ignored" | "--quiet" => {}
            "--format" | "--test-threads" | "--color" => drop(arguments.next()),
            option if option.starts_with("--") => {}
            name => name.clone_into(&mut filter),
        }
    }
    match run(&filter, print.as_deref(), list) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("differential: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(name: &str) -> Result<String> {
    std::fs::read_to_string(top().join("tests/differential").join(name)).context(name)
}

/// Plays everything against one daemon.
fn plays(kind: Kind, scenarios: &[Scenario]) -> Result<Plays> {
    let mut node = Node::start(kind)?;
    let timed = std::env::var_os("PCMK_DIFFERENTIAL_TIMES").is_some();
    let one = |scenario: &Scenario| {
        // All that matters on this machine are its tools.
        if kind == Kind::OursWith300 && !scenario.has_tools() {
            return Ok(Transcript::new());
        }
        let begin = Instant::now();
        let played = play(&mut node, scenario);
        if timed {
            eprintln!("{:>8.2} s  {}: {}", begin.elapsed().as_secs_f64(), kind.name(), scenario.name);
        }
        played
    };
    Ok(scenarios.iter().map(one).collect())
}

fn run(filter: &str, print: Option<&str>, list: bool) -> Result<bool> {
    let begin = Instant::now();
    let mut scenarios = parse(&read("script")?)?;
    scenarios.retain(|scenario| scenario.name.contains(filter));
    let pairs = [Kind::C215, Kind::C300];
    if list {
        for pair in pairs {
            for scenario in &scenarios {
                println!("{}: {}: test", pair.name(), scenario.name);
            }
        }
        return Ok(true);
    }
    let kinds: Vec<Kind> = [Kind::C215, Kind::C300, Kind::Ours, Kind::OursWith300]
        .into_iter()
        .filter(|kind| print.is_none_or(|name| kind.name() == name))
        .collect();
    let results: Vec<(Kind, Result<Plays>)> = std::thread::scope(|scope| {
        let scenarios = &scenarios;
        let threads: Vec<_> =
            kinds.iter().map(|&kind| (kind, scope.spawn(move || plays(kind, scenarios)))).collect();
        threads
            .into_iter()
            .map(|(kind, thread)| {
                (kind, thread.join().unwrap_or_else(|_| Err("the player failed".to_owned())))
            })
            .collect()
    });
    if print.is_some() {
        for (kind, plays) in results {
            show(kind, &scenarios, &plays?);
        }
        return Ok(true);
    }
    let accepted = parse_accepted(&read("accepted-differences.toml")?)?;
    let get = |kind| {
        let found = results.iter().find(|(k, _)| *k == kind).ok_or("not played")?;
        found.1.as_ref().map_err(Clone::clone)
    };
    let (ours, with_300) = (get(Kind::Ours)?, get(Kind::OursWith300)?);
    let tests = pairs.len() * scenarios.len() + 1;
    println!("\nrunning {tests} tests");
    let mut used = vec![false; accepted.len()];
    let mut failures = Vec::new();
    for pair in pairs {
        let theirs = get(pair)?;
        for (((scenario, theirs), ours), with_300) in scenarios.iter().zip(theirs).zip(ours).zip(with_300) {
            let ours = if pair == Kind::C300 && scenario.has_tools() { with_300 } else { ours };
            let name = format!("{}: {}", pair.name(), scenario.name);
            let faults = judge(pair, scenario, theirs, ours, &accepted, &mut used);
            println!("test {name} ... {}", if faults.is_empty() { "ok" } else { "FAILED" });
            if !faults.is_empty() {
                failures.push((name, faults));
            }
        }
    }
    // A part of the script cannot show that an entry is useless.
    let useless: Vec<String> = accepted
        .iter()
        .zip(&used)
        .filter(|(_, used)| !**used && filter.is_empty())
        .map(|(entry, _)| format!("    does not occur any more: {entry:?}"))
        .collect();
    println!(
        "test every accepted difference still occurs ... {}",
        if useless.is_empty() { "ok" } else { "FAILED" }
    );
    if !useless.is_empty() {
        failures.push(("every accepted difference still occurs".to_owned(), useless));
    }
    if !failures.is_empty() {
        println!("\nfailures:");
        for (name, faults) in &failures {
            println!("\n---- {name} ----\n{}", faults.join("\n"));
        }
        println!();
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        if failures.is_empty() { "ok" } else { "FAILED" },
        tests - failures.len(),
        failures.len(),
        begin.elapsed().as_secs_f64()
    );
    Ok(failures.is_empty())
}

fn judge(
    pair: Kind,
    scenario: &Scenario,
    theirs: &Result<Transcript>,
    ours: &Result<Transcript>,
    accepted: &[Accepted],
    used: &mut [bool],
) -> Vec<String> {
    let mut faults = Vec::new();
    let (Ok(theirs_played), Ok(ours_played)) = (theirs, ours) else {
        for (name, result) in [(pair.name(), theirs), ("ours", ours)] {
            if let Err(error) = result {
                faults.push(format!("    {name}: {error}"));
            }
        }
        return faults;
    };
    for difference in differences(theirs_played, ours_played) {
        let mut known = false;
        for (entry, used) in accepted.iter().zip(used.iter_mut()) {
            if entry.covers(pair.name(), &scenario.name, &difference) {
                known = true;
                *used = true;
            }
        }
        if !known {
            faults.push(difference.to_string());
        }
    }
    faults
}

fn show(kind: Kind, scenarios: &[Scenario], plays: &Plays) {
    for (scenario, play) in scenarios.iter().zip(plays) {
        println!("== {} ({})", scenario.name, kind.name());
        match play {
            Err(error) => println!("error: {error}"),
            Ok(transcript) => {
                for (connection, entries) in transcript {
                    for entry in entries {
                        println!("{connection:>2}| {entry}");
                    }
                }
            }
        }
    }
}

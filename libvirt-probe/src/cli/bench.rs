//! `bench`: what the probe costs, here and in libvirt's daemon.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

use super::args::BenchOptions;
use super::probe::libvirt_settings;
use super::text::{Table, ms, to_ms};
use super::{Exit, Failure, json_line, output, print};
use crate::config::Config;
use crate::libvirt::{Libvirt, Settings};
use crate::rpc::Client;
use crate::sys::proc::Roots;
use crate::verdict::{Health, Report, Rules};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    rounds: u32,
    #[serde(rename = "min_ms", serialize_with = "as_ms")]
    min: Duration,
    #[serde(rename = "median_ms", serialize_with = "as_ms")]
    median: Duration,
    #[serde(rename = "p99_ms", serialize_with = "as_ms")]
    p99: Duration,
    /// Per round.
    #[serde(rename = "cpu_ms", serialize_with = "as_ms")]
    cpu: Duration,
    /// Of libvirt's daemon, per round; its clock ticks only a hundred times a second.
    daemon_cpu_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Results {
    socket: String,
    domains: Option<u64>,
    peak_memory_kib: u64,
    measured: Vec<Row>,
}

pub(super) async fn run(config: &Config, options: &BenchOptions) -> Result<Exit, Failure> {
    let settings = libvirt_settings(config, options.socket.socket.as_deref(), None);
    let mut libvirt = Libvirt::new(settings.clone());
    let first = libvirt.check().await;
    let (Some(socket), Health::Ok | Health::Degraded) =
        (libvirt.socket().map(Path::to_owned), first.health())
    else {
        // Nothing can be measured: say why, as `check` does.
        let seen = super::look::Seen::of(first, Rules { failures: 1 });
        return print(output::human(std::slice::from_ref(&seen)).as_bytes())
            .map(|_| seen.verdict.health.into());
    };
    let daemon = fact(&first, "pid").and_then(|pid| u32::try_from(pid).ok());
    let mut meter = Meter { rounds: options.rounds, daemon, rows: Vec::new() };
    pings(&mut meter, &socket).await?;
    passes(&mut meter, &mut libvirt).await?;
    connects(&mut meter, &settings).await?;
    let results = Results {
        socket: socket.display().to_string(),
        domains: fact(&first, "domains"),
        peak_memory_kib: usage().map_or(0, |usage| u64::try_from(usage.max_rss()).unwrap_or(0)),
        measured: meter.rows,
    };
    if options.json { print(json_line(&results)?.as_bytes()) } else { print(text(&results).as_bytes()) }
}

/// A ping over a connection that nothing else is done with.
async fn pings(meter: &mut Meter, socket: &Path) -> Result<(), Failure> {
    let lost = |error: &dyn std::fmt::Display| broken_off(&error.to_string());
    let mut client =
        Client::connect(socket, Instant::now() + PATIENCE).await.map_err(|error| lost(&error))?;
    meter
        .measure("ping", async || {
            let began = Instant::now();
            client.session().ping(began);
            while client.session().unanswered_ping().is_some() {
                match client.turn(began + PATIENCE).await {
                    Ok(true) => {}
                    Ok(false) => return Err(lost(&"a ping was not answered")),
                    Err(error) => return Err(lost(&error)),
                }
            }
            Ok(())
        })
        .await
}

/// All steps, over the connection that is kept.
async fn passes(meter: &mut Meter, libvirt: &mut Libvirt) -> Result<(), Failure> {
    meter.measure("full pass", async || works(&libvirt.check().await)).await
}

/// A new connection and all steps, as one `check` does it.
async fn connects(meter: &mut Meter, settings: &Settings) -> Result<(), Failure> {
    meter
        .measure("connect and full pass", async || works(&Libvirt::new(settings.clone()).check().await))
        .await
}

fn works(report: &Report) -> Result<(), Failure> {
    match (report.health(), report.worst()) {
        (Health::Ok | Health::Degraded, _) | (_, None) => Ok(()),
        (_, Some(finding)) => Err(broken_off(&finding.reason)),
    }
}

fn broken_off(text: &str) -> Failure {
    Failure::NoAnswer { exit: Exit::FAILED, text: format!("while measuring: {text}") }
}

/// Measures one thing after another.
struct Meter {
    rounds: u32,
    daemon: Option<u32>,
    rows: Vec<Row>,
}

impl Meter {
    async fn measure(
        &mut self,
        name: &'static str,
        mut round: impl AsyncFnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (cpu, ticks) = (cpu(), self.ticks());
        let mut times = Vec::new();
        for _ in 0..self.rounds {
            let began = Instant::now();
            round().await?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        let cpu = self::cpu().saturating_sub(cpu);
        let daemon = ticks.zip(self.ticks()).map(|(before, after)| after.saturating_sub(before));
        self.rows.push(Row {
            name,
            rounds: self.rounds,
            min: place(&times, 0),
            median: place(&times, 50),
            p99: place(&times, 99),
            cpu: cpu.checked_div(self.rounds).unwrap_or_default(),
            daemon_cpu_ms: daemon.map(|time| to_ms(time.checked_div(self.rounds).unwrap_or_default())),
        });
        Ok(())
    }

    /// CPU time that the daemon has used.
    fn ticks(&self) -> Option<Duration> {
        let stat = Roots::default().stat(self.daemon?).ok()?;
        let per_second = sysconf(SysconfVar::CLK_TCK).ok()?.and_then(|number| u32::try_from(number).ok())?;
        Duration::from_secs(stat.ticks).checked_div(per_second)
    }
}

/// The value that so many of a hundred do not exceed; of an ordered list.
fn place(times: &[Duration], percent: usize) -> Duration {
    let index = times.len().saturating_mul(percent) / 100;
    times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn usage() -> Option<nix::sys::resource::Usage> {
    getrusage(UsageWho::RUSAGE_SELF).ok()
}

/// CPU time that this process has used.
fn cpu() -> Duration {
    let time = |value: TimeVal| {
        let micros = u64::try_from(value.tv_usec()).unwrap_or(0);
        Duration::from_secs(u64::try_from(value.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros)
    };
    usage().map(|usage| time(usage.user_time()) + time(usage.system_time())).unwrap_or_default()
}

fn fact(report: &Report, name: &str) -> Option<u64> {
    let facts = report.findings.iter().flat_map(|finding| &finding.evidence);
    facts.filter(|fact| fact.name == name).find_map(|fact| fact.value.parse().ok())
}

fn text(results: &Results) -> String {
    let mut table = Table::new(["MEASURED", "ROUNDS", "MIN", "MEDIAN", "P99", "CPU", "CPU OF LIBVIRT"]);
    for row in &results.measured {
        table.row([
            row.name.to_owned(),
            row.rounds.to_string(),
            ms(row.min),
            ms(row.median),
            ms(row.p99),
            ms(row.cpu),
            row.daemon_cpu_ms.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.2} ms")),
        ]);
    }
    let domains = results.domains.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let memory = results.peak_memory_kib;
    format!("{}: {domains} active domains; peak memory here {memory} KiB\n{}", results.socket, table.text())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn as_ms<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(to_ms(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_an_ordered_list() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let at = |percent| place(&times, percent).as_millis();
        assert_eq!((at(0), at(50), at(99), at(100)), (1, 101, 199, 200));
        assert_eq!((place(&times[..1], 99).as_millis(), place(&[], 50)), (1, Duration::ZERO));
    }
}

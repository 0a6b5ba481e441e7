//! `nova-ha power`: read and switch the power of a host.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{Exit, Failure, complain, print, print_json};
use crate::client::{ClientError, power as client, proof};
use crate::config::Config;
use crate::ids::HostName;
use crate::power::map::{self, Entry, Finding, Map, Pace, Severity};
use crate::power::{self, Device, Outcome, PowerError, PowerState};
use crate::proof::{FenceProof, Reading};

/// So many devices are asked at once.
const AT_ONCE: usize = 32;

/// Arguments of `power`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read the power: exit code 0 on, 2 off, 1 it cannot be told
    Status(Target),
    /// Switch off, unless it is off, and read off twice in a row
    Off(Target),
    /// Switch on, unless it is on, and read on twice in a row
    On(Powering),
    /// Off until that is read twice in a row, then on
    Cycle(Powering),
    /// List the hosts of the map with their devices, and say what is wrong with them
    List(List),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Driver {
    /// IPMI 2.0 over the network
    Ipmi,
    /// Redfish
    Redfish,
    /// An installed fence agent
    Agent,
}

#[derive(Debug, Args)]
struct Target {
    /// A host, by its name in Nova or in the cluster, instead of a device: off keeps the proof, on and cycle end it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["driver", "address", "user", "password_file", "cipher",
        "privlvl", "kg_file", "system", "session", "ca_file", "insecure", "agent", "options"])]
    host: Option<String>,
    /// The map of hosts and devices; mode 0600; default: that of the configuration
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// How the device is spoken to
    #[arg(long, value_enum, required_unless_present = "host")]
    driver: Option<Driver>,
    /// The device: a name, an IPv4 address or an IPv6 address in brackets, and a port if it is not the usual one
    #[arg(long, value_name = "HOST[:PORT]")]
    address: Option<String>,
    /// The user on the device
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The file with the password: its first line; mode 0600
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// IPMI cipher suite: 17, 3, or auto for the better one that the device offers
    #[arg(long, value_name = "SUITE")]
    cipher: Option<String>,
    /// IPMI privilege level: user, operator (default) or administrator
    #[arg(long, value_name = "LEVEL")]
    privlvl: Option<String>,
    /// IPMI: the file with the device's own key (K_g): text, or hexadecimal after 0x; mode 0600
    #[arg(long, value_name = "FILE")]
    kg_file: Option<PathBuf>,
    /// Redfish: which system, if there are several: its id or its path
    #[arg(long, value_name = "ID")]
    system: Option<String>,
    /// Redfish: log in to a session, instead of sending the password with each request
    #[arg(long)]
    session: bool,
    /// Redfish: the authority of the device's certificate, or the certificate itself, as PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Redfish: believe any certificate
    #[arg(long, conflicts_with = "ca_file")]
    insecure: bool,
    /// The fence agent: its name, or its path
    #[arg(long, value_name = "fence_NAME", required_if_eq("driver", "agent"))]
    agent: Option<PathBuf>,
    /// A parameter of the fence agent; can be given again
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// It never takes longer than this
    #[arg(long, value_name = "SPAN", default_value = "20s", value_parser = span)]
    timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Powering {
    #[command(flatten)]
    target: Target,
    /// With --host: even while the host is being evacuated, because it is off
    #[arg(long, requires = "host")]
    force: bool,
}

#[derive(Debug, Args)]
struct List {
    /// The map of hosts and devices; mode 0600; default: that of the configuration
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Ask each device for its power
    #[arg(long)]
    check: bool,
    /// No device is asked longer than this
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span)]
    timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is not of the form NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A number alone is seconds.
fn span(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs).ok();
    let span = seconds.or_else(|| humantime::parse_duration(text).ok());
    let span = span.filter(|span| !span.is_zero() && *span <= Duration::from_secs(3600));
    span.ok_or_else(|| "it is not a span of up to an hour, as in 20s".to_owned())
}

/// What scripts read.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Only with `--host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a HostName>,
    device: &'a str,
    /// What the device reads; null if it cannot be told.
    state: Option<PowerState>,
    readings: &'a [Reading],
    elapsed_ms: u64,
    /// Only of `off --host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'a FenceProof>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Read when a host is named, and not for a device that is.
type Configured<'a> = &'a dyn Fn() -> Result<Config, Failure>;

pub(super) async fn run(options: &Options, config: Configured<'_>) -> Result<Exit, Failure> {
    tokio::select! {
        done = act(options, config) => done,
        () = crate::process::told_to_end() => Err(Failure::failed("told to end: what was ordered may still happen")),
    }
}

async fn act(options: &Options, config: Configured<'_>) -> Result<Exit, Failure> {
    match &options.action {
        Action::Status(target) => switch(target, What::Status, false, config).await,
        Action::Off(target) => switch(target, What::Off, false, config).await,
        Action::On(Powering { target, force }) => switch(target, What::On, *force, config).await,
        Action::Cycle(Powering { target, force }) => switch(target, What::Cycle, *force, config).await,
        Action::List(list) => self::list(list, config).await,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Status,
    Off,
    On,
    Cycle,
}

/// What came of it.
struct Done {
    outcome: Outcome,
    proof: Option<FenceProof>,
    /// Why the proof could not be kept.
    lost: Option<String>,
}

/// Why nothing did.
struct NotDone {
    why: String,
    readings: Vec<Reading>,
}

impl From<ClientError> for NotDone {
    fn from(error: ClientError) -> Self {
        Self { why: format!("nothing was switched: {error}"), readings: Vec::new() }
    }
}

impl From<PowerError> for NotDone {
    fn from(error: PowerError) -> Self {
        Self { why: error.to_string(), readings: error.readings().to_vec() }
    }
}

/// What is switched.
struct Found {
    device: Box<dyn Device>,
    /// The host, and what is configured; none of a device alone.
    host: Option<(HostName, Config)>,
}

async fn switch(target: &Target, what: What, force: bool, config: Configured<'_>) -> Result<Exit, Failure> {
    let started = Instant::now();
    let mut found = target.find(what, config)?;
    let name = found.device.name();
    let result = carry_out(&mut found, target.timeout, what, force).await;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let host = found.host.as_ref().map(|(host, _)| host);
    let report =
        Report { host, device: &name, state: None, readings: &[], elapsed_ms, proof: None, error: None };
    let done = match result {
        Ok(done) => done,
        Err(NotDone { why, readings }) if target.json => {
            print_json(&Report { readings: &readings, error: Some(why), ..report })?;
            return Ok(Exit::Failed);
        }
        Err(NotDone { why, .. }) => return Err(Failure::failed(why)),
    };
    let Done { outcome, proof, lost } = &done;
    if target.json {
        let (state, readings, error) = (Some(outcome.state), &outcome.readings, lost.clone());
        print_json(&Report { state, readings, proof: proof.as_ref(), error, ..report })?;
    } else {
        let already = if outcome.already && what != What::Status { "already " } else { "" };
        let host = host.map(|host| format!("{host}, ")).unwrap_or_default();
        print(format!("{host}{name}: {already}{} ({elapsed_ms} ms)\n", outcome.state).as_bytes())?;
        if let Some(lost) = lost {
            complain(lost);
        }
    }
    Ok(match (what, outcome.state) {
        _ if lost.is_some() => Exit::Failed,
        (What::Status, PowerState::Off) => Exit::Off,
        (What::Status, PowerState::Changing) => Exit::Failed,
        _ => Exit::Ok,
    })
}

async fn carry_out(found: &mut Found, within: Duration, what: What, force: bool) -> Result<Done, NotDone> {
    let device = found.device.as_mut();
    let outcome = match (what, &found.host) {
        (What::Off, Some((host, config))) => {
            let (outcome, proven) = power::off_with_proof(device, host, within).await?;
            let kept = proof::record(&config.files.proofs(), &proven);
            let lost = kept
                .err()
                .map(|error| format!("{host} is off, and the proof of it could not be kept: {error}"));
            return Ok(Done { outcome, proof: Some(proven), lost });
        }
        (What::On | What::Cycle, Some((host, config))) => {
            // Before: a host that may be on must not be proven off.
            client::before_on(config, host, force).await?;
            if what == What::On {
                power::confirm_on(device, within).await
            } else {
                power::cycle(device, within).await
            }
        }
        (What::Off, None) => power::switch_off(device, within).await,
        (What::Status, _) => power::status(device, within).await,
        (What::On, None) => power::confirm_on(device, within).await,
        (What::Cycle, None) => power::cycle(device, within).await,
    };
    Ok(Done { outcome: outcome?, proof: None, lost: None })
}

/// The map that was named, else that of the configuration.
fn map_of(named: Option<&PathBuf>, config: &Config) -> Result<Map, Failure> {
    Map::load(named.unwrap_or(&config.files.map)).map_err(Failure::failed)
}

impl Target {
    fn find(&self, what: What, config: Configured<'_>) -> Result<Found, Failure> {
        let Some(host) = &self.host else { return Ok(Found { device: self.device()?, host: None }) };
        let config = config()?;
        let map = map_of(self.map.as_ref(), &config)?;
        let (host, device) =
            client::find(&config, &map, host, what != What::Status).map_err(Failure::failed)?;
        Ok(Found { device, host: Some((host, config)) })
    }

    fn device(&self) -> Result<Box<dyn Device>, Failure> {
        let driver = match self.driver {
            Some(Driver::Agent) => map::Driver::Agent,
            Some(Driver::Redfish) => map::Driver::Redfish,
            Some(Driver::Ipmi) | None => map::Driver::Ipmi,
        };
        if self.insecure {
            complain("insecure: the device's certificate is not checked, so anybody could answer");
        }
        let entry = Entry {
            address: self.address.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            cipher: self.cipher.clone(),
            privlvl: self.privlvl.clone(),
            kg_file: self.kg_file.clone(),
            system: self.system.clone(),
            session: self.session,
            ca_file: self.ca_file.clone(),
            insecure: self.insecure,
            agent: self.agent.clone(),
            parameters: self.options.iter().cloned().collect(),
            ..Entry::new(driver)
        };
        entry.device().map_err(Failure::failed)
    }
}

async fn list(list: &List, config: Configured<'_>) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Hosts {
        hosts: Vec<Finding>,
    }

    let map = match &list.map {
        Some(path) => Map::load(path).map_err(Failure::failed)?,
        None => map_of(None, &config()?)?,
    };
    let pace = Pace { within: list.timeout, at_once: AT_ONCE };
    let hosts = if list.check { map.validate_live(None, pace, pace).await } else { map.validate(None) };
    let bad = hosts.iter().any(|finding| finding.severity == Severity::Error);
    if list.json {
        print_json(&Hosts { hosts })?;
    } else {
        let mut text = String::new();
        for Finding { host, device, severity, text: found } in &hosts {
            let mark = match severity {
                Severity::Ok => "ok",
                Severity::Warning => "WARNING",
                Severity::Error => "ERROR",
            };
            // Writing to a String does not fail.
            let _ = writeln!(text, "{host}\t{device}\t{mark}\t{found}");
        }
        print(text.as_bytes())?;
    }
    Ok(if bad { Exit::Failed } else { Exit::Ok })
}

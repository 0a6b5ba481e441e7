//! `nova-ha power`: read and switch the power of a host.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{Exit, Failure, print, print_json};
use crate::power::{
    self, Device, FenceAgent, FenceAgentSettings, Ipmi, IpmiSettings, Outcome, PowerError, PowerState,
};
use crate::proof::Reading;
use crate::secret::Secret;

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
    On(Target),
    /// Off until that is read twice in a row, then on
    Cycle(Target),
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
    /// How the device is spoken to
    #[arg(long, value_enum)]
    driver: Driver,
    /// The device: a name, an IPv4 address or an IPv6 address in brackets, and a port if it is not the usual one
    #[arg(long, value_name = "HOST[:PORT]", required_unless_present = "agent")]
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
    /// The file with the device's own key (K_g): text, or hexadecimal after 0x; mode 0600
    #[arg(long, value_name = "FILE")]
    kg_file: Option<PathBuf>,
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
    device: &'a str,
    /// What the device reads; none if it cannot be told.
    state: Option<PowerState>,
    readings: &'a [Reading],
    elapsed_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(options: &Options) -> Result<Exit, Failure> {
    let (Action::Status(target) | Action::Off(target) | Action::On(target) | Action::Cycle(target)) =
        &options.action;
    let started = Instant::now();
    let mut device = target.device().map_err(Failure::failed)?;
    let device = device.as_mut();
    let within = target.timeout;
    let result = match &options.action {
        Action::Status(_) => power::status(device, within).await,
        Action::Off(_) => power::switch_off(device, within).await,
        Action::On(_) => power::confirm_on(device, within).await,
        Action::Cycle(_) => power::cycle(device, within).await,
    };
    let elapsed = started.elapsed();
    report(options, target, &device.name(), result, elapsed)
}

fn report(
    options: &Options,
    target: &Target,
    name: &str,
    result: Result<Outcome, PowerError>,
    elapsed: Duration,
) -> Result<Exit, Failure> {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) if target.json => {
            let readings = error.readings();
            let report =
                Report { device: name, state: None, readings, elapsed_ms, error: Some(error.to_string()) };
            return print_json(&report).map(|_| Exit::Failed);
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    if target.json {
        let report = Report {
            device: name,
            state: Some(outcome.state),
            readings: &outcome.readings,
            elapsed_ms,
            error: None,
        };
        print_json(&report)?;
    } else {
        let already =
            if outcome.already && !matches!(options.action, Action::Status(_)) { "already " } else { "" };
        print(format!("{name}: {already}{} ({elapsed_ms} ms)\n", outcome.state).as_bytes())?;
    }
    Ok(match (&options.action, outcome.state) {
        (Action::Status(_), PowerState::Off) => Exit::Off,
        (Action::Status(_), PowerState::Changing) => Exit::Failed,
        _ => Exit::Ok,
    })
}

impl Target {
    fn device(&self) -> Result<Box<dyn Device>, PowerError> {
        let password = self.password_file.as_deref().map(Secret::from_file).transpose()?;
        match self.driver {
            Driver::Agent => {
                let mut parameters: std::collections::BTreeMap<_, _> = self.options.iter().cloned().collect();
                for (name, value) in [("ip", &self.address), ("username", &self.user)] {
                    if let Some(value) = value {
                        parameters.insert(name.to_owned(), value.clone());
                    }
                }
                let agent = self.agent.clone().unwrap_or_default();
                Ok(Box::new(FenceAgent::new(FenceAgentSettings { agent, parameters, password })?))
            }
            Driver::Ipmi => {
                let missing = |what: &str| PowerError::Settings(format!("--driver ipmi needs {what}"));
                let place = self.address.as_deref().ok_or_else(|| missing("--address"))?.parse()?;
                Ok(Box::new(Ipmi::new(IpmiSettings {
                    place,
                    user: self.user.clone().unwrap_or_default(),
                    password: password.ok_or_else(|| missing("--password-file"))?,
                    kg_file: self.kg_file.clone(),
                    privlvl: self.privlvl.clone(),
                    cipher: self.cipher.clone(),
                })?))
            }
            Driver::Redfish => Err(PowerError::Settings(
                "this driver is not in this build: use --driver ipmi or agent".into(),
            )),
        }
    }
}

//! `nova-ha validate`: would recovery work? Looks, and changes nothing.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, print, print_json};
use crate::cloud::{Cloud, Level};
use crate::config::{Config, Names};
use crate::handover::{Attributes, EVACUATE, Queue};
use crate::hooks::{Hooks, Point, leads_nowhere};
use crate::ids::HostName;
use crate::power::map::{Pace, Severity};
use crate::proof::signed::Signer;
use crate::serve;

const PACE: Pace = Pace { within: Duration::from_secs(10), at_once: 32 };
const TOOL: Duration = Duration::from_secs(5);

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Look at files alone: no cloud, no power devices, no cluster
    #[arg(long)]
    offline: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Found {
    about: &'static str,
    level: Level,
    text: String,
}

#[derive(Default)]
struct Findings(Vec<Found>);

impl Findings {
    fn add(&mut self, about: &'static str, level: Level, text: impl Into<String>) {
        self.0.push(Found { about, level, text: text.into() });
    }

    /// An error is a failure of this level.
    fn take<T, E: ToString>(
        &mut self,
        about: &'static str,
        level: Level,
        fine: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.add(about, Level::Ok, fine);
                Some(value)
            }
            Err(error) => {
                self.add(about, level, error.to_string());
                None
            }
        }
    }
}

pub(super) async fn run(options: &Options, config: &Config) -> Result<Exit, Failure> {
    let mut found = Findings::default();
    found.add("config", Level::Ok, "the configuration can be used");
    found.take("policy", Level::Fail, "the policy can be used", serve::policy(config));
    let key = Signer::from_file(&config.files.key);
    found.take("key", Level::Warn, "proofs are signed for the other controllers", key);
    let queue = Queue::new(config.files.queue()).check_writable();
    found.take("state", Level::Fail, "requests can be stored", queue);
    for point in Point::ALL {
        match Hooks::new(&config.hooks.folder, config.hooks.limit).at(point) {
            Ok(hooks) => {
                for hook in hooks.iter().filter(|hook| leads_nowhere(hook)) {
                    found.add(
                        "hooks",
                        Level::Warn,
                        format!("{} is a link to nothing: it fails", hook.display()),
                    );
                }
            }
            Err(error) => found.add("hooks", Level::Warn, error.to_string()),
        }
    }
    let hosts = if options.offline { None } else { cloud(config, &mut found).await };
    power(options, config, hosts.as_ref(), &mut found).await;
    names(config, hosts.as_ref(), &mut found);
    if !options.offline {
        let values = Attributes::new(TOOL).values(EVACUATE).await;
        found.take("cluster", Level::Warn, "node attributes can be read", values);
    }
    let failed = found.0.iter().any(|one| one.level == Level::Fail);
    if options.json {
        print_json(&found.0)?;
    } else {
        let mut text = String::new();
        for Found { about, level, text: said } in &found.0 {
            let level = match level {
                Level::Ok => "ok  ",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            // No errors: into a string.
            let _ = writeln!(text, "{level}  {about:<8}  {said}");
        }
        print(text.as_bytes())?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

/// The cloud; Nova's hosts.
async fn cloud(config: &Config, found: &mut Findings) -> Option<BTreeSet<HostName>> {
    let settings = config.cloud_settings();
    let settings = found.take("cloud", Level::Fail, "the credentials can be read", settings)?;
    let connected = Cloud::connect(&settings).await;
    let cloud = found.take("cloud", Level::Fail, "Keystone and Nova answer", connected)?;
    for finding in cloud.check().await {
        found.add("cloud", finding.level, finding.text);
    }
    let services = cloud.compute_services().await.ok()?;
    Some(services.into_iter().map(|service| service.host).collect())
}

async fn power(options: &Options, config: &Config, hosts: Option<&BTreeSet<HostName>>, found: &mut Findings) {
    let map = match serve::map(config) {
        Ok(Some(map)) => map,
        Ok(None) => {
            let text = format!(
                "{} is not there: hosts are fenced by other devices alone",
                config.files.map.display()
            );
            return found.add("power", Level::Warn, text);
        }
        Err(error) => return found.add("power", Level::Fail, error.to_string()),
    };
    // What is wrong with the names is said below.
    let names = Names::new(&config.hosts).unwrap_or_default();
    let called: BTreeMap<HostName, &HostName> =
        hosts.into_iter().flatten().filter_map(|host| Some((map.name(&names, host)?, host))).collect();
    let hosts = hosts.map(|hosts| (&names, hosts));
    let findings =
        if options.offline { map.validate(hosts) } else { map.validate_live(hosts, PACE, PACE).await };
    for finding in findings {
        let level = match finding.severity {
            Severity::Ok => Level::Ok,
            Severity::Warning => Level::Warn,
            Severity::Error => Level::Fail,
        };
        let host = match called.get(&finding.host) {
            Some(host) if **host != finding.host => format!("{host} ({} in the map)", finding.host),
            _ => finding.host.to_string(),
        };
        found.add("power", level, format!("{host}: {}", finding.text));
    }
}

/// One mapping of Nova host, node and device.
fn names(config: &Config, hosts: Option<&BTreeSet<HostName>>, found: &mut Findings) {
    let Some(names) = found.take("names", Level::Fail, "no name stands for two", Names::new(&config.hosts))
    else {
        return;
    };
    let Some(hosts) = hosts else { return };
    let known: Vec<HostName> = hosts.iter().cloned().collect();
    for host in &config.hosts {
        if !hosts.contains(&host.nova) {
            found.add(
                "names",
                Level::Fail,
                format!("Nova has no host {}, which is node {}", host.nova, host.node),
            );
        }
    }
    let mut shorts = BTreeSet::new();
    for host in hosts {
        let short = host.as_str().split('.').next().unwrap_or_default();
        if shorts.insert(short.to_owned())
            && let Err(error) = names.resolve(short, None, &known)
        {
            found.add("names", Level::Fail, error.to_string());
        }
    }
}

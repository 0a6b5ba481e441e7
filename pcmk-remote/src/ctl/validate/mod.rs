//! `validate-config`: what the daemon would stumble over, found beforehand.

mod env_file;
mod files;
mod node;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::ValidateOptions;
use super::table::clean;
use super::{Exit, Failure, print, print_json};
use crate::daemon::{SETTINGS_FILES, Settings};
use env_file::EnvFile;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// The daemon does not serve, or not safely.
    Error,
    /// It serves, but perhaps not as intended.
    Warning,
    /// Worth knowing.
    Info,
}

/// One thing found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// `FILE:LINE` or a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    text: String,
}

/// What was found so far, and where each setting comes from.
#[derive(Default)]
struct Findings {
    all: Vec<Finding>,
    places: BTreeMap<String, String>,
}

impl Findings {
    fn add(&mut self, level: Level, place: Option<String>, text: impl Into<String>) {
        self.all.push(Finding { level, place, text: text.into() });
    }

    fn error(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.add(Level::Error, Some(place.into()), text);
    }

    fn warning(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.add(Level::Warning, Some(place.into()), text);
    }

    fn info(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.add(Level::Info, Some(place.into()), text);
    }

    /// Where a setting was made, under either prefix.
    fn place_of(&self, name: &str) -> Option<String> {
        ["PCMK_", "HA_"].iter().find_map(|prefix| self.places.get(&format!("{prefix}{name}"))).cloned()
    }
}

pub(super) fn run(options: &ValidateOptions, json: bool) -> Result<Exit, Failure> {
    let mut findings = Findings::default();
    let settings = settings(&options.file, &mut findings);
    files::check(&settings, &mut findings);
    node::check(&settings, &mut findings);
    report(findings, json)
}

/// The settings of this node, for other commands, which do not care what is wrong with them.
pub(super) fn quiet_settings() -> Settings {
    settings(&[], &mut Findings::default())
}

/// Reads the settings files as systemd does: later ones win, missing ones are fine unless they were named.
fn settings(named: &[PathBuf], findings: &mut Findings) -> Settings {
    let usual: Vec<PathBuf> = SETTINGS_FILES.iter().map(PathBuf::from).collect();
    let mut variables = BTreeMap::new();
    let mut read = 0_usize;
    for path in if named.is_empty() { &usual } else { named } {
        let shown = path.display().to_string();
        let file = match std::fs::read(path) {
            Ok(bytes) => EnvFile::parse(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_empty() => continue,
            Err(error) => {
                findings.error(&shown, format!("cannot be read: {error}"));
                continue;
            }
        };
        read += 1;
        for (line, problem) in file.problems {
            findings.error(format!("{shown}:{line}"), problem);
        }
        for (line, name, value) in file.variables {
            let place = format!("{shown}:{line}");
            if let Some(before) = findings.places.insert(name.clone(), place.clone()) {
                findings.info(&place, format!("{name} was set before, in {before}: this one counts"));
            }
            let prefix = name.get(..5).unwrap_or_default();
            if prefix.eq_ignore_ascii_case("PCMK_") && prefix != "PCMK_" {
                findings.warning(&place, format!("{name} has no effect: names begin with PCMK_ in capitals"));
            }
            variables.insert(name.into(), value.into());
        }
    }
    if read == 0 {
        findings.add(Level::Info, None, "no settings file: all settings are at their defaults");
    }
    let settings = Settings::of(variables);
    for warning in &settings.warnings {
        let named = findings.places.iter().filter(|(name, _)| warning.contains(name.as_str()));
        let place = named.max_by_key(|(name, _)| name.len()).map(|(_, place)| place.clone());
        findings.add(Level::Warning, place, warning.as_str());
    }
    settings
}

fn report(mut findings: Findings, json: bool) -> Result<Exit, Failure> {
    findings.all.sort_by_key(|finding| finding.level);
    let count = |level| findings.all.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    if json {
        print_json(&findings.all)?;
    } else {
        let mut text = String::new();
        for finding in &findings.all {
            let level = match finding.level {
                Level::Error => "error",
                Level::Warning => "warning",
                Level::Info => "info",
            };
            let place = finding.place.as_deref().map(|place| format!("{place}: ")).unwrap_or_default();
            let _ = writeln!(text, "{level:<7}  {}{}", clean(&place), clean(&finding.text));
        }
        let _ = match (errors, warnings) {
            (0, 0) => writeln!(text, "No problem found."),
            _ => writeln!(text, "{}, {}.", counted(errors, "error"), counted(warnings, "warning")),
        };
        print(text.as_bytes())?;
    }
    Ok(if errors > 0 { Exit::Bad } else { Exit::Ok })
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The path as text.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

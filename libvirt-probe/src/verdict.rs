//! What a probe says, and how long it must say so before it is believed.
//!
//! Values and decisions only: time is an argument.

mod judge;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use judge::{Judge, Rules, Verdict};

/// How a subject is. Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It works.
    Ok,
    /// It cannot be told: not installed, no permission, a wrong configuration. Never a failure.
    Unknown,
    /// It works with restrictions.
    Degraded,
    /// It does not do what it is there for.
    Failed,
}

/// What a probe looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The libvirt daemon and its domains.
    Libvirt,
    /// Nova's agent on this host.
    NovaCompute,
    /// Other units of a compute node.
    Services,
    /// The host itself.
    Host,
}

/// A step of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// libvirt: the socket is there.
    Socket,
    /// libvirt: a connection is accepted, authenticated and opened.
    Connect,
    /// libvirt: the event loop answers a ping.
    EventLoop,
    /// libvirt: a cheap call is answered.
    Call,
    /// libvirt: the workers that do the real work answer.
    Workers,
    /// libvirt: the monitors of the domains answer.
    Domains,
    /// Domains' disks work (no domain paused by an I/O error); the instances' path can be written to.
    Storage,
    /// The process is there and runs.
    Process,
    /// nova-compute reads what the message bus sends.
    Bus,
    /// Nova has heard of the service lately.
    Api,
    /// The unit is active and does not restart again and again.
    Unit,
    /// The root file system can be written to.
    Root,
    /// The clock does not jump.
    Clock,
    /// Memory is left.
    Memory,
    /// Tasks do not wait for CPU, memory or disks most of the time.
    Pressure,
    /// The kernel is set up to end, and not to hang, in a panic.
    Panic,
}

/// A measured or read fact that a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What it is, such as `pid`.
    pub name: &'static str,
    /// Its value, with its unit if it has one.
    pub value: String,
}

/// What one step found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// How it went.
    pub health: Health,
    /// Why, in words for the operator; empty if there is nothing to say.
    pub reason: String,
    /// What to do next; empty if nothing.
    pub advice: String,
    /// How long the step took.
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    pub elapsed: Duration,
    /// What the finding rests on.
    pub evidence: Vec<Evidence>,
    /// Believed at once, without a second look (a process that is gone does not come back by looking again).
    #[serde(skip)]
    pub certain: bool,
}

impl Finding {
    /// A step that went well.
    pub fn ok(step: Step, elapsed: Duration) -> Self {
        Self::new(step, Health::Ok, String::new(), elapsed)
    }

    /// A step that went like this.
    pub fn new(step: Step, health: Health, reason: impl Into<String>, elapsed: Duration) -> Self {
        let (reason, advice) = (reason.into(), String::new());
        Self { step, health, reason, advice, elapsed, evidence: Vec::new(), certain: false }
    }

    /// With what to do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// With a fact that it rests on.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.evidence.push(Evidence { name, value: value.to_string() });
        self
    }

    /// Believed at once.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.certain = true;
        self
    }
}

/// What one check of a subject found, step by step in the order taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was looked at.
    pub subject: Subject,
    /// The steps; those after a failure that makes them pointless are missing.
    pub findings: Vec<Finding>,
    /// How long it all took.
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    pub elapsed: Duration,
    /// Why failures do not count now (the daemon has just been started), if they do not.
    pub grace: Option<String>,
}

impl Report {
    /// The finding that decides: the first of the worst; of a report in which all is well, the last step.
    pub fn worst(&self) -> Option<&Finding> {
        let worst = self.health();
        match worst {
            Health::Ok => self.findings.last(),
            _ => self.findings.iter().find(|finding| finding.health == worst),
        }
    }

    /// How the subject is by this check alone.
    pub fn health(&self) -> Health {
        self.findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Unknown)
    }
}

impl Health {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Step {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Connect => "connect",
            Self::EventLoop => "event-loop",
            Self::Call => "call",
            Self::Workers => "workers",
            Self::Domains => "domains",
            Self::Storage => "storage",
            Self::Process => "process",
            Self::Bus => "bus",
            Self::Api => "api",
            Self::Unit => "unit",
            Self::Root => "root",
            Self::Clock => "clock",
            Self::Memory => "memory",
            Self::Pressure => "pressure",
            Self::Panic => "panic",
        }
    }
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Libvirt, Self::NovaCompute, Self::Services, Self::Host];

    /// Its name, as in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libvirt => "libvirt",
            Self::NovaCompute => "nova-compute",
            Self::Services => "services",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn milliseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}

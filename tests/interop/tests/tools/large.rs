//! Tools on a remote node of a cluster of a thousand, whose CIB has 8 MiB.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use pcmk_interop::error::Context;
use pcmk_interop::wait::secs;
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World, fail, large};

use super::plain::Plain;

/// What is run, and how long its output is at least.
const TOOLS: [(&str, usize); 4] = [
    ("cibadmin -Q -o nodes", large::LENGTH),
    ("cibadmin -Q --local -o nodes", large::LENGTH),
    ("crm_mon -1", 10_000),
    ("crm_simulate -LS", 10_000),
];

/// Settings of tools: none, the default said explicitly, what tools ask for themselves, and enough for everything.
const SETTINGS: [&str; 4] =
    ["", "PCMK_ipc_buffer=131072", "PCMK_ipc_buffer=524288", "PCMK_ipc_buffer=20971520"];

/// What works on the C daemon's node works on ours, with every usual setting of the daemon and of the tools, and with
/// large enough ones everything works. The daemon goes on serving the cluster.
pub(crate) fn tools(world: &World, suite: Suite, daemon: Daemon) -> Result<()> {
    // One such cluster at a time is enough for a small machine.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let start = SystemTime::now();
    let cluster = Cluster::start(world, suite, 1)?;
    large::load(&cluster)?;
    let theirs = cluster.add_remote(world, "r1", 1, Daemon::Theirs)?;
    let tested = cluster.add_remote(world, "r2", 2, daemon)?;
    let mut wrong = Vec::new();
    for raised in [false, true] {
        if raised {
            large::raise_limit(&cluster, &theirs)?;
            large::raise_limit(&cluster, &tested)?;
        }
        // Without its own limit raised the C daemon of releases before 3.0.1 leaves every tool without an answer, until
        // the tool gives up after 30 s: a sample of them is enough.
        let (settings, tools) =
            if raised { (&SETTINGS[..], &TOOLS[..]) } else { (&SETTINGS[..1], &TOOLS[..1]) };
        for setting in settings {
            for (tool, length) in tools {
                let line = format!("{setting} {tool}");
                let enough = raised && *setting == "PCMK_ipc_buffer=20971520";
                let length = enough.then_some(*length);
                let (mut expected, mut seen) = (End::of(&theirs, &line)?, End::of(&tested, &line)?);
                // The cluster may do something between the two.
                for _ in 0..2 {
                    if seen.fault(&expected, length).is_some() && seen.code == expected.code {
                        (expected, seen) = (End::of(&theirs, &line)?, End::of(&tested, &line)?);
                    }
                }
                println!(
                    "{suite}, daemon's limit raised: {raised}, `{line}`: C {expected}, {} {seen}",
                    daemon.name()
                );
                if let Some(why) = seen.fault(&expected, length) {
                    wrong.push(format!("daemon's limit raised: {raised}, `{line}`: {why}"));
                }
            }
        }
    }
    if !cluster.status()?.online("r2") || !cluster.fenced_since(start, "r2").is_empty() {
        wrong.push("the cluster lost r2".to_owned());
    }
    if wrong.is_empty() { Ok(()) } else { fail(wrong.join("\n")) }
}

/// How a tool ended.
struct End {
    code: i32,
    output: String,
    errors: String,
    millis: u128,
}

impl End {
    fn of(node: &Node, line: &str) -> Result<Self> {
        let began = Instant::now();
        let output = node.run_long(&["sh", "-c", line], secs(120)).context(line)?;
        let (millis, code) = (began.elapsed().as_millis(), output.code());
        let plain = Plain { node: node.name(), own: false };
        // What is that long is of the configuration and has nothing in it that passes.
        let output_plain =
            if output.stdout.len() < large::LENGTH { plain.text(&output.stdout) } else { output.stdout };
        Ok(Self { code, output: output_plain, errors: plain.text(&output.stderr), millis })
    }

    /// Why this is worse than the C daemon's, or than it must be.
    fn fault(&self, expected: &Self, length: Option<usize>) -> Option<String> {
        let must = length.is_some() || expected.code == 0 && !expected.output.is_empty();
        if !must {
            return None;
        }
        if self.code != 0 || self.output.len() < length.unwrap_or(1) {
            return Some(format!("{self} {}", self.errors));
        }
        let same = expected.code != 0 || expected.output.is_empty() || self.output == expected.output;
        (!same).then(|| format!("{self} is not the same as {expected}"))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {} with {} bytes after {} ms", self.code, self.output.len(), self.millis)
    }
}

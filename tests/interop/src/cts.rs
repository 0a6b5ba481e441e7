//! Pacemaker's own executor tests (`cts-exec -R`), in nodes without a cluster.

use std::fs;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::daemon::Daemon;
use crate::error::{Context, Result, fail};
use crate::images::Suite;
use crate::node::{Kind, Node, Spec};
use crate::run::Output;
use crate::wait::secs;
use crate::world::World;

/// The longest test of the suite takes about a minute on an idle machine.
const LIMIT: Duration = secs(300);

/// Machines that tests of one suite run on, each one test at a time.
pub struct Pool {
    suite: Suite,
    free: Mutex<Vec<Node>>,
    returned: Condvar,
}

/// How a test of cts-exec ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed; with what it printed.
    Failed(String),
}

impl Pool {
    /// Boots `count` machines with a daemon (that runs only when a test starts it).
    pub fn start(world: &World, suite: Suite, daemon: Daemon, count: u8) -> Result<Self> {
        let switch = world.add_switch()?;
        let share = world.dir().join("share").join(switch.to_string());
        fs::create_dir_all(&share)?;
        let mut free = Vec::new();
        for n in 1..=count {
            let spec = Spec {
                name: &format!("t{n}"),
                kind: Kind::Remote,
                suite,
                switch,
                octet: n,
                share: &share,
                key: &[n; 4096],
                extra: vec![suite.cts()?],
            };
            let node = Node::create(world, &spec)?;
            daemon.install(&node.disk())?;
            node.power_on()?;
            free.push(node);
        }
        Ok(Self { suite, free: Mutex::new(free), returned: Condvar::new() })
    }

    /// The suite whose Pacemaker this is.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The names of all tests, without those that cts-exec itself skips with `-R`.
    pub fn tests(&self) -> Result<Vec<String>> {
        let list = self.with_node(|node| cts_exec(node, &["-l"]))?;
        let lines = list.stdout.lines().filter_map(|line| line.split_once(" - "));
        let names: Vec<_> = lines.map(|(name, _)| name.trim().to_owned()).collect();
        let names: Vec<_> =
            names.into_iter().filter(|name| is_name(name) && !name.contains("stonith")).collect();
        if names.len() < 20 {
            return fail(format!(
                "cts-exec lists only {} tests: {}{}",
                names.len(),
                list.stdout,
                list.stderr
            ));
        }
        Ok(names)
    }

    /// Runs a test on the next machine that is free.
    pub fn run(&self, test: &str) -> Result<Outcome> {
        let output = self.with_node(|node| cts_exec(node, &["-V", "-r", test, "-t", "20"]))?;
        if output.status.success() && output.stdout.contains(&format!("SUCCESS - '{test}'")) {
            return Ok(Outcome::Passed);
        }
        Ok(Outcome::Failed(format!("{}{}", output.stdout, output.stderr)))
    }

    fn with_node<T>(&self, work: impl FnOnce(&Node) -> Result<T>) -> Result<T> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.returned.wait_while(free, |free| free.is_empty()).unwrap_or_else(PoisonError::into_inner);
        let node = free.pop().context("no machine")?;
        drop(free);
        let result = work(&node);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(node);
        self.returned.notify_one();
        result
    }
}

fn cts_exec(node: &Node, args: &[&str]) -> Result<Output> {
    // The C daemon closes every possible descriptor one by one before it runs an agent: with a limit of a
    // thousand million that takes longer than the tests wait.
    let script = "ulimit -n 1024; exec env PYTHONPATH=$(echo /usr/lib/python3*/site-packages) \
                  python3 /usr/share/pacemaker/tests/cts-exec -R \"$@\"";
    let mut words = vec!["sh", "-c", script, "cts-exec"];
    words.extend(args);
    node.run_long(&words, LIMIT)
}

/// What cts-exec prints besides names has spaces, or is a line of dashes.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Tests that are expected to fail, with the reason.
#[derive(Debug, Default, Deserialize)]
pub struct Expected {
    /// One entry per test.
    #[serde(default)]
    pub failing: Vec<Failing>,
}

/// A test that is expected to fail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    /// The test's name.
    pub test: String,
    /// The releases of Pacemaker.
    pub pacemaker: Vec<String>,
    /// The daemons: `ours`, `theirs`.
    pub daemon: Vec<String>,
    /// Why.
    pub reason: String,
}

impl Expected {
    /// Reads the list of expected failures.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).context(path.display())?;
        toml::from_str(&text).context(path.display())
    }

    /// The reason why a test is expected to fail, if it is.
    pub fn reason(&self, test: &str, suite: Suite, daemon: Daemon) -> Option<&str> {
        let entry = self.failing.iter().find(|entry| {
            entry.test == test
                && entry.pacemaker.iter().any(|release| release == suite.pacemaker())
                && entry.daemon.iter().any(|name| name == daemon.name())
        });
        entry.map(|entry| entry.reason.as_str())
    }
}

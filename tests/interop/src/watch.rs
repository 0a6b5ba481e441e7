//! What `libvirt-probe watch` says on a node, as it comes.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{Context, Result, fail};
use crate::node::Node;
use crate::wait;

/// A probe that looks again and again. It is ended when dropped.
pub struct Watch {
    child: Child,
    lines: Arc<Mutex<Vec<Line>>>,
}

/// What it said after a look.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// What.
    pub said: Said,
    /// All of it.
    pub json: String,
}

/// The verdict on a subject.
#[derive(Clone, Debug, Deserialize)]
pub struct Said {
    /// What was looked at.
    pub subject: String,
    /// `ok`, `unknown`, `degraded` or `failed`.
    pub verdict: String,
    /// The step that decided.
    pub step: Option<String>,
    /// Why.
    pub reason: String,
    /// Why failures do not count now, if they do not.
    pub grace: Option<String>,
}

impl Watch {
    /// Has the probe on a node look at these subjects: words for `libvirt-probe watch`.
    pub fn start(node: &Node, words: &[&str]) -> Result<Self> {
        let mut all = node.enter()?;
        all.extend(["libvirt-probe", "watch", "--json"].map(str::to_owned));
        all.extend(words.iter().map(|word| (*word).to_owned()));
        let (program, arguments) = all.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().context("libvirt-probe watch")?;
        let output = child.stdout.take().context("no pipe from the probe")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&lines);
        thread::spawn(move || collect(output, &log));
        Ok(Self { child, lines })
    }

    /// What it has said of a subject since then.
    pub fn since(&self, when: Instant, subject: &str) -> Vec<Line> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.at >= when && line.said.subject == subject).cloned().collect()
    }

    /// Waits until it says this verdict of a subject, for the first time since then.
    pub fn wait(&self, when: Instant, subject: &str, verdict: &str, within: Duration) -> Result<Line> {
        let left = within.saturating_sub(when.elapsed());
        let line = wait::until(left, &format!("{subject} to be {verdict}"), || {
            let lines = self.since(when, subject);
            if let Some(line) = lines.iter().find(|line| line.said.verdict == verdict) {
                return Ok(Some(line.clone()));
            }
            fail(lines.last().map_or_else(
                || "it said nothing".to_owned(),
                |line| format!("{:.0} s before: {}", line.at.elapsed().as_secs_f32(), line.json),
            ))
        })?;
        let took = line.at.duration_since(when);
        if took > within {
            return fail(format!(
                "{subject} is {verdict} after {:.1} s only: {}",
                took.as_secs_f32(),
                line.json
            ));
        }
        Ok(line)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(output: ChildStdout, log: &Mutex<Vec<Line>>) {
    for json in BufReader::new(output).lines().map_while(std::io::Result::ok) {
        if let Ok(said) = serde_json::from_str(&json) {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(Line { at: Instant::now(), said, json });
        }
    }
}

impl Line {
    /// Fails unless it names this step and these words.
    pub fn expect(&self, step: &str, words: &str) -> Result<&Self> {
        if self.said.step.as_deref() == Some(step) && self.said.reason.contains(words) {
            return Ok(self);
        }
        fail(format!("not '{words}' at {step}: {}", self.json))
    }
}

/// Lines in short, for a message.
pub fn shown(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        let Said { verdict, step, reason, .. } = &line.said;
        let _ = write!(text, "[{verdict} {} {reason}]", step.as_deref().unwrap_or("-"));
    }
    text
}

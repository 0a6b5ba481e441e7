//! One row of the table: what is run on a node, and what the C daemon's node answers.

use std::fmt::Write;

use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Node, Result, Suite, fail};

use super::plain::Plain;

/// How often a row that changes something is played at most, until a round proves something.
const ROUNDS: usize = 5;

/// One row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) user: User,
    pub(crate) kind: Kind,
    /// Whether the tools must be as new as the cluster.
    pub(crate) young: bool,
    /// The node suites to which a difference to the C daemon's answer is known, and why it is there.
    pub(crate) differs: &'static [(Suite, &'static str)],
}

/// What a row does.
pub(crate) enum Kind {
    /// Changes nothing. It is run on the C daemon's node, on ours, and once more on the C daemon's: only when both
    /// of these are the same did the cluster not change meanwhile.
    Look(Tool),
    /// Changes something and puts it back. It is run on the C daemon's node, then on ours.
    Act(&'static [Step]),
}

/// Something to do. In all texts `{node}` is the node's own name.
pub(crate) enum Step {
    /// Runs a tool on the node.
    Run(Tool),
    /// Repeats a line of shell on the node, as root, until it prints a text.
    Until(&'static str, &'static str),
    /// Runs a line of shell on a cluster node.
    Admin(&'static str),
    /// Waits until a node is online.
    Online(&'static str),
    /// Waits until the cluster has nothing left to do.
    Settle,
}

/// A line of shell that runs a tool, and how it ends on the C daemon's node. What it prints must be the same on
/// ours.
pub(crate) struct Tool {
    pub(crate) line: &'static str,
    /// Exit codes with the tools of 2.1.5, 3.0.0, and newer ones.
    pub(crate) codes: [i32; 3],
    /// What it prints, among others.
    pub(crate) says: &'static str,
}

/// Who runs a row's tools.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// The superuser.
    Root,
    /// The cluster's own user.
    Hacluster,
    /// Somebody whose primary group is `haclient`.
    Member,
    /// Somebody who is in `haclient` beside another group.
    Second,
    /// Somebody who is not in `haclient`.
    Stranger,
}

/// How a tool ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    line: &'static str,
    code: i32,
    stdout: String,
    stderr: String,
}

/// A row that changes nothing.
pub(crate) const fn look(name: &'static str, line: &'static str, code: i32, says: &'static str) -> Row {
    looks(name, line, [code; 3], says)
}

/// A row that changes nothing, whose exit code depends on the tools' release.
pub(crate) const fn looks(
    name: &'static str,
    line: &'static str,
    codes: [i32; 3],
    says: &'static str,
) -> Row {
    Row { name, user: User::Root, kind: Kind::Look(Tool { line, codes, says }), young: false, differs: &[] }
}

/// A row that changes something.
pub(crate) const fn act(name: &'static str, steps: &'static [Step]) -> Row {
    Row { name, user: User::Root, kind: Kind::Act(steps), young: false, differs: &[] }
}

/// A step of a row: a tool that is run.
pub(crate) const fn run(line: &'static str, code: i32, says: &'static str) -> Step {
    runs(line, [code; 3], says)
}

/// A step of a row: a tool that is run, whose exit code depends on its release.
pub(crate) const fn runs(line: &'static str, codes: [i32; 3], says: &'static str) -> Step {
    Step::Run(Tool { line, codes, says })
}

impl Row {
    /// The same as somebody else.
    pub(crate) const fn by(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// The same, but not with tools that are older than the cluster: these have their own scheduler, which does not
    /// understand everything that newer cluster nodes say of themselves.
    pub(crate) const fn not_older(mut self) -> Self {
        self.young = true;
        self
    }

    /// Whether the row means something with tools of this suite in a cluster of that one.
    pub(crate) fn fits(&self, cluster: Suite, node: Suite) -> bool {
        !self.young || cluster == node || node == Suite::Newest
    }

    /// Whether the row changes something.
    pub(crate) fn changes(&self) -> bool {
        matches!(self.kind, Kind::Act(_))
    }

    /// Runs the row on the C daemon's node and on the one under test, and compares.
    pub(crate) fn judge(&self, cluster: &Cluster, suite: Suite, theirs: &Node, tested: &Node) -> Result<()> {
        let (expected, seen) = match &self.kind {
            Kind::Act(steps) => self.acts(steps, cluster, suite, theirs, tested)?,
            Kind::Look(tool) => self.look(tool, suite, theirs, tested)?,
        };
        let differences: Vec<_> =
            expected.iter().zip(&seen).filter(|(a, b)| a != b).map(|(a, b)| a.difference(b)).collect();
        let known = self.differs.iter().find(|(of, _)| *of == suite).map(|(_, reason)| reason);
        match (differences.is_empty(), known) {
            (true, None) | (false, Some(_)) => Ok(()),
            (true, Some(reason)) => fail(format!("the same, although a difference is listed: {reason}")),
            (false, None) => fail(differences.join("\n")),
        }
    }

    /// Runs a row that changes something until both nodes say the same, or differ for the second time. A round
    /// proves nothing in which the C daemon's node does not do what the table says, or in which a tool gave up
    /// waiting for the cluster: both come of the cluster being busy.
    fn acts(
        &self,
        steps: &[Step],
        cluster: &Cluster,
        suite: Suite,
        theirs: &Node,
        tested: &Node,
    ) -> Result<(Vec<Answer>, Vec<Answer>)> {
        let mut differed = false;
        for round in 1.. {
            let expected = self.act(steps, cluster, suite, theirs, true).context("with the C daemon");
            let seen = match &expected {
                Ok(_) => self.act(steps, cluster, suite, tested, false),
                Err(_) => Ok(Vec::new()),
            };
            if differed || round == ROUNDS || matches!((&expected, &seen), (Ok(a), Ok(b)) if a == b) {
                return Ok((expected?, seen?));
            }
            println!("{}: once more, as it went so: {expected:?}, {seen:?}", self.name);
            let in_time = |answers: &Vec<Answer>| !answers.iter().any(Answer::gave_up);
            differed = expected.is_ok_and(|answers| in_time(&answers)) && seen.as_ref().map_or(true, in_time);
            for name in cluster.node_names() {
                cluster.wait_back(&name)?;
            }
            cluster.settle()?;
        }
        fail("no round")
    }

    fn look(
        &self,
        tool: &Tool,
        suite: Suite,
        theirs: &Node,
        tested: &Node,
    ) -> Result<(Vec<Answer>, Vec<Answer>)> {
        for _attempt in 0..10 {
            let before = self.answer(tool, suite, theirs, true).context("with the C daemon")?;
            let seen = self.answer(tool, suite, tested, false)?;
            let after = self.answer(tool, suite, theirs, true).context("with the C daemon")?;
            if before == after {
                return Ok((vec![before], vec![seen]));
            }
        }
        fail("the cluster never stood still for long enough")
    }

    fn act(
        &self,
        steps: &[Step],
        cluster: &Cluster,
        suite: Suite,
        node: &Node,
        first: bool,
    ) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for step in steps {
            match step {
                Step::Run(tool) => answers.push(self.answer(tool, suite, node, first)?),
                Step::Until(line, text) => {
                    let (line, text) = (of(node, line), of(node, text));
                    wait::until(secs(40), &format!("`{line}` to print {text}"), || {
                        let output = node.run(&["sh", "-c", &line])?;
                        let all = output.stdout + &output.stderr;
                        if all.contains(&text) { Ok(Some(())) } else { fail(all) }
                    })?;
                }
                Step::Admin(line) => drop(cluster.member()?.sh(&of(node, line))?),
                Step::Online(name) => cluster.wait_back(&of(node, name))?,
                Step::Settle => cluster.settle()?,
            }
        }
        Ok(answers)
    }

    /// Runs a tool. With the C daemon it must answer as the table says.
    fn answer(&self, tool: &Tool, suite: Suite, node: &Node, check: bool) -> Result<Answer> {
        let line = of(node, tool.line);
        let mut words: Vec<_> = self.user.words().split_whitespace().collect();
        words.extend(["sh", "-c", &line]);
        let output = node.run(&words)?;
        if check {
            let code = match suite {
                Suite::Bookworm => tool.codes[0],
                Suite::Trixie => tool.codes[1],
                Suite::Newest => tool.codes[2],
            };
            let says = of(node, tool.says);
            let all = format!("{}{}", output.stdout, output.stderr);
            if output.code() != code || !all.contains(&says) {
                return fail(format!(
                    "`{line}` ended with {} instead of {code}, or did not print {says:?}: {all}",
                    output.code()
                ));
            }
        }
        let own =
            matches!(self.kind, Kind::Act(_)) || [tool.line, tool.says].iter().any(|t| t.contains("{node}"));
        let plain = Plain { node: node.name(), own };
        Ok(Answer {
            line: tool.line,
            code: output.code(),
            stdout: plain.text(&output.stdout),
            stderr: plain.text(&output.stderr),
        })
    }
}

impl User {
    /// What comes before a command that this user runs.
    fn words(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Hacluster => "setpriv --reuid=hacluster --regid=haclient --init-groups",
            Self::Member => "setpriv --reuid=member --regid=haclient --init-groups",
            Self::Second => "setpriv --reuid=second --regid=plain --init-groups",
            Self::Stranger => "setpriv --reuid=stranger --regid=plain --init-groups",
        }
    }

    /// Makes these users on a node.
    pub(crate) fn create(node: &Node) -> Result<()> {
        let line = "groupadd plain && useradd -MN -g haclient member && useradd -MN -g plain stranger &&
                    useradd -MN -g plain -G haclient second";
        node.sh(line).map(drop)
    }
}

impl Answer {
    /// Whether the tool stopped waiting for the cluster.
    fn gave_up(&self) -> bool {
        [&self.stdout, &self.stderr].iter().any(|text| text.contains("timed out"))
    }

    /// Where two answers first differ.
    fn difference(&self, other: &Self) -> String {
        let mut said = format!("`{}`:", self.line);
        if self.code != other.code {
            let _ = write!(said, "\n  exit code {} instead of {}", other.code, self.code);
        }
        for (channel, expected, seen) in
            [("output", &self.stdout, &other.stdout), ("errors", &self.stderr, &other.stderr)]
        {
            if expected == seen {
                continue;
            }
            let same = expected.lines().zip(seen.lines()).take_while(|(a, b)| a == b).count();
            let line = |text: &str| text.lines().nth(same).unwrap_or("(nothing more)").to_owned();
            let _ = write!(
                said,
                "\n  line {} of the {channel}: {}\n  instead of: {}",
                same + 1,
                line(seen),
                line(expected)
            );
        }
        said
    }
}

/// A text of the table, said of this node.
fn of(node: &Node, text: &str) -> String {
    text.replace("{node}", node.name())
}

//! Many tools at once, tools that die, and a cluster that goes away while tools wait.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use pcmk_interop::error::Context;
use pcmk_interop::run::Output;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Daemon, Node, Result, Suite, fail};

use super::bed::{Bed, Pair};

/// Tools that run at the same time.
const MANY: usize = 200;

/// The exit code of a tool that was turned away when it connected.
const NOT_CONNECTED: u32 = 102;

/// Two hundred tools at once: all succeed, all see the same, and the daemon gives everything back. The C daemon may turn
/// some away: libqb lets 128 wait to be accepted, and a tool does not try again.
pub(crate) fn two_hundred_at_once(_bed: &Bed, pair: &Pair) -> Result<()> {
    for (node, daemon) in [(&pair.theirs, Daemon::Theirs), (&pair.tested, pair.daemon)] {
        let before = descriptors(node)?;
        // No more than one in five is of the larger kind: the test is of the daemon, not of two cores.
        let line = format!(
            "mkdir /run/many; i=0; while [ $i -lt {MANY} ]; do i=$((i+1)); (
               if [ $((i % 5)) = 0 ]; then crm_mon -1 --include=none,nodes; else cibadmin -Q -o nodes; fi \
                 >/run/many/$i 2>&1; echo \"exit code $?\" >>/run/many/$i) &
             done; wait; refused=$(grep -lx 'exit code {NOT_CONNECTED}' /run/many/*); echo $refused | wc -w
             if [ -n \"$refused\" ]; then sort $refused | uniq -c >/run/refused; rm $refused; fi
             md5sum /run/many/* | cut -d' ' -f1 | sort | uniq -c; grep -h 'exit code' /run/many/* | sort | \
             uniq -c; echo; cat /run/refused; sort /run/many/* | uniq -c | sort -n; rm -rf /run/many /run/refused"
        );
        let began = Instant::now();
        let ends = node.run_long(&["sh", "-c", &line], secs(180))?.stdout;
        let mut lines = ends.lines().map(str::trim);
        let refused: usize = lines.next().and_then(|count| count.parse().ok()).context("no count")?;
        let took = began.elapsed();
        println!(
            "{}: {MANY} tools at once on {} took {took:?}, {refused} were turned away",
            pair.suite,
            node.name()
        );
        let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let served = MANY.saturating_sub(refused);
        let all_the_same =
            lines.len() == 3 && lines.last() == Some(&format!("{served} exit code 0").as_str());
        let may_refuse = daemon == Daemon::Theirs && served >= MANY / 2;
        if !all_the_same || (refused > 0 && !may_refuse) {
            return fail(format!("not all tools on {} succeeded or saw the same: {ends}", node.name()));
        }
        given_back(node, before)?;
    }
    Ok(())
}

/// Tools that are killed at any moment leave nothing in the daemon.
pub(crate) fn killed_tools(bed: &Bed, pair: &Pair) -> Result<()> {
    for node in [&pair.theirs, &pair.tested] {
        let (before, start) = (descriptors(node)?, SystemTime::now());
        let line = "for i in $(seq 100); do
              cibadmin -Q >/dev/null 2>&1 & pid=$!; sleep 0.0$((i % 40 + 10)); kill -9 $pid; wait $pid
            done 2>/dev/null; cibadmin -Q -o nodes";
        let output = node.run_long(&["sh", "-c", line], secs(120))?;
        if output.code() != 0 {
            return fail(format!("no answer any more on {}: {}", node.name(), output.stderr));
        }
        given_back(node, before)?;
        if !bed.cluster.status()?.online(node.name())
            || !bed.cluster.fenced_since(start, node.name()).is_empty()
        {
            return fail(format!("the cluster lost {}", node.name()));
        }
    }
    Ok(())
}

/// The controller that holds the connection dies while a tool waits: the tool's connection ends at once, and with it
/// the tool, if it is one that looks. (How a tool reacts by itself is in the differential test.)
pub(crate) fn controller_dies_while_waiting(bed: &Bed, pair: &Pair) -> Result<()> {
    on_both(bed, pair, |node| {
        let name = bed.cluster.status()?.host_of(node.name()).context("no connection")?;
        let host = bed.cluster.node(&name)?;
        let waiting = Waiting::start(bed, node)?;
        host.sh("kill -9 $(pidof pacemaker-controld)")?;
        let end = waiting.end(node, bed.cluster.suite());
        // The cluster may well fence that node.
        wait::until(secs(120), "the cluster to recover", || {
            let status = bed.cluster.status()?;
            let up = [node.name(), "c1", "c2"].iter().all(|name| status.online(name)) && status.dc.is_some();
            Ok((up && status.host_of(node.name()).is_some()).then_some(()))
        })?;
        bed.cluster.settle()?;
        wait::until(secs(30), "tools to work again", || node.exec(&["cibadmin", "-Q"]).map(Some))?;
        end
    })
}

/// A tool that waits: it has asked for the CIB of the cluster node that does not hold the connection, whose CIB manager
/// stands still.
struct Waiting {
    tool: Option<thread::JoinHandle<Result<(Output, Instant)>>>,
    asked: Arc<Node>,
    /// Descriptors of the daemon before.
    before: usize,
}

impl Waiting {
    fn start(bed: &Bed, node: &Arc<Node>) -> Result<Self> {
        let before = descriptors(node)?;
        let host = bed.cluster.status()?.host_of(node.name()).context("no connection")?;
        let asked = bed.cluster.node(if host == "c1" { "c2" } else { "c1" })?;
        asked.sh("kill -STOP $(pidof pacemaker-based)")?;
        let (of, line) =
            (Arc::clone(node), ["cibadmin", "-Q", "-t", "20", "-N", asked.name()].map(str::to_owned));
        let tool = thread::spawn(move || {
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            let output = of.run_long(&line, secs(60))?;
            Ok((output, Instant::now()))
        });
        let waiting = Self { tool: Some(tool), asked, before };
        wait::until(
            secs(20),
            "the tool to be connected",
            || Ok((descriptors(node)? > before).then_some(())),
        )?;
        Ok(waiting)
    }

    /// Waits for the end of the tool's connection, which must come soon, and of the tool, which must not succeed. Tools
    /// of releases up to 3.0.0 wait for an event until they give up by themselves.
    fn end(mut self, node: &Node, suite: Suite) -> Result<()> {
        let lost = Instant::now();
        let closed = wait::until(AT_ONCE, "the end of the tool's connection", || {
            Ok((descriptors(node)? <= self.before).then_some(()))
        });
        let thread = self.tool.take().context("it has ended before")?;
        let ended = thread.join().unwrap_or_else(|_| fail("the tool's thread panicked"));
        drop(self);
        closed?;
        let (output, at) = ended?;
        let lasted = at.saturating_duration_since(lost);
        println!(
            "the waiting tool ended {lasted:?} after the loss with {}: {}",
            output.code(),
            output.stderr
        );
        if output.code() == 0 {
            return fail("the tool succeeded although nobody answered it");
        }
        if suite == Suite::Newest && lasted > AT_ONCE {
            return fail(format!("the tool waited for {lasted:?} after the connection was lost"));
        }
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The node may have been fenced meanwhile.
        let _ = self.asked.sh("kill -CONT $(pidof pacemaker-based)");
    }
}

/// What counts as at once, on a busy machine. (A libqb client looks every two seconds whether its server is there.)
const AT_ONCE: Duration = secs(6);

/// Runs a test of a tool that waits, on both nodes. What the C daemon does is only told: some releases let the tool
/// wait until it gives up by itself.
fn on_both(bed: &Bed, pair: &Pair, run: impl Fn(&Arc<Node>) -> Result<()>) -> Result<()> {
    if let Err(error) = run(&pair.theirs) {
        println!("{}: with the C daemon: {error}", pair.suite);
    }
    bed.ready()?;
    match (run(&pair.tested), bed.daemon) {
        (Err(error), Daemon::Theirs) => {
            println!("{}: with the C daemon: {error}", pair.suite);
            Ok(())
        }
        (result, _) => result,
    }
}

/// How many descriptors a node's daemon has open.
fn descriptors(node: &Node) -> Result<usize> {
    let count = node.sh("ls /proc/$(systemctl show -P MainPID pacemaker_remote)/fd | wc -l")?;
    count.trim().parse().context("a number of descriptors")
}

/// Waits until a node's daemon has no more descriptors open than it had.
fn given_back(node: &Node, before: usize) -> Result<()> {
    wait::until(secs(20), &format!("the daemon on {} to close what it opened", node.name()), || {
        let now = descriptors(node)?;
        if now <= before { Ok(Some(())) } else { fail(format!("{now} descriptors, before {before}")) }
    })
}

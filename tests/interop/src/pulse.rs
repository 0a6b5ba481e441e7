//! How fast our daemon answers while something goes on: a thread that asks it for its status all the time.
//!
//! Where a hundred QEMUs start on two cores, everybody waits for a processor. That is not the daemon's doing: the time for
//! which the kernel says that it, or who asks, was ready to run and had no processor does not count.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result, fail};
use crate::node::Node;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// After which an answer counts as none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a thousand answers, as many may be late for reasons that the kernel does not tell.
const LATE_OF_THOUSAND: usize = 5;

/// Asks until it is stopped.
pub struct Pulse {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Duration>>>,
}

/// How long the answers took, fastest first.
#[derive(Clone, Debug)]
pub struct Answers(Vec<Duration>);

impl Pulse {
    /// Starts to ask the daemon of a node.
    pub fn start(node: &Node) -> Result<Self> {
        let socket = node.path(pcmk_remote::status::SOCKET)?;
        let pid = node.exec(&["systemctl", "show", "-P", "MainPID", "pacemaker_remote"])?;
        let tasks = node.path(&format!("/proc/{}/task", pid.trim()))?;
        let end = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                times.push(ask(&socket, &tasks).context("the daemon's pulse")?);
                thread::sleep(PAUSE);
            }
            Ok(times)
        });
        Ok(Self { end, thread })
    }

    /// Stops asking.
    pub fn stop(self) -> Result<Answers> {
        self.end.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().unwrap_or_else(|_| Err(Error::new("the pulse panicked")))?;
        times.sort_unstable();
        Ok(Answers(times))
    }
}

impl Answers {
    /// Fails unless the daemon has answered within `limit`.
    pub fn within(&self, limit: Duration) -> Result<()> {
        let allowed = self.0.len() * LATE_OF_THOUSAND / 1000;
        let late = self.0.iter().filter(|time| **time > limit).count();
        if self.0.is_empty() || late > allowed {
            return fail(format!("the daemon was late {late} times ({allowed} are allowed): {self}"));
        }
        Ok(())
    }
}

impl std::fmt::Display for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |of_thousand: usize| {
            let index = self.0.len().saturating_sub(1) * of_thousand / 1000;
            self.0.get(index).copied().unwrap_or_default()
        };
        write!(
            f,
            "{} answers, median {:?}, 99 % {:?}, slowest {:?}",
            self.0.len(),
            at(500),
            at(990),
            at(1000)
        )
    }
}

fn ask(socket: &Path, tasks: &Path) -> Result<Duration> {
    let (before, began) = (waited(tasks), Instant::now());
    let mut line = UnixStream::connect(socket)?;
    line.set_read_timeout(Some(PATIENCE))?;
    line.write_all(b"\"status\"\n")?;
    let mut answer = String::new();
    BufReader::new(line).read_line(&mut answer)?;
    let took = began.elapsed();
    if !answer.starts_with("{\"status\"") {
        return fail(format!("it said {answer:?}"));
    }
    Ok(took.saturating_sub(waited(tasks).saturating_sub(before)))
}

/// For how long the daemon's threads and this one have been ready to run without a processor.
fn waited(tasks: &Path) -> Duration {
    let tasks = fs::read_dir(tasks).into_iter().flatten().flatten().map(|task| task.path().join("schedstat"));
    let files = tasks.chain([PathBuf::from("/proc/thread-self/schedstat")]);
    let times =
        files.filter_map(|file| fs::read_to_string(file).ok()?.split(' ').nth(1)?.parse::<u64>().ok());
    Duration::from_nanos(times.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_may_be_late() {
        let ms = Duration::from_millis;
        let many = |late: usize| Answers([vec![ms(1); 1000 - late], vec![ms(50); late]].concat());
        assert!(many(5).within(ms(10)).is_ok());
        assert!(many(6).within(ms(10)).is_err());
        assert!(Answers(Vec::new()).within(ms(10)).is_err(), "who never asked knows nothing");
    }
}

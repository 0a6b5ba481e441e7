//! Benchmarks in a real cluster.

pub mod nova;
pub mod probes;
pub mod recovery;
pub mod tools;

use std::time::Duration;

use serde_json::{Value, json};

use crate::cib::Primitive;
use crate::error::{Context, Result};
use crate::wait::{self, secs};
use crate::{Cluster, Daemon, Suite, World};

/// Measures how long the cluster takes to stop and to start a Dummy on a remote node: from the controller's
/// decision that there is something to do to the end of the transition, as it logs them.
pub fn transition(world: &World, suite: Suite, runs: usize) -> Result<Value> {
    let cluster = Cluster::start(world, suite, 1)?;
    let daemons = match Daemon::under_test()? {
        Daemon::Ours => vec![Daemon::Theirs, Daemon::Ours],
        Daemon::Theirs => vec![Daemon::Theirs],
    };
    let mut result = json!({
        "benchmark": "transition",
        "pacemaker": suite.pacemaker(),
        "unit": "ms",
        "runs": runs,
    });
    for (daemon, n) in daemons.iter().zip(1..) {
        let node = cluster.add_remote(world, &format!("r{n}"), n, *daemon)?;
        let dummy = format!("dummy-{}", daemon.name());
        let resource = Primitive::new(&dummy, "ocf:pacemaker:Dummy").monitor("60s", "20s");
        cluster.add(&resource.on(node.name(), 1000))?;
        cluster.wait_place(&dummy, &format!("Started on {}", node.name()), secs(40))?;
        cluster.settle()?;
    }
    // In turns, so that what else happens on the machine hits both.
    let mut times = vec![(Vec::new(), Vec::new()); daemons.len()];
    for _ in 0..runs {
        for (daemon, (stops, starts)) in daemons.iter().zip(&mut times) {
            let dummy = format!("dummy-{}", daemon.name());
            stops.push(one(&cluster, &dummy, "Stopped")?);
            starts.push(one(&cluster, &dummy, "Started")?);
        }
    }
    for (daemon, (stops, starts)) in daemons.iter().zip(times) {
        let name = daemon.name();
        if let Some(object) = result.as_object_mut() {
            object.insert(
                name.to_owned(),
                json!({
                    "stop_median": median(&stops), "start_median": median(&starts),
                    "stop": stops, "start": starts,
                }),
            );
        }
    }
    Ok(result)
}

/// Sets a resource's target role and gives the length of the transition that follows, in milliseconds.
fn one(cluster: &Cluster, resource: &str, role: &str) -> Result<u64> {
    let from = cluster.log_size("c1")?;
    cluster.set_meta(resource, "target-role", role)?;
    wait::until(secs(30), &format!("the transition to {role}"), || {
        let log = cluster.log_since("c1", from)?;
        let begin = log.lines().find(|line| line.contains("S_IDLE -> S_POLICY_ENGINE"));
        let end = log.lines().find(|line| line.contains("Transition ") && line.contains(": Complete"));
        let Some((begin, end)) = begin.zip(end) else { return Ok(None) };
        let took = stamp(end)?.checked_sub(stamp(begin)?).context("midnight came in between")?;
        Ok(Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)))
    })
}

/// The time of day of a log line (`Nov 22 09:26:22.461 …`).
fn stamp(line: &str) -> Result<Duration> {
    let time = line.split_whitespace().nth(2).context("a log line without a time")?;
    let parts: Vec<f64> = time.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else {
        return crate::fail(format!("not a time: {time}"));
    };
    Ok(Duration::from_secs_f64(hours.mul_add(3600.0, minutes.mul_add(60.0, seconds))))
}

/// The middle value.
pub fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_have_times() {
        let time = stamp("Nov 22 09:26:22.461 c1 pacemaker-controld  [1] (x) notice: y").unwrap();
        assert_eq!(time.as_millis(), ((9 * 60 + 26) * 60 + 22) * 1000 + 461);
        assert!(stamp("Nov 22").is_err());
        assert_eq!(median(&[9, 1, 5]), Some(5));
    }
}

//! Faults that the cluster must notice, and fence, no later than with the C daemon.

use std::time::{Duration, SystemTime};

use pcmk_interop::cib::Primitive;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Node, Result, fail};

use super::basics::WISH;
use super::bed::Bed;

/// The longest a silent failure may stay unnoticed: the remote resource's monitor interval (3 s) and timeout
/// (8 s), see `cib::remote`, and 3 s for a busy machine.
const SILENT: Duration = secs(3 + 8 + 3);
/// A lost TCP connection is noticed at once; for a busy machine 3 s.
const AT_ONCE: Duration = secs(3);
/// How much later than the C daemon's the fencing may be asked for when both are noticed at once: the two are
/// handled by one cluster, one of them first.
const SLACK: Duration = secs(2);

pub(crate) fn killed(bed: &Bed) -> Result<()> {
    let times = strike(bed, |node| node.signal_daemon("KILL"), AT_ONCE)?;
    if let [ours, theirs] = times[..]
        && ours > theirs + SLACK
    {
        return fail(format!("fencing asked for after {ours:?}, with the C daemon after {theirs:?}"));
    }
    Ok(())
}

pub(crate) fn frozen(bed: &Bed) -> Result<()> {
    strike(bed, |node| node.signal_daemon("STOP"), SILENT).map(drop)
}

pub(crate) fn unplugged(bed: &Bed) -> Result<()> {
    strike(bed, |node| node.link(false), SILENT).map(drop)
}

/// Breaks r1 and the node with the C daemon at the same moment. Gives how long it took until the cluster
/// asked for their fencing. The resource on r1 must be recovered on r2, and all nodes must come back.
fn strike(bed: &Bed, fault: impl Fn(&Node) -> Result<()>, bound: Duration) -> Result<Vec<Duration>> {
    let cluster = &bed.cluster;
    bed.started(&Primitive::witness("w_safe").monitor("1s", "20s").on("r1", WISH).on("r2", WISH / 2))?;
    let mut victims = vec![("r1", SystemTime::now())];
    victims.extend(bed.reference().map(|name| (name, SystemTime::now())));
    for (name, at) in &mut victims {
        let node = cluster.node(name)?;
        *at = SystemTime::now();
        fault(&node)?;
    }
    let mut times = Vec::new();
    for (name, at) in &victims {
        let request =
            wait::until(bound + secs(10), &format!("the cluster to fence {name}"), || {
                match cluster.fenced_since(*at, name).into_iter().next() {
                    Some(request) => Ok(Some(request)),
                    None => fail(format!("the cluster thinks {name} is {}", cluster.status()?.place(name))),
                }
            })?;
        times.push(request.asked.duration_since(*at).unwrap_or_default());
    }
    println!("{}: {victims:?} fencing asked for after {times:?}", bed.suite());
    for ((name, _), took) in victims.iter().zip(&times) {
        if *took > bound {
            return fail(format!("the fencing of {name} was asked for after {took:?}, more than {bound:?}"));
        }
    }
    cluster.wait_place("w_safe", "Started on r2", secs(40))?;
    for (name, _) in &victims {
        cluster.wait_online(name, secs(90))?;
    }
    cluster.wait_place("w_safe", "Started on r1", secs(90))?;
    Ok(times)
}

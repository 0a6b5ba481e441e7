//! `check` and `explain`: one look that is believed, at each subject at the same time.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::apart::Claim;
use super::args::{CheckOptions, ExplainOptions};
use super::look::{Seen, look};
use super::probe::Probe;
use super::{Exit, Failure, apart, explain, ocf, output, print};
use crate::config::Config;
use crate::verdict::{Finding, Health, Step, Subject};

/// An earlier check that is not done after this hangs.
const CLAIM: Duration = Duration::from_secs(2);

pub(super) async fn run(config: &Config, options: &CheckOptions) -> Result<Exit, Failure> {
    let subjects = options.subjects.list(&config.subjects);
    let deadline = options.deadline.deadline;
    let seen = see(config, &subjects, options.socket.socket.as_deref(), deadline).await;
    let text = if options.json {
        output::json(&seen)?
    } else if options.nagios {
        output::nagios(&seen, deadline)
    } else {
        output::human(&seen)
    };
    print(text.as_bytes())?;
    Ok(if options.ocf {
        ocf::exit(output::worst(&seen), nix::unistd::geteuid().is_root())
    } else {
        exit(&seen)
    })
}

pub(super) async fn explain(config: &Config, options: &ExplainOptions) -> Result<Exit, Failure> {
    let subjects = options.subjects.list(&config.subjects);
    let seen = see(config, &subjects, options.socket.socket.as_deref(), options.deadline.deadline).await;
    print(explain::text(&seen).as_bytes())?;
    Ok(exit(&seen))
}

fn exit(seen: &[Seen]) -> Exit {
    output::worst(seen).map_or(Exit::UNKNOWN, |one| one.verdict.health.into())
}

/// Looks at all of them at once, so that the deadline is that of the whole.
async fn see(config: &Config, subjects: &[Subject], socket: Option<&Path>, deadline: Duration) -> Vec<Seen> {
    let mut looks = JoinSet::new();
    for subject in subjects {
        let rules = config.verdict;
        if *subject == Subject::Host && config.host.storage.on {
            let config = config.clone();
            looks.spawn(async move { see_host(config, deadline).await });
            continue;
        }
        let mut probe = Probe::new(*subject, config, socket, Some(deadline));
        looks.spawn(async move { look(&mut probe, rules, deadline).await });
    }
    let mut seen = looks.join_all().await;
    seen.sort_by_key(|one| subjects.iter().position(|subject| *subject == one.report.subject));
    seen
}

/// The host, unless an earlier process still hangs at its disk.
async fn see_host(mut config: Config, deadline: Duration) -> Seen {
    let began = Instant::now();
    let (guard, held) = match apart::claim(&config.host.storage.paths, began + deadline.min(CLAIM)).await {
        Claim::Granted(guard) => (Some(guard), None),
        Claim::Held { pid } => (None, Some(pid)),
    };
    config.host.storage.on = held.is_none();
    let waited = began.elapsed();
    let left = deadline.saturating_sub(waited);
    let mut seen =
        look(&mut Probe::new(Subject::Host, &config, None, Some(left)), config.verdict, left).await;
    let hangs = seen.report.findings.iter().any(|finding| finding.health == Health::Failed);
    if let Some(guard) = guard.filter(|_| !hangs) {
        guard.release();
    }
    if let Some(pid) = held {
        let reason = format!("writing hangs in an earlier check (process {pid}), no more is begun");
        let finding = Finding::new(Step::Storage, Health::Failed, reason, waited)
            .advise(format!("cat /proc/{pid}/task/*/stack; dmesg; see the disk, or the server of the share"))
            .with("pid", pid)
            .at_once();
        let place = seen.report.findings.partition_point(|finding| finding.step == Step::Root);
        seen.report.findings.insert(place, finding);
        seen = Seen { looks: seen.looks, ..Seen::of(seen.report, config.verdict) };
    }
    Seen { elapsed: began.elapsed(), ..seen }
}

//! `drain`: an orderly stop that can be watched.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::DrainOptions;
use super::client::{self, Conversation};
use super::table::span;
use super::{Exit, Failure, print, print_json};
use crate::status::{Answer, Ended, Phase, Request, Status};

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// One line of `--json`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
enum Event {
    Progress { running: Vec<String>, recurring: usize, elapsed_s: u64 },
    Ended { how: Ended, elapsed_s: u64 },
}

pub(super) fn run(socket: &Path, options: &DrainOptions, json: bool) -> Result<Exit, Failure> {
    let began = Instant::now();
    let mut conversation = Conversation::begin(socket, Request::Drain)?;
    match conversation.next()? {
        Some(Answer::Draining) => {}
        _ => return Err(Failure::new(Exit::NoDaemon, "the daemon closed the connection: it may be ending")),
    }
    let mut told = None;
    loop {
        let left = options.timeout.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(Failure::new(
                Exit::Timeout,
                "still draining: the daemon goes on with it. See what holds it up with pcmk-remotectl ops, and \
                 on a cluster node with crm_mon",
            ));
        }
        conversation.set_patience(left.min(LOOK))?;
        match conversation.next() {
            Ok(Some(Answer::Ended(how))) => return ended(how, began, json),
            Ok(Some(_)) => {}
            Ok(None) => {
                return Err(Failure::new(
                    Exit::Bad,
                    "the daemon ended without saying how: see its log (journalctl -u pacemaker_remote)",
                ));
            }
            // Nothing new: say what is still there. The daemon may be ending just now.
            Err(failure) if failure.exit == Exit::NoDaemon => {
                if let Ok(status) = client::status(socket) {
                    progress(&status, began, json, &mut told)?;
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Says what is still there, if that is news.
fn progress(
    status: &Status,
    began: Instant,
    json: bool,
    told: &mut Option<(Vec<String>, usize)>,
) -> Result<(), Failure> {
    let is_running = |phase| matches!(phase, Phase::Running | Phase::Undead);
    let running: Vec<String> = status
        .operations
        .iter()
        .filter(|op| is_running(op.phase) && op.interval_ms == 0)
        .map(|op| format!("{} {}", op.resource, op.action))
        .collect();
    let recurring = status.operations.iter().filter(|op| op.interval_ms > 0).count();
    let news = (running, recurring);
    if told.as_ref() == Some(&news) {
        return Ok(());
    }
    let elapsed_s = began.elapsed().as_secs();
    if json {
        print_json(&Event::Progress { running: news.0.clone(), recurring, elapsed_s })?;
    } else {
        let running = if news.0.is_empty() { "nothing".to_owned() } else { news.0.join(", ") };
        let line = format!(
            "{:>6}  waiting for the cluster; running now: {running}; monitors left: {recurring}\n",
            span(elapsed_s * 1000)
        );
        print(super::table::clean(line.trim_end()).as_bytes())?;
        print(b"\n")?;
    }
    *told = Some(news);
    Ok(())
}

fn ended(how: Ended, began: Instant, json: bool) -> Result<Exit, Failure> {
    let elapsed_s = began.elapsed().as_secs();
    if json {
        print_json(&Event::Ended { how, elapsed_s })?;
    } else {
        let text = match how {
            Ended::Drained => {
                "Drained: the cluster has moved this node's resources away. The daemon has ended.\n"
            }
            Ended::NotConnected => "No cluster was connected: nothing was moved. The daemon has ended.\n",
            Ended::Refused => {
                "The cluster refused (maintenance mode?): resources go on running here. The daemon has ended.\n"
            }
        };
        print(text.as_bytes())?;
    }
    Ok(if how == Ended::Refused { Exit::Bad } else { Exit::Ok })
}

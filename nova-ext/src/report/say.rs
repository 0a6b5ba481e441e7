//! Entries of the journal in words.

use crate::engine::journal::{Event, Verdict};

/// What happened, in one line.
#[allow(clippy::too_many_lines, reason = "one line per event")]
pub fn say(event: &Event) -> String {
    let or_not = |text: &Option<String>| text.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    match event {
        Event::Detected { host, by, .. } => format!("{host} was found to have failed by {by}"),
        Event::Proved { host, evidence, proof, .. } => {
            format!("{host} is off: {evidence} (proof {proof})")
        }
        Event::ProofEnded { host, why } => format!("{host} is not known to be off any more: {why}"),
        Event::ForcingDown { host } => format!("telling Nova that {host} is down"),
        Event::ForcedDown { host, already, request_id, .. } => {
            let already = if *already { " already" } else { "" };
            format!("Nova knows{already} that {host} is down{}", or_not(request_id))
        }
        Event::Disabled { host, reason } => format!("Nova schedules nothing on {host}: {reason}"),
        Event::HandedOver { host, how } => format!("the evacuation of {host} was handed over: {how}"),
        Event::TakenUp { host, by } => format!("the engine took up {host}, asked by {by}"),
        Event::Gate { gate, verdict, why } => {
            let says = match verdict {
                Verdict::Open => "open",
                Verdict::Hold => "wait",
                Verdict::Refuse => "no",
            };
            format!("gate {gate}: {says}: {why}")
        }
        Event::Planned { moves, left_out, to_stopped, .. } => {
            let stopped = if *to_stopped { ", which arrive stopped and are started in order" } else { "" };
            format!("planned: {moves} servers to move{stopped}, {left_out} to stay")
        }
        Event::LeftOut { name, server, why, .. } => format!("{name} ({server}) stays: {why}"),
        Event::Queued { name, server, why, priority, .. } => {
            format!("{name} ({server}) is to be moved, priority {priority}: {why}")
        }
        Event::Posting { server, attempt } => {
            format!("{server}: asking Nova to evacuate it, attempt {attempt}")
        }
        Event::Posted { server, took_ms, request_id, .. } => {
            format!("{server}: Nova has accepted it after {took_ms} ms{}", or_not(request_id))
        }
        Event::Unheard { server, why, .. } => format!("{server}: no answer, perhaps accepted: {why}"),
        Event::Refused { server, why, request_id, .. } => {
            format!("{server}: Nova refused: {why}{}", or_not(request_id))
        }
        Event::Migration { server, status, destination, .. } => match destination {
            Some(destination) => format!("{server}: migration {status}, to {destination}"),
            None => format!("{server}: migration {status}"),
        },
        Event::Moved { server, destination: Some(destination), .. } => {
            format!("{server}: is on {destination}")
        }
        Event::Moved { server, .. } => format!("{server}: is on another host"),
        Event::Failed { server, attempt, why, retry_ms } => {
            let retry = retry_ms.map_or_else(String::new, |ms| format!("; again in {ms} ms"));
            format!("{server}: attempt {attempt} failed: {why}{retry}")
        }
        Event::WrittenOff { server, why, .. } => format!("{server}: its migration will never move: {why}"),
        Event::Resetting { server, to } => format!("{server}: resetting its state to {to}"),
        Event::Starting { server } => format!("{server}: starting it"),
        Event::Started { server } => format!("{server}: runs"),
        Event::Stopping { server } => format!("{server}: stopping it, as it was before"),
        Event::Done { server } => format!("{server}: done"),
        Event::Gone { server } => format!("{server}: was deleted meanwhile"),
        Event::Slow { server, why } => format!("{server}: takes unusually long: {why}"),
        Event::PassedOn { server, to } => {
            format!("{server}: its new host has failed as well, incident {to} goes on with it")
        }
        Event::GaveUp { server, why } => format!("{server}: given up: {why}"),
        Event::Hook { hook, point, server, outcome, took_ms, must } => {
            let server = server.map(|server| format!(" for {server}")).unwrap_or_default();
            let must = if *must { ", it must succeed" } else { "" };
            format!("hook {point}/{hook}{server}: {outcome} after {took_ms} ms{must}")
        }
        Event::Limit { limit, why } => format!("{limit} evacuations at a time from now on: {why}"),
        Event::Resumed { on, journal: true } => format!("{on} goes on with it"),
        Event::Resumed { on, journal: false } => format!("{on} goes on with it, from what Nova says"),
        Event::Ended { outcome, moved, failed, left_out } => {
            format!("ended, {outcome}: {moved} moved, {failed} not, {left_out} left out")
        }
        Event::Quarantined { host, why } => {
            format!("{host} is in quarantine until an operator releases it: {why}")
        }
        Event::Released { host, by } => format!("{by} has released {host} from quarantine"),
        Event::Returning { host, step } => format!("{host} returns to service: {step}"),
        Event::ForcedUp { host, request_id } => {
            format!("Nova takes {host} for up again{}", or_not(request_id))
        }
        Event::Enabled { host } => format!("Nova schedules on {host} again"),
        Event::Returned { host } => format!("{host} is back in service"),
        Event::Unknown => "something that a later version has written".into(),
    }
}

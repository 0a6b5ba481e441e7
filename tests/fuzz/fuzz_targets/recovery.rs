//! What the recovery reads from files, from its cluster and from whoever runs its fence agent.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nova_ext::engine::journal::Entry;
use nova_ext::engine::{Action, Engine, Input, Now, Settings, past};
use nova_ext::fence::{Given, HAND_OVER, Told};
use nova_ext::handover::{Evacuate, Request};
use nova_ext::policy::{Mode, Policy};
use nova_ext::proof::pacemaker::{Topology, behind_others, completed, history};
use nova_ext::stamp::Stamp;

const NODE: &str = "compute-1";
const PASSWORD: &str = "correct horse battery staple";

// The first byte says what the rest is.
fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = || std::str::from_utf8(rest).ok();
    match kind % 5 {
        0 => request(rest),
        1 => journal(rest),
        2 => text().into_iter().for_each(parameters),
        3 => text().into_iter().for_each(fencing),
        _ => text().into_iter().for_each(|text| {
            // What it means is written as it is read.
            let meaning = Evacuate::parse(text);
            assert_eq!(Evacuate::parse(&meaning.value()), meaning);
        }),
    }
});

/// A file of the queue.
fn request(bytes: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(bytes) else { return };
    let written = serde_json::to_vec(&request).expect("a request is JSON");
    assert_eq!(serde_json::from_slice::<Request>(&written).expect("our own request"), request);
}

/// A journal of any past: an engine goes on with it, and asks for nothing before a proof was found anew.
fn journal(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let entries: Vec<Entry> = lines.filter_map(|line| Entry::from_line(line).ok()).collect();
    for entry in &entries {
        let line = entry.to_line().expect("an entry is a line");
        assert_eq!(&Entry::from_line(&line).expect("our own line"), entry);
    }
    let now = |seconds| Now { mono: Duration::from_secs(seconds), wall: Stamp::now() };
    let settings = Settings { policy: Policy::of(Mode::All), to_stopped: true, controller: "ctl1".into() };
    let mut engine = Engine::new(settings, now(0));
    let mut actions = engine.resume(past(&entries), now(0));
    for seconds in [1, 60, 3600] {
        actions.extend(engine.handle(Input::Tick, now(seconds)));
    }
    let asks = |action: &Action| {
        matches!(
            action,
            Action::Post { .. } | Action::ForceDown { .. } | Action::Reset { .. } | Action::Start { .. } | Action::Stop { .. }
        )
    };
    assert!(!actions.iter().any(asks), "{actions:?}");
    assert!(engine.incidents().count() <= entries.len());
}

/// What the fencer writes to the agent.
fn parameters(text: &str) {
    if text.contains(PASSWORD) {
        return;
    }
    let mut given = Given::from_stdin(&format!("{text}\npassword={PASSWORD}\n"));
    if let Ok(told) = Told::new(&mut given) {
        assert!(told.budget() >= HAND_OVER);
        assert!(!format!("{told:?}").contains(PASSWORD), "a password in a log");
    }
}

/// What Pacemaker's tools print: the configuration, then the history.
fn fencing(text: &str) {
    let (cib, events) = text.split_once('\0').unwrap_or((text, text));
    let (node, host) = (NODE.parse().expect("a node"), NODE.parse().expect("a host"));
    let (topology, events) = (Topology::parse(cib), history(events));
    let (Ok(topology), Ok(events)) = (topology, events) else { return };
    let now = Stamp::now();
    if behind_others(&events, &topology, &node, &host, "fence_nova", now).is_ok() {
        assert!(topology.levels.iter().any(|level| level.devices.len() > 1));
    }
    if completed(&events, &topology, &node, &host, now, false).is_ok() {
        assert!(events.iter().any(|event| event.action == "off" && event.completed > Some(now)));
    }
}

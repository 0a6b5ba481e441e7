//! What the operator is told about all this.

use super::*;
use crate::status::{Phase, Status, Verdict};

impl Story {
    fn described(&self) -> Status {
        let mut status = Status::default();
        let now = Now { mono: Mono(self.now), wall: 1_700_000_000 + self.now / 1000 };
        self.executor.describe(now, &mut status);
        status
    }

    fn history(&self) -> Vec<(String, Verdict)> {
        self.described().history.into_iter().map(|outcome| (outcome.action, outcome.verdict)).collect()
    }
}

#[test]
fn a_recurring_operation_tells_its_last_result_and_its_next_run() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    let running = &story.described().operations[0];
    assert_eq!((running.phase, running.next_in_ms, &running.last), (Phase::Running, None, &None));
    story.pass(300);
    story.ends(0);
    story.pass(4_000);
    let sleeping = &story.described().operations[0];
    assert_eq!((sleeping.phase, sleeping.next_in_ms), (Phase::Sleeping, Some(6_000)));
    let last = sleeping.last.as_ref().unwrap();
    assert_eq!((last.rc, last.status.as_str(), last.ran_ms), (0, "done", 300));
}

#[test]
fn the_same_result_again_and_again_is_one_line_of_history() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    story.ends(0);
    story.exec("monitor", 10_000);
    for rc in [0, 0, 0, 7, 7, 0] {
        story.ends(rc);
        story.pass(10_000);
    }
    let told: Vec<_> = story.history().into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(told, [Verdict::Ok, Verdict::Ok, Verdict::NotRunning, Verdict::Ok]);
    let monitors = &story.described().counters.actions["monitor"];
    assert_eq!((monitors.results[&Verdict::Ok], monitors.results[&Verdict::NotRunning]), (4, 2));
    assert_eq!(monitors.buckets.iter().sum::<u64>(), 6);
}

#[test]
fn history_is_bounded_and_long_reasons_are_cut() {
    let mut story = Story::with_resource();
    for _ in 0..1000 {
        story.exec("start", 0);
        let op = story.last_run();
        let outcome = Outcome {
            rc: OcfRc(1),
            raw_rc: 1,
            status: ExecStatus::Done,
            exit_reason: Some("é".repeat(5000)),
            output: None,
        };
        story.input(Input::Finished { op, outcome });
    }
    let status = story.described();
    assert_eq!(status.history.len(), 256);
    assert!(status.history.iter().all(|outcome| outcome.exit_reason.as_deref() == Some(&*"é".repeat(256))));
    assert_eq!(status.counters.actions["start"].results[&Verdict::Failed], 1000);
    assert_eq!((status.counters.requests["exec"], status.operations_total), (1000, 0));
}

#[test]
fn invented_actions_share_their_counters() {
    let mut story = Story::with_resource();
    for action in ["dance", "sing"] {
        story.exec(action, 0);
        story.ends(3);
    }
    let actions = story.described().counters.actions;
    assert_eq!(actions.keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!(actions["other"].results[&Verdict::Failed], 2);
}

#[test]
fn what_waits_and_what_was_cancelled_is_told() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    story.exec("monitor", 10_000);
    story.pass(50);
    let status = story.described();
    let phases: Vec<_> =
        status.operations.iter().map(|op| (op.action.as_str(), op.phase, op.since_ms)).collect();
    assert_eq!(phases, [("start", Phase::Running, Some(50)), ("monitor", Phase::Waiting, Some(50))]);
    assert!(status.resources[0].busy && status.resources[0].waiting == 1);
    assert_eq!(status.resources[0].agent, "ocf:test:Dummy");
    story.cancel("monitor", 10_000);
    assert_eq!(story.history(), [("monitor".into(), Verdict::Cancelled)]);
}

#[test]
fn an_agent_that_does_not_die_is_told_apart() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.pass(30_000);
    let status = story.described();
    assert_eq!(status.operations[0].phase, Phase::Undead);
    assert_eq!(status.operations[0].last.as_ref().unwrap().verdict, Verdict::Timeout);
}

#[test]
fn peers_are_told_with_what_they_said_of_themselves() {
    let mut story = Story::with_resource();
    story.join(OTHER, false);
    let peers = story.described().peers;
    assert_eq!(peers.len(), 2);
    assert_eq!(
        (peers[0].name.as_deref(), peers[0].protocol_version.as_deref()),
        (Some("controller"), Some("1.1"))
    );
    assert!(peers[0].provider && peers[0].current_provider && !peers[1].provider);
}

//! When operations run, recur, time out and end.

use super::*;

#[test]
fn a_start_is_answered_at_once_and_reported_once() {
    let mut story = Story::with_resource();
    let call_id = story.exec_with(ExecRequest {
        action: Some("start".into()),
        userdata: Some("1:2:0:key".into()),
        timeout_ms: 20_000,
        params: vec![("p".into(), "v".into())],
        ..ExecRequest::default()
    });
    assert!(call_id > 0);
    assert!(matches!(story.said.last(), Some((_, Message::Reply(_)))), "the reply comes before any result");
    story.pass(250);
    story.ends(0);
    let results = story.results();
    let [result] = &results[..] else { panic!("one result: {results:?}") };
    assert_eq!((result.call_id, result.rc.0, result.status), (call_id, 0, ExecStatus::Done));
    assert_eq!((result.exec_time_ms, result.rcchange_time, result.rsc_deleted), (250, 0, false));
    assert_eq!(result.userdata.as_deref(), Some("1:2:0:key"));
    assert_eq!(result.params, vec![("p".to_string(), "v".to_string())]);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn one_operation_at_a_time_per_resource_and_many_resources_at_once() {
    let mut story = Story::with_resource();
    story.register("other", "Dummy");
    story.exec("start", 0);
    story.exec("monitor", 0);
    story.exec_with(ExecRequest { id: rsc("other"), action: Some("start".into()), ..ExecRequest::default() });
    let names: Vec<&str> = story.started.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["r start", "other start"]);
    let first = story.started[0].0;
    story.run_ends(first, 0);
    assert_eq!(story.started.last().map(|(_, name)| name.as_str()), Some("r monitor"));
}

#[test]
fn a_recurring_monitor_speaks_only_when_its_result_changes() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(0);
    assert_eq!(story.outcomes(), [done("monitor", 0)]);
    for _ in 0..360 {
        story.pass(10_000);
        story.ends(0);
    }
    assert_eq!(story.outcomes(), [], "an hour without change is an hour of silence");
    story.pass(10_000);
    story.ends(7);
    story.pass(10_000);
    story.ends(7);
    assert_eq!(story.outcomes(), [done("monitor", 7)]);
    assert_eq!(story.started.len(), 363);
}

#[test]
fn the_interval_counts_from_completion() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.pass(4_000);
    story.ends(0);
    story.pass(9_999);
    assert_eq!(story.started.len(), 1);
    story.pass(1);
    assert_eq!(story.started.len(), 2);
}

#[test]
fn a_repeated_recurring_request_takes_over_and_is_answered_again() {
    let mut story = Story::with_resource();
    let old = story.exec("monitor", 10_000);
    story.ends(0);
    story.said.clear();
    let new = story.exec("MONITOR", 10_000);
    assert!(new > old);
    assert_eq!(story.started.len(), 2, "a sleeping one runs at once");
    story.ends(0);
    assert_eq!(story.results().iter().map(|r| r.call_id).collect::<Vec<_>>(), [new], "reported unchanged");
    let third = story.exec("monitor", 10_000);
    story.said.clear();
    let fourth = story.exec("monitor", 10_000);
    story.ends(0);
    assert_eq!(story.results().iter().map(|r| r.call_id).collect::<Vec<_>>(), [fourth]);
    assert!(fourth > third);
    assert_eq!(story.executor.operation_count(), 1);
}

#[test]
fn stop_cancels_what_recurs_and_says_so_before_its_own_reply() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(7);
    story.exec("monitor", 20_000);
    let running = story.last_run();
    story.said.clear();
    story.exec("stop", 0);
    assert_eq!(story.killed, [running]);
    assert!(matches!(story.said[0].1, Message::Notify(_)) && matches!(story.said[2].1, Message::Reply(_)));
    assert_eq!(story.outcomes(), [cancelled("monitor", 7), cancelled("monitor", 0)]);
    assert_eq!(story.started.len(), 2, "stop waits for the killed monitor to be gone");
    story.dies(running);
    assert_eq!(story.started.last().map(|(_, name)| name.as_str()), Some("r stop"));
    story.ends(0);
    assert_eq!(story.outcomes(), [done("stop", 0)]);
    story.pass(60_000);
    assert_eq!(story.started.len(), 3);
}

#[test]
fn cancel_finds_an_operation_wherever_it_is() {
    let mut story = Story::with_resource();
    // Waiting for its interval: the last exit code is repeated.
    story.exec("monitor", 10_000);
    story.ends(0);
    story.said.clear();
    assert_eq!(story.cancel("monitor", 10_000), 0);
    assert!(matches!(story.said[0].1, Message::Notify(_)), "the cancellation precedes the reply");
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    // Running one-shot: cannot be cancelled. Queued behind it: can.
    story.exec("start", 0);
    assert_eq!(story.cancel("start", 0), -95);
    story.exec("monitor", 0);
    assert_eq!(story.cancel("monitor", 0), 0);
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    story.ends(0);
    // Running recurring: killed.
    story.exec("monitor", 10_000);
    let running = story.last_run();
    story.said.clear();
    assert_eq!(story.cancel("monitor", 10_000), 0);
    assert_eq!(story.killed, [running]);
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    story.dies(running);
    assert_eq!(story.outcomes(), [], "a cancelled run is reported once");
    assert_eq!(story.cancel("monitor", 10_000), -95);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn a_start_delay_holds_up_the_queue_and_can_be_cancelled() {
    let mut story = Story::with_resource();
    let delayed = |action: &str| ExecRequest {
        action: Some(action.into()),
        start_delay_ms: 6_000,
        timeout_ms: 3_000,
        ..ExecRequest::default()
    };
    story.exec_with(delayed("start"));
    story.exec("monitor", 0);
    assert!(story.started.is_empty());
    story.pass(6_000);
    assert_eq!(story.started.len(), 1);
    story.ends(0);
    assert_eq!(story.started.len(), 2);
    story.ends(0);
    story.said.clear();
    story.exec_with(delayed("start"));
    assert_eq!(story.cancel("start", 0), 0);
    story.pass(60_000);
    assert_eq!(story.started.len(), 2);
}

#[test]
fn a_timeout_kills_and_is_reported_when_the_agent_is_dead() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    let run = story.last_run();
    story.pass(19_999);
    assert!(story.killed.is_empty());
    story.pass(1);
    assert_eq!(story.killed, [run]);
    assert!(story.results().is_empty());
    story.dies(run);
    let results = story.results();
    let [result] = &results[..] else { panic!("one result") };
    assert_eq!((result.rc.0, result.status), (1, ExecStatus::Timeout));
    assert_eq!(result.exit_reason.as_deref(), Some("Resource agent did not complete within 20s"));
    assert_eq!(result.output.as_deref(), Some("partial"));
    story.pass(60_000);
    assert_eq!(story.killed.len(), 1);
}

#[test]
fn an_agent_that_cannot_be_killed_is_reported_but_keeps_its_resource() {
    let mut story = Story::with_resource();
    story.exec("stop", 0);
    let run = story.last_run();
    story.exec("start", 0);
    story.pass(20_000 + 5_000);
    assert_eq!(story.outcomes(), [("stop".into(), 1, ExecStatus::Timeout)]);
    story.pass(600_000);
    assert_eq!(story.started.len(), 1, "nothing runs beside the undead agent");
    assert_eq!(story.unregister("r"), 0, "no result is outstanding any more");
    story.dies(run);
    assert_eq!(story.results().iter().filter(|r| r.status != ExecStatus::Cancelled).count(), 0);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn a_monitor_that_times_out_goes_on_recurring() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.pass(20_000);
    let run = story.last_run();
    story.dies(run);
    assert_eq!(story.outcomes(), [("monitor".into(), 1, ExecStatus::Timeout)]);
    story.pass(10_000);
    assert_eq!(story.started.len(), 2);
    story.ends(0);
    assert_eq!(story.outcomes(), [done("monitor", 0)]);
}

#[test]
fn timeout_zero_is_no_limit() {
    let mut story = Story::with_resource();
    story.exec_with(ExecRequest { action: Some("start".into()), ..ExecRequest::default() });
    story.pass(100_000_000);
    assert!(story.killed.is_empty());
}

#[test]
fn busy_monitors_do_not_starve_a_one_shot() {
    let mut story = Story::with_resource();
    for interval in 1..=9 {
        story.exec("monitor", interval);
    }
    for _ in 0..9 {
        story.pass(2_000);
        story.ends(0);
    }
    story.exec("start", 0);
    for _ in 0..10 {
        story.pass(2_000);
        story.ends(0);
    }
    assert!(story.started.iter().any(|(_, name)| name == "r start"));
}

//! Bad news between two intervals.

use super::*;

fn hurry(story: &mut Story) {
    story.input(Input::Hurry { resource: ResourceId::new("r").unwrap() });
}

#[test]
fn bad_news_brings_the_next_monitor_forward_and_its_failure_is_reported_as_ever() {
    let mut story = Story::with_resource();
    let call_id = story.exec("monitor", 10_000);
    story.ends(0);
    story.said.clear();
    story.pass(3_000);
    hurry(&mut story);
    assert_eq!(story.started.len(), 2, "at once");
    story.pass(5);
    story.ends(1);
    let results = story.results();
    let [result] = &results[..] else { panic!("one result: {results:?}") };
    assert_eq!((result.call_id, result.action.as_str(), result.interval_ms), (call_id, "monitor", 10_000));
    assert_eq!((result.rc.0, result.status, result.exec_time_ms), (1, ExecStatus::Done, 5));
    assert_eq!(result.queue_time_ms, 0, "not the time that it slept");
    // From there on at its interval, and silent as long as nothing changes.
    story.said.clear();
    story.pass(9_999);
    assert_eq!(story.started.len(), 2);
    story.pass(1);
    assert_eq!(story.started.len(), 3);
    story.ends(1);
    assert_eq!(story.outcomes(), []);
}

/// Otherwise Pacemaker takes the failure for older than the success, and does nothing.
#[test]
fn bad_news_waits_until_its_second_differs_from_that_of_the_good_news() {
    let mut story = Story::with_resource();
    story.exec("monitor", 300_000);
    story.ends(0);
    story.pass(10);
    hurry(&mut story);
    hurry(&mut story);
    assert_eq!(story.started.len(), 1);
    story.pass(999);
    assert_eq!(story.started.len(), 1);
    story.pass(1);
    assert_eq!(story.started.len(), 2);
    story.said.clear();
    story.ends(7);
    let results = story.results();
    assert!(results[0].rcchange_time > 1_700_000_001, "{results:?}");
    story.exec("monitor", 500);
    story.ends(0);
    hurry(&mut story);
    story.pass(500);
    assert_eq!(story.started.len(), 4, "never later than at its interval");
}

#[test]
fn what_is_not_asleep_is_not_hurried() {
    let mut story = Story::with_resource();
    hurry(&mut story);
    story.exec("start", 0);
    hurry(&mut story);
    story.ends(0);
    hurry(&mut story);
    assert_eq!(story.started.len(), 1, "nothing recurs");
    story.exec("monitor", 10_000);
    hurry(&mut story);
    assert_eq!(story.started.len(), 2, "it runs already");
    story.ends(0);
    story.exec("stop", 0);
    hurry(&mut story);
    story.ends(0);
    hurry(&mut story);
    assert_eq!(story.started.len(), 3, "a stop ends what recurs");
    story.input(Input::Hurry { resource: ResourceId::new("unknown").unwrap() });
    assert_eq!(story.executor.next_deadline(), None);
}

#[test]
fn one_that_is_hurried_waits_for_its_turn() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(0);
    story.pass(1_000);
    story.exec("reload-agent", 0);
    hurry(&mut story);
    hurry(&mut story);
    assert_eq!(story.started.len(), 2);
    story.ends(0);
    let names: Vec<&str> = story.started.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["r monitor", "r reload-agent", "r monitor"]);
    assert_eq!(story.cancel("monitor", 10_000), 0);
    assert_eq!(story.killed.len(), 1);
}

#[test]
fn of_several_the_most_frequent_one_is_hurried() {
    let mut story = Story::with_resource();
    let slow = story.exec("monitor", 60_000);
    story.ends(0);
    let quick = story.exec("monitor", 10_000);
    story.ends(0);
    story.said.clear();
    story.pass(1_000);
    hurry(&mut story);
    story.ends(7);
    assert_eq!(story.results().iter().map(|result| result.call_id).collect::<Vec<_>>(), [quick]);
    assert_ne!(quick, slow);
}

#[test]
fn nothing_is_kept_of_what_is_registered_no_more() {
    let mut story = Story::with_resource();
    story.unregister("r");
    assert_eq!(story.forgotten, [], "other agents keep nothing");
    let agent = |kind: &str| AgentSpec {
        class: "ocf".into(),
        provider: Some("pcmk-remote".into()),
        kind: kind.into(),
    };
    let register = |kind| Operation::ResourceRegister { origin: None, id: rsc("r"), agent: agent(kind) };
    story.ask(0, register("libvirt"));
    story.ask(0, register("libvirt"));
    assert_eq!(story.forgotten, [], "it is the same");
    story.ask(0, register("nova-compute"));
    assert_eq!(story.forgotten.len(), 1, "it is another");
    story.unregister("r");
    story.unregister("r");
    assert_eq!(story.forgotten, [ResourceId::new("r").unwrap(), ResourceId::new("r").unwrap()]);
}

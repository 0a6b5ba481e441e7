//! Hosts whose proof ends, is renewed, or cannot be told in the middle of it.

use super::*;
use crate::engine::flapping::Record;
use crate::engine::journal::Entry;
use crate::ids::IncidentId;

fn count_posting(world: &World) -> usize {
    world.count(|event| matches!(event, Event::Posting { .. }))
}

fn maintenance(whole: bool) -> Input {
    let maintenance = Maintenance { whole, hosts: BTreeSet::new() };
    Input::Switches { frozen: None, maintenance, go_ahead: BTreeSet::new(), released: vec![] }
}

/// Nothing is left of what has ended.
fn check_nothing_left(world: &World, context: &str) {
    assert!(world.engine.is_idle(), "{context}: {:?}", world.engine.incidents().collect::<Vec<_>>());
    assert_eq!(world.engine.in_flight().0, 0, "{context}");
    let shared = &world.engine.shared;
    assert!(shared.starting.values().all(|count| *count == 0), "{context}: {:?}", shared.starting);
    assert!(shared.groups.values().all(|group| group.open == 0), "{context}: {:?}", shared.groups);
}

#[test]
fn killed_at_every_step_and_the_host_is_back() {
    let begin = || {
        let mut policy = Policy::of(Mode::All);
        (policy.limits.initial, policy.limits.maximum) = (3, 3);
        policy.groups = Policy::parse("mode = \"all\"\n[[group]]\nname = \"db\"\n").unwrap().groups;
        let mut world = World::new(policy, true);
        world.populate("c1", 0..8);
        for guest in world.guests.values_mut() {
            guest.metadata.insert("instance_ha:group".into(), "db".into());
        }
        world
    };
    let mut whole = begin();
    whole.request("c1");
    whole.run(HOUR);
    let steps = whole.journal.len();
    for step in 1..steps {
        for pause in [10, 120_000] {
            let context = format!("killed at {step} of {steps}, back on after {pause} ms");
            let mut world = begin();
            world.crash_at = Some(step);
            world.request("c1");
            world.run(HOUR);
            assert!(world.crashed, "{context}");
            world.drift(Duration::from_millis(pause / 2));
            world.off.remove(&host("c1"));
            world.drift(Duration::from_millis(pause / 2));
            let asked = count_posting(&world);
            world.restart(true);
            world.run(HOUR);
            check_nothing_left(&world, &context);
            assert_eq!(count_posting(&world), asked, "{context}: asked for without a proof");
            world.dead.remove(&host("c1"));
            world.check_all_well(&context);
        }
    }
}

#[test]
fn a_proof_that_ends_while_a_gate_holds_ends_the_incident() {
    let mut world = world(5, true);
    world.input(maintenance(true));
    world.request("c1");
    world.run(Duration::from_secs(3600));
    assert_eq!(world.engine.incidents().count(), 1);
    world.off.remove(&host("c1"));
    world.run(Duration::from_secs(15));
    assert_eq!(ended(&world), [Outcome::CameBack]);
    world.input(maintenance(false));
    world.run(HOUR);
    assert!(world.posts.is_empty() && world.engine.is_idle());
}

#[test]
fn after_a_long_wait_the_proof_is_looked_for_before_anything_is_done() {
    let mut world = world(5, true);
    let cannot_tell = std::rc::Rc::new(std::cell::Cell::new(false));
    let fault = std::rc::Rc::clone(&cannot_tell);
    world.faults = Box::new(move |_, action| {
        (fault.get() && matches!(action, Action::CheckProof { .. })).then_some(Fault::NotSent)
    });
    world.input(maintenance(true));
    world.request("c1");
    world.run(Duration::from_secs(30));
    cannot_tell.set(true);
    world.run(Duration::from_secs(60));
    world.input(maintenance(false));
    world.run(Duration::from_secs(120));
    assert!(world.posts.is_empty() && world.forced_down.is_empty());
    let held = |event: &Event| matches!(event, Event::Gate { gate: Gate::Proof, verdict: Verdict::Hold, .. });
    assert_eq!(world.count(held), 1);
    cannot_tell.set(false);
    world.run(HOUR);
    world.check_all_well("told at last");
}

#[test]
fn what_was_seen_before_the_host_failed_again_does_not_count() {
    let mut world = world(60, true);
    let Answer::TakenUp(first) = world.request("c1") else { panic!("it is new") };
    let looked = |world: &World| {
        world.actions.iter().filter(|action| matches!(action, Action::CheckProof { .. })).count()
    };
    world.run_until(HOUR, |world| looked(world) > 0);
    let begun = world.now;
    // The look finds it on; it is fenced once more before the answer comes.
    let before = Stamp::now();
    std::thread::sleep(Duration::from_millis(2));
    world.run(Duration::from_millis(1));
    world.proofs.clear();
    assert_eq!(world.request("c1"), Answer::Already(first));
    world.input(Input::Proof { host: host("c1"), begun, read: Ok(None) });
    world.input(Input::PoweredOn { host: host("c1"), since: before });
    assert_eq!(world.count(|event| matches!(event, Event::ProofEnded { .. })), 0);
    world.run(HOUR);
    world.check_all_well("fenced again");
    assert_eq!(ended(&world), [Outcome::Complete]);
}

#[test]
fn a_request_that_nova_refuses_after_the_host_is_back_holds_nothing_up() {
    let mut world = world(40, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 5);
    assert!(count_posting(&world) > world.posts.len(), "some are on their way");
    world.forced_down.remove(&host("c1"));
    world.input(Input::PoweredOn { host: host("c1"), since: Stamp::now() });
    world.run(HOUR);
    assert!(world.count(|event| matches!(event, Event::Refused { .. })) > 0);
    check_nothing_left(&world, "refused");
    assert_eq!(ended(&world), [Outcome::CameBack]);
    assert!(world.forced_down.is_empty(), "it is on");
}

#[test]
fn a_request_that_does_not_reach_nova_after_the_host_is_back_holds_nothing_up() {
    for fault in [Fault::NotSent, Fault::Busy] {
        let mut world = world(40, true);
        let is_back = std::rc::Rc::new(std::cell::Cell::new(false));
        let faulty = std::rc::Rc::clone(&is_back);
        world.faults = Box::new(move |_, action| {
            (faulty.get() && matches!(action, Action::Post { .. })).then_some(fault)
        });
        world.request("c1");
        world.run_until(HOUR, |world| world.posts.len() >= 5);
        assert!(count_posting(&world) > world.posts.len(), "some are on their way");
        is_back.set(true);
        world.forced_down.remove(&host("c1"));
        world.input(Input::PoweredOn { host: host("c1"), since: Stamp::now() });
        world.run(HOUR);
        let context = format!("{fault:?}");
        assert!(world.count(|event| matches!(event, Event::Refused { .. })) > 0, "{context}");
        check_nothing_left(&world, &context);
        assert_eq!(ended(&world), [Outcome::CameBack], "{context}");
    }
}

#[test]
fn where_nova_takes_the_host_for_up_it_is_looked_at_before_nova_is_told_again() {
    for back in [true, false] {
        let mut world = world(40, true);
        world.request("c1");
        world.run_until(HOUR, |world| world.posts.len() >= 5);
        world.forced_down.remove(&host("c1"));
        if back {
            world.off.remove(&host("c1"));
        }
        let mark = world.actions.len();
        world.run(HOUR);
        check_nothing_left(&world, "taken for up");
        let at = |what: fn(&Action) -> bool| world.actions.iter().skip(mark).position(what);
        let looked = at(|action| matches!(action, Action::CheckProof { .. }));
        let told = at(|action| matches!(action, Action::ForceDown { .. }));
        if back {
            assert_eq!((told, ended(&world)), (None, vec![Outcome::CameBack]));
        } else {
            assert!(looked < told, "{looked:?} {told:?}");
            world.check_all_well("forced down again");
        }
    }
}

#[test]
fn the_end_of_one_that_came_back_is_not_the_next_ones() {
    let mut world = world(100, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 15);
    world.input(Input::PoweredOn { host: host("c1"), since: Stamp::now() });
    world.proofs.clear();
    world.request("c1");
    world.run_until(HOUR, |world| ended(world).len() == 1);
    assert_eq!(world.engine.incidents().count(), 1);
    assert!(world.engine.shared.off.contains(&host("c1")));
    world.run(HOUR);
    world.check_all_well("again");
}

#[test]
fn what_came_back_before_the_engine_died_stays_so() {
    for n in [5, 20] {
        let mut world = world(60, true);
        world.request("c1");
        world.run_until(HOUR, |world| world.posts.len() >= n);
        world.input(Input::PoweredOn { host: host("c1"), since: Stamp::now() });
        let asked = count_posting(&world);
        // The same host fails again before the next engine begins.
        world.restart(true);
        world.proofs.clear();
        let Answer::TakenUp(_) = world.request("c1") else { panic!("it is new") };
        world.run(HOUR);
        assert!(count_posting(&world) > asked);
        world.check_all_well("again");
        assert_eq!(ended(&world), [Outcome::CameBack, Outcome::Complete]);
    }
}

/// Another controller has ended the first incident, and its host has failed again with other servers.
#[test]
fn an_old_journal_is_not_taken_for_a_new_failure() {
    for pause in [0, 600] {
        let mut world = world(40, true);
        world.request("c1");
        world.run_until(HOUR, |world| world.posts.len() >= 10);
        world.proofs.clear();
        world.populate("c1", 40..45);
        world.drift(Duration::from_secs(pause));
        world.restart(true);
        let Answer::TakenUp(_) = world.request("c1") else { panic!("it is new") };
        world.run(HOUR);
        world.check_all_well("again");
        assert!(world.guests.values().all(|guest| guest.host != host("c1")));
        assert_eq!(world.doubled, []);
        assert!(ended(&world).contains(&Outcome::CameBack), "{:?}", ended(&world));
    }
}

/// Nobody asks: the look for the proof finds the new one.
#[test]
fn an_old_journal_ends_when_a_new_proof_is_found() {
    let mut world = world(40, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 10);
    world.proofs.clear();
    world.restart(true);
    world.run(Duration::from_secs(300));
    assert_eq!(ended(&world), [Outcome::CameBack]);
    check_nothing_left(&world, "proven anew");
}

#[test]
fn failures_that_another_controller_tells_of_late_count_with_the_last_one() {
    let mut world = world(2, true);
    world.request("c1");
    world.run(Duration::from_secs(1));
    assert!(world.engine.quarantine().is_empty());
    let at = |millis| (World::time(Duration::from_millis(millis)).wall, None);
    let record = Record { quarantined: false, changed: None, failures: vec![at(500), at(600)] };
    world.input(Input::Failures { host: host("c1"), record });
    assert!(world.engine.quarantine().contains(&host("c1")));
    assert_eq!(world.count(|event| matches!(event, Event::Quarantined { .. })), 1);
}

#[test]
fn an_incident_that_has_ended_takes_nothing_over() {
    let mut world = world(20, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.guests.values().filter(|guest| guest.host == host("d1")).count() > 3);
    world.request("d1");
    let phase =
        |world: &World| world.engine.incidents().find(|one| one.host == host("d1")).map(|one| one.phase);
    world.run_until(HOUR, |world| phase(world).as_deref() == Some("inventory"));
    world.dead.remove(&host("d1"));
    world.off.remove(&host("d1"));
    world.input(Input::PoweredOn { host: host("d1"), since: Stamp::now() });
    world.run(HOUR);
    assert_eq!(world.count(|event| matches!(event, Event::PassedOn { .. })), 0);
    world.check_all_well("d1 is back");
}

#[test]
fn nothing_is_left_of_a_plan_that_was_not_finished() {
    let mut world = world(2, true);
    let id = IncidentId::new_random();
    let queued = |n| Event::Queued {
        server: server_id(n),
        name: String::new(),
        ran: Some(true),
        priority: 0,
        group: None,
        why: String::new(),
    };
    let planned = Event::Planned { moves: 1, left_out: 0, to_stopped: true, newest_migration: 0 };
    let events = [
        Event::TakenUp { host: host("c1"), by: "test".into() },
        queued(0),
        queued(1),
        Event::Resumed { on: "ctl1".into(), journal: true },
        queued(1),
        planned,
    ];
    let entry = |event| Entry::new(World::time(Duration::ZERO).wall, id, event);
    world.journal = events.into_iter().map(entry).collect();
    world.restart(true);
    let servers: u32 = world.engine.incidents().flat_map(|one| one.servers.into_values()).sum();
    assert_eq!(servers, 1, "server 0 was gone when the plan was made again");
}

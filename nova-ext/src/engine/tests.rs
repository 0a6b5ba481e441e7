//! Whole incidents against the simulated cloud, in virtual time.

mod back;
mod resets;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::journal::{Event, Gate, Outcome, Verdict};
use super::sim::{Fault, World, host, server_id};
use super::values::*;
use crate::policy::{Mode, Policy};
use crate::stamp::Stamp;

const HOUR: Duration = Duration::from_secs(3600);

fn world(servers: u64, to_stopped: bool) -> World {
    let mut world = World::new(Policy::of(Mode::All), to_stopped);
    world.populate("c1", 0..servers);
    world
}

fn ended(world: &World) -> Vec<Outcome> {
    world
        .events()
        .filter_map(|event| match event {
            Event::Ended { outcome, .. } => Some(*outcome),
            _ => None,
        })
        .collect()
}

#[test]
fn a_host_with_fifty_servers() {
    for to_stopped in [true, false] {
        let mut world = world(50, to_stopped);
        world.request("c1");
        world.run_until(HOUR, |world| !world.posts.is_empty());
        assert!(world.now < Duration::from_secs(1), "the first request after {:?}", world.now);
        world.run(HOUR);
        world.check_all_well("50");
        assert_eq!(ended(&world), [Outcome::Complete]);
        assert!(world.posts.values().all(|n| *n == 1));
        assert_eq!(world.posts.len(), 50);
        assert!(world.most_alive <= 32, "{}", world.most_alive);
        assert!(world.most_starting <= 24, "{}", world.most_starting);
        assert!(world.now < Duration::from_secs(60), "{:?}", world.now);
    }
}

#[test]
fn answers_that_are_lost_are_not_repeated_blindly() {
    for fault in [Fault::LostAfter, Fault::LostBefore, Fault::Busy, Fault::NotSent] {
        let mut world = world(20, true);
        world.faults = Box::new(move |n, _| (n % 3 == 0).then_some(fault));
        world.request("c1");
        world.run(HOUR);
        world.check_all_well(&format!("{fault:?}"));
        assert_eq!(ended(&world), [Outcome::Complete], "{fault:?}");
    }
}

#[test]
fn no_room_and_then_there_is_room() {
    let mut world = world(20, true);
    world.room = 5;
    world.request("c1");
    world.run(Duration::from_secs(120));
    assert_eq!(world.engine.incidents().count(), 1);
    assert_eq!(world.guests.values().filter(|guest| guest.host == host("c1")).count(), 10);
    world.room = 100;
    world.run(HOUR);
    world.check_all_well("room");
    assert!(
        world.count(|event| matches!(event, Event::Failed { why, .. } if why.contains("No valid host"))) > 0
    );
}

#[test]
fn no_room_for_good_is_given_up() {
    let mut policy = Policy::of(Mode::All);
    policy.patience.no_room_seconds = 60;
    let mut world = World::new(policy, true);
    world.populate("c1", 0..4);
    world.room = 0;
    world.request("c1");
    world.run(HOUR);
    assert_eq!(ended(&world), [Outcome::Partial]);
    assert_eq!(world.count(|event| matches!(event, Event::GaveUp { .. })), 4);
    assert_eq!(world.doubled, []);
}

#[test]
fn a_dead_scheduler_holds_everything() {
    let mut world = world(20, true);
    world.scheduler = false;
    world.scheduler_seen = false;
    world.request("c1");
    world.run(Duration::from_secs(300));
    assert!(world.posts.is_empty());
    assert_eq!(
        world.count(|event| matches!(
            event,
            Event::Gate { gate: Gate::Scheduler, verdict: Verdict::Hold, .. }
        )),
        1
    );
    world.scheduler = true;
    world.scheduler_seen = true;
    world.run(HOUR);
    world.check_all_well("scheduler");
}

#[test]
fn what_a_scheduler_let_die_is_written_off_once_it_lives() {
    let mut world = world(20, true);
    // It has crashed, and Nova has not noticed yet.
    world.scheduler = false;
    world.request("c1");
    world.run(Duration::from_secs(30));
    let stuck = world.posts.len();
    assert!(stuck > 0 && stuck <= 12, "{stuck}");
    world.scheduler_seen = false;
    world.run(Duration::from_secs(600));
    assert_eq!(world.posts.len(), stuck, "nothing more is asked for");
    assert_eq!(world.count(|event| matches!(event, Event::WrittenOff { .. })), 0);
    world.scheduler = true;
    world.scheduler_seen = true;
    world.run_until(HOUR, |world| world.engine.is_idle());
    assert_eq!(world.count(|event| matches!(event, Event::WrittenOff { .. })), stuck);
    // The simulation counts a request while the stuck row is still there as a double: those rows are dead.
    world.doubled.clear();
    world.check_all_well("written off");
}

#[test]
fn ten_hosts_at_once_share_the_limits() {
    let mut world = World::new(Policy::of(Mode::All), true);
    for n in 0..10 {
        world.populate(&format!("c{n}"), n * 20..n * 20 + 20);
    }
    for n in 0..10 {
        world.request(&format!("c{n}"));
    }
    world.run(HOUR);
    world.check_all_well("ten hosts");
    assert_eq!(ended(&world), [Outcome::Complete; 10]);
    assert!(world.most_alive <= 32, "{}", world.most_alive);
    assert!(world.posts.values().all(|n| *n == 1));
}

#[test]
fn too_many_hosts_wait_for_the_operator() {
    let mut world = World::new(Policy::of(Mode::All), true);
    world.computes = 3;
    world.populate("c1", 0..5);
    world.populate("c2", 5..10);
    world.request("c1");
    world.request("c2");
    world.run(Duration::from_secs(120));
    assert_eq!(world.engine.incidents().filter(|one| one.held.is_some()).count(), 1);
    let switch = |world: &mut World, go_ahead: &[&str]| {
        let go_ahead = go_ahead.iter().map(|name| host(name)).collect();
        world.input(Input::Switches {
            frozen: None,
            maintenance: Maintenance::default(),
            go_ahead,
            released: vec![],
        });
        world.run(Duration::from_secs(120));
        world.engine.incidents().filter(|one| one.held.is_some()).count()
    };
    assert_eq!(switch(&mut world, &["c3"]), 1, "it is another host's");
    assert_eq!(switch(&mut world, &["c1", "c2"]), 0);
    world.run(HOUR);
    world.check_all_well("go ahead");
}

#[test]
fn what_is_in_maintenance_waits() {
    for (whole, hosts) in [(true, BTreeSet::new()), (false, BTreeSet::from([host("c1")]))] {
        let mut world = world(5, true);
        let switch = |maintenance| Input::Switches {
            frozen: None,
            maintenance,
            go_ahead: BTreeSet::new(),
            released: vec![],
        };
        world.input(switch(Maintenance { whole, hosts }));
        world.request("c1");
        world.run(Duration::from_secs(120));
        assert!(world.posts.is_empty());
        let held = |event: &Event| {
            matches!(event, Event::Gate { gate: Gate::Maintenance, verdict: Verdict::Hold, .. })
        };
        assert_eq!(world.count(held), 1);
        world.input(switch(Maintenance { whole: false, hosts: BTreeSet::from([host("c2")]) }));
        world.run(HOUR);
        world.check_all_well("after maintenance");
    }
}

#[test]
fn a_host_that_comes_back_gets_no_more_requests() {
    let mut world = world(200, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 15);
    world.off.remove(&host("c1"));
    world.run(HOUR);
    assert_eq!(ended(&world), [Outcome::CameBack]);
    assert!(world.posts.len() < 200);
    let there = world.guests.values().filter(|guest| guest.host == host("c1")).count();
    assert_eq!(there, 200 - world.posts.len());
    assert_eq!(world.count(|event| matches!(event, Event::GaveUp { .. })), there);
    assert_eq!(world.doubled, []);
}

#[test]
fn a_host_that_comes_back_and_fails_again_is_a_new_incident() {
    let mut world = world(100, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 15);
    world.input(Input::PoweredOn { host: host("c1"), since: Stamp::now() });
    assert_eq!(world.count(|event| matches!(event, Event::ProofEnded { .. })), 1);
    let Answer::TakenUp(_) = world.request("c1") else { panic!("it is new") };
    world.run(HOUR);
    world.check_all_well("again");
    assert_eq!(ended(&world).len(), 2);
}

#[test]
fn a_destination_that_dies_is_the_next_incident() {
    let mut world = world(40, true);
    world.destinations.push(host("d3"));
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 30);
    world.dead.insert(host("d1"));
    world.run(Duration::from_secs(10));
    world.request("d1");
    world.run(HOUR);
    world.check_all_well("destination");
    assert!(world.count(|event| matches!(event, Event::WrittenOff { .. })) > 0);
    assert_eq!(ended(&world).len(), 2);
}

#[test]
fn a_server_in_error_is_moved_and_ends_as_it_was() {
    let mut world = world(10, true);
    world.faults = Box::new(|_, _| None);
    // The first attempts find no room, so that Nova puts all into ERROR; stopped ones must not run afterwards.
    world.room = 0;
    world.request("c1");
    world.run(Duration::from_secs(8));
    assert!(world.guests.values().any(|guest| guest.vm_state == "error" && guest.stopped_by_owner));
    world.room = 100;
    world.run(HOUR);
    world.check_all_well("error, 2.95");

    let mut older = self::world(10, false);
    older.room = 0;
    older.request("c1");
    older.run(Duration::from_secs(8));
    older.room = 100;
    older.run(HOUR);
    older.check_all_well("error, before 2.95");
    assert!(older.count(|event| matches!(event, Event::Stopping { .. })) > 0);
}

#[test]
fn deleted_servers_are_gone() {
    let mut world = world(10, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 5);
    for n in [3, 9] {
        world.guests.get_mut(&server_id(n)).unwrap().deleted = true;
    }
    world.run(HOUR);
    assert_eq!(ended(&world), [Outcome::Complete]);
    assert_eq!(world.count(|event| matches!(event, Event::Gone { .. })), 2);
}

#[test]
fn frozen_means_nothing_new() {
    let mut world = world(50, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 15);
    let frozen = Some("change window".to_owned());
    world.input(Input::Switches {
        frozen,
        maintenance: Maintenance::default(),
        go_ahead: BTreeSet::new(),
        released: vec![],
    });
    world.run(Duration::from_secs(60));
    let posts = world.posts.len();
    assert!(posts <= 30, "{posts}");
    world.run(Duration::from_secs(600));
    assert_eq!((world.posts.len(), world.alive()), (posts, 0));
    world.input(Input::Switches {
        frozen: None,
        maintenance: Maintenance::default(),
        go_ahead: BTreeSet::new(),
        released: vec![],
    });
    world.run(HOUR);
    world.check_all_well("thawed");
}

#[test]
fn the_third_failure_in_an_hour_is_quarantine() {
    let mut world = world(2, true);
    for n in 0..3 {
        assert!(world.engine.quarantine().is_empty(), "{n}");
        world.proofs.clear();
        world.request("c1");
        world.run(HOUR);
        for guest in world.guests.values_mut() {
            guest.host = host("c1");
        }
        for one in &mut world.rows {
            one.row.status = "completed".into();
        }
        world.drift(Duration::from_secs(600));
    }
    assert!(world.engine.quarantine().contains(&host("c1")));
    assert_eq!(world.posts.values().copied().collect::<Vec<_>>(), [3, 3]);
    world.restart(true);
    assert!(world.engine.quarantine().contains(&host("c1")), "a restart does not release it");
    let released = vec![host("c1")];
    world.input(Input::Switches {
        frozen: None,
        maintenance: Maintenance::default(),
        go_ahead: BTreeSet::new(),
        released,
    });
    assert!(world.engine.quarantine().is_empty());
}

#[test]
fn what_a_journal_knows_is_no_news_after_a_restart() {
    let mut world = world(1, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.rows.iter().any(|one| one.row.status == "done"));
    world.run_until(HOUR, |world| {
        world.count(|event| matches!(event, Event::Migration { status, .. } if status == "done")) > 0
    });
    for _ in 0..3 {
        world.restart(true);
        world.run(Duration::from_millis(500));
    }
    world.run(HOUR);
    world.check_all_well("restarted");
    assert_eq!(world.count(|event| matches!(event, Event::Migration { status, .. } if status == "done")), 1);
}

#[test]
fn a_restart_is_no_failed_attempt() {
    let mut world = world(1, true);
    let mut first = true;
    world.faults = Box::new(move |_, action| {
        let lost = matches!(action, Action::Post { .. }) && std::mem::take(&mut first);
        lost.then_some(Fault::LostBefore)
    });
    world.request("c1");
    let failed = |world: &World| world.count(|event| matches!(event, Event::Failed { .. }));
    world.run_until(HOUR, |world| failed(world) > 0);
    for _ in 0..10 {
        world.restart(true);
        world.run(Duration::from_secs(1));
    }
    world.run(HOUR);
    world.check_all_well("restarted in the pause");
    assert_eq!((failed(&world), world.posts.values().copied().collect::<Vec<_>>()), (1, vec![1]));
}

#[test]
fn what_the_source_calls_completed_is_followed_to_its_end() {
    let mut world = world(6, true);
    world.request("c1");
    world.run_until(HOUR, |world| world.rows.iter().filter(|one| one.row.destination.is_some()).count() == 6);
    assert_eq!(world.alive(), 6);
    world.source_starts("c1", Duration::from_secs(120));
    world.input(Input::PoweredOn { host: host("c1"), since: Stamp::now() });
    world.run(HOUR);
    world.check_all_well("completed too early");
    assert_eq!(world.posts.values().copied().collect::<Vec<_>>(), [1; 6]);
}

#[test]
fn the_same_host_again_is_the_same_incident() {
    let mut world = world(10, true);
    let Answer::TakenUp(first) = world.request("c1") else { panic!("it is new") };
    assert_eq!(world.request("c1"), Answer::Already(first));
    world.run(HOUR);
    world.check_all_well("twice");
    assert_eq!(world.count(|event| matches!(event, Event::TakenUp { .. })), 1);
    // Asked for once more under the same name, by somebody who has not heard of its end, even after a restart.
    world.restart(true);
    let request =
        Request { host: host("c1"), incident: first, proof: super::sim::proof("c1"), by: "test".into() };
    let (answer, actions) = world.engine.request(request, World::time(world.now));
    assert_eq!((answer, actions.len()), (Answer::Ended(Outcome::Complete), 0));
}

#[test]
fn priorities_go_first_and_groups_wait() {
    let text = "mode = \"all\"\n[limits]\ninitial = 2\nmaximum = 2\n[[group]]\nname = \"app\"\nafter = [\"db\"]\n\
                [[group]]\nname = \"db\"\nsettle_seconds = 5\n";
    let mut world = World::new(Policy::parse(text).unwrap(), true);
    world.populate("c1", 0..12);
    for (n, guest) in world.guests.values_mut().enumerate() {
        guest.stopped_by_owner = false;
        guest.running = true;
        guest.vm_state = "active";
        let mut say = |key: &str, value: &str| drop(guest.metadata.insert(key.into(), value.into()));
        match n {
            0..4 => say("instance_ha:group", "app"),
            4..8 => say("instance_ha:group", "db"),
            11 => say("instance_ha:priority", "10"),
            _ => {}
        }
    }
    world.request("c1");
    world.run(HOUR);
    world.check_all_well("groups");
    let first = world.events().find_map(|event| match event {
        Event::Posting { server, .. } => Some(*server),
        _ => None,
    });
    assert_eq!(first, Some(server_id(11)));
    let at = |n: u64, what: fn(&Event) -> bool| {
        let entry = world
            .journal
            .iter()
            .find(|entry| entry.event.server() == Some(server_id(n)) && what(&entry.event));
        entry.unwrap().at
    };
    let last_db = (4..8).map(|n| at(n, |event| matches!(event, Event::Done { .. }))).max().unwrap();
    let first_app = (0..4).map(|n| at(n, |event| matches!(event, Event::Starting { .. }))).min().unwrap();
    assert!(first_app.since(last_db) >= Duration::from_secs(5));
}

/// The engine ends at every step of the journal, and another goes on.
fn killed_at_every_step(to_stopped: bool, with_journal: bool, faults: fn(u64, &Action) -> Option<Fault>) {
    let begin = || {
        let mut world = world(8, to_stopped);
        world.settings.policy.limits.initial = 3;
        world.settings.policy.limits.maximum = 3;
        world.restart(false);
        world.faults = Box::new(faults);
        world
    };
    let mut whole = begin();
    whole.request("c1");
    whole.run(HOUR);
    whole.check_all_well("never killed");
    let steps = whole.journal.len();
    assert!(steps > 50, "{steps}");
    for step in 1..=steps {
        // Shortly after, and long after.
        for pause in [10, 120_000] {
            let context = format!("killed at {step} of {steps}, back after {pause} ms");
            let mut world = begin();
            world.crash_at = Some(step);
            world.request("c1");
            world.run(HOUR);
            if !world.crashed {
                continue;
            }
            world.drift(Duration::from_millis(pause));
            world.restart(with_journal);
            if !with_journal {
                world.journal.clear();
                world.request("c1");
            }
            world.run(HOUR);
            assert!(world.engine.is_idle(), "{context}: {:?}", world.engine.incidents().collect::<Vec<_>>());
            world.check_all_well(&context);
            assert!(world.posts.len() == 8, "{context}");
        }
    }
}

#[test]
fn killed_at_every_step_with_its_journal() {
    for to_stopped in [true, false] {
        killed_at_every_step(to_stopped, true, |_, _| None);
    }
}

#[test]
fn killed_at_every_step_with_its_journal_in_bad_weather() {
    killed_at_every_step(true, true, |n, action| match action {
        Action::Post { .. } if n % 2 == 0 => Some(Fault::LostAfter),
        _ if n % 7 == 0 => Some(Fault::Busy),
        _ => None,
    });
}

#[test]
fn killed_at_every_step_and_another_without_the_journal() {
    for to_stopped in [true, false] {
        killed_at_every_step(to_stopped, false, |_, _| None);
    }
}

#[test]
fn ten_thousand_servers_are_tracked() {
    let mut world = World::new(Policy::of(Mode::All), true);
    world.populate("c1", 0..10_000);
    world.request("c1");
    world.run_until(HOUR, |world| world.posts.len() >= 100);
    let summary: Vec<_> = world.engine.incidents().collect();
    let tracked: u32 = summary.iter().flat_map(|one| one.servers.values()).sum();
    assert_eq!(tracked, 10_000);
    let _: &BTreeMap<_, _> = &summary[0].servers;
}

/// Weather that changes with the hour, engines that are killed at any moment, with and without their journal: whatever
/// happens, nothing is asked for twice at a time, and everything ends well.
fn storm(seed: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % below
    };
    let context = format!("storm {seed}");
    let mut world = World::new(Policy::of(Mode::All), next(2) == 0);
    world.populate("c1", 0..next(30) + 1);
    world.populate("c2", 100..100 + next(20));
    world.room = if next(3) == 0 { 10 } else { 1000 };
    let badness = next(4);
    let mut dice = seed | 1;
    world.faults = Box::new(move |_, _| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        match dice % 40 {
            n if n >= badness * 3 => None,
            n => Some(
                [Fault::NotSent, Fault::Busy, Fault::LostBefore, Fault::LostAfter]
                    [usize::try_from(n % 4).unwrap()],
            ),
        }
    });
    world.request("c1");
    world.run(Duration::from_millis(next(6000)));
    world.request("c2");
    for _ in 0..next(4) {
        world.crash_at = Some(world.journal.len() + usize::try_from(next(60)).unwrap() + 1);
        world.run(Duration::from_secs(next(120)));
        world.drift(Duration::from_millis(next(20_000)));
        let with_journal = next(4) != 0;
        if !with_journal {
            world.journal.clear();
        }
        world.restart(with_journal);
        // Whoever asked asks again: the queue and the cluster remember.
        for name in ["c1", "c2"] {
            world.request(name);
        }
    }
    world.crash_at = None;
    world.room = 1000;
    world.faults = Box::new(|_, _| None);
    world.run(HOUR * 3);
    assert!(world.engine.is_idle(), "{context}: {:?}", world.engine.incidents().collect::<Vec<_>>());
    world.check_all_well(&context);
}

#[test]
fn storms() {
    for seed in 1..=200 {
        storm(seed);
    }
}

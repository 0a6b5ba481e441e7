//! Servers that are reset before they are asked for again, and readings that take long.

use super::*;
use crate::engine::sim::SimRow;

fn resetting(world: &World) -> usize {
    world.count(|event| matches!(event, Event::Resetting { .. }))
}

/// One server whose first attempt found no room, and whose state is being reset.
fn being_reset() -> World {
    let mut world = world(1, true);
    world.room = 0;
    world.reset_takes = Duration::from_secs(3);
    world.request("c1");
    world.run_until(HOUR, |world| resetting(world) == 1);
    world.room = 100;
    world
}

#[test]
fn one_that_somebody_else_asks_for_meanwhile_is_followed() {
    let mut world = being_reset();
    let row = Row {
        number: 2,
        id: None,
        server: server_id(0),
        status: "pre-migrating".into(),
        destination: Some(host("d1")),
    };
    world.rows.push(SimRow { row, source: host("c1") });
    world.run(Duration::from_secs(30));
    assert_eq!((world.posts[&server_id(0)], world.engine.in_flight().0), (1, 1));
    world.rows[1].row.status = "error".into();
    world.run(HOUR);
    world.check_all_well("asked for by two");
    assert!(world.engine.is_idle());
}

#[test]
fn one_that_is_reset_passes_the_gates_like_any_other() {
    let mut world = being_reset();
    let switch = |frozen: Option<&str>| Input::Switches {
        frozen: frozen.map(str::to_owned),
        maintenance: Maintenance::default(),
        go_ahead: BTreeSet::new(),
        released: vec![],
    };
    world.input(switch(Some("change window")));
    world.run(Duration::from_secs(120));
    assert_eq!((world.posts[&server_id(0)], world.engine.in_flight().0), (1, 0));
    world.input(switch(None));
    world.run(HOUR);
    world.check_all_well("thawed");
}

#[test]
fn where_nova_takes_long_to_tell_servers_are_moved_all_the_same() {
    let mut world = world(6, true);
    world.settings.policy.limits.initial = 2;
    world.settings.policy.limits.maximum = 2;
    world.restart(false);
    world.rows_take = Duration::from_secs(12);
    world.request("c1");
    world.run(HOUR);
    world.check_all_well("slow");
    assert_eq!(ended(&world), [Outcome::Complete]);
}

#[test]
fn what_was_stopped_stays_stopped_for_an_engine_that_knows_nothing_of_its_reset() {
    let mut world = world(5, true);
    world.room = 0;
    world.request("c1");
    world.run_until(HOUR, |world| {
        world.guests.values().any(|guest| guest.stopped_by_owner && guest.vm_state == "active")
    });
    world.drift(Duration::from_secs(1));
    world.restart(false);
    world.journal.clear();
    world.room = 100;
    world.request("c1");
    world.run(HOUR);
    world.check_all_well("another controller");
}

use proptest::prelude::*;

use super::*;

fn amount(memory_mb: u64) -> Amount {
    Amount { vcpus: memory_mb / 1024, memory_mb, disk_gb: 0 }
}

/// A host with so much free memory in GiB, and servers of these sizes.
fn room(name: usize, free: u64, servers: &[u64]) -> Room {
    let load = |(place, gib): (usize, &u64)| Load {
        server: format!("00000000-0000-4000-8000-{:012x}", name * 1000 + place).parse().unwrap(),
        needs: amount(gib * 1024),
        project: "p".into(),
        zone: None,
    };
    Room {
        host: format!("c{name}").parse().unwrap(),
        takes: true,
        free: amount(free * 1024),
        most: amount(1 << 30),
        zone: Some("nova".into()),
        projects: None,
        servers: servers.iter().enumerate().map(load).collect(),
    }
}

#[test]
fn one_host_is_lost() {
    let rooms = [room(1, 4, &[4, 2]), room(2, 4, &[2]), room(3, 2, &[2, 2])];
    let result = capacity(&rooms, 1);
    assert_eq!((result.verdict, result.tried, result.all, result.lost.len()), (Verdict::Yes, 3, true, 3));
    assert_eq!(
        (result.lost[0].servers, result.lost[0].needs, result.lost[0].free),
        (2, amount(6144), amount(6144))
    );

    // Enough in sum, and still no place for the large one.
    let split = [room(1, 0, &[4]), room(2, 3, &[]), room(3, 3, &[])];
    let result = capacity(&split, 1);
    assert_eq!(result.verdict, Verdict::No);
    assert_eq!((result.lost[0].unplaced.len(), result.lost[0].short), (1, false));

    let full = [room(1, 1, &[4]), room(2, 3, &[1])];
    assert!(capacity(&full, 1).lost[0].short);
}

#[test]
fn a_host_that_is_down_disabled_or_kept_for_others_takes_nothing() {
    let with = |change: fn(&mut Room)| {
        let mut rooms = [room(1, 0, &[4]), room(2, 8, &[])];
        change(&mut rooms[1]);
        capacity(&rooms, 1).verdict
    };
    assert_eq!(with(|_| ()), Verdict::Yes);
    assert_eq!(with(|room| room.takes = false), Verdict::No);
    assert_eq!(with(|room| room.projects = Some(["q".to_owned()].into())), Verdict::No);
    assert_eq!(with(|room| room.projects = Some(["p".to_owned()].into())), Verdict::Yes);
    assert_eq!(with(|room| room.most.memory_mb = 4095), Verdict::No);
    let zone = |zone: &str| {
        let mut rooms = [room(1, 0, &[4]), room(2, 8, &[])];
        rooms[0].servers[0].zone = Some(zone.to_owned());
        capacity(&rooms, 1).verdict
    };
    assert_eq!((zone("nova"), zone("other")), (Verdict::Yes, Verdict::No));
}

#[test]
fn two_hosts_are_lost_at_once() {
    let rooms: Vec<Room> = (0..4).map(|name| room(name, 4, &[4])).collect();
    let result = capacity(&rooms, 2);
    assert_eq!((result.verdict, result.tried), (Verdict::Yes, 6));
    let result = capacity(&rooms, 3);
    assert_eq!((result.verdict, result.tried, result.lost.len()), (Verdict::No, 4, 4));
    assert_eq!(capacity(&rooms, 9).verdict, Verdict::No, "nobody is left");
    assert_eq!(capacity(&[], 1).verdict, Verdict::Yes);
}

#[test]
fn many_hosts_are_told_where_it_is_certain() {
    let ample: Vec<Room> = (0..200).map(|name| room(name, 16, &[4, 2])).collect();
    let result = capacity(&ample, 4);
    assert_eq!((result.verdict, result.all), (Verdict::Yes, false));
    let tight: Vec<Room> = (0..200).map(|name| room(name, 0, &[4, 2])).collect();
    assert_eq!(capacity(&tight, 4).verdict, Verdict::No);
    // There is room, but few places for one as large as the largest.
    let mut mixed: Vec<Room> = (0..200).map(|name| room(name, 20, &[1; 10])).collect();
    mixed.push(room(200, 0, &[30]));
    mixed.extend((201..206).map(|name| room(name, 40, &[])));
    assert_eq!(capacity(&mixed, 4).verdict, Verdict::Unknown);
}

proptest! {
    /// First fit never overfills, and with servers of one size it finds what there is.
    #[test]
    fn what_is_placed_fits(free in prop::collection::vec(0_u64..8, 2..6), sizes in prop::collection::vec(1_u64..5, 0..6)) {
        let rooms: Vec<Room> =
            free.iter().enumerate().map(|(name, free)| room(name, *free, if name == 0 { &sizes } else { &[] })).collect();
        for lost in capacity(&rooms, 1).lost {
            if lost.unplaced.is_empty() {
                prop_assert!(lost.needs.fits(lost.free) && !lost.short);
            } else if sizes.iter().all(|size| *size == 1) {
                prop_assert!(lost.short, "with servers of one size first fit is exact");
            }
        }
    }

    #[test]
    fn all_sets_are_tried_once(hosts in 0_usize..9, any in 0_usize..9) {
        let mut seen = BTreeSet::new();
        each_set(hosts, any, &mut |set: &[usize]| assert!(seen.insert(set.to_vec())));
        prop_assert_eq!(seen.len() as u64, sets(hosts, any));
    }
}

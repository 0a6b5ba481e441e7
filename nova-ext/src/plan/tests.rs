use proptest::prelude::*;

use super::*;
use crate::policy::Mode;

fn host() -> HostName {
    "c1".parse().unwrap()
}

fn id(n: u64) -> ServerId {
    format!("00000000-0000-4000-8000-{n:012x}").parse().unwrap()
}

fn server(n: u64) -> Server {
    Server {
        id: id(n),
        name: format!("s{n}"),
        project: "p1".into(),
        host: Some(host()),
        created: None,
        vm_state: VmState::Active,
        task_state: None,
        power: Power::Running,
        locked: false,
        image: None,
        flavor: Flavor { ram_mb: 64, ..Flavor::default() },
        metadata: BTreeMap::new(),
        tags: Vec::new(),
    }
}

fn inventory(servers: Vec<Server>) -> Inventory {
    Inventory {
        host: host(),
        servers,
        aggregates: Vec::new(),
        images: BTreeMap::new(),
        tried: BTreeSet::new(),
    }
}

fn reason(server: Server, policy: &Policy) -> Option<&'static str> {
    let plan = plan(&inventory(vec![server]), policy);
    assert_eq!(plan.moves.len() + plan.left_out.len(), 1);
    plan.left_out.first().map(|one| one.reason.code())
}

#[test]
fn what_must_not_be_evacuated_stays_and_says_why() {
    let policy = Policy::of(Mode::All);
    let with = |change: fn(&mut Server)| {
        let mut one = server(1);
        change(&mut one);
        reason(one, &policy)
    };
    assert_eq!(with(|_| ()), None);
    assert_eq!(with(|s| s.host = "c2".parse().ok()), Some("elsewhere"));
    assert_eq!(with(|s| s.vm_state = VmState::parse("soft-delete")), Some("deleted"));
    assert_eq!(with(|s| s.task_state = Some("deleting".into())), Some("deleted"));
    assert_eq!(with(|s| s.vm_state = VmState::parse("shelved_offloaded")), Some("shelved"));
    assert_eq!(with(|s| s.vm_state = VmState::parse("resized")), Some("state"));
    assert_eq!(with(|s| s.vm_state = VmState::parse("building")), Some("state"));
    assert_eq!(with(|s| s.task_state = Some("migrating".into())), Some("task"));
    assert_eq!(with(|s| s.task_state = Some("resize_migrating".into())), Some("task"));
    assert_eq!(with(|s| s.task_state = Some("rebooting".into())), None);
    assert_eq!(with(|s| s.task_state = Some("rebuild_spawning".into())), None);
    assert_eq!(with(|s| s.name = "amphora-6f70656e-7374-6163-6b20-342065766572".into()), Some("amphora"));
    assert_eq!(with(|s| s.name = "amphora-of-mine".into()), None);
    assert_eq!(with(|s| s.image = Some("i1".into())), Some("local-disk"));
    assert_eq!(with(|s| s.flavor.ephemeral_gb = 1), None);
    assert_eq!(
        with(|s| {
            s.flavor.ephemeral_gb = 1;
            s.flavor.extra_specs.insert("hw:ephemeral_encryption".into(), "True".into());
        }),
        Some("encrypted-local-disk")
    );
    assert_eq!(
        with(|s| drop(s.flavor.extra_specs.insert("hw:tpm_version".into(), "2.0".into()))),
        Some("virtual-tpm")
    );
    assert_eq!(with(|s| s.locked = true), None);
    let error_and_off = |s: &mut Server| {
        s.vm_state = VmState::Error;
        s.power = Power::Off;
    };
    assert_eq!(with(error_and_off), Some("in-error"));
    assert_eq!(with(|s| s.vm_state = VmState::Error), None);
}

#[test]
fn what_an_evacuation_put_into_error_is_tried_again() {
    let one = Server { vm_state: VmState::Error, power: Power::Off, ..server(1) };
    let tried = Inventory { tried: BTreeSet::from([id(1)]), ..inventory(vec![one]) };
    let plan = plan(&tried, &Policy::of(Mode::All));
    assert_eq!(plan.moves.iter().map(|one| (one.server, one.ran)).collect::<Vec<_>>(), [(id(1), false)]);
}

#[test]
fn the_policy_can_say_otherwise() {
    let mut policy = Policy::of(Mode::All);
    policy.storage.rebuild_from_image = true;
    policy.leave_out.locked = true;
    policy.leave_out.amphorae = false;
    let image = Server { image: Some("i1".into()), ..server(1) };
    let plan = plan(&inventory(vec![image]), &policy);
    assert_eq!(plan.moves[0].why, "nobody says anything; it is built anew from its image");
    assert_eq!(reason(Server { locked: true, ..server(1) }, &policy), Some("locked"));
    let amphora = Server { name: "amphora-6f70656e-7374-6163-6b20-342065766572".into(), ..server(1) };
    assert_eq!(reason(amphora, &policy), None);
    let opt_in = Policy::of(Mode::OptIn);
    assert_eq!(reason(server(1), &opt_in), Some("not-asked-for"));
    let no = Server { tags: vec!["evacuable=no".into()], ..server(1) };
    assert_eq!(reason(no, &opt_in), Some("refused"));
}

#[test]
fn only_what_ran_is_to_run_again() {
    let plan = plan(
        &inventory(vec![
            server(1),
            Server { vm_state: VmState::Stopped, power: Power::Off, ..server(2) },
            Server { vm_state: VmState::Stopped, task_state: Some("powering-on".into()), ..server(3) },
            Server { task_state: Some("powering-off".into()), ..server(4) },
            Server { vm_state: VmState::Error, ..server(5) },
        ]),
        &Policy::of(Mode::All),
    );
    let seen: Vec<_> = plan.moves.iter().map(|one| (one.ran, one.reset)).collect();
    assert_eq!(seen, [(true, false), (false, false), (true, true), (false, true), (true, true)]);
}

#[test]
fn priority_then_group_then_order() {
    let text = "mode = \"all\"\norder = \"largest\"\n[[group]]\nname = \"net\"\n[[group]]\nname = \"db\"\nafter = [\"net\"]\n";
    let policy = Policy::parse(text).unwrap();
    let tagged = |n, tag: &str| Server { tags: vec![tag.into()], ..server(n) };
    let mut large = server(5);
    large.flavor.ram_mb = 4096;
    let servers = vec![
        server(1),
        tagged(2, "instance_ha:group=db"),
        tagged(3, "instance_ha:group=net"),
        tagged(4, "instance_ha:priority=5"),
        large,
    ];
    let plan = plan(&inventory(servers), &policy);
    let order: Vec<ServerId> = plan.moves.iter().map(|one| one.server).collect();
    assert_eq!(order, [id(4), id(3), id(2), id(5), id(1)]);
}

#[test]
fn ten_thousand_are_planned_at_once() {
    let mut servers: Vec<Server> = (0..10_000).map(server).collect();
    for (n, one) in servers.iter_mut().enumerate() {
        one.metadata.insert("instance_ha:priority".into(), (n % 7).to_string());
        one.flavor.extra_specs.insert("evacuable".into(), (n % 3 != 0).to_string());
    }
    let begun = std::time::Instant::now();
    let plan = plan(&inventory(servers), &Policy::of(Mode::OptIn));
    // A second is far more than even an unoptimised build on a busy machine needs.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert_eq!((plan.moves.len(), plan.left_out.len()), (6666, 3334));
}

fn any_server() -> impl Strategy<Value = Server> {
    let words =
        prop::sample::select(vec!["active", "stopped", "error", "resized", "deleted", "paused", "shelved"]);
    let tasks =
        prop::option::of(prop::sample::select(vec!["deleting", "rebooting", "migrating", "powering-off"]));
    let tag = prop::option::of(prop::sample::select(vec![
        "evacuable",
        "evacuable=no",
        "instance_ha:priority=3",
        "instance_ha:group=db",
    ]));
    (0..40_u64, words, tasks, tag, any::<bool>(), 0..3_u32).prop_map(
        |(n, state, task, tag, image, ram_mb)| Server {
            vm_state: VmState::parse(state),
            task_state: task.map(str::to_owned),
            tags: tag.map(str::to_owned).into_iter().collect(),
            image: image.then(|| "i1".to_owned()),
            flavor: Flavor { ram_mb, ..Flavor::default() },
            ..server(n)
        },
    )
}

proptest! {
    #[test]
    fn every_server_exactly_once(servers in prop::collection::vec(any_server(), 0..60)) {
        let ids: BTreeSet<ServerId> = servers.iter().map(|one| one.id).collect();
        for mode in [Mode::All, Mode::OptIn, Mode::OptOut] {
            let plan = plan(&inventory(servers.clone()), &Policy::of(mode));
            let mut all: Vec<ServerId> = plan.moves.iter().map(|one| one.server).collect();
            all.extend(plan.left_out.iter().map(|one| one.server));
            prop_assert_eq!(all.len(), ids.len());
            prop_assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), ids.clone());
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(
        (servers, shuffled) in prop::collection::vec(any_server(), 0..40).prop_map(|servers| {
            // One server, one description.
            servers.into_iter().map(|one| (one.id, one)).collect::<BTreeMap<_, _>>().into_values().collect::<Vec<_>>()
        }).prop_flat_map(|servers| (Just(servers.clone()), Just(servers).prop_shuffle()))
    ) {
        let policy = Policy::of(Mode::OptOut);
        prop_assert_eq!(plan(&inventory(servers), &policy), plan(&inventory(shuffled), &policy));
    }
}

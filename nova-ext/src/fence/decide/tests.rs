//! Every way through a fencing.

use super::*;
use crate::proof::Evidence;
use crate::stamp::Stamp;

const POWER: Duration = Duration::from_secs(20);
const NOVA: Duration = Duration::from_secs(10);

fn proof() -> FenceProof {
    FenceProof::new("c1".parse().unwrap(), Evidence::Operator { name: "ann".into() }, Stamp::now())
}

/// What the world does with each act, and how long it takes.
struct World {
    proven: Result<(), &'static str>,
    before: Result<(), &'static str>,
    marked: Result<(), &'static str>,
    mark_takes: Duration,
    first: Result<(), &'static str>,
    last: Result<(), &'static str>,
    announced: Result<(), &'static str>,
}

const FINE: World = World {
    proven: Ok(()),
    before: Ok(()),
    marked: Ok(()),
    mark_takes: Duration::from_millis(200),
    first: Ok(()),
    last: Ok(()),
    announced: Ok(()),
};

fn fence(mut fencing: Fencing, world: &World) -> (Vec<Act>, End, Duration) {
    let (mut now, mut acts) = (Duration::ZERO, Vec::new());
    let mut act = fencing.handle(Input::Begin, now);
    loop {
        acts.push(act.clone());
        assert!(acts.len() < 20, "{acts:?}");
        let said = |result: &Result<(), &'static str>| result.map_err(str::to_owned);
        let input = match &act {
            Act::Prove(_, within) => match world.proven {
                Ok(()) => Input::Proven(proof()),
                Err(why) => {
                    now += *within;
                    Input::NotProven(why.into())
                }
            },
            Act::Note { working: true, .. } => Input::Noted(said(&world.first)),
            Act::Note { .. } => Input::Noted(said(&world.last)),
            Act::Hooks(Point::BeforeForceDown, _) => Input::HooksDone(said(&world.before)),
            Act::Hooks(..) => Input::HooksDone(Ok(())),
            Act::Mark(within) => {
                now += world.mark_takes.min(*within);
                Input::Marked(said(&world.marked))
            }
            Act::Announce(_) => Input::Announced(said(&world.announced)),
            Act::End(end) => return (acts.clone(), end.clone(), now),
            other => panic!("{other:?}"),
        };
        act = fencing.handle(input, now);
    }
}

fn own() -> Ways {
    Ways::own(POWER, Duration::ZERO).0
}

fn off() -> Fencing {
    Fencing::new(own(), Record::No, false, NOVA)
}

fn done(end: &End) -> &[String] {
    match end {
        End::Done { left, .. } => left,
        End::Failed(why) => panic!("{why}"),
    }
}

#[test]
fn proof_then_nova_then_hand_over() {
    let (acts, end, _) = fence(off(), &FINE);
    let kinds: Vec<_> = acts
        .iter()
        .map(|act| match act {
            Act::Prove(..) => "prove",
            Act::Note { working: true, open: Some(_), .. } => "note that it begins",
            Act::Hooks(Point::BeforeForceDown, _) => "hooks before",
            Act::Mark(_) => "mark",
            Act::Hooks(Point::AfterForceDown, _) => "hooks after",
            Act::Note { working: false, open: None, .. } => "note that it is done",
            Act::Announce(_) => "announce",
            Act::End(_) => "end",
            other => panic!("{other:?}"),
        })
        .collect();
    let order = [
        "prove",
        "note that it begins",
        "hooks before",
        "mark",
        "hooks after",
        "note that it is done",
        "announce",
        "end",
    ];
    assert_eq!(kinds, order);
    assert!(done(&end).is_empty());
}

#[test]
fn without_proof_nothing_is_done_and_nothing_is_reported_done() {
    for by_device in [true, false] {
        for record in [Record::No, Record::Only, Record::Nothing] {
            for reboot in [false, true] {
                let ways = if by_device { own() } else { Ways::others(POWER, None) };
                let fencing = Fencing::new(ways, record, reboot, NOVA);
                let (acts, end, _) = fence(fencing, &World { proven: Err("it reads on"), ..FINE });
                assert_eq!(acts.len(), 2, "{acts:?}");
                assert_eq!(end, End::Failed("it reads on".into()));
            }
        }
    }
}

#[test]
fn one_way_after_the_other_within_the_same_time() {
    let ways = || Ways::own(POWER, Duration::from_secs(5)).0;
    let mut fencing = Fencing::new(ways(), Record::No, false, NOVA);
    assert_eq!(
        fencing.handle(Input::Begin, Duration::ZERO),
        Act::Prove(Way::Message, Duration::from_secs(5))
    );
    // Its crash kernel runs: the power is left alone, and the rest is as ever.
    assert!(matches!(fencing.handle(Input::Proven(proof()), Duration::from_secs(1)), Act::Note { .. }));
    let (acts, end, took) =
        fence(Fencing::new(ways(), Record::No, false, NOVA), &World { proven: Err("no"), ..FINE });
    assert!(
        matches!(acts[..], [Act::Prove(Way::Message, _), Act::Prove(Way::Own, _), Act::End(_)]),
        "{acts:?}"
    );
    assert_eq!((end, took), (End::Failed("no".into()), POWER));
    let ways = Ways::others(POWER, Some(Duration::from_secs(15)));
    let (acts, end, took) =
        fence(Fencing::new(ways, Record::Only, false, NOVA), &World { proven: Err("no"), ..FINE });
    assert!(
        matches!(acts[..], [Act::Prove(Way::Earlier, _), Act::Prove(Way::Watchdog, _), Act::End(_)]),
        "{acts:?}"
    );
    assert_eq!((end, took), (End::Failed("no".into()), POWER));
}

#[test]
fn a_nova_that_hangs_is_left_to_the_engine() {
    let world = World { marked: Err("no answer"), mark_takes: Duration::from_secs(1000), ..FINE };
    let (acts, end, took) = fence(off(), &world);
    assert_eq!(took, NOVA);
    assert!(
        acts.iter().any(
            |act| matches!(act, Act::Note { open: Some(why), working: false, .. } if why == "no answer")
        )
    );
    assert!(done(&end)[0].ends_with("the engine will tell it: no answer"));
}

#[test]
fn one_way_of_handing_over_is_enough() {
    assert!(done(&fence(off(), &World { last: Err("disk full"), ..FINE }).1)[0].contains("disk full"));
    assert!(done(&fence(off(), &World { announced: Err("no attrd"), ..FINE }).1)[0].contains("no attrd"));
    // The first note is a precaution alone.
    assert!(done(&fence(off(), &World { first: Err("slow disk"), ..FINE }).1).is_empty());
    let (_, end, _) = fence(off(), &World { last: Err("disk full"), announced: Err("no attrd"), ..FINE });
    assert!(
        matches!(&end, End::Failed(why) if why.contains("the host is off, but") && why.contains("disk full"))
    );
}

#[test]
fn a_hook_that_must_succeed_holds_back_nova_and_not_the_fencing() {
    let (acts, end, _) = fence(off(), &World { before: Err("hook 10-check.must failed"), ..FINE });
    assert!(!acts.iter().any(|act| matches!(act, Act::Mark(_))));
    assert!(done(&end)[0].contains("hook 10-check.must failed"));
}

#[test]
fn no_time_is_left_for_the_hooks_afterwards() {
    let (acts, end, _) = fence(off(), &World { mark_takes: NOVA, ..FINE });
    assert!(!acts.iter().any(|act| matches!(act, Act::Hooks(Point::AfterForceDown, _))));
    assert!(done(&end).is_empty());
}

#[test]
fn reboot_leaves_powering_on_to_the_engine() {
    let (acts, end, _) = fence(Fencing::new(own(), Record::No, true, NOVA), &FINE);
    assert!(!acts.iter().any(|act| matches!(act, Act::PowerOn(_))));
    assert!(acts.iter().all(|act| !matches!(act, Act::Note { power_on: false, .. })));
    assert!(matches!(end, End::Done { said, .. } if said.ends_with("when its guests are elsewhere")));
}

#[test]
fn disabled_does_nothing_but_never_without_proof() {
    let fencing = Fencing::new(Ways::others(POWER, None), Record::Nothing, false, NOVA);
    let (acts, end, _) = fence(fencing, &FINE);
    assert_eq!(acts.len(), 2);
    assert!(done(&end).is_empty());
}

/// What the world does with an unfencing.
struct Waking {
    own: bool,
    record: Record,
    looked: Result<bool, &'static str>,
    on: Result<(), &'static str>,
    noted: Result<(), &'static str>,
    announced: Result<(), &'static str>,
}

const WAKES: Waking =
    Waking { own: true, record: Record::No, looked: Ok(false), on: Ok(()), noted: Ok(()), announced: Ok(()) };

/// All acts and the end of an unfencing.
fn unfence(world: &Waking) -> (Vec<Act>, End) {
    let mut unfencing = Unfencing::new(world.own, false, world.record, POWER);
    let mut acts = Vec::new();
    let mut act = unfencing.handle(Input::Begin);
    loop {
        acts.push(act.clone());
        let input = match &act {
            Act::Look(_) => Input::Looked(world.looked.map_err(str::to_owned)),
            Act::PowerOn(_) => world.on.map_or_else(|why| Input::NotOn(why.into()), |()| Input::On),
            Act::EndProof(_) => Input::ProofEnded(Ok(())),
            Act::Note { .. } => Input::Noted(world.noted.map_err(str::to_owned)),
            Act::Announce(_) => Input::Announced(world.announced.map_err(str::to_owned)),
            Act::End(end) => return (acts.clone(), end.clone()),
            other => panic!("{other:?}"),
        };
        act = unfencing.handle(input);
    }
}

#[test]
fn power_on_ends_the_proof_and_asks_for_the_return() {
    let (acts, end) = unfence(&WAKES);
    assert!(
        matches!(
            acts[..],
            [
                Act::Look(_),
                Act::EndProof(_),
                Act::PowerOn(_),
                Act::Note { power_on: false, .. },
                Act::Announce(_),
                Act::End(_)
            ]
        ),
        "{acts:?}"
    );
    assert!(done(&end).is_empty());
    let (acts, _) = unfence(&Waking { own: false, ..WAKES });
    assert!(
        matches!(acts[..], [Act::EndProof(_), Act::Note { .. }, Act::Announce(_), Act::End(_)]),
        "{acts:?}"
    );
}

#[test]
fn while_it_is_evacuated_the_host_stays_off() {
    let evacuated = Waking { looked: Ok(true), ..WAKES };
    let (acts, end) = unfence(&evacuated);
    assert!(!acts.iter().any(|act| matches!(act, Act::PowerOn(_))));
    assert!(acts.iter().any(|act| matches!(act, Act::Note { power_on: true, .. })));
    done(&end);
    // A wish that is lost must not be reported as fulfilled.
    let (_, end) = unfence(&Waking { noted: Err("disk full"), ..evacuated });
    assert!(matches!(end, End::Failed(_)));
}

#[test]
fn nobody_knows_whether_it_is_evacuated_and_it_stays_off() {
    let (acts, end) = unfence(&Waking { looked: Err("attrd hangs"), ..WAKES });
    assert!(matches!(acts[..], [Act::Look(_), Act::End(_)]), "{acts:?}");
    assert_eq!(
        end,
        End::Failed(
            "the cluster does not say whether it is being evacuated; it stays off: attrd hangs".into()
        )
    );
}

#[test]
fn a_cluster_that_was_not_told_is_said_and_fails_what_rests_on_it() {
    let deaf = Waking { announced: Err("no attrd"), ..WAKES };
    let (_, end) = unfence(&deaf);
    assert!(matches!(done(&end), [left] if left.contains("no attrd")), "{end:?}");
    // Whoever evacuates it elsewhere is to switch it on, and does not know.
    let (_, end) = unfence(&Waking { looked: Ok(true), ..deaf });
    assert!(matches!(&end, End::Failed(why) if why.contains("no attrd")), "{end:?}");
}

#[test]
fn what_does_not_come_on_is_not_on() {
    let (acts, end) = unfence(&Waking { on: Err("it reads off"), ..WAKES });
    assert!(matches!(acts[..], [Act::Look(_), Act::EndProof(_), Act::PowerOn(_), Act::End(_)]));
    assert_eq!(end, End::Failed("it reads off".into()));
}

#[test]
fn disabled_does_nothing_to_bring_a_host_back() {
    let (acts, end) = unfence(&Waking { own: false, record: Record::Nothing, ..WAKES });
    assert!(matches!(acts[..], [Act::End(_)]), "{acts:?}");
    assert!(done(&end).is_empty());
    // Power that was asked for is given, and that is all.
    let (acts, _) = unfence(&Waking { record: Record::Nothing, ..WAKES });
    assert!(matches!(acts[..], [Act::Look(_), Act::EndProof(_), Act::PowerOn(_), Act::End(_)]), "{acts:?}");
}

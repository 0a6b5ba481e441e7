//! The session against the board, in memory and in virtual time: what a network can do to each datagram, and what a
//! board can refuse.

use std::time::{Duration, Instant};

use nova_ext::power::ipmi::Trouble;
use nova_ext::power::ipmi::crypto::Suite;
use nova_ext::power::ipmi::message::Command;
use nova_ext::power::ipmi::session::{Event, Login, Session};
use nova_ext::secret::Secret;
use proptest::prelude::*;

use crate::bmc::{Bmc, Lists};

/// What happens to a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// So many milliseconds later.
    Late(u64),
}

/// A network between a session and a board.
struct World {
    session: Session,
    bmc: Bmc,
    now: Instant,
    started: Instant,
    /// When, whether to the board, what.
    flying: Vec<(Instant, bool, Vec<u8>)>,
    /// Fates of the n-th datagram to the board and to the console.
    to_board: Vec<Fate>,
    to_console: Vec<Fate>,
    sent: usize,
    answered: usize,
}

fn login(suite: Option<Suite>) -> Login {
    Login { user: "fencer".into(), password: Secret::new("hunter2".into()), board_key: None, level: 3, suite }
}

impl World {
    fn new(bmc: Bmc, login: Login) -> Self {
        let mut count = 0_u8;
        let random = Box::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                count = count.wrapping_mul(13).wrapping_add(7);
                *byte = count;
            }
            true
        });
        let now = Instant::now();
        Self {
            session: Session::new(login, random),
            bmc,
            now,
            started: now,
            flying: Vec::new(),
            to_board: Vec::new(),
            to_console: Vec::new(),
            sent: 0,
            answered: 0,
        }
    }

    fn fly(&mut self, to_board: bool, datagram: Vec<u8>) {
        let (fates, number) =
            if to_board { (&self.to_board, &mut self.sent) } else { (&self.to_console, &mut self.answered) };
        let fate = fates.get(*number).copied().unwrap_or(Fate::Arrives);
        *number += 1;
        let at = self.now + Duration::from_millis(1);
        match fate {
            Fate::Arrives => self.flying.push((at, to_board, datagram)),
            Fate::Lost => {}
            Fate::Twice => {
                self.flying.push((at, to_board, datagram.clone()));
                self.flying.push((at + Duration::from_millis(3), to_board, datagram));
            }
            Fate::Late(ms) => self.flying.push((at + Duration::from_millis(ms), to_board, datagram)),
        }
    }

    /// Until something has happened to the session.
    fn event(&mut self) -> Event {
        for _ in 0..1000 {
            while let Some(datagram) = self.session.datagram() {
                self.fly(true, datagram);
            }
            if let Some(event) = self.session.event() {
                return event;
            }
            let wake = self.session.wake().expect("it waits for nothing");
            let next = self.flying.iter().enumerate().min_by_key(|(_, (at, ..))| *at);
            match next.map(|(number, (at, ..))| (number, *at)).filter(|(_, at)| *at <= wake) {
                Some((number, at)) => {
                    let (_, to_board, datagram) = self.flying.remove(number);
                    self.now = self.now.max(at);
                    if to_board {
                        if let Some(answer) = self.bmc.hear(&datagram) {
                            self.fly(false, answer);
                        }
                    } else {
                        self.session.hear(&datagram, self.now);
                    }
                }
                None => {
                    self.now = self.now.max(wake);
                    self.session.tick(self.now);
                }
            }
        }
        panic!("it goes on for ever");
    }

    fn log_in(&mut self) -> Event {
        self.session.log_in(self.now, self.now + Duration::from_secs(20));
        self.event()
    }

    fn ask(&mut self, command: Command, once: bool) -> Event {
        self.session.request(command, once, self.now, self.now + Duration::from_secs(5));
        self.event()
    }

    fn close(&mut self) -> Event {
        self.session.close(self.now, self.now + Duration::from_secs(2));
        self.event()
    }

    /// What arrives after the end.
    fn settle(&mut self) {
        while let Some(datagram) = self.session.datagram() {
            self.fly(true, datagram);
        }
        while let Some((_, to_board, datagram)) = self.flying.pop() {
            if to_board {
                self.bmc.hear(&datagram);
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.started
    }
}

fn is_power(event: &Event, on: bool) -> bool {
    matches!(event, Event::Answer(0, data) if data[0] & 1 == u8::from(on))
}

/// Log in, read, switch off, read, leave: all of it must work and be clean.
fn whole(world: &mut World, suite: Suite) {
    assert_eq!(world.log_in(), Event::Ready(suite));
    let read = world.ask(Command::ChassisStatus, false);
    assert!(is_power(&read, true), "{read:?}");
    assert_eq!(world.ask(Command::ChassisControl(0), true), Event::Answer(0, vec![]));
    let read = world.ask(Command::ChassisStatus, false);
    assert!(is_power(&read, false), "{read:?}");
    assert_eq!(world.close(), Event::Closed);
    world.settle();
    assert_eq!(world.bmc.orders, [0], "the order arrives once");
    assert_eq!(world.bmc.open_sessions(), 0, "nothing is left open");
}

#[test]
fn both_suites_and_the_better_one_is_taken() {
    for (has, suite, takes) in [
        (vec![3, 17], None, Suite::Seventeen),
        (vec![0, 1, 3], None, Suite::Three),
        (vec![17], None, Suite::Seventeen),
        (vec![3, 17], Some(Suite::Three), Suite::Three),
        (vec![3, 17], Some(Suite::Seventeen), Suite::Seventeen),
    ] {
        let mut world = World::new(Bmc { suites: has, ..Bmc::default() }, login(suite));
        whole(&mut world, takes);
        assert!(world.elapsed() < Duration::from_millis(100), "{:?}", world.elapsed());
    }
}

#[test]
fn a_board_that_does_not_list_its_suites_is_offered_17_and_then_3() {
    for lists in [Lists::Refuses, Lists::Silent] {
        for (has, takes) in [(vec![3, 17], Suite::Seventeen), (vec![3], Suite::Three)] {
            let mut world = World::new(Bmc { suites: has, lists, ..Bmc::default() }, login(None));
            whole(&mut world, takes);
            assert!(world.elapsed() < Duration::from_millis(400), "{:?}", world.elapsed());
        }
    }
}

#[test]
fn nothing_below_suite_3_is_accepted() {
    let denied = |bmc, suite| match World::new(bmc, login(suite)).log_in() {
        Event::Failed(Trouble::Denied(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(denied(Bmc { suites: vec![0, 1, 2], ..Bmc::default() }, None).contains("[0, 1, 2]"));
    for suite in [None, Some(Suite::Three), Some(Suite::Seventeen)] {
        assert!(denied(Bmc { downgrades: true, ..Bmc::default() }, suite).contains("another cipher suite"));
    }
    assert!(denied(Bmc { suites: vec![3], ..Bmc::default() }, Some(Suite::Seventeen)).contains("cipher"));
}

#[test]
fn keys_names_and_levels() {
    for suite in [Suite::Three, Suite::Seventeen] {
        let bmc = || Bmc {
            user: "sixteen-bytes-is".into(),
            password: b"twenty bytes is most".to_vec(),
            ..Bmc::default()
        };
        let with = |key: Option<&[u8]>, level| Login {
            user: "sixteen-bytes-is".into(),
            password: Secret::new("twenty bytes is most".into()),
            board_key: key.map(|key| key.to_vec().into()),
            level,
            suite: Some(suite),
        };
        whole(&mut World::new(bmc(), with(None, 4)), suite);
        let kg = || Some(b"a key of the board".to_vec());
        whole(&mut World::new(Bmc { kg: kg(), ..bmc() }, with(kg().as_deref(), 3)), suite);
        for (kg, key, says) in [
            (kg(), None, "kg_file"),
            (None, kg(), "K_g) is wrong"),
            (kg(), Some(b"another".to_vec()), "K_g) is wrong"),
        ] {
            let mut world = World::new(Bmc { kg, ..bmc() }, with(key.as_deref(), 3));
            let event = world.log_in();
            assert!(matches!(&event, Event::Failed(Trouble::Denied(why)) if why.contains(says)), "{event:?}");
        }
        let refused = |bmc: Bmc, login: Login, says: &str| {
            let mut world = World::new(bmc, login);
            let event = world.log_in();
            assert!(matches!(&event, Event::Failed(Trouble::Denied(why)) if why.contains(says)), "{event:?}");
            world.settle();
            assert_eq!(world.bmc.taken(), 0, "a refused login leaves nothing behind");
        };
        refused(bmc(), Login { password: Secret::new("wrong".into()), ..with(None, 3) }, "password");
        refused(bmc(), Login { user: "nobody".into(), ..with(None, 3) }, "no user \"nobody\"");
        refused(Bmc { limit: 2, ..bmc() }, with(None, 3), "privilege level");
    }
}

#[test]
fn a_board_without_a_free_session_is_named() {
    let mut world = World::new(Bmc { slots: 0, ..Bmc::default() }, login(None));
    assert!(matches!(world.log_in(), Event::Failed(Trouble::Full(why)) if why.contains("close some")));
}

#[test]
fn a_dead_board_is_given_up_in_time() {
    let mut world = World::new(Bmc::default(), login(None));
    world.to_board = vec![Fate::Lost; 100];
    assert!(matches!(world.log_in(), Event::Failed(Trouble::Silent(_))));
    assert_eq!(world.elapsed(), Duration::from_secs(20));
    assert!(world.sent < 30, "{} datagrams", world.sent);
}

#[test]
fn an_order_is_sent_once_and_its_late_answer_is_not_taken_for_another() {
    let mut world = World::new(Bmc::default(), login(Some(Suite::Seventeen)));
    assert_eq!(world.log_in(), Event::Ready(Suite::Seventeen));
    let sent = world.sent;
    world.to_board = vec![Fate::Arrives; sent];
    world.to_board.push(Fate::Lost);
    assert!(matches!(world.ask(Command::ChassisControl(0), true), Event::Failed(Trouble::Silent(_))));
    assert_eq!((world.sent, world.bmc.orders.len()), (sent + 1, 0));
    // Executed, and the answer comes while something else is asked.
    world.to_console = vec![Fate::Arrives; world.answered];
    world.to_console.push(Fate::Late(5_010));
    assert!(matches!(world.ask(Command::ChassisControl(0), true), Event::Failed(Trouble::Silent(_))));
    world.to_console.push(Fate::Late(40));
    let read = world.ask(Command::ChassisStatus, false);
    assert!(is_power(&read, false), "{read:?}");
    assert_eq!(world.bmc.orders, [0]);
}

#[test]
fn whatever_happens_to_any_one_datagram_the_rest_goes_on() {
    for suite in [Suite::Three, Suite::Seventeen] {
        for fate in [Fate::Lost, Fate::Twice, Fate::Late(1_500)] {
            // Eleven each way: list, open, RAKP 1 and 3, privilege, three commands, close; two more for repeats.
            for number in 0..11 {
                for to_board in [true, false] {
                    let suites = vec![suite.number()];
                    let mut world = World::new(Bmc { suites, ..Bmc::default() }, login(None));
                    let fates = vec![vec![Fate::Arrives; number], vec![fate]].concat();
                    if to_board {
                        world.to_board = fates;
                    } else {
                        world.to_console = fates;
                    }
                    let at = format!("{suite:?}, {fate:?}, datagram {number}, to board: {to_board}");
                    let event = world.log_in();
                    assert_eq!(event, Event::Ready(suite), "{at}");
                    assert!(is_power(&world.ask(Command::ChassisStatus, false), true), "{at}");
                    // The one that may fail: it is not repeated.
                    let _ = world.ask(Command::ChassisControl(0), true);
                    assert!(world.bmc.orders.len() <= 1, "{at}");
                    let on = world.bmc.on;
                    assert!(is_power(&world.ask(Command::ChassisStatus, false), on), "{at}");
                    assert_eq!(world.close(), Event::Closed, "{at}");
                    world.settle();
                    assert_eq!(world.bmc.open_sessions(), 0, "{at}");
                    assert!(world.elapsed() < Duration::from_secs(12), "{at}: {:?}", world.elapsed());
                }
            }
        }
    }
}

#[test]
fn datagrams_of_others_and_of_before_change_nothing() {
    let mut first = World::new(Bmc::default(), login(Some(Suite::Seventeen)));
    let mut heard = Vec::new();
    assert_eq!(first.log_in(), Event::Ready(Suite::Seventeen));
    first.session.request(Command::ChassisStatus, false, first.now, first.now + Duration::from_secs(5));
    while let Some(datagram) = first.session.datagram() {
        heard.extend(first.bmc.hear(&datagram));
    }
    let answer = heard[0].clone();
    // Changed anywhere, it is nobody's. RMCP's own sequence and reserved byte are not looked at.
    for at in (0..answer.len()).filter(|at| !(1..3).contains(at)) {
        let mut other = answer.clone();
        other[at] ^= 0x01;
        first.session.hear(&other, first.now);
        assert_eq!(first.session.event(), None, "byte {at}");
    }
    first.session.hear(&answer, first.now);
    assert!(is_power(&first.session.event().unwrap(), true));
    // Again, when the same is asked again.
    first.session.request(Command::ChassisStatus, false, first.now, first.now + Duration::from_secs(5));
    first.session.hear(&answer, first.now);
    assert_eq!(first.session.event(), None);
    // In the session after.
    let mut second = World::new(Bmc::default(), login(Some(Suite::Seventeen)));
    assert_eq!(second.log_in(), Event::Ready(Suite::Seventeen));
    second.session.request(Command::ChassisStatus, false, second.now, second.now + Duration::from_secs(5));
    let mut cut = answer;
    cut.truncate(40);
    second.session.hear(&cut, second.now);
    assert_eq!(second.session.event(), None);
}

#[test]
fn without_random_numbers_there_is_no_login() {
    let mut session = Session::new(login(None), Box::new(|_| false));
    let now = Instant::now();
    session.log_in(now, now + Duration::from_secs(5));
    session.tick(now + Duration::from_millis(300));
    while session.datagram().is_some() {}
    assert!(matches!(session.event(), Some(Event::Failed(Trouble::Garbled(_)))));
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => (1_u64..4_000).prop_map(Fate::Late),
    ]
}

proptest! {
    #[test]
    fn on_any_network_nothing_is_read_wrong_and_no_order_is_doubled(
        to_board in prop::collection::vec(fate(), 0..40),
        to_console in prop::collection::vec(fate(), 0..40),
        suite in prop_oneof![Just(3_u8), Just(17)],
    ) {
        // Duplicates of a datagram to the board inside a session are the network's; the board drops them.
        let mut world = World::new(Bmc { suites: vec![suite], slots: 16, ..Bmc::default() }, login(None));
        (world.to_board, world.to_console) = (to_board, to_console);
        if let Event::Ready(_) = world.log_in() {
            for _ in 0..2 {
                let on = world.bmc.on;
                let read = world.ask(Command::ChassisStatus, false);
                prop_assert!(matches!(read, Event::Failed(Trouble::Silent(_))) || is_power(&read, on), "{:?}", read);
            }
            let order = world.ask(Command::ChassisControl(0), true);
            prop_assert!(order == Event::Answer(0, vec![]) || matches!(order, Event::Failed(Trouble::Silent(_))));
            prop_assert!(world.bmc.orders.len() <= 1);
            prop_assert!(order != Event::Answer(0, vec![]) || !world.bmc.on);
        }
        prop_assert_eq!(world.close(), Event::Closed);
    }

    #[test]
    fn no_datagram_can_hurt(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        stage in 0_usize..12,
    ) {
        let mut world = World::new(Bmc::default(), login(None));
        world.session.log_in(world.now, world.now + Duration::from_secs(20));
        // Up to a stage of the login, then noise.
        for _ in 0..stage {
            while let Some(datagram) = world.session.datagram() {
                if let Some(answer) = world.bmc.hear(&datagram) {
                    world.session.hear(&answer, world.now);
                }
            }
        }
        for datagram in datagrams {
            world.session.hear(&datagram, world.now);
            let mut framed = vec![6, 0, 0xFF, 7, 6];
            framed.extend(datagram);
            world.session.hear(&framed, world.now);
        }
        while world.session.event().is_some() {}
        prop_assert_eq!(world.close(), Event::Closed);
    }
}

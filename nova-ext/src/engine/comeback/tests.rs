//! Hosts that return, on virtual time.

use super::*;
use crate::engine::values::Trouble;

const RULES: Rules = Rules { at_once: 2, patience: Duration::from_secs(600), canary: true };

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

/// A host as Nova sees it.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Fake {
    forced_down: bool,
    enabled: bool,
    reason: Option<String>,
    /// Evacuations that are not completed.
    open: usize,
    /// When nova-compute starts.
    starts: Mono,
    /// So long it takes to clean up.
    cleans: Duration,
    canary: Result<(), String>,
    on: bool,
    refused: u32,
    /// Answers to be enabled with trouble so often.
    hard_to_enable: u32,
    /// It fails and is fenced as soon as it is forced up.
    dies: bool,
}

impl Fake {
    fn fenced() -> Self {
        Self {
            forced_down: true,
            enabled: false,
            reason: Some("nova-ha: off".into()),
            open: 20,
            starts: Duration::from_secs(30),
            cleans: Duration::from_secs(10),
            canary: Ok(()),
            on: true,
            refused: 0,
            hard_to_enable: 0,
            dies: false,
        }
    }

    fn reports(&self, now: Mono) -> bool {
        self.on && now >= self.starts
    }

    fn open(&self, now: Mono) -> usize {
        if self.reports(now) && now >= self.starts + self.cleans { 0 } else { self.open }
    }

    fn state(&self, now: Mono) -> ServiceState {
        let begun = "2026-11-25T10:00:00Z".parse::<Stamp>().unwrap();
        ServiceState {
            id: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
            up: self.reports(now) && !self.forced_down,
            forced_down: self.forced_down,
            enabled: self.enabled,
            ours: self.reason.as_deref().is_some_and(|reason| reason.starts_with("nova-ha: ")),
            reason: self.reason.clone(),
            updated: Some(if self.reports(now) { begun.after(now) } else { begun }),
            read: begun.after(now),
        }
    }
}

struct World {
    comebacks: Comebacks,
    hosts: BTreeMap<HostName, Fake>,
    now: Mono,
    log: Vec<(Mono, HostName, &'static str)>,
    said: Vec<String>,
    /// What was said or done, in its order.
    order: Vec<String>,
    /// When each host was known to be on, as it was forced up or enabled.
    alive: Vec<Stamp>,
    /// Nothing can be switched on.
    no_device: bool,
}

impl World {
    fn new(rules: Rules, hosts: &[(&str, Fake)]) -> Self {
        let hosts = hosts.iter().map(|(name, fake)| (host(name), fake.clone())).collect();
        Self {
            comebacks: Comebacks::new(rules),
            hosts,
            now: Mono::ZERO,
            log: Vec::new(),
            said: Vec::new(),
            order: Vec::new(),
            alive: Vec::new(),
            no_device: false,
        }
    }

    fn want(&mut self, name: &str, power_on: bool) {
        let wanted =
            Wanted { host: host(name), incident: IncidentId::new_random(), power_on, by: "ann".into() };
        self.happen(Happened::Wanted(wanted));
    }

    fn happen(&mut self, happened: Happened) {
        let mut waiting = vec![happened];
        while let Some(happened) = waiting.pop() {
            for order in self.comebacks.handle(happened, self.now) {
                waiting.extend(self.carry_out(order));
            }
        }
    }

    fn carry_out(&mut self, order: Do) -> Option<Happened> {
        let now = self.now;
        let mut note = |host: &HostName, what: &'static str| {
            self.log.push((now, host.clone(), what));
            self.order.push(what.to_owned());
        };
        match order {
            Do::Record(_, event) => {
                self.order.push(crate::report::say(&event));
                self.said.push(crate::report::say(&event));
                None
            }
            Do::PowerOn(host) if self.no_device => {
                let trouble = Trouble { why: "no device".into(), hopeless: false, overload: false };
                Some(Happened::Powered(host, Err(trouble)))
            }
            Do::PowerOn(host) => {
                note(&host, "power on");
                self.hosts.get_mut(&host)?.on = true;
                Some(Happened::Powered(host, Ok(())))
            }
            Do::ReadService(host) => {
                let state = self.hosts.get(&host)?.state(now);
                Some(Happened::Service(host, Ok(state)))
            }
            Do::ReadOpen(host) => {
                let open = self.hosts.get(&host)?.open(now);
                Some(Happened::Open(host, Ok(open)))
            }
            Do::ForceUp(host, _, alive) => {
                note(&host, "force up");
                self.alive.push(alive);
                let fake = self.hosts.get_mut(&host)?;
                if fake.open(now) > 0 {
                    fake.refused += 1;
                    let trouble = Trouble { why: "400".into(), hopeless: true, overload: false };
                    return Some(Happened::ForcedUp(host, Err(trouble)));
                }
                fake.forced_down = false;
                if fake.dies {
                    *fake = Self::fenced_until(900);
                }
                Some(Happened::ForcedUp(host, Ok(None)))
            }
            Do::Canary(host, _) => {
                note(&host, "canary");
                let result = self.hosts.get(&host)?.canary.clone();
                Some(Happened::Canary(host, result))
            }
            Do::Enable(host, _, alive) => {
                note(&host, "enable");
                self.alive.push(alive);
                let fake = self.hosts.get_mut(&host)?;
                if fake.hard_to_enable > 0 {
                    fake.hard_to_enable -= 1;
                    let trouble = Trouble { why: "503".into(), hopeless: false, overload: true };
                    return Some(Happened::Enabled(host, Err(trouble)));
                }
                fake.enabled = true;
                Some(Happened::Enabled(host, Ok(())))
            }
            Do::Forget(host, alive) => {
                note(&host, "forget");
                self.alive.extend(alive);
                None
            }
        }
    }

    /// Lets time pass until nobody is on the way, or until then.
    fn run(&mut self, until: u64) {
        let until = Duration::from_secs(until);
        let mut ticks = 0;
        while let Some(due) = self.comebacks.next_deadline().filter(|due| *due <= until) {
            ticks += 1;
            assert!(ticks < 20_000, "it spins at {:?}", self.now);
            self.now = self.now.max(due);
            self.happen(Happened::Tick);
        }
        self.now = until;
    }

    fn fenced_until(starts: u64) -> Fake {
        Fake { starts: Duration::from_secs(starts), open: 0, ..Fake::fenced() }
    }

    fn run_until_did(&mut self, name: &str, what: &str) {
        while !self.did(name).contains(&what) {
            let next = self.now.as_secs() + 1;
            assert!(next < 3600, "it never did: {:?}", self.log);
            self.run(next);
        }
    }

    fn did(&self, name: &str) -> Vec<&'static str> {
        self.log.iter().filter(|(_, who, _)| who.as_str() == name).map(|(_, _, what)| *what).collect()
    }

    fn at(&self, name: &str, what: &str) -> u64 {
        self.log.iter().find(|(_, who, did)| who.as_str() == name && *did == what).unwrap().0.as_secs()
    }
}

#[test]
fn a_host_returns_in_the_order_that_nova_takes() {
    let mut world = World::new(RULES, &[("c1", Fake::fenced())]);
    world.want("c1", false);
    world.run(300);
    assert_eq!(world.did("c1"), ["force up", "canary", "enable", "forget"]);
    // nova-compute starts after 30 s and has cleaned up after 40.
    let at = world.at("c1", "force up");
    assert!((40..=44).contains(&at), "{at}");
    assert_eq!(world.hosts[&host("c1")].refused, 0);
    assert!(!world.comebacks.has(&host("c1")));
    assert!(world.said.iter().any(|line| line == "c1 is back in service"), "{:?}", world.said);
    // Nobody held it up there.
    assert!(!world.said.iter().any(|line| line.ends_with(Step::Quarantine.says())), "{:?}", world.said);
}

#[test]
fn it_is_switched_on_when_its_guests_are_elsewhere() {
    let mut world = World::new(RULES, &[("c1", Fake { on: false, ..Fake::fenced() })]);
    world.happen(Happened::Evacuating(vec![host("c1")]));
    world.want("c1", true);
    world.run(100);
    assert!(world.did("c1").is_empty());
    world.happen(Happened::Evacuating(Vec::new()));
    world.run(300);
    assert_eq!(world.did("c1"), ["power on", "force up", "canary", "enable", "forget"]);
    assert!(world.at("c1", "power on") >= 100);
}

#[test]
fn it_is_switched_on_when_that_is_wanted_later() {
    let mut world = World::new(RULES, &[("c1", Fake { on: false, ..Fake::fenced() })]);
    world.want("c1", false);
    world.run(100);
    assert!(world.did("c1").is_empty());
    world.want("c1", true);
    world.run(300);
    assert_eq!(world.did("c1"), ["power on", "force up", "canary", "enable", "forget"]);
    assert!(world.said.iter().any(|line| line.contains("switching it on")), "{:?}", world.said);
}

#[test]
fn an_operators_reason_is_left_alone() {
    let fake = Fake { reason: Some("disk swap, ann".into()), ..Fake::fenced() };
    let mut world = World::new(RULES, &[("c1", fake)]);
    world.want("c1", false);
    world.run(300);
    assert_eq!(world.did("c1"), ["force up", "canary", "forget"]);
    assert!(world.said.iter().any(|line| line.contains("not disabled by us: disk swap, ann")));
    assert!(!world.hosts[&host("c1")].enabled);
}

#[test]
fn quarantine_is_released_by_the_operator_alone() {
    let mut world = World::new(RULES, &[("c1", Fake::fenced())]);
    world.happen(Happened::Quarantined(vec![host("c1")]));
    world.want("c1", false);
    world.run(5000);
    assert!(world.did("c1").is_empty());
    assert_eq!(world.comebacks.standing()[0].waits, Step::Quarantine.says());
    assert!(world.said.iter().any(|line| line.ends_with(Step::Quarantine.says())), "{:?}", world.said);
    world.happen(Happened::Quarantined(Vec::new()));
    world.run(5300);
    assert_eq!(world.did("c1"), ["force up", "canary", "enable", "forget"]);
}

#[test]
fn a_host_that_fails_its_canary_stays_out() {
    let mut world =
        World::new(RULES, &[("c1", Fake { canary: Err("libvirt hangs".into()), ..Fake::fenced() })]);
    world.want("c1", false);
    world.run(1200);
    assert!(!world.hosts[&host("c1")].enabled);
    assert!(world.did("c1").iter().filter(|what| **what == "canary").count() > 3);
    assert!(
        world.said.iter().any(|line| line.contains("for a long time: libvirt hangs")),
        "{:?}",
        world.said
    );
    world.hosts.get_mut(&host("c1")).unwrap().canary = Ok(());
    world.run(1300);
    assert!(world.hosts[&host("c1")].enabled);
}

#[test]
fn so_many_at_once_and_no_more() {
    let fakes: Vec<(String, Fake)> =
        (1..=6).map(|n| (format!("c{n}"), Fake { canary: Err("wait".into()), ..Fake::fenced() })).collect();
    let hosts: Vec<(&str, Fake)> = fakes.iter().map(|(name, fake)| (name.as_str(), fake.clone())).collect();
    let mut world = World::new(RULES, &hosts);
    for (name, _) in &hosts {
        world.want(name, false);
    }
    let forced = |world: &World| world.hosts.values().filter(|fake| !fake.forced_down).count();
    world.run(200);
    assert_eq!(forced(&world), 2);
    for (name, _) in &hosts {
        world.hosts.get_mut(&host(name)).unwrap().canary = Ok(());
    }
    world.run(400);
    assert_eq!(forced(&world), 6);
    assert!(world.hosts.values().all(|fake| fake.enabled && fake.refused == 0));
}

#[test]
fn one_that_is_fenced_again_does_not_return() {
    let mut world = World::new(RULES, &[("c1", Fake::fenced())]);
    world.want("c1", false);
    world.run(20);
    world.happen(Happened::Fenced(host("c1")));
    world.run(600);
    assert!(world.did("c1").is_empty() && world.comebacks.next_deadline().is_none());
}

#[test]
fn one_that_never_starts_is_reported_and_waited_for() {
    let mut world =
        World::new(RULES, &[("c1", Fake { starts: Duration::from_secs(2000), ..Fake::fenced() })]);
    world.want("c1", false);
    world.run(1900);
    assert!(world.said.iter().any(|line| line.contains("for a long time: nova-compute does not report")));
    world.run(2200);
    assert!(world.hosts[&host("c1")].enabled);
}

#[test]
fn one_that_nobody_has_forced_down_is_not_forced_up() {
    let fake = Fake { forced_down: false, open: 0, ..Fake::fenced() };
    let mut world = World::new(Rules { canary: false, ..RULES }, &[("c1", fake)]);
    world.want("c1", false);
    world.run(300);
    assert_eq!(world.did("c1"), ["enable", "forget"]);
}

#[test]
fn one_that_fails_on_its_way_begins_again() {
    let mut world = World::new(RULES, &[("c1", Fake { canary: Err("wait".into()), ..Fake::fenced() })]);
    world.want("c1", false);
    world.run(100);
    assert!(world.did("c1").contains(&"canary"));
    let fake = world.hosts.get_mut(&host("c1")).unwrap();
    *fake = Fake { starts: Duration::from_secs(900), ..Fake::fenced() };
    world.happen(Happened::Evacuating(vec![host("c1")]));
    world.log.clear();
    world.run(500);
    assert!(world.did("c1").is_empty(), "{:?}", world.log);
    world.happen(Happened::Evacuating(Vec::new()));
    world.run(1200);
    assert_eq!(world.did("c1"), ["force up", "canary", "enable", "forget"]);
    assert_eq!(world.hosts[&host("c1")].refused, 0);
}

#[test]
fn what_is_done_is_written_down_before() {
    let mut world = World::new(RULES, &[("c1", Fake::fenced())]);
    world.want("c1", true);
    world.run(300);
    let at = |what: &str| world.order.iter().position(|line| line == what || line.ends_with(what)).unwrap();
    for (step, done) in [
        (Step::Power, "power on"),
        (Step::ForceUp, "force up"),
        (Step::Canary, "canary"),
        (Step::Enable, "enable"),
    ] {
        assert!(at(step.says()) < at(done), "{:?}", world.order);
    }
}

#[test]
fn it_was_on_after_the_last_look_that_has_not_seen_a_report() {
    let begun = "2026-11-25T10:00:00Z".parse::<Stamp>().unwrap();
    for fake in [Fake::fenced(), Fake { forced_down: false, open: 0, ..Fake::fenced() }] {
        let forced_down = fake.forced_down;
        let mut world = World::new(RULES, &[("c1", fake)]);
        world.want("c1", false);
        world.run(300);
        // The report was seen after 30 s, so that it was made after the look before that.
        let first = world.alive[0].since(begun).as_secs();
        assert!((26..30).contains(&first) || !forced_down, "{first}");
        // It starts after 30 s: a proof of then or later still holds.
        for alive in world.alive {
            let seconds = alive.since(begun).as_secs();
            assert!((26..60).contains(&seconds), "{seconds}");
        }
    }
}

#[test]
fn one_that_is_forced_down_again_has_to_report_again() {
    let mut world = World::new(RULES, &[("c1", Fake { dies: true, ..Fake::fenced() })]);
    world.want("c1", false);
    // Fenced before Nova takes it for up, and nobody has asked the engine yet.
    world.run_until_did("c1", "force up");
    world.log.clear();
    world.run(800);
    assert!(world.did("c1").is_empty(), "{:?}", world.log);
    world.run(1200);
    assert_eq!(world.did("c1"), ["force up", "canary", "enable", "forget"]);
}

#[test]
fn an_operator_who_disables_it_meanwhile_is_heard() {
    for (canary, hard_to_enable) in [(Err("wait".into()), 0), (Ok(()), 1)] {
        let mut world = World::new(RULES, &[("c1", Fake { canary, hard_to_enable, ..Fake::fenced() })]);
        world.want("c1", false);
        world.run_until_did("c1", if hard_to_enable > 0 { "enable" } else { "canary" });
        world.log.clear();
        let fake = world.hosts.get_mut(&host("c1")).unwrap();
        (fake.reason, fake.canary) = (Some("disk swap, ann".into()), Ok(()));
        world.run(600);
        assert!(!world.hosts[&host("c1")].enabled, "{:?}", world.log);
        assert_eq!(world.did("c1").last(), Some(&"forget"));
    }
}

#[test]
fn a_late_answer_does_not_move_one_that_has_failed_again() {
    let mut world = World::new(RULES, &[("c1", Fake { starts: Duration::from_secs(900), ..Fake::fenced() })]);
    world.want("c1", false);
    world.happen(Happened::Open(host("c1"), Ok(0)));
    world.run(800);
    assert!(world.did("c1").is_empty(), "{:?}", world.log);
    world.run(1200);
    assert_eq!(world.did("c1"), ["force up", "canary", "enable", "forget"]);
}

#[test]
fn one_that_somebody_else_switches_on_returns_all_the_same() {
    let mut world = World::new(RULES, &[("c1", Fake { on: false, ..Fake::fenced() })]);
    world.no_device = true;
    world.want("c1", true);
    world.run(100);
    assert!(world.did("c1").is_empty());
    assert_eq!(world.comebacks.standing()[0].trouble.as_deref(), Some("no device"));
    world.hosts.get_mut(&host("c1")).unwrap().on = true;
    world.run(300);
    assert_eq!(world.did("c1"), ["force up", "canary", "enable", "forget"]);
}

/// A fencing writes the record as a report does.
#[test]
fn what_others_write_into_the_record_is_no_report() {
    let mut fake = Fake::fenced();
    fake.starts = Duration::from_secs(7200);
    let now = Duration::from_secs(100);
    let mut comebacks = Comebacks::new(RULES);
    let wanted =
        Wanted { host: host("c1"), incident: IncidentId::new_random(), power_on: false, by: "ann".into() };
    comebacks.handle(Happened::Wanted(wanted), now);
    let before = fake.state(now);
    let later = |by: u64| before.read.after(Duration::from_secs(by));
    let read = |by: u64, state: ServiceState| ServiceState { read: later(by), ..state };
    let fenced = ServiceState {
        reason: Some("nova-ha: off, again".into()),
        updated: Some(later(1)),
        ..before.clone()
    };
    let mut told = Vec::new();
    let readings = [before.clone(), read(2, fenced.clone()), read(4, fenced.clone())];
    for (n, state) in readings.into_iter().enumerate() {
        let now = now + Duration::from_secs(2) * u32::try_from(n).unwrap();
        told.extend(comebacks.handle(Happened::Service(host("c1"), Ok(state)), now));
        told.extend(comebacks.handle(Happened::Tick, now));
    }
    let asks_on = |told: &[Do]| told.iter().any(|order| matches!(order, Do::ReadOpen(_) | Do::ForceUp(..)));
    assert!(!asks_on(&told), "{told:?}");
    // A report leaves all else as it is.
    let reported = ServiceState { updated: Some(later(5)), ..read(6, fenced) };
    let now = now + Duration::from_secs(6);
    let mut told = comebacks.handle(Happened::Service(host("c1"), Ok(reported)), now);
    told.extend(comebacks.handle(Happened::Tick, now));
    assert!(asks_on(&told), "{told:?}");
}

//! How long 10,000 servers take to plan, and how much memory the engine needs while it tracks them:
//! `cargo run --release -p nova-ext --example engine_footprint`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use nova_ext::engine::{Action, ControlPlane, Engine, Input, Now, Request, ServiceView, Settings};
use nova_ext::ids::IncidentId;
use nova_ext::plan::{Flavor, Inventory, Power, Server, VmState, plan};
use nova_ext::policy::{Mode, Policy};
use nova_ext::proof::operator;
use nova_ext::stamp::Stamp;

const SERVERS: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let policy = Policy::of(Mode::All);
    let inventory = inventory()?;
    let begun = Instant::now();
    let planned = plan(&inventory, &policy);
    let took = begun.elapsed();
    let mut out = io::stdout().lock();
    writeln!(out, "planned {} servers in {:.1} ms", planned.moves.len(), took.as_secs_f64() * 1e3)?;
    drop(planned);
    drop(inventory);

    let before = resident()?;
    let engine = tracked(policy)?;
    let after = resident()?;
    let states: u32 = engine.incidents().flat_map(|one| one.servers.into_values()).sum();
    let (flying, limit) = engine.in_flight();
    writeln!(
        out,
        "tracks {states} servers ({flying} of {limit} in flight) in {} KiB",
        after.saturating_sub(before)
    )?;
    Ok(())
}

fn inventory() -> Result<Inventory, Box<dyn Error>> {
    let mut servers = Vec::new();
    for n in 0..SERVERS {
        servers.push(Server {
            id: format!("00000000-0000-4000-8000-{n:012x}").parse()?,
            name: format!("server-{n}"),
            project: "e4542e187f1c4f3d9008735155c9a341".into(),
            host: Some("c1".parse()?),
            created: None,
            vm_state: VmState::Active,
            task_state: None,
            power: Power::Running,
            locked: false,
            image: None,
            flavor: Flavor {
                ram_mb: 4096,
                ephemeral_gb: 0,
                extra_specs: BTreeMap::from([("evacuable".to_owned(), "true".to_owned())]),
            },
            metadata: BTreeMap::from([("instance_ha:priority".to_owned(), (n % 7).to_string())]),
            tags: vec!["evacuable".into()],
        });
    }
    let (aggregates, images, tried) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    Ok(Inventory { host: "c1".parse()?, servers, aggregates, images, tried })
}

/// An engine that has taken the servers up and asked for the first ones.
fn tracked(policy: Policy) -> Result<Engine, Box<dyn Error>> {
    let now = Now { mono: Duration::from_secs(1), wall: Stamp::now() };
    let settings = Settings { policy, to_stopped: true, controller: "ctl1".into() };
    let mut engine = Engine::new(settings, now);
    let host = "c1".parse()?;
    let proof = operator::confirms(&host, "bench", now.wall)?;
    let request = Request { host, incident: IncidentId::new_random(), proof, by: "bench".into() };
    let (_, mut actions) = engine.request(request, now);
    while let Some(action) = actions.pop() {
        let input = match action {
            Action::Hook { incident, point, .. } if point.is_waited_for() => {
                Input::Hooked { incident, point, stop: None }
            }
            Action::ReadService { incident, .. } => {
                let id = "69fdce77-581d-44b8-813d-3e451870fb45".parse()?;
                let view = ServiceView { id, forced_down: true, enabled: false };
                Input::Service { incident, read: Ok((view, None)) }
            }
            Action::TakeInventory { incident, .. } => {
                Input::Inventory { incident, begun: now.mono, read: Ok((inventory()?, Vec::new())) }
            }
            Action::ReadControl => {
                Input::Control(Ok(ControlPlane { schedulers: 1, conductors: 1, computes: 100 }))
            }
            _ => continue,
        };
        actions.extend(engine.handle(input, now));
        actions.retain(|action| !matches!(action, Action::Record(..)));
    }
    Ok(engine)
}

/// Memory in use, in KiB.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

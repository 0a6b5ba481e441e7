//! The engine dies, and goes on: at once, at every step, and on another controller.

use std::thread::sleep;
use std::time::Duration;

use nova_ext::engine::journal::{Entry, Event, Outcome};
use pcmk_interop::cloud::ours::{Ours, Running};
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{Cloud, calls};
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::incident::{HOST, Incident, OTHERS, check_stopped, controller, each_once, outcome, stop};

/// Between looks at the journal of an engine that is to be killed.
const SOON: Duration = Duration::from_millis(2);

/// How long the engine is held at its journal, so that it is seen there.
const HELD: Duration = Duration::from_millis(400);

/// More than there are steps: an engine that needs more kills than these goes in a circle.
const MOST_KILLS: u32 = 150;

/// Steps forward. What every start writes is none: killed at that, it would never come to anything.
fn steps(journal: &[Entry]) -> usize {
    let forward = |event: &Event| {
        event.server().is_some()
            || matches!(event, Event::TakenUp { .. } | Event::Planned { .. } | Event::Ended { .. })
    };
    journal.iter().filter(|entry| forward(&entry.event)).count()
}

/// The engine is killed at each step: in turns when it has noted one and not yet acted on it, and when it has
/// acted on one and not yet noted what came of it. In the end all is as if it had not been.
pub(crate) fn killed_at_each_step(cloud: &Cloud) -> Result<()> {
    let servers = cloud.boot(&Wish::new("guest", HOST, 3))?;
    let ours = controller(cloud, "engine")?;
    // Whatever reaches Nova is there within a moment here, and the engine dies again and again while it waits.
    ours.write(
        "policy.toml",
        "mode = \"all\"\n[storage]\nshared = true\n[patience]\nunheard_seconds = 10\naccepted_seconds = 60\n",
    )?;
    let incident = Incident::with(cloud, servers, ours)?;
    incident.engine.kill()?;
    let mut incident = incident.fenced()?;
    let (mut kills, mut seen) = (0, 0);
    loop {
        let has_acted = kills % 2 == 1;
        let call = if has_acted { "write" } else { "fdatasync" };
        incident.engine = incident.ours.start_engine_held(call, HELD)?;
        let ended = wait::until_every(SOON, secs(90), "the next step", || {
            let journal = incident.ours.journal()?;
            let ended = outcome(&journal, HOST).is_some();
            Ok((ended || steps(&journal) > seen).then_some(ended))
        });
        let ended = ended.context(format!("after {kills} kills: {}", incident.engine.log()))?;
        if ended {
            break;
        }
        if has_acted {
            sleep(HELD / 2);
        }
        incident.engine.kill()?;
        kills += 1;
        if kills > MOST_KILLS {
            return fail(format!("it comes to nothing: {}", incident.engine.log()));
        }
        seen = steps(&incident.journal()?);
    }
    let result = incident.wait_moved(secs(30)).and_then(|()| incident.check_once());
    result.context(format!("after {kills} kills"))?;
    #[allow(clippy::print_stdout, reason = "a figure of interest")]
    {
        println!("three servers moved, the engine was killed {kills} times");
    }
    // Of three servers each is at least asked for, accepted, followed and moved; the plan and the request come before.
    if kills < 8 { fail(format!("it was killed {kills} times only")) } else { Ok(()) }
}

/// An incident in the middle, whose engine has died with its controller.
fn interrupted<'a>(cloud: &'a Cloud, name: &str) -> Result<(Incident<'a>, Vec<String>)> {
    for host in OTHERS {
        cloud.guests(host, 2.0, false)?;
    }
    let servers = cloud.boot(&Wish::new("guest", HOST, 8))?;
    let stopped = cloud.boot(&Wish::new("stopped", HOST, 2))?;
    stop(cloud, &stopped)?;
    let ours = controller(cloud, name)?;
    ours.add_to_policy("[limits]\ninitial = 3\n")?;
    let incident = Incident::with(cloud, servers, ours)?.fenced()?;
    incident.wait_left(2)?;
    incident.engine.kill()?;
    Ok((incident, stopped))
}

/// What has to be in the end, whoever has done it.
fn check(incident: &Incident<'_>, other: &Ours, engine: &Running, stopped: &[String]) -> Result<()> {
    let ended = engine
        .until(secs(120), "the other engine to end the incident", || Ok(outcome(&other.journal()?, HOST)))?;
    if ended != Outcome::Complete {
        return fail(format!("{ended}: {}", engine.log()));
    }
    incident.check_moved()?;
    check_stopped(incident.cloud, stopped)?;
    let accepted = calls::accepted(&incident.calls()?);
    each_once(&accepted, incident.servers.len() + stopped.len())
}

/// Another controller goes on, with the journal of the one that died.
pub(crate) fn elsewhere_with_journal(cloud: &Cloud) -> Result<()> {
    let (incident, stopped) = interrupted(cloud, "first")?;
    let second = controller(cloud, "second")?;
    second.take_over(&incident.ours)?;
    let engine = second.engine_on("second")?;
    check(&incident, &second, &engine, &stopped)?;
    let resumed = |event: &Event| matches!(event, Event::Resumed { on, journal: true } if on == "second");
    if second.journal()?.iter().any(|entry| resumed(&entry.event)) {
        Ok(())
    } else {
        fail("the second controller's engine does not say that it has gone on")
    }
}

/// Another controller goes on, with nothing but what Nova knows, and an operator's word.
pub(crate) fn elsewhere_without_journal(cloud: &Cloud) -> Result<()> {
    let (incident, stopped) = interrupted(cloud, "first")?;
    let second = controller(cloud, "second")?;
    let engine = second.engine_on("second")?;
    second.told(&["evacuate", HOST, "--operator-confirms-off", "Ann Lee"])?;
    check(&incident, &second, &engine, &stopped)
}

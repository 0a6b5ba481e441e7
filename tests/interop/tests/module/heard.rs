//! Events from Nova's own services, on their way to the engine.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pcmk_interop::Result;
use pcmk_interop::cloud::ours::Ours;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::error::{Context as _, fail};
use pcmk_interop::wait::{self, secs};
use serde_json::{Value, json};

use super::check::{HOST, same};
use super::installed::Installed;

/// From Nova to the engine. The machine has much else to do: of some, the middle one counts.
const LIMIT_MS: u64 = 100;
const SERVERS: usize = 3;

/// Nova's API, conductor and computes tell the engine of evacuations; without an engine they do what they do.
pub(crate) fn by_the_engine(it: &Installed) -> Result<()> {
    let ours = Ours::new(&it.cloud, "events")?;
    ours.add_to_configuration(&format!(
        "[events]\nsocket = \"{}\"\n",
        ours.dir().join("events.sock").display()
    ))?;
    let engine = ours.engine()?;
    // The same folder, as the controller sees it.
    it.enable("[instance_ha]\nengines = unix:/rig/events/events.sock\n")?;
    for host in it.cloud.computes() {
        it.cloud.stop_compute(host)?;
        it.cloud.start_compute(host)?;
    }
    it.cloud.wait_up(it.cloud.computes())?;
    let heard = || -> Result<Value> {
        let status: Value = serde_json::from_str(&ours.told(&["status", "--json"])?).context("the status")?;
        Ok(status["engine"]["events"].clone())
    };
    let servers = it.cloud.boot(&Wish::new("told", HOST, SERVERS + 1))?;
    it.cloud.fence(HOST)?;
    let mut took: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut look = || -> Result<Value> {
        let heard = heard()?;
        if let (Some(at), Some(kind), Some(after)) =
            (heard["last"]["at"].as_str(), heard["last"]["kind"].as_str(), heard["last"]["after_ms"].as_u64())
        {
            took.insert(at.to_owned(), (kind.to_owned(), after));
        }
        Ok(heard)
    };
    let (later, some) = servers.split_last().context("servers")?;
    for (number, server) in some.iter().enumerate() {
        look()?;
        it.cloud.evacuate(server, "2.95")?.ok()?;
        let until = Instant::now() + Duration::from_secs(120);
        while it.cloud.evacuations(HOST)?.iter().filter(|one| one.status == "done").count() <= number {
            look()?;
            if Instant::now() > until {
                return fail("an evacuation does not end");
            }
        }
    }
    let now = look()?;
    // That it was asked for and scheduled, has begun and has ended; some of it twice, as `compute.instance.…`.
    let least = SERVERS as u64 * 4 + 1;
    if now["events"].as_u64() < Some(least) || now["lost"] != 0 || now["connected"].as_u64() < Some(3) {
        return fail(format!("not all was heard: {now}"));
    }
    let mut after: Vec<_> = took.values().map(|(_, after)| *after).collect();
    after.sort_unstable();
    let median = *after.get(after.len() / 2).context("nothing was seen")?;
    println!(
        "{} events, {} of them looked at: {took:?}, the middle one after {median} ms",
        now["events"],
        after.len()
    );
    if median >= LIMIT_MS {
        return fail(format!("events take {median} ms"));
    }
    // The engine is gone: Nova does not mind, and says what is lost.
    engine.kill()?;
    let began = Instant::now();
    it.cloud.evacuate(later, "2.95")?.ok()?;
    let answered = began.elapsed();
    wait::until(secs(120), "an evacuation without an engine", || {
        let done = it.cloud.evacuations(HOST)?.iter().filter(|one| one.status == "done").count();
        Ok((done == SERVERS + 1).then_some(()))
    })?;
    if answered > Duration::from_secs(10) {
        return fail(format!("Nova has waited for the engine: {answered:?}"));
    }
    // Another one is told again.
    let engine = ours.engine()?;
    engine.until(secs(60), "the next event", || {
        for status in ["disabled", "enabled"] {
            it.cloud.set_compute_service("compute2", &json!({"status": status}))?.ok()?;
        }
        Ok((heard()?["events"].as_u64() > Some(0)).then_some(()))
    })?;
    same("its end", &engine.stop(secs(30))?, &0)
}

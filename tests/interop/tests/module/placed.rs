//! Where servers are put.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::collections::BTreeMap;

use pcmk_interop::Result;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::error::{Context as _, fail};
use pcmk_interop::wait::{self, secs};
use serde_json::{Value, json};

use super::check::{HOST, same};
use super::installed::Installed;

const IMAGE: &str = "0c10d000-0000-4000-8000-000000000001";
/// Of a host's memory in MB, less what Nova keeps for itself, two servers fit.
const HALF: u32 = 390_000;
/// As somebody has it who wants hosts filled one after the other: what Nova's own weighers do then is seen best.
const STACKING: &str = "ram_weight_multiplier = -1.0\ncpu_weight_multiplier = -1.0\n\
                        disk_weight_multiplier = -1.0\nio_ops_weight_multiplier = 0.0\n";

/// How many servers each host has got.
type Table = BTreeMap<String, usize>;

/// Fifty servers of a failed host, without and with the weigher: a table of both, an even one, and nothing where nothing
/// may go.
pub(crate) fn fifty(it: &Installed) -> Result<()> {
    let only = "weight_classes = nova.scheduler.weights.all_weighers\n";
    let without = evacuate_fifty(it, &format!("{only}{STACKING}")).context("without the weigher")?;
    it.forget_aggregates()?;
    it.cloud.reset()?;
    let with = evacuate_fifty(it, STACKING).context("with the weigher")?;
    println!("50 evacuations, servers for each host:");
    println!("  {:<10} {:>8} {:>8}", "host", "without", "with");
    let hosts: std::collections::BTreeSet<_> = without.keys().chain(with.keys()).collect();
    for host in hosts {
        let of = |table: &Table| table.get(host).copied().unwrap_or(0);
        println!("  {host:<10} {:>8} {:>8}", of(&without), of(&with));
    }
    let (most, least) = (with.values().max().context("none")?, with.values().min().context("none")?);
    same("hosts that took some", &with.len(), &4)?;
    if most - least > 3 {
        return fail(format!("not even: {with:?}"));
    }
    // Else this shows nothing of the weigher.
    match without.values().max() {
        Some(stacked) if stacked > most => Ok(()),
        _ => fail(format!("without the weigher it is as even: {without:?}")),
    }
}

/// Hosts 2 to 5 may take them. 6 is fenced, 7 was and has not returned, 8 is reserved for nobody.
fn evacuate_fifty(it: &Installed, settings: &str) -> Result<Table> {
    it.enable(&format!("[filter_scheduler]\n{settings}"))?;
    let more = it.cloud.add_hosts(3)?;
    let [fenced, returning, nobody] = more.as_slice() else { return fail(format!("{more:?}")) };
    let servers = it.cloud.boot(&Wish::new("spread", HOST, 50))?;
    it.cloud.fence(fenced)?;
    let disabled = json!({"status": "disabled", "disabled_reason": "nova-ha: it was fenced"});
    it.cloud.set_compute_service(returning, &disabled)?.ok()?;
    it.aggregate("nobody", &[nobody], &json!({"instance_ha:reserved": "nobody"}))?;
    it.cloud.fence(HOST)?;
    for some in servers.chunks(8) {
        for server in some {
            it.cloud.evacuate(server, "2.95")?.ok().context("an evacuation")?;
        }
        wait::until(secs(240), "eight evacuations", || {
            let all = it.cloud.evacuations(HOST)?;
            let open = all.iter().any(|one| matches!(one.status.as_str(), "accepted" | "pre-migrating"));
            Ok((!open).then_some(()))
        })?;
    }
    let mut table = Table::new();
    for one in it.cloud.evacuations(HOST)? {
        same("an evacuation", &one.status.as_str(), &"done")?;
        *table.entry(one.destination.unwrap_or_default()).or_default() += 1;
    }
    same("evacuations", &table.values().sum::<usize>(), &50)?;
    for host in [fenced, returning, nobody] {
        same(host, &table.get(host), &None)?;
    }
    Ok(table)
}

/// Nothing goes to a host that is reserved, but evacuated servers to one that is reserved for them.
pub(crate) fn where_they_may(it: &Installed) -> Result<()> {
    it.aggregate("spare", &["compute2"], &json!({"instance_ha:reserved": "yes"}))?;
    it.aggregate("none", &["compute3"], &json!({"instance_ha:reserved": "nobody"}))?;
    let server = it.cloud.boot(&Wish::new("reserved", HOST, 1))?.pop().context("a server")?;
    // New ones find three hosts, and these alone.
    ask_for(it, "tiny", 12)?;
    wait::until(secs(180), "twelve servers", || {
        let new = it.cloud.servers()?;
        Ok((new.iter().filter(|one| one.status == "ACTIVE").count() == 13).then_some(()))
    })?;
    for host in ["compute2", "compute3"] {
        same(host, &it.cloud.servers_on(host)?.len(), &0)?;
    }
    for host in ["compute4", "compute5", HOST] {
        it.cloud.fence(host)?;
    }
    it.cloud.evacuate(&server, "2.95")?.ok()?;
    wait::until(secs(120), "the evacuation", || {
        let all = it.cloud.evacuations(HOST)?;
        let done = |one: &_| {
            matches!(one, pcmk_interop::cloud::servers::Evacuation { status, destination, .. }
                if status == "done" && destination.as_deref() == Some("compute2"))
        };
        Ok(all.iter().any(done).then_some(()))
    })
}

/// Head-room: a new server is refused at the limit, and an evacuation let through.
pub(crate) fn with_room_to_spare(it: &Installed) -> Result<()> {
    it.enable("[instance_ha]\nheadroom = enforce\n")?;
    let flavor = json!({"flavor": {"id": "half", "name": "half", "ram": HALF, "vcpus": 1, "disk": 1}});
    it.cloud.admin().nova("POST", "/flavors", &flavor, "2.1")?.ok()?;
    let tried = room(it);
    it.cloud.admin().nova("DELETE", "/flavors/half", &Value::Null, "2.1")?.ok()?;
    tried
}

fn room(it: &Installed) -> Result<()> {
    // Five hosts with room for two each, of which one must be spare: eight fit, and no ninth.
    for count in 1..=8 {
        ask_for(it, "half", 1)?;
        wait::until(secs(120), "a server", || {
            let servers = it.cloud.servers()?;
            if let Some(lost) = servers.iter().find(|one| one.status == "ERROR") {
                return Ok(Some(fail(format!("server {count} is refused: {lost:?}"))));
            }
            let active = servers.iter().filter(|one| one.status == "ACTIVE").count();
            Ok((active == count).then_some(Ok(())))
        })??;
    }
    ask_for(it, "half", 1)?;
    let refused = wait::until(secs(120), "the ninth to be refused", || {
        let servers = it.cloud.servers()?;
        if servers.iter().filter(|one| one.status == "ACTIVE").count() > 8 {
            return Ok(Some(fail("it is let through")));
        }
        Ok(servers.into_iter().find(|one| one.status == "ERROR").map(Ok))
    })??;
    let said = it.said_by("nova-scheduler")?;
    if !said.contains("boot: ") || !said.contains("headroom ") {
        return fail(format!("{refused:?}, and the log does not say why: {said}"));
    }
    let mut hosts = Table::new();
    let placed: Vec<_> = it.cloud.servers()?.into_iter().filter(|one| one.status == "ACTIVE").collect();
    for server in &placed {
        *hosts.entry(server.host.clone()).or_default() += 1;
    }
    let (fullest, count) = hosts
        .iter()
        .max_by_key(|(_, count)| **count)
        .map(|(host, count)| (host.clone(), *count))
        .context("none")?;
    it.cloud.fence(&fullest)?;
    for server in placed.iter().filter(|one| one.host == fullest) {
        it.cloud.evacuate(&server.id, "2.95")?.ok()?;
    }
    wait::until(secs(180), "the evacuations", || {
        let all = it.cloud.evacuations(&fullest)?;
        if let Some(failed) = all.iter().find(|one| matches!(one.status.as_str(), "error" | "failed")) {
            return Ok(Some(fail(format!("{failed:?}"))));
        }
        Ok((all.iter().filter(|one| one.status == "done").count() == count).then_some(Ok(())))
    })??;
    println!("head-room: 8 servers placed {hosts:?}, the ninth refused, {count} evacuated from {fullest}");
    Ok(())
}

/// New servers, wherever the scheduler puts them.
fn ask_for(it: &Installed, flavor: &str, count: usize) -> Result<()> {
    let body = json!({"server": {"name": "new", "flavorRef": flavor, "imageRef": IMAGE, "networks": "none",
        "min_count": count, "max_count": count}});
    it.cloud.tenant().nova("POST", "/servers", &body, "2.52")?.ok().map(drop)
}

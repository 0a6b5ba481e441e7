//! The trials.

use std::collections::BTreeMap;

use nova_ext::proof::operator;
use nova_ext::proof::signed::Signer;
use nova_ext::stamp::Stamp;
use pcmk_interop::Result;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::error::{Context as _, fail};
use pcmk_interop::wait::{self, secs};
use serde_json::{Value, json};

use super::installed::Installed;

const HOST: &str = "compute1";

/// The same, or the difference.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, wanted: &T) -> Result<()> {
    if seen == wanted { Ok(()) } else { fail(format!("{what}: {seen:?} instead of {wanted:?}")) }
}

fn has(what: &str, text: &str, part: &str) -> Result<()> {
    if text.contains(part) { Ok(()) } else { fail(format!("{what}: {part:?} is not in {text:?}")) }
}

/// The manual's snippets as they are: it is in the processes, and complains of nothing.
pub(crate) fn is_loaded(it: &Installed) -> Result<()> {
    let list = "for p in /proc/[0-9]*; do grep -qs nova_ext/_native $p/maps && tr '\\0' ' ' <$p/cmdline && echo; done";
    let loaded = it.cloud.node().sh(list)?;
    for name in ["nova-scheduler", "nova-conductor", "cloud-serve"] {
        has("where it is loaded", &loaded, name)?;
    }
    same("complaints", &it.said()?.lines().filter(|line| line.contains("ERROR")).count(), &0)?;
    let doctor =
        it.cloud.node().run(&["/opt/cloud/bin/python3", "-m", "nova_ext.cli", "doctor", "--json"])?;
    let found: Value = serde_json::from_str(&doctor.stdout).context(doctor.stderr)?;
    for about in ["package", "filter", "weigher", "events", "processes"] {
        let all = found.as_array().context("a list")?.iter().filter(|one| one["about"] == about);
        let bad: Vec<_> = all.filter(|one| one["level"] == "fail").collect();
        same(about, &bad.len(), &0).context(format!("{bad:?}"))?;
    }
    // And servers are placed.
    it.cloud.boot(&Wish::new("first", HOST, 1)).map(drop)
}

/// Extra specs: from 2.86 on a slip is refused, and said what was meant; before it is taken.
pub(crate) fn refuses_wrong_words(it: &Installed) -> Result<()> {
    let set = |key: &str, value: &str, version: &str| {
        let body = json!({"extra_specs": {key: value}});
        it.cloud.admin().nova("POST", "/flavors/tiny/os-extra_specs", &body, version)
    };
    same("a right one", &set("instance_ha:evacuate", "yes", "2.86")?.status, &200)?;
    let slip = set("instance_ha:evacuat", "yes", "2.86")?;
    same("a slip", &slip.status, &400)?;
    has("a slip", &slip.body.to_string(), "did you mean instance_ha:evacuate?")?;
    same("a wrong value", &set("instance_ha:priority", "high", "2.86")?.status, &400)?;
    same("an older microversion", &set("instance_ha:evacuat", "yes", "2.85")?.status, &200)
}

/// No evacuation without a proof; with one it is done, and the host returns in order.
pub(crate) fn guards_evacuation(it: &Installed) -> Result<()> {
    it.enable("[instance_ha]\nguard = enforce\n")?;
    let server = it.cloud.boot(&Wish::new("guarded", HOST, 1))?.pop().context("a server")?;
    it.cloud.fence(HOST)?;
    let refused = it.cloud.evacuate(&server, "2.95")?;
    same("without proof", &refused.status, &403)?;
    has("without proof", &refused.body["forbidden"]["message"].to_string(), "is not proven off")?;
    if refused.request.is_none() {
        return fail("the refusal has no request id");
    }
    same("what has happened", &it.cloud.evacuations(HOST)?.len(), &0)?;
    let signer = Signer::from_file(&it.key()).context("the key")?;
    let host = HOST.parse().context("a host")?;
    let proof = operator::confirms(&host, "a trial", Stamp::now()).context("a proof")?;
    let disable = |reason: &str| {
        let change = json!({"status": "disabled", "disabled_reason": reason});
        it.cloud.set_compute_service(HOST, &change)?.ok().map(drop)
    };
    // That of another host, at first.
    let other = "compute2".parse().context("a host")?;
    disable(&signer.sign(&operator::confirms(&other, "a trial", Stamp::now()).context("a proof")?))?;
    same("another host's proof", &it.cloud.evacuate(&server, "2.95")?.status, &403)?;
    disable(&signer.sign(&proof))?;
    same("with proof", &it.cloud.evacuate(&server, "2.95")?.status, &200)?;
    wait::until(secs(120), "the evacuation", || {
        Ok(it.cloud.evacuations(HOST)?.iter().any(|one| one.status == "done").then_some(()))
    })?;
    let up = |change: Value| it.cloud.set_compute_service(HOST, &change);
    let refused = up(json!({"forced_down": false}))?;
    same("too early", &refused.status, &409)?;
    has("too early", &refused.body.to_string(), "Start nova-compute there while it is forced down")?;
    same("enabled while down", &up(json!({"status": "enabled"}))?.status, &409)?;
    it.cloud.start_compute(HOST)?;
    wait::until(secs(120), "nova-compute to clean up", || {
        Ok(it.cloud.evacuations(HOST)?.iter().all(|one| one.status == "completed").then_some(()))
    })?;
    same("in order", &up(json!({"forced_down": false, "status": "enabled"}))?.status, &200)?;
    it.enable("")
}

/// Fifty servers of a failed host, without and with the weigher.
pub(crate) fn spreads_fifty(it: &Installed) -> Result<()> {
    let mut tables = Vec::new();
    for (name, weighers) in [
        // As somebody has it who wants hosts filled one after the other.
        (
            "Nova's own, stacking",
            "weight_classes = nova.scheduler.weights.all_weighers\nram_weight_multiplier = -1.0\ncpu_weight_multiplier = -1.0\ndisk_weight_multiplier = -1.0\nio_ops_weight_multiplier = 0.0",
        ),
        (
            "the same and ours",
            "ram_weight_multiplier = -1.0\ncpu_weight_multiplier = -1.0\ndisk_weight_multiplier = -1.0\nio_ops_weight_multiplier = 0.0",
        ),
    ] {
        it.enable(&format!("[filter_scheduler]\n{weighers}\n"))?;
        let servers = it.cloud.boot(&Wish::new("spread", HOST, 50))?;
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
        let mut hosts: BTreeMap<String, usize> = BTreeMap::new();
        for one in it.cloud.evacuations(HOST)? {
            same("an evacuation", &one.status.as_str(), &"done")?;
            *hosts.entry(one.destination.unwrap_or_default()).or_default() += 1;
        }
        println!("50 evacuations, {name}: {hosts:?}");
        tables.push(hosts);
        it.cloud.reset()?;
    }
    let (most, least) = (tables[1].values().max(), tables[1].values().min());
    same("hosts that took some", &tables[1].len(), &4)?;
    match (most, least) {
        (Some(most), Some(least)) if *most - *least <= 3 => it.enable(""),
        _ => fail(format!("not even: {:?}", tables[1])),
    }
}

/// Nothing goes to a host that is reserved or returning, but evacuated servers to one that is reserved for them.
pub(crate) fn keeps_to_hosts_that_may(it: &Installed) -> Result<()> {
    let api = it.cloud.admin();
    let mut made = Vec::new();
    for (name, host, value) in [("spare", "compute2", "yes"), ("none", "compute3", "nobody")] {
        let body = json!({"aggregate": {"name": name}});
        let id = api.nova("POST", "/os-aggregates", &body, "2.1")?.ok()?["aggregate"]["id"].clone();
        let act =
            |action: Value| api.nova("POST", &format!("/os-aggregates/{id}/action"), &action, "2.1")?.ok();
        act(json!({"add_host": {"host": host}}))?;
        act(json!({"set_metadata": {"metadata": {"instance_ha:reserved": value}}}))?;
        made.push((id, host));
    }
    let server = it.cloud.boot(&Wish::new("reserved", HOST, 1))?.pop().context("a server")?;
    // New ones find two hosts, and these alone.
    let image = "0c10d000-0000-4000-8000-000000000001";
    let body = json!({"server": {"name": "new", "flavorRef": "tiny", "imageRef": image, "networks": "none",
        "min_count": 12, "max_count": 12}});
    it.cloud.tenant().nova("POST", "/servers", &body, "2.52")?.ok()?;
    wait::until(secs(180), "twelve servers", || {
        let new = it.cloud.servers()?;
        Ok((new.iter().filter(|one| one.status == "ACTIVE").count() == 13).then_some(()))
    })?;
    for host in ["compute2", "compute3"] {
        same(host, &it.cloud.servers_on(host)?.len(), &0)?;
    }
    for host in ["compute4", "compute5"] {
        it.cloud.fence(host)?;
    }
    it.cloud.fence(HOST)?;
    it.cloud.evacuate(&server, "2.95")?.ok()?;
    wait::until(secs(120), "the evacuation", || {
        let all = it.cloud.evacuations(HOST)?;
        Ok(all
            .iter()
            .any(|one| one.status == "done" && one.destination.as_deref() == Some("compute2"))
            .then_some(()))
    })?;
    for (id, host) in made {
        let act = json!({"remove_host": {"host": host}});
        api.nova("POST", &format!("/os-aggregates/{id}/action"), &act, "2.1")?.ok()?;
        api.nova("DELETE", &format!("/os-aggregates/{id}"), &Value::Null, "2.1")?.ok()?;
    }
    Ok(())
}

/// The native part missing, cut off, and of something else: all services start and serve, and say what is off.
pub(crate) fn nova_survives_it(it: &Installed) -> Result<()> {
    let node = it.cloud.node();
    let (library, kept) = (Installed::package("_native.abi3.so"), Installed::package("kept"));
    node.sh(&format!("mv {library} {kept}"))?;
    for (what, spoil) in [
        ("missing", "true".to_owned()),
        ("cut off", format!("head -c 100000 {kept} >{library}")),
        ("another", format!("cp $(ls /opt/cloud/lib/python3.11/site-packages/_cffi_backend*.so) {library}")),
    ] {
        let mark = node.exec(&["date", "+%s"])?;
        node.sh(&spoil)?;
        it.restart().context(what)?;
        let units = "-u nova-scheduler -u cloud-nova";
        let said = node.sh(&format!(
            "journalctl -q -o cat --since @{} {units} | grep -a instance_ha || true",
            mark.trim()
        ))?;
        has(what, &said, "the native part cannot be loaded")?;
        it.cloud.boot(&Wish::new("survives", HOST, 1)).context(what)?;
        it.cloud.delete_servers()?;
        node.sh(&format!("rm -f {library}"))?;
    }
    node.sh(&format!("mv {kept} {library}"))?;
    it.restart()
}

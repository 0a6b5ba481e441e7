//! The second act: a host of a real cloud dies with its guests on it; they come up elsewhere, and it comes back.
//!
//! No cluster has a part in it: this program calls the fence agent and the resource agent as Pacemaker does.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pcmk_interop::cloud::servers::{Server, Wish};
use pcmk_interop::cloud::{Mark, Options, calls};
use pcmk_interop::daemon::{put, target_dir, tool};
use pcmk_interop::error::Context;
use pcmk_interop::images::workspace;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cloud, Result, World, fail};
use serde_json::Value;

use crate::story::{Story, short, show};

/// The host that dies.
const HOST: &str = "compute1";
/// The guests on it.
const GUESTS: usize = 20;
/// Everything is evacuated. The disks of these guests are in nobody's way: they have none.
const POLICY: &str = "mode = \"all\"\n[storage]\nshared = true\n";
const AGENT: &str = "/usr/lib/ocf/resource.d/pcmk-remote/nova-evacuate";

/// A cloud whose controller has our programs.
pub(crate) fn raise(story: &Story, world: &World) -> Result<Cloud> {
    story.chapter(
        "A real cloud: RabbitMQ, MariaDB, Keystone, Placement, Nova, and three hosts with a BMC each",
    );
    let cloud = Cloud::up(world, 3, &Options::default())?;
    cloud.start_boards()?;
    story.say(&format!(
        "{} run nova-compute with Nova's fake driver; ipmi_sim plays their BMCs, whose power switches are real",
        cloud.computes().join(", ")
    ));
    install(&cloud)?;
    cloud.node().exec(&[AGENT, "start"])?;
    story.say("ocf:pcmk-remote:nova-evacuate has started the engine on the controller");
    Ok(cloud)
}

/// Puts our programs and their configuration on the controller, where packages put them.
fn install(cloud: &Cloud) -> Result<()> {
    let node = cloud.node();
    put(&tool("nova-ha")?, &node.path("/usr/bin/nova-ha")?, 0o755)?;
    put(&tool("fence_nova")?, &node.path("/usr/sbin/fence_nova")?, 0o755)?;
    put(&workspace().join("packaging/ocf/nova-evacuate"), &node.path(AGENT)?, 0o755)?;
    let key = "a key that protects nobody, as all of this is in one sandbox\n";
    let files = [
        ("cloud.toml", cloud.credentials("demo/cloud.toml", &cloud.login())?),
        ("power.toml", cloud.private_file("demo/power.toml", &cloud.board_map()?)?),
        ("nova-policy.toml", cloud.private_file("demo/policy.toml", POLICY)?),
        ("nova-ha.key", cloud.private_file("demo/key", key)?),
    ];
    for (name, from) in files {
        put(&from, &node.path(&format!("/etc/pcmk-remote/{name}"))?, 0o600)?;
    }
    Ok(())
}

/// The host dies, is fenced and evacuated, and returns.
pub(crate) fn act(story: &Story, cloud: &Cloud) -> Result<()> {
    let mark = cloud.mark()?;
    let guests = hang(story, cloud)?;
    let began = SystemTime::now();
    fence(story, cloud)?;
    evacuated(story, cloud, &guests, &mark, began)?;
    report(story, cloud)?;
    returns(story, cloud)?;
    takes_guests(story, cloud, &guests, &mark)?;
    let page = write_page(cloud)?;
    story.say(&format!("the page has the whole story now, and stays: {}", page.display()));
    Ok(())
}

/// How everything stands, for people.
pub(crate) fn standing(cloud: &Cloud) -> Result<String> {
    let log = cloud.node().sh("tail -n 20 /var/lib/pcmk-remote/nova-ha/engine.log")?;
    Ok(format!("{}\n{log}", cloud.node().run(&["nova-ha", "status"])?.stdout))
}

fn nova_ha(cloud: &Cloud, words: &[&str]) -> Result<String> {
    cloud.node().exec(&[&["nova-ha"], words].concat())
}

fn hang(story: &Story, cloud: &Cloud) -> Result<Vec<String>> {
    story.chapter(&format!(
        "{GUESTS} guests on {HOST}, and then it hangs: nova-compute is frozen, the power is on"
    ));
    let guests = cloud.boot(&Wish::new("guest", HOST, GUESTS))?;
    story.say(&format!("Nova says that {GUESTS} guests are ACTIVE on {HOST}"));
    cloud.node().exec(&["systemctl", "kill", "--signal=STOP", &format!("nova-compute@{HOST}")])?;
    if !cloud.board_is_on(HOST)? {
        return fail(format!("{HOST} is off"));
    }
    story.say("nobody can tell whether its guests still write: until it is off, they must not run elsewhere");
    Ok(guests)
}

fn fence(story: &Story, cloud: &Cloud) -> Result<()> {
    story.chapter("fence_nova, called as the cluster calls it: proof first, then Nova, then the evacuation is handed over");
    let began = Instant::now();
    let asked = format!("action=off\nnodename={HOST}\nplug={HOST}\n");
    cloud.node().exec_with(&["fence_nova"], &asked)?;
    let took = short(began.elapsed());
    if cloud.board_is_on(HOST)? || cloud.compute_runs(HOST)? {
        return fail(format!("{HOST} was not switched off"));
    }
    let orders = cloud.times_switched_off(HOST)?;
    if orders != 1 {
        return fail(format!("the BMC was told {orders} times to switch off"));
    }
    story.say(&format!("done after {took}: the BMC was told once to switch off, and nova-compute is gone"));
    let service = cloud.compute_service(HOST)?;
    if service["forced_down"] != true || service["status"] != "disabled" {
        return fail(format!("Nova was not told: {service}"));
    }
    let reason = service["disabled_reason"].as_str().unwrap_or_default();
    if !reason.contains("read off 2 times") {
        return fail(format!("what Nova was told is no proof: {reason}"));
    }
    story.say("Nova holds it for down, with the signed proof as the reason:");
    show(reason);
    Ok(())
}

/// Waits until all guests run elsewhere; each must have been asked for once.
fn evacuated(story: &Story, cloud: &Cloud, guests: &[String], mark: &Mark, began: SystemTime) -> Result<()> {
    story.chapter("The engine has taken up the request: it follows each guest to its new host");
    let there = wait::until(secs(120), "all guests to run elsewhere", || {
        let there = cloud.servers()?;
        let well = |id: &String| there.iter().any(|server| server.id == *id && runs_elsewhere(server));
        match guests.iter().filter(|id| !well(id)).count() {
            0 => Ok(Some(there)),
            open => fail(format!("{open} do not")),
        }
    })?;
    let took = began.elapsed().unwrap_or_default();
    let calls = cloud.calls(mark)?;
    let accepted = calls::accepted(&calls);
    if accepted.len() != guests.len() || accepted.values().any(|count| *count != 1) {
        return fail(format!("not every guest was asked for once: {accepted:?}"));
    }
    let since = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let first = calls::evacuations(&calls).into_iter().map(|call| call.at - since).reduce(f64::min);
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    for server in &there {
        *hosts.entry(&server.host).or_default() += 1;
    }
    let hosts: Vec<_> = hosts.iter().map(|(host, count)| format!("{count} on {host}")).collect();
    story.say(&format!(
        "Nova got the first request {:.1} s after the fencing began",
        first.unwrap_or_default()
    ));
    story.say(&format!("all {GUESTS} run again {} after it: {}", short(took), hosts.join(", ")));
    story.say("Nova was asked once for each of them");
    Ok(())
}

fn runs_elsewhere(server: &Server) -> bool {
    server.status == "ACTIVE" && server.host != HOST && server.task.is_none()
}

fn report(story: &Story, cloud: &Cloud) -> Result<()> {
    story.chapter("nova-ha report --last: what happened, as text and as a page");
    wait::until(secs(60), "the incident to be complete", || {
        let last: Value = serde_json::from_str(&nova_ha(cloud, &["report", "--last", "--format", "json"])?)
            .context("the report")?;
        let summary = &last["summary"];
        let complete =
            summary["outcome"] == "complete" && summary["moved"] == GUESTS && summary["failed"] == 0;
        if complete { Ok(Some(())) } else { fail(summary.to_string()) }
    })?;
    let text = nova_ha(cloud, &["report", "--last"])?;
    let (shown, rest) = text.split_once("\nEverything\n").context("a report without the whole story")?;
    show(shown.trim_end());
    story.say(&format!("and {} lines of everything that was done and answered", rest.lines().count()));
    let page = write_page(cloud)?;
    story.say(&format!("the page with the picture, which needs nothing else: {}", page.display()));
    Ok(())
}

/// Writes the page where it outlives the sandbox.
fn write_page(cloud: &Cloud) -> Result<PathBuf> {
    let html = nova_ha(cloud, &["report", "--last", "--format", "html"])?;
    let dir = target_dir().join("demo");
    fs::create_dir_all(&dir).context(dir.display())?;
    let path = dir.join("incident.html");
    fs::write(&path, html).context(path.display())?;
    path.canonicalize().context(path.display())
}

fn returns(story: &Story, cloud: &Cloud) -> Result<()> {
    story.chapter(&format!("{HOST} has been looked at: nova-ha return {HOST} --power-on"));
    let began = Instant::now();
    nova_ha(cloud, &["return", HOST, "--power-on"])?;
    wait::until(secs(60), "the BMC to have switched it on", || {
        Ok((cloud.board_is_on(HOST)? && cloud.compute_runs(HOST)?).then_some(()))
    })?;
    story.say(&format!("its BMC has switched it on after {}; nova-compute starts", short(began.elapsed())));
    wait::until(secs(120), "Nova to schedule on it again", || {
        let service = cloud.compute_service(HOST)?;
        let back =
            service["state"] == "up" && service["forced_down"] == false && service["status"] == "enabled";
        if back { Ok(Some(())) } else { fail(service.to_string()) }
    })?;
    story.say(&format!(
        "in service again after {}. nova-ha explain {HOST} has the steps:",
        short(began.elapsed())
    ));
    let explained = wait::until(secs(30), "the engine to be done with it", || {
        let explained = nova_ha(cloud, &["explain", HOST])?;
        Ok(explained.contains("is back in service").then_some(explained))
    })?;
    let steps = explained.lines().skip_while(|line| !line.contains("switching it on"));
    show(&steps.map(str::trim).collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// The order was one that Nova takes, and the host is as good as new.
fn takes_guests(story: &Story, cloud: &Cloud, guests: &[String], mark: &Mark) -> Result<()> {
    let refused =
        |call: &&calls::Call| call.method == "PUT" && call.path.contains("os-services") && call.status > 399;
    if let Some(call) = cloud.calls(mark)?.iter().find(refused) {
        return fail(format!("Nova has refused something: {call:?}"));
    }
    let open = cloud.evacuations(HOST)?.into_iter().find(|evacuation| evacuation.status != "completed");
    if let Some(open) = open {
        return fail(format!("nova-compute has not cleaned up: {open:?}"));
    }
    cloud.boot(&Wish::new("newcomer", HOST, 1))?;
    let moved = cloud.servers()?;
    if let Some(lost) = moved.iter().find(|server| guests.contains(&server.id) && !runs_elsewhere(server)) {
        return fail(format!("not where it was brought up: {lost:?}"));
    }
    story.say(&format!("a new guest is ACTIVE on {HOST}; the {GUESTS} are where they were brought up"));
    Ok(())
}

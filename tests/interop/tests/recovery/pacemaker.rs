//! The whole way in a real cluster beside the cloud: a host that is a remote node fails, Pacemaker fences it, the engine
//! that Pacemaker keeps brings its guests up elsewhere, and the host returns.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

pub(crate) mod scene;

use std::time::{Duration, Instant};

use pcmk_interop::cib::Primitive;
use pcmk_interop::cloud::boards::BOARD;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{ADMIN, Cloud, calls};
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};
use scene::{ENGINE, HOST, Scene, check_once};
use serde_json::json;

/// From so long after the fencing on, signs of life count against its proof.
const NEW: Duration = secs(61);

/// Behind a power switch, as documented set-ups have it: Pacemaker's own record is the proof, the request is handed over,
/// nothing is evacuated while no engine runs.
pub(crate) fn behind_a_switch(scene: &Scene, cloud: &Cloud) -> Result<()> {
    scene.add_device("nova", "fence_nova", &[("record_only", "1")], false)?;
    scene.fence_by("power,nova")?;
    let guests = cloud.boot(&Wish::new("guest", HOST, 1))?;
    let mark = cloud.mark()?;
    scene.metal.power_off()?;
    scene.wait_fenced(cloud)?;
    let reason = cloud.compute_service(HOST)?["disabled_reason"].as_str().unwrap_or_default().to_owned();
    if !reason.starts_with("nova-ha: off ") {
        return fail(format!("it is disabled for this reason: {reason:?}"));
    }
    // Whenever the cluster gives up connecting to the node it forgets the attributes, and the next monitor sets them anew.
    wait::until_eq(
        secs(40),
        "the request and its proof to be handed over",
        &("yes".to_owned(), reason),
        || Ok((scene.attribute("evacuate")?, scene.attribute("fence-proof")?)),
    )?;
    if scene.queued("c1")? != 1 {
        return fail("the request is not in the queue");
    }
    let stays = guests.iter().all(|id| cloud.server(id).is_ok_and(|server| server.host == HOST));
    if !stays || !calls::evacuations(&cloud.calls(&mark)?).is_empty() {
        return fail("the agent has evacuated by itself");
    }
    Ok(())
}

/// `fence_nova` alone, with the host's board in its map: a host that hangs is switched off by it, and its guests come up
/// elsewhere, each once.
pub(crate) fn fence_nova_alone(scene: &Scene, cloud: &Cloud) -> Result<()> {
    scene.map_power(cloud)?;
    scene.add_device("nova", "fence_nova", &[], false)?;
    scene.fence_by("nova")?;
    scene.add_engine("c1", &[])?;
    let guests = cloud.boot(&Wish::new("guest", HOST, 3))?;
    let mark = cloud.mark()?;
    scene.metal.link(false)?;
    scene.wait_fenced(cloud)?;
    let fenced = Instant::now();
    scene.wait_moved(cloud, &guests, secs(180))?;
    report("fence_nova alone", guests.len(), mark.at(), fenced);
    check_once(cloud, &mark, &guests)?;
    scene.wait_ended("c1")?;
    if !["no", ""].contains(&scene.attribute("evacuate")?.as_str()) {
        return fail("the request has not ended");
    }
    // Nobody has asked for the host back.
    if scene.metal.is_on() { fail("the host is on") } else { Ok(()) }
}

/// `fence_ipmilan` and then `fence_nova` in one level, on one controller, and the engine on the other one. The operator
/// had disabled the host before it failed: when it is back, it is forced up and stays disabled.
pub(crate) fn behind_fence_ipmilan(scene: &Scene, cloud: &Cloud) -> Result<()> {
    let board = cloud.board(HOST)?;
    let (ip, port) = (board.ip().to_string(), board.port().to_string());
    let params = [
        ("ip", ip.as_str()),
        ("ipport", port.as_str()),
        ("username", BOARD.0),
        ("password", BOARD.1),
        ("lanplus", "1"),
        // The board speaks no other one.
        ("cipher", "3"),
    ];
    scene.add_device("bmc", "fence_ipmilan", &params, false)?;
    scene.add_device("nova", "fence_nova", &[("record_only", "1")], false)?;
    scene.fence_by("bmc,nova")?;
    scene.add_engine("c2", &[])?;
    let guests = cloud.boot(&Wish::new("guest", HOST, 2))?;
    let disabled = json!({"status": "disabled", "disabled_reason": "disk swap, ann"});
    cloud.set_compute_service(HOST, &disabled)?.ok()?;
    let mark = cloud.mark()?;
    scene.metal.link(false)?;
    scene.wait_fenced(cloud)?;
    let fenced = Instant::now();
    scene.wait_moved(cloud, &guests, secs(180))?;
    report("fence_ipmilan and fence_nova", guests.len(), mark.at(), fenced);
    check_once(cloud, &mark, &guests)?;
    if scene.journaled("c2", "posting")? != guests.len() || scene.journaled("c1", "posting")? != 0 {
        return fail("the engine of the other controller has not done it alone");
    }
    scene.cluster.switch_on(HOST)?;
    scene.wait_in_service(cloud, "disabled")?;
    let reason = cloud.compute_service(HOST)?["disabled_reason"].clone();
    if reason != "disk swap, ann" {
        return fail(format!("the operator's reason is now {reason}"));
    }
    wait::until_eq(secs(60), "the fence agent to forget what was done elsewhere", &0, || scene.queued("c1"))?;
    refused_nothing(cloud, &mark)
}

/// A cluster that reboots: the host is switched on by the engine when its guests are elsewhere, it joins, is unfenced
/// before anything runs on it, and returns to service in the right order.
pub(crate) fn returns_unfenced(scene: &Scene, cloud: &Cloud) -> Result<()> {
    scene.map_power(cloud)?;
    scene.add_device("nova", "fence_nova", &[], true)?;
    scene.fence_by("nova")?;
    scene.cluster.set_property("stonith-action", "reboot")?;
    scene.add_engine("c1", &[])?;
    scene.add(&Primitive::witness("w").meta("requires", "unfencing").monitor("5s", "20s").on(HOST, 1000))?;
    scene.cluster.wait_place("w", &format!("Started on {HOST}"), secs(60))?;
    scene.wait_in_service(cloud, "enabled")?;
    let guests = cloud.boot(&Wish::new("guest", HOST, 2))?;
    let (mark, calls_before) = (cloud.mark()?, scene.cluster.count(HOST, "w")?);
    let unfenced = unfencings(scene)?;
    if unfenced == 0 {
        return fail("the host was not unfenced when it was to run something");
    }
    scene.metal.link(false)?;
    scene.wait_fenced(cloud)?;
    let fenced = Instant::now();
    scene.wait_moved(cloud, &guests, secs(180))?;
    scene.wait_joined()?;
    scene.wait_in_service(cloud, "enabled")?;
    report("back in service after", guests.len(), mark.at(), fenced);
    check_once(cloud, &mark, &guests)?;
    refused_nothing(cloud, &mark)?;
    let open: Vec<_> = cloud.evacuations(HOST)?.into_iter().filter(|it| it.status != "completed").collect();
    if !open.is_empty() {
        return fail(format!("it is in service with evacuations that it has not settled: {open:?}"));
    }
    scene.cluster.wait_place("w", &format!("Started on {HOST}"), secs(60))?;
    if unfencings(scene)? <= unfenced {
        return fail("the host was not unfenced when it came back");
    }
    let deeds = scene.cluster.deeds(HOST, "w", calls_before)?;
    if !deeds.iter().any(|deed| deed == "start=0") {
        return fail(format!("the resource was not started again: {deeds:?}"));
    }
    Ok(())
}

/// The engine is moved to the other controller in the middle of a run, and goes on there. When it comes back after the
/// host has returned, it does not believe what it remembers.
pub(crate) fn engine_moves(scene: &Scene, cloud: &Cloud) -> Result<()> {
    // So few at once that some are left when it moves.
    scene.add_to_policy("[limits]\ninitial = 2\nmaximum = 2\n")?;
    scene.add_device("nova", "fence_nova", &[("record_only", "1")], false)?;
    scene.fence_by("power,nova")?;
    scene.add_engine("c1", &[])?;
    let guests = cloud.boot(&Wish::new("guest", HOST, 20))?;
    for host in cloud.computes() {
        cloud.guests(host, 6.0, false)?;
    }
    let mark = cloud.mark()?;
    scene.metal.power_off()?;
    scene.wait_fenced(cloud)?;
    let fenced = Instant::now();
    wait::until(
        secs(60),
        "the first requests",
        || Ok((scene.journaled("c1", "posted")? >= 3).then_some(())),
    )?;
    scene.cluster.exec(&["crm_resource", "--move", "--resource", ENGINE, "--node", "c2"])?;
    scene.wait_engine("c2")?;
    let by_the_first = scene.journaled("c1", "posted")?;
    scene.wait_moved(cloud, &guests, secs(300))?;
    report("with a move of the engine", guests.len(), mark.at(), fenced);
    check_once(cloud, &mark, &guests)?;
    let by_the_second = scene.journaled("c2", "posted")?;
    if by_the_second == 0 || by_the_first + by_the_second != guests.len() {
        return fail(format!("{by_the_first} were asked for here, and {by_the_second} there"));
    }

    scene.cluster.switch_on(HOST)?;
    scene.wait_joined()?;
    scene.wait_in_service(cloud, "enabled")?;
    wait::until(NEW, "the proof not to be new any more", || Ok((fenced.elapsed() > NEW).then_some(())))?;
    let mark = cloud.mark()?;
    scene.cluster.exec(&["crm_resource", "--clear", "--resource", ENGINE])?;
    scene.wait_engine("c1")?;
    scene.wait_ended("c1")?;
    let calls = cloud.calls(&mark)?;
    let changes = calls.iter().filter(|call| call.method == "PUT" && call.path.contains("os-services"));
    if changes.count() > 0 || !calls::evacuations(&calls).is_empty() {
        return fail("the engine has acted on what had been done long before");
    }
    scene.wait_in_service(cloud, "enabled")
}

/// The engine with a login among the resource's parameters, as `NovaEvacuate` has them, and without a file.
pub(crate) fn parameters(scene: &Scene, cloud: &Cloud) -> Result<()> {
    let node = scene.cluster.node("c1")?;
    node.exec(&["rm", "/etc/pcmk-remote/cloud.toml"])?;
    let url = format!("http://{}/v3", cloud.keystone());
    let params = [
        ("auth_url", url.as_str()),
        ("username", ADMIN.0),
        ("password", ADMIN.1),
        ("tenant_name", "admin"),
        ("user_domain", "Default"),
        ("project_domain", "Default"),
        ("domain", "example.org"),
        ("endpoint_type", "internalURL"),
        ("region_name", "RegionOne"),
        ("no_shared_storage", "1"),
        ("evacuate_delay", "5"),
        ("insecure", "1"),
        ("verbose", "1"),
    ];
    scene.add_engine("c1", &params)?;
    let pid = scene.state_file("c1", "engine.pid")?;
    let line = node.sh(&format!("tr '\\0' ' ' </proc/{}/cmdline", pid.trim()))?;
    if line.contains(ADMIN.1) || !line.contains("engine") {
        return fail(format!("the engine runs as {line}"));
    }
    let log = scene.state_file("c1", "engine.log")?;
    if !log.contains(" debug: ") || log.contains(ADMIN.1) {
        return fail(format!("verbose=1 logs {log}"));
    }
    // Without the password it says so, in the code for what only the administrator can mend.
    let agent = "/usr/lib/ocf/resource.d/pcmk-remote/nova-evacuate";
    let mut words = vec!["env".to_owned(), "OCF_ROOT=/usr/lib/ocf".to_owned()];
    let some = params.iter().filter(|(name, _)| *name != "password");
    words.extend(some.map(|(name, value)| format!("OCF_RESKEY_{name}={value}")));
    words.extend([agent.to_owned(), "validate-all".to_owned()]);
    let said = node.run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    if said.code() != 6 || !said.stderr.contains("password") {
        return fail(format!("without a password: {} {}{}", said.code(), said.stdout, said.stderr));
    }
    Ok(())
}

/// How often the cluster has unfenced the host.
fn unfencings(scene: &Scene) -> Result<usize> {
    let history =
        scene.cluster.exec(&["stonith_admin", "--history", HOST, "--verbose", "--output-as", "xml"])?;
    let on = |line: &&str| line.contains("action=\"on\"") && line.contains("status=\"success\"");
    Ok(history.lines().filter(on).count())
}

/// No change of a service was refused: each step came in its turn.
fn refused_nothing(cloud: &Cloud, mark: &pcmk_interop::cloud::Mark) -> Result<()> {
    let calls = cloud.calls(mark)?;
    let refused = calls.iter().find(|call| call.path.contains("os-services") && call.status >= 400);
    refused.map_or(Ok(()), |call| fail(format!("refused: {call:?}")))
}

#[allow(clippy::print_stdout, reason = "figures of interest")]
fn report(what: &str, guests: usize, cut: Instant, fenced: Instant) {
    let (all, since) = (cut.elapsed().as_secs_f32(), fenced.elapsed().as_secs_f32());
    println!("{what}: {guests} servers {all:.1} s after the failure, {since:.1} s after the fencing");
}

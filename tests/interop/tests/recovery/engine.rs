//! A host dies, and `nova-ha engine` brings its servers up elsewhere: each requested once, whatever happens meanwhile.

use std::time::{Duration, Instant};

use pcmk_interop::cloud::calls::{self, Call};
use pcmk_interop::cloud::credentials::Login;
use pcmk_interop::cloud::faults::{Fault, Proxy, Rule};
use pcmk_interop::cloud::ours::{Ours, Running};
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{Cloud, Mark};
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};
use serde_json::json;

/// The host that dies.
const HOST: &str = "compute1";

/// The engine as a process.
const DRIVER: &str = env!("CARGO_BIN_EXE_drive-engine");

/// A host that has died, with its servers, and an engine that has been asked to move them.
struct Incident<'a> {
    cloud: &'a Cloud,
    ours: Ours,
    engine: Running,
    servers: Vec<String>,
    mark: Mark,
    asked: Instant,
}

impl<'a> Incident<'a> {
    /// The servers are made, the host dies, the engine is started and asked.
    fn begin(cloud: &'a Cloud, servers: usize, login: &Login<'_>) -> Result<Self> {
        let ids = cloud.boot(&Wish::new("guest", HOST, servers))?;
        let ours = Ours::new(cloud, "engine")?;
        ours.login(cloud, login)?;
        cloud.kill_compute(HOST)?;
        let (mark, asked) = (cloud.mark()?, Instant::now());
        let engine = ours.drive(DRIVER, HOST)?;
        Ok(Self { cloud, ours, engine, servers: ids, mark, asked })
    }

    /// Waits until all servers run elsewhere and nothing is done to them.
    fn wait_moved(&self, within: Duration) -> Result<()> {
        wait::until(within, "all servers to run elsewhere", || {
            let there = self.cloud.servers()?;
            let well = |id: &String| {
                there.iter().any(|server| {
                    server.id == *id
                        && server.status == "ACTIVE"
                        && server.host != HOST
                        && server.task.is_none()
                })
            };
            let open: Vec<_> = self.servers.iter().filter(|id| !well(id)).collect();
            match open.first() {
                None => Ok(Some(())),
                Some(one) => {
                    let state = there.iter().find(|server| server.id == **one);
                    fail(format!("{} are not, as {state:?}; the engine: {}", open.len(), self.engine.log()))
                }
            }
        })
    }

    fn calls(&self) -> Result<Vec<Call>> {
        self.cloud.calls(&self.mark)
    }

    /// Every server was requested, and accepted, once.
    fn check_once(&self) -> Result<()> {
        let accepted = calls::accepted(&self.calls()?);
        let twice: Vec<_> = accepted.iter().filter(|(_, count)| **count != 1).collect();
        if accepted.len() == self.servers.len() && twice.is_empty() {
            return Ok(());
        }
        fail(format!(
            "{} of {} servers were requested, these not once: {twice:?}",
            accepted.len(),
            self.servers.len()
        ))
    }
}

/// At a microversion: 50 servers, in pages, each once. The first request goes out within a second.
fn at(cloud: &Cloud, servers: usize, version: Option<&str>) -> Result<()> {
    let incident = Incident::begin(cloud, servers, &Login { version, ..cloud.login() })?;
    incident.wait_moved(secs(400))?;
    let took = incident.asked.elapsed();
    incident.check_once()?;
    let calls = incident.calls()?;
    let marked = calls.iter().find(|call| call.method == "PUT" && call.path.contains("os-services"));
    let first = calls::evacuations(&calls).into_iter().next().context("no request")?;
    let began = marked.map_or(first.at, |call| call.at);
    #[allow(clippy::print_stdout, reason = "a figure of interest")]
    {
        println!(
            "{servers} servers at {}: first request {:.2} s after the host was marked, all moved {:.1} s after the wish",
            version.unwrap_or("the newest version"),
            first.at - began,
            took.as_secs_f64()
        );
    }
    Ok(())
}

/// The newest microversion.
pub(crate) fn fifty(cloud: &Cloud) -> Result<()> {
    at(cloud, 50, None)
}

/// The oldest that is supported.
pub(crate) fn fifty_at_2_53(cloud: &Cloud) -> Result<()> {
    at(cloud, 50, Some("2.53"))
}

/// The first without `force`.
pub(crate) fn fifty_at_2_68(cloud: &Cloud) -> Result<()> {
    at(cloud, 50, Some("2.68"))
}

/// The first that leaves servers stopped.
pub(crate) fn fifty_at_2_95(cloud: &Cloud) -> Result<()> {
    at(cloud, 50, Some("2.95"))
}

/// One kind of fault after the other on the way to Nova. Each time all servers move, and what was accepted was accepted
/// once.
pub(crate) fn faults(cloud: &Cloud) -> Result<()> {
    let proxy = cloud.proxy()?;
    let result = with_faults(cloud, &proxy);
    cloud.unproxy()?;
    result
}

fn with_faults(cloud: &Cloud, proxy: &Proxy) -> Result<()> {
    let busy = Fault::Answer(503, vec![("Retry-After".to_owned(), "1".to_owned())]);
    let late = Duration::from_secs(20);
    let rows = [
        ("500", Rule::evacuate(Fault::answer(500)).every(2).times(3)),
        ("a storm of 503", Rule::new("", "/servers", busy).times(25)),
        ("409", Rule::evacuate(Fault::answer(409)).every(2).times(3)),
        ("401 in the middle", Rule::new("", "", Fault::answer(401)).skip(8).times(2)),
        ("time out before Nova acts", Rule::evacuate(Fault::DelayBefore(late)).every(2).times(2)),
        ("time out after Nova has acted", Rule::evacuate(Fault::DelayAfter(late)).every(2).times(2)),
        ("cut in the middle of the answer", Rule::evacuate(Fault::Cut(25)).every(2).times(3)),
        ("reset before Nova hears of it", Rule::evacuate(Fault::ResetBefore).every(2).times(3)),
        ("reset after Nova has acted", Rule::evacuate(Fault::ResetAfter).every(2).times(3)),
        ("slow lists", Rule::new("GET", "", Fault::DelayAfter(Duration::from_secs(2))).every(3).times(20)),
        ("cut lists", Rule::new("GET", "/servers/detail", Fault::Cut(300)).times(2)),
    ];
    for (name, rule) in rows {
        proxy.heal();
        proxy.forget();
        proxy.inject(rule);
        let login = Login { more: "request_timeout = 15\n", ..cloud.login() };
        let incident = Incident::begin(cloud, 6, &login).context(name)?;
        incident.wait_moved(secs(400)).context(name)?;
        incident.check_once().context(name)?;
        if proxy.hits() == 0 {
            return fail(format!("{name}: it befell nothing"));
        }
        proxy.heal();
        drop(incident);
        cloud.reset().context(name)?;
    }
    Ok(())
}

/// Nova's API dies in the middle and comes back.
pub(crate) fn api_down(cloud: &Cloud) -> Result<()> {
    for host in ["compute2", "compute3", "compute4"] {
        cloud.guests(host, 1.0, false)?;
    }
    let incident = Incident::begin(cloud, 12, &cloud.login())?;
    wait::until(secs(60), "requests", || {
        Ok((calls::evacuations(&incident.calls()?).len() > 2).then_some(()))
    })?;
    cloud.kill_service("cloud-nova")?;
    cloud.service("start", "cloud-nova")?;
    cloud.wait_api()?;
    incident.wait_moved(secs(400))?;
    // What was being answered when it died has left no line in the log of the calls.
    let twice: Vec<_> =
        calls::accepted(&incident.calls()?).into_iter().filter(|(_, count)| *count > 1).collect();
    if twice.is_empty() { Ok(()) } else { fail(format!("requested more than once: {twice:?}")) }
}

fn lines(incident: &Incident<'_>) -> usize {
    // What every start writes is no step forward: killed at that, it would never come to anything.
    let start = ["\"resumed\"", "\"operator\"", "\"proved\""];
    incident.ours.journal().lines().filter(|line| !start.iter().any(|kind| line.contains(kind))).count()
}

/// The engine is killed at each step: whenever its journal has grown. In the end all is as if it had not been.
pub(crate) fn killed_at_each_step(cloud: &Cloud) -> Result<()> {
    let mut incident = Incident::begin(cloud, 4, &cloud.login())?;
    let mut kills = 0;
    let deadline = Instant::now() + secs(420);
    loop {
        let before = lines(&incident);
        // An engine that finds nothing left to write has nothing left to do.
        let grown =
            wait::until(secs(40), "the journal to grow", || Ok((lines(&incident) > before).then_some(())));
        if grown.is_err() {
            break;
        }
        incident.engine.kill()?;
        kills += 1;
        incident.engine = incident.ours.drive(DRIVER, HOST)?;
        if Instant::now() > deadline {
            return fail(format!("not at an end after {kills} kills: {}", incident.engine.log()));
        }
    }
    incident.wait_moved(secs(60)).context(format!("after {kills} kills"))?;
    incident.check_once().context(format!("after {kills} kills"))?;
    if kills < 8 {
        return fail(format!("it was killed {kills} times only"));
    }
    Ok(())
}

/// No scheduler: nothing is requested that nobody would carry out. When there is one again, all move.
pub(crate) fn scheduler_down(cloud: &Cloud) -> Result<()> {
    cloud.kill_service("nova-scheduler")?;
    wait::until(secs(60), "Nova to have noticed", || {
        let services = cloud.admin().get("/os-services?binary=nova-scheduler")?;
        let state = services.pointer("/services/0/state").cloned().unwrap_or_default();
        Ok((state == "down").then_some(()))
    })?;
    let incident = Incident::begin(cloud, 5, &cloud.login())?;
    wait::until(secs(60), "the engine to say that there is no scheduler", || {
        Ok(incident.ours.journal().contains("scheduler").then_some(()))
    })?;
    if !calls::evacuations(&incident.calls()?).is_empty() {
        return fail("evacuations were requested without a scheduler");
    }
    cloud.service("start", "nova-scheduler")?;
    incident.wait_moved(secs(180))?;
    incident.check_once()
}

/// No room anywhere, and then there is.
pub(crate) fn no_capacity(cloud: &Cloud) -> Result<()> {
    let others = ["compute2", "compute3", "compute4"];
    for host in others {
        cloud.set_compute_service(host, &json!({"status": "disabled"}))?.ok()?;
    }
    let incident = Incident::begin(cloud, 4, &cloud.login())?;
    wait::until(secs(60), "evacuations that fail", || {
        let failed = cloud.evacuations(HOST)?.iter().filter(|one| one.status == "error").count();
        Ok((failed > 0).then_some(()))
    })?;
    for host in others {
        cloud.set_compute_service(host, &json!({"status": "enabled"}))?.ok()?;
    }
    incident.wait_moved(secs(400))?;
    // A request may follow one that has failed; two that live may not be.
    let all = cloud.evacuations(HOST)?;
    for id in &incident.servers {
        let moved = all.iter().filter(|one| one.server == *id && one.status == "done").count();
        let odd = all
            .iter()
            .any(|one| one.server == *id && !["done", "error", "failed"].contains(&one.status.as_str()));
        if moved != 1 || odd {
            return fail(format!("{id}: {all:?}"));
        }
    }
    Ok(())
}

/// The host comes back while its servers are being moved: no server runs twice, none is lost.
pub(crate) fn comes_back_in_the_middle(cloud: &Cloud) -> Result<()> {
    for host in ["compute2", "compute3", "compute4"] {
        cloud.guests(host, 3.0, false)?;
    }
    let incident = Incident::begin(cloud, 12, &cloud.login())?;
    wait::until(secs(60), "the first servers to have moved", || {
        let done = cloud.evacuations(HOST)?.iter().filter(|one| one.status == "done").count();
        Ok((done > 1).then_some(()))
    })?;
    cloud.start_compute(HOST)?;
    incident.wait_moved(secs(400))?;
    incident.check_once()?;
    wait::until(secs(90), "the host's evacuations to be completed", || {
        let all = cloud.evacuations(HOST)?;
        Ok(all.iter().all(|one| one.status == "completed").then_some(()))
    })
}

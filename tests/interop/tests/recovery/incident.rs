//! A host that dies, its servers, and the engine that is to bring them up elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use nova_ext::engine::journal::{Entry, Event, Outcome};
use nova_ext::stamp::Stamp;
use pcmk_interop::cloud::calls::{self, Call};
use pcmk_interop::cloud::credentials::Login;
use pcmk_interop::cloud::ours::{Ours, Running};
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{Cloud, Mark};
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};
use serde_json::json;

/// The host that dies.
pub(crate) const HOST: &str = "compute1";
/// The hosts that do not.
pub(crate) const OTHERS: [&str; 3] = ["compute2", "compute3", "compute4"];

/// The host, its servers, and a controller with an engine that is ready.
pub(crate) struct Incident<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) ours: Ours,
    pub(crate) engine: Running,
    pub(crate) servers: Vec<String>,
    mark: Mark,
    /// When the fence agent was started.
    began: Stamp,
    /// When it had ended.
    fenced: Stamp,
}

impl<'a> Incident<'a> {
    /// Makes servers on the host and starts an engine.
    pub(crate) fn prepare(cloud: &'a Cloud, servers: usize, login: &Login<'_>) -> Result<Self> {
        let ids = cloud.boot(&Wish::new("guest", HOST, servers))?;
        let ours = controller(cloud, "engine")?;
        ours.login(cloud, login)?;
        Self::with(cloud, ids, ours)
    }

    /// Starts the engine of a controller, for servers that are there.
    pub(crate) fn with(cloud: &'a Cloud, servers: Vec<String>, ours: Ours) -> Result<Self> {
        let engine = ours.engine()?;
        Ok(Self::going_on(cloud, servers, ours, engine, cloud.mark()?))
    }

    /// One whose engine runs, and whose host is fenced.
    pub(crate) fn going_on(
        cloud: &'a Cloud,
        servers: Vec<String>,
        ours: Ours,
        engine: Running,
        mark: Mark,
    ) -> Self {
        let now = Stamp::now();
        Self { cloud, ours, engine, servers, mark, began: now, fenced: now }
    }

    /// Like [`Incident::prepare`], and the host is fenced.
    pub(crate) fn begin(cloud: &'a Cloud, servers: usize, login: &Login<'_>) -> Result<Self> {
        Self::prepare(cloud, servers, login)?.fenced()
    }

    /// Has the fence agent switch the host off, as a cluster does.
    pub(crate) fn fenced(mut self) -> Result<Self> {
        self.mark = self.cloud.mark()?;
        self.began = Stamp::now();
        fence(&self.ours, HOST)?;
        self.fenced = Stamp::now();
        Ok(self)
    }

    /// Waits until the engine says that all is done, and all servers run elsewhere.
    pub(crate) fn wait_moved(&self, within: Duration) -> Result<()> {
        let ended = self.wait_ended(within);
        let state = self.check_moved();
        match ended {
            Ok(Outcome::Complete) => state,
            Ok(outcome) => fail(format!("{outcome}: {}", self.engine.log())),
            Err(error) => fail(format!("{error}; {state:?}")),
        }
    }

    /// Waits until the incident has ended, and says how.
    pub(crate) fn wait_ended(&self, within: Duration) -> Result<Outcome> {
        self.engine.until(within, "the incident to end", || Ok(outcome(&self.journal()?, HOST)))
    }

    /// Whether all servers run elsewhere and nothing is done to them.
    pub(crate) fn check_moved(&self) -> Result<()> {
        let there = self.cloud.servers()?;
        let well = |id: &String| {
            there.iter().any(|server| {
                server.id == *id && server.status == "ACTIVE" && server.host != HOST && server.task.is_none()
            })
        };
        let open: Vec<_> = self.servers.iter().filter(|id| !well(id)).collect();
        let Some(one) = open.first() else { return Ok(()) };
        let state = there.iter().find(|server| server.id == **one);
        fail(format!("{} do not run elsewhere, as {state:?}", open.len()))
    }

    /// The calls of Nova's API since the host was fenced.
    pub(crate) fn calls(&self) -> Result<Vec<Call>> {
        self.cloud.calls(&self.mark)
    }

    /// Every server was requested, and accepted, once.
    pub(crate) fn check_once(&self) -> Result<()> {
        each_once(&calls::accepted(&self.calls()?), self.servers.len())
    }

    /// Waits until so many evacuations were asked for.
    pub(crate) fn wait_requests(&self, count: usize) -> Result<()> {
        self.engine.until(secs(60), "requests", || {
            Ok((calls::evacuations(&self.calls()?).len() >= count).then_some(()))
        })
    }

    /// Waits until so many servers have left the host.
    pub(crate) fn wait_left(&self, count: usize) -> Result<()> {
        self.engine.until(secs(120), "the first servers to have moved", || {
            let done = self.cloud.evacuations(HOST)?.iter().filter(|one| one.status == "done").count();
            Ok((done >= count).then_some(()))
        })
    }

    /// What the engine has written down since it was started.
    pub(crate) fn journal(&self) -> Result<Vec<Entry>> {
        self.ours.journal()
    }

    /// When what happened, by the journal and by Nova's log of calls.
    pub(crate) fn times(&self) -> Result<Times> {
        let journal = self.journal()?;
        let first = |what: &str, wanted: fn(&Event) -> bool| {
            let found = journal.iter().find(|entry| wanted(&entry.event));
            found.map(|entry| entry.at).context(format!("the journal does not have it: {what}"))
        };
        let last = journal.iter().rev().find(|entry| matches!(entry.event, Event::Done { .. }));
        let request = calls::evacuations(&self.calls()?).into_iter().next().context("no request")?;
        let times = Times {
            proven: first("the proof", |event| matches!(event, Event::Proved { .. }))?.since(self.began),
            told: first("the force-down", |event| matches!(event, Event::ForcedDown { .. }))?
                .since(self.began),
            fenced: self.fenced.since(self.began),
            requested: Stamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(request.at))
                .since(self.began),
            moved: last.context("no server is done")?.at.since(self.began),
        };
        Ok(times)
    }
}

/// Moments of an incident, from the start of the fence agent on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The host is proven off.
    pub(crate) proven: Duration,
    /// Nova knows that it is down. The request for the evacuation follows.
    pub(crate) told: Duration,
    /// The agent has ended.
    pub(crate) fenced: Duration,
    /// Nova got the first request to evacuate a server.
    pub(crate) requested: Duration,
    /// The last server runs elsewhere.
    pub(crate) moved: Duration,
}

/// A controller that switches the hosts by their boards.
pub(crate) fn controller(cloud: &Cloud, name: &str) -> Result<Ours> {
    let ours = Ours::new(cloud, name)?;
    ours.use_boards(cloud)?;
    Ok(ours)
}

/// Fences a host.
pub(crate) fn fence(ours: &Ours, host: &str) -> Result<()> {
    let output = ours.fence_nova("off", host, "")?;
    if output.code() == 0 { Ok(()) } else { fail(format!("fence_nova: {}", output.stderr)) }
}

/// How a host's last incident has ended, if it has.
pub(crate) fn outcome(journal: &[Entry], host: &str) -> Option<Outcome> {
    let taken_up =
        |entry: &&Entry| matches!(&entry.event, Event::TakenUp { host: taken, .. } if taken.as_str() == host);
    let last = journal.iter().rev().find(taken_up)?.incident;
    journal.iter().rev().find_map(|entry| match entry.event {
        Event::Ended { outcome, .. } if entry.incident == last => Some(outcome),
        _ => None,
    })
}

/// Has their owner stop servers.
pub(crate) fn stop(cloud: &Cloud, servers: &[String]) -> Result<()> {
    for id in servers {
        cloud.act(id, &json!({"os-stop": null}), "2.1")?.ok()?;
    }
    wait::until(secs(60), "the servers to be stopped", || {
        let states: Vec<_> = servers.iter().map(|id| cloud.server(id)).collect::<Result<_>>()?;
        Ok(states.iter().all(|one| one.status == "SHUTOFF" && one.task.is_none()).then_some(()))
    })
}

/// They are stopped, and elsewhere.
pub(crate) fn check_stopped(cloud: &Cloud, servers: &[String]) -> Result<()> {
    servers.iter().try_for_each(|id| {
        let server = cloud.server(id)?;
        let well = server.status == "SHUTOFF" && server.host != HOST && server.task.is_none();
        if well { Ok(()) } else { fail(format!("its owner had stopped it: {server:?}")) }
    })
}

/// So many servers were asked for, each once.
pub(crate) fn each_once(accepted: &BTreeMap<String, usize>, servers: usize) -> Result<()> {
    let twice: Vec<_> = accepted.iter().filter(|(_, count)| **count != 1).collect();
    if accepted.len() == servers && twice.is_empty() {
        return Ok(());
    }
    fail(format!("{} of {servers} servers were requested, these not once: {twice:?}", accepted.len()))
}

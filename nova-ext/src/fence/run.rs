//! The agent at work: what [`decide`](super::decide) says is done here.

mod note;

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::cloud::{mark, settings};
use super::decide::{Act, End, Fencing, Input, Unfencing, Way, Ways};
use super::keep::{self, Keep};
use super::say::Say;
use super::silence::Silence;
use super::told::{Record, Told};
use super::{Action, device, earlier, host};
use crate::cloud::Cloud;
use crate::config::{Config, NameError, Names};
use crate::disk::on_disk;
use crate::engine::journal::Event;
use crate::handover::{
    AttributeError, Attributes, EVACUATE, Evacuate, POWER, PROOF, Queue, Request, Value, is_evacuated,
    on_since, power_wish,
};
use crate::hooks::{Hooks, Occasion, Point, must_failed};
use crate::ids::{HostName, IncidentId, NodeName};
use crate::power::evidence::{kdump_message, run_by_fencer};
use crate::power::{self, Device, Map};
use crate::proof::FenceProof;
use crate::proof::kdump::Senders;
use crate::stamp::Stamp;
use note::Note;

/// What a call has around it.
pub(super) struct Scene {
    pub(super) told: Told,
    pub(super) config: Config,
    pub(super) names: Names,
    pub(super) map: Option<Map>,
}

impl Scene {
    /// The hosts of the map.
    pub(super) fn hosts_in_map(&self) -> Vec<HostName> {
        self.map.iter().flat_map(Map::hosts).map(|(host, _)| host.clone()).collect()
    }

    /// Logs in to the cloud.
    pub(super) async fn connect(&self) -> Result<Cloud, String> {
        let settings = settings(&self.told, &self.config).await.map_err(|error| error.to_string())?;
        let connected = timeout(self.told.nova_timeout, Cloud::connect(&settings)).await;
        connected
            .map_err(|_| "Keystone and Nova do not answer in time".to_owned())?
            .map_err(|error| error.to_string())
    }

    /// The host that the call is about, as Nova calls it: what is asked for under another name, nobody finds. Nova itself
    /// is asked if nothing that it has said tells, and the map if it does not answer.
    pub(super) async fn host(&self, plug: &str, say: &mut Say) -> Result<HostName, String> {
        let found = host::offline(&self.told, plug, &self.config, &self.names);
        if let Some(host) = found.map_err(|error| error.to_string())? {
            return Ok(host);
        }
        let within = self.told.nova_timeout / 2;
        let asked = timeout(within, async {
            let cloud = self.connect().await?;
            host::live(&cloud, &self.config, within).await
        });
        let asked = asked.await.unwrap_or_else(|_| Err("Nova does not answer in time".into()));
        let in_map = host::among(&self.told, plug, &self.names, &self.hosts_in_map());
        let why = match asked {
            Ok(known) => match (self.names.resolve(plug, self.told.domain.as_deref(), &known), in_map) {
                // Fenced all the same, though there is nothing to tell Nova of.
                (Err(NameError::Unknown(_)), Ok(Some(host))) => return Ok(host),
                (resolved, _) => return resolved.map_err(|error| error.to_string()),
            },
            Err(why) => why,
        };
        let host = in_map.map_err(|error| error.to_string())?.or_else(|| host::assumed(&self.told, plug));
        let host = host.ok_or_else(|| format!("{plug:?} cannot be a host"))?;
        say.warning(format!("Nova cannot be asked how it calls {plug}, taking {host}: {why}"));
        Ok(host)
    }
}

/// Fences or unfences.
pub(super) async fn act(scene: Scene, say: &mut Say) -> Result<(), ()> {
    let began = Instant::now();
    let seen = Stamp::now();
    sleep(scene.told.delay).await;
    let plug = scene.told.plug.clone().unwrap_or_default();
    let fail = |say: &mut Say, why: String| say.error(format!("{plug}: {why}"));
    let host = scene.host(&plug, say).await.map_err(|why| fail(say, why))?;
    let device = device::device(&scene.told, scene.map.as_ref(), &scene.names, &host);
    let device = device.map_err(|error| fail(say, error.to_string()))?;
    let node =
        scene.told.node.clone().or_else(|| scene.names.node(&host).cloned()).or_else(|| plug.parse().ok());
    let node = node.ok_or_else(|| fail(say, "it cannot be a node".into()))?;
    // What finding the host took is taken from Nova's time.
    let spent = began.elapsed().saturating_sub(scene.told.delay);
    let nova_within = scene.told.nova_timeout.saturating_sub(spent).max(Duration::from_secs(1));
    let mut work = Work::new(scene, host, node, device, seen);
    let end = work.run(nova_within, say).await;
    match end {
        End::Done { said, left } => {
            for line in left {
                say.warning(format!("{plug}: {line}"));
            }
            say.info(format!("{plug}: {said} ({:.3} s)", began.elapsed().as_secs_f64()));
            Ok(())
        }
        End::Failed(why) => {
            fail(say, why);
            Err(())
        }
    }
}

struct Work {
    scene: Scene,
    host: HostName,
    node: NodeName,
    device: Option<Box<dyn Device>>,
    /// From where the host's crash kernel may speak.
    senders: Senders,
    queue: Queue,
    attributes: Attributes,
    incident: IncidentId,
    at: Stamp,
    keep: Keep,
    /// The proof as a signed line.
    proof: Option<String>,
    /// Whether it is in the ledger.
    in_ledger: bool,
    /// When the proof was ended.
    ended: Option<Stamp>,
    /// Whether the other controllers know that.
    on_told: bool,
    /// What is asked of them.
    asks: Evacuate,
    /// Whether the engine is to switch the host on in the end.
    power_on: bool,
    story: Vec<Event>,
    stamps: Vec<Stamp>,
    /// Logging in while the power goes off.
    cloud: Option<JoinHandle<Result<Cloud, String>>>,
    /// Whether the host is silent, if its watchdog may have to show that it is off.
    silence: Option<Silence>,
}

impl Work {
    fn new(scene: Scene, host: HostName, node: NodeName, found: Option<device::Found>, at: Stamp) -> Self {
        let named = found.as_ref().zip(scene.map.as_ref());
        let senders = named.map(|(found, map)| map.kdump_senders(&found.name, &host)).unwrap_or_default();
        let queue = Queue::new(scene.config.files.queue());
        let keep = Keep::new(&scene.config);
        Self {
            keep,
            scene,
            host,
            node,
            device: found.map(|found| found.device),
            senders,
            queue,
            attributes: Attributes::new(Duration::from_secs(3)),
            incident: IncidentId::new_random(),
            at,
            proof: None,
            in_ledger: false,
            ended: None,
            on_told: false,
            asks: Evacuate::Wanted,
            power_on: false,
            story: Vec::new(),
            stamps: Vec::new(),
            cloud: None,
            silence: None,
        }
    }

    async fn run(&mut self, nova_within: Duration, say: &mut Say) -> End {
        let told = &self.scene.told;
        let (action, record, power) = (told.action, told.record, told.power_timeout);
        let began = Instant::now();
        if action == Action::On {
            let outlives = self.scene.config.fence.reboot_counts;
            let mut unfencing = Unfencing::new(self.device.is_some(), outlives, record, power);
            let mut act = unfencing.handle(Input::Begin);
            loop {
                say.info(format!("{}: {act:?}", self.host));
                act = match act {
                    Act::End(end) => return end,
                    act => unfencing.handle(self.carry_out(act, None, say).await),
                };
            }
        }
        if let Some(why) = self.keep.problem() {
            say.warning(format!("other controllers cannot check the proof: {why}"));
        }
        self.tell(Event::Detected { host: self.host.clone(), seen: self.at, by: "Pacemaker".into() });
        let reboot = action == Action::Reboot && self.device.is_some();
        let mut fencing = Fencing::new(self.ways(power, say), record, reboot, nova_within);
        if record != Record::Nothing {
            self.begin_to_connect();
        }
        let mut act = fencing.handle(Input::Begin, began.elapsed());
        loop {
            say.info(format!("{}: {act:?}", self.host));
            act = match act {
                Act::End(end) => return end,
                act => {
                    let proof = fencing.proof().cloned();
                    let input = self.carry_out(act, proof.as_ref(), say).await;
                    if let Input::Proven(proof) = &input {
                        // Other controllers see the proof alone.
                        self.incident = IncidentId::of(proof.id());
                        self.tell(Event::proved(proof));
                        self.proof = Some(self.keep.line(proof));
                    }
                    fencing.handle(input, began.elapsed())
                }
            };
        }
    }

    /// How it may be shown that the host is off.
    fn ways(&mut self, within: Duration, say: &mut Say) -> Ways {
        let fence = self.scene.config.fence.clone();
        if self.device.is_some() {
            let listens = self.senders.has(&self.host);
            let message =
                if listens { Duration::from_secs(fence.kdump_wait_seconds) } else { Duration::ZERO };
            let (ways, warning) = Ways::own(within, message);
            if let Some(why) = warning {
                say.warning(format!("{}: {why}", self.host));
            }
            return ways;
        }
        // Run by hand, it says nothing of when the cluster has lost the host.
        let watchdog = fence.watchdog.filter(|_| run_by_fencer());
        let ways = Ways::others(within, watchdog.and_then(|watchdog| watchdog.due().ok()));
        if let Some(watchdog) = watchdog.filter(|_| ways.awaits_watchdog()) {
            let Scene { told, config, .. } = &self.scene;
            self.silence = Some(Silence::begin(watchdog, &self.host, &self.node, told, config));
        }
        ways
    }

    fn tell(&mut self, event: Event) {
        self.story.push(event);
        self.stamps.push(Stamp::now());
    }

    fn begin_to_connect(&mut self) {
        let (told, config) = (self.scene.told.clone(), self.scene.config.clone());
        self.cloud = Some(tokio::spawn(async move {
            let settings = settings(&told, &config).await.map_err(|error| error.to_string())?;
            Cloud::connect(&settings).await.map_err(|error| error.to_string())
        }));
    }

    async fn carry_out(&mut self, act: Act, proof: Option<&FenceProof>, say: &mut Say) -> Input {
        match act {
            Act::Prove(way, within) => self.prove(way, within, say).await,
            Act::Look(within) => Input::Looked(self.is_being_evacuated(within).await),
            Act::PowerOn(within) => self.power_on(within, say).await,
            Act::EndProof(within) => Input::ProofEnded(self.end_proof(within, say).await),
            Act::Hooks(point, within) => Input::HooksDone(self.hooks(point, within, say).await),
            Act::Mark(within) => Input::Marked(self.mark(within, proof).await),
            Act::Note { open, working, power_on, within } => {
                self.note(Note { open, working, power_on, within }, proof, say).await
            }
            Act::Announce(within) => Input::Announced(self.announce(within).await),
            // The caller's.
            Act::End(_) => Input::Begin,
        }
    }

    async fn prove(&mut self, way: Way, within: Duration, say: &mut Say) -> Input {
        let proven = match (way, self.device.as_deref_mut()) {
            (Way::Message, _) => {
                let heard =
                    kdump_message(&self.senders, &self.host, within).await.map_err(|error| error.to_string());
                heard.map(|proof| (proof, None)).inspect_err(|why| {
                    say.warning(format!(
                        "{}: no word of its crash kernel, so its power is switched off: {why}",
                        self.host
                    ));
                })
            }
            (Way::Own, Some(device)) => power::confirm_off(device, &self.host, within)
                .await
                .map(|proof| (proof, None))
                .map_err(|error| error.to_string()),
            (Way::Watchdog, _) => match self.silence.take() {
                Some(silence) => silence.proof(&self.host, within).await.map(|proof| (proof, None)),
                None => Err("its watchdog is not waited for".into()),
            },
            _ => earlier::prove(&self.node, &self.host, within).await,
        };
        let (proof, on_again) = match proven {
            Ok(proven) => proven,
            Err(why) => return Input::NotProven(why),
        };
        if let Some(device) = on_again.filter(|_| !self.scene.config.fence.reboot_counts) {
            say.warning(format!(
                "{}: the cluster reboots (stonith-action): if that is what it does now, {device} switches the host on \
                 again, and its evacuation ends before it began. Set stonith-action=off, or pcmk_reboot_action=off for \
                 {device}",
                self.host
            ));
        }
        Input::Proven(proof)
    }

    async fn power_on(&mut self, within: Duration, say: &mut Say) -> Input {
        let until = Instant::now() + within;
        let Some(device) = self.device.as_deref_mut() else { return Input::On };
        let mut why = String::new();
        for _ in 0..self.scene.told.on_tries {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match power::confirm_on(device, left).await {
                Ok(_) => return Input::On,
                Err(error) => {
                    why = error.to_string();
                    say.warning(&why);
                    if error.retry() == power::Retry::Never {
                        break;
                    }
                }
            }
        }
        Input::NotOn(why)
    }

    /// Whether somebody wants, or does, an evacuation of the host. Not to know it is no answer: it may be under way.
    async fn is_being_evacuated(&self, within: Duration) -> Result<bool, String> {
        let attributes = Attributes::new(within);
        let (values, proofs, queued) =
            tokio::join!(attributes.values(EVACUATE), attributes.values(PROOF), self.queued(within));
        let said = |read: Result<Vec<Value>, AttributeError>| match read {
            // Then nobody else evacuates.
            Err(error) if error.is_no_cluster() => Ok(Vec::new()),
            read => read.map_err(|error| error.to_string()),
        };
        let (values, proofs) = (said(values)?, said(proofs)?);
        let queued = queued.map_err(|why| format!("the queue of requests cannot be read: {why}"))?;
        Ok(is_evacuated((&self.host, &self.node), &values, &proofs, &queued))
    }

    /// Here, and for the engine of another controller: it must not go on by a proof while the power comes.
    async fn end_proof(&mut self, within: Duration, say: &mut Say) -> Result<(), String> {
        let now = Stamp::now();
        self.ended = Some(now);
        let (ledger, host) = (self.keep.ledger(), self.host.clone());
        let (attributes, word) = (Attributes::new(within), on_since(now));
        let (ended, told) = tokio::join!(
            on_disk(within, move || keep::end(&ledger, &host)),
            attributes.set(PROOF, &self.node, &word)
        );
        match told {
            Err(error) if !error.is_no_cluster() => {
                say.warning(format!(
                    "the other controllers do not know yet that the host is to be on: {error}"
                ));
            }
            _ => self.on_told = true,
        }
        ended
    }

    async fn hooks(&mut self, point: Point, within: Duration, say: &mut Say) -> Result<(), String> {
        let hooks = Hooks::new(&self.scene.config.hooks.folder, self.scene.config.hooks.limit);
        let occasion = Occasion {
            point,
            incident: self.incident,
            host: self.host.clone(),
            node: Some(self.node.clone()),
            server: None,
            outcome: None,
            destination: None,
        };
        let ran = match hooks.run(&occasion, within).await {
            Ok(ran) => ran,
            Err(error) => {
                // Not to be run is not to have failed.
                say.warning(error);
                return Ok(());
            }
        };
        for one in &ran {
            if one.outcome != crate::hooks::Outcome::Ok {
                say.warning(one);
            }
            self.tell(Event::Hook {
                hook: one.hook.clone(),
                point: point.to_string(),
                server: None,
                outcome: one.outcome.word().into(),
                took_ms: u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX),
                must: one.must,
            });
        }
        must_failed(&ran).map_or(Ok(()), |ran| Err(ran.to_string()))
    }

    /// Only with a proof.
    async fn mark(&mut self, within: Duration, proof: Option<&FenceProof>) -> Result<(), String> {
        let until = Instant::now() + within;
        let Some(proof) = proof else { return Err("nothing proves that the host is off".into()) };
        let reason = self.keep.line(proof);
        self.tell(Event::ForcingDown { host: self.host.clone() });
        let cloud = self.connected(within).await?;
        let left = until.saturating_duration_since(Instant::now());
        let marked = timeout(left, mark(&cloud.within(left), &self.host, &reason)).await;
        let marked = marked
            .map_err(|_| "Nova does not answer in time".to_owned())?
            .map_err(|error| error.to_string())?;
        let host = self.host.clone();
        self.tell(Event::ForcedDown {
            host: host.clone(),
            service: marked.service.id,
            already: marked.already,
            request_id: None,
        });
        if marked.disabled {
            self.tell(Event::Disabled { host, reason });
        }
        Ok(())
    }

    /// The log-in that began with the fencing; once more if that one has failed.
    async fn connected(&mut self, within: Duration) -> Result<Cloud, String> {
        let until = Instant::now() + within;
        let mut late = "Keystone and Nova do not answer in time".to_owned();
        if let Some(handle) = self.cloud.take() {
            match timeout(within, handle).await {
                Ok(Ok(Ok(cloud))) => return Ok(cloud),
                Ok(Ok(Err(why))) => late = why,
                Ok(Err(error)) => late = error.to_string(),
                Err(_) => return Err(late),
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        timeout(left, self.scene.connect()).await.map_err(|_| late)?
    }

    async fn queued(&self, within: Duration) -> Result<Vec<Request>, String> {
        let queue = self.queue.clone();
        let list = move || queue.list().map(|queued| queued.requests).map_err(|error| error.to_string());
        on_disk(within, list).await
    }

    async fn announce(&self, within: Duration) -> Result<(), String> {
        let told = async {
            match self.scene.told.action {
                Action::On => self.announce_return().await,
                _ => self.announce_fenced().await,
            }
        };
        match timeout(within, told).await {
            Ok(told) => told.map_err(|error| error.to_string()),
            Err(_) => Err("the cluster does not answer in time".into()),
        }
    }

    async fn announce_return(&self) -> Result<(), AttributeError> {
        let (attributes, node) = (&self.attributes, &self.node);
        let values = match attributes.values(EVACUATE).await {
            Err(error) if error.is_no_cluster() => return Ok(()),
            values => values?,
        };
        // What is over is cleared, so that nobody waits for it; what is under way stays.
        let over =
            |value: &Value| value.node == node.as_str() && Evacuate::parse(&value.value) == Evacuate::Over;
        if values.iter().any(over) {
            attributes.remove(EVACUATE, node).await?;
        }
        if let Some(since) = self.ended.filter(|_| !self.on_told) {
            attributes.set(PROOF, node, &on_since(since)).await?;
        }
        if self.power_on {
            attributes.set(POWER, node, power_wish(true)).await?;
        }
        Ok(())
    }

    async fn announce_fenced(&self) -> Result<(), AttributeError> {
        let (attributes, node) = (&self.attributes, &self.node);
        // The request last: whoever sees it has the others.
        attributes.set(PROOF, node, self.proof.as_deref().unwrap_or_default()).await?;
        attributes.set(POWER, node, power_wish(self.power_on)).await?;
        attributes.set(EVACUATE, node, &self.asks.value()).await
    }
}

/// This controller's name.
pub(super) fn this_node() -> String {
    nix::unistd::gethostname().map_or_else(|_| "?".into(), |name| name.to_string_lossy().into_owned())
}

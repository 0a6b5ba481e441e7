//! Carries out what the engine decides: calls with deadlines, the journal before anything it announces, and the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, error, info, warn};

use super::core::{Engine, Settings};
use super::journal::{Entry, Event, Journal, JournalError, Outcome};
use super::metrics::Counters;
use super::nova::{Compute, Seen};
pub use super::orders::{Order, Status};
use super::resume::past;
use super::values::{Action, Answer, Fate, Input, Now, Point, PostFailed, Read, Trouble};
use crate::ids::{HostName, IncidentId, ServerId};
use crate::proof::FenceProof;
use crate::stamp::Stamp;

/// For one call. The client's own deadlines are shorter: this one is for whatever they forget.
const CALL: Duration = Duration::from_secs(90);
/// For what reads many pages.
const LIST: Duration = Duration::from_secs(300);
/// For a look for a proof.
const PROOF: Duration = Duration::from_secs(60);
/// For the hooks of one point.
const HOOKS: Duration = Duration::from_secs(600);
/// For the disk.
const DISK: Duration = Duration::from_secs(30);
/// Between refreshed status documents.
const STATUS: Duration = Duration::from_millis(500);
/// For answers that are on their way when it is to end.
const LAST: Duration = Duration::from_secs(10);
/// Hooks that nobody waits for, at a time.
const HOOKS_AT_ONCE: usize = 8;

/// Where proofs are looked for: a ledger, or the power device itself.
pub trait Proofs: Send + Sync + 'static {
    /// The proof that holds for a host now. None: it is on, or was powered on since. An error: it cannot be told.
    fn current(&self, host: &HostName) -> impl Future<Output = Read<Option<FenceProof>>> + Send;
}

/// What a hook is about.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// The incident.
    pub incident: IncidentId,
    /// The host.
    pub host: HostName,
    /// At which point.
    pub point: Point,
    /// For which server, and where it is now.
    pub server: Option<(ServerId, Option<HostName>)>,
    /// How the incident ended, at its end.
    pub outcome: Option<Outcome>,
}

/// What runs the operator's hooks.
pub trait Hooks: Send + Sync + 'static {
    /// Runs the hooks of an occasion: what is to be written down, and why the engine must not go on, if so.
    fn run(&self, occasion: Occasion) -> impl Future<Output = (Vec<Event>, Option<String>)> + Send;
}

/// No hooks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    async fn run(&self, _: Occasion) -> (Vec<Event>, Option<String>) {
        (Vec::new(), None)
    }
}

/// Why an engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What is not written down must not be done.
    #[error("the journal cannot be written, so that nothing can be done: {0}")]
    Journal(#[from] JournalError),
    /// The disk hangs.
    #[error("the journal's disk has not answered for 30 s, so that nothing can be done")]
    Disk,
}

/// What a call brought.
enum Report {
    Input(Input),
    Rows(Input, HostName, Option<Seen>),
    Hooks(IncidentId, Vec<Event>, Option<Input>),
}

/// Runs an engine until its orders end, or it is to leave. What is under way then goes on in Nova, and is taken up by the
/// next one, from the journal or from what Nova says. Gives whether nothing that it has asked for was left unanswered: then
/// all of it is in Nova.
pub async fn run<C: Compute, P: Proofs, H: Hooks>(
    settings: Settings,
    journal: (Journal, Vec<Entry>),
    compute: C,
    (proofs, hooks): (P, H),
    mut orders: mpsc::Receiver<Order>,
    status: watch::Sender<Arc<Status>>,
) -> Result<bool, RunError> {
    let begun = Instant::now();
    let now = move || Now { mono: begun.elapsed(), wall: Stamp::now() };
    let (journal, entries) = journal;
    let unheard_for = Duration::from_secs(settings.policy.patience.unheard_seconds.into());
    let mut runner = Runner {
        engine: Engine::new(settings, now()),
        journal: Some(journal),
        compute: Arc::new(compute),
        proofs: Arc::new(proofs),
        hooks: Arc::new(hooks),
        hook_places: Arc::new(tokio::sync::Semaphore::new(HOOKS_AT_ONCE)),
        calls: JoinSet::new(),
        seen: BTreeMap::new(),
        waiting: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        counters: Counters::default(),
        frozen: false,
        posting: 0,
        unheard: None,
        unheard_for,
        tell: true,
        begun,
    };
    let past = past(&entries);
    drop(entries);
    let actions = runner.engine.resume(past, now());
    runner.carry_out(actions).await?;
    let mut told = Instant::now();
    loop {
        if told.elapsed() >= STATUS || runner.engine.is_idle() || std::mem::take(&mut runner.tell) {
            status.send_replace(Arc::new(runner.status()));
            told = Instant::now();
        }
        let deadline = runner.engine.next_deadline().map(|at| begun + at);
        let wake = deadline
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
            .min(told + STATUS.max(if runner.engine.is_idle() { Duration::from_secs(3600) } else { STATUS }));
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Leave) => {
                    runner.hear_out().await?;
                    break;
                }
                Some(order) => runner.order(order, now()).await?,
                None => break,
            },
            Some(report) = runner.calls.join_next() => match report {
                Ok(report) => runner.report(report, now()).await?,
                Err(failure) => error!("a call was lost: {failure}"),
            },
            () = sleep_until(wake) => {
                let actions = runner.engine.handle(Input::Tick, now());
                runner.carry_out(actions).await?;
            }
        }
    }
    Ok(runner.is_all_in_nova())
}

struct Runner<C, P, H> {
    engine: Engine,
    /// Away while the disk has it.
    journal: Option<Journal>,
    compute: Arc<C>,
    proofs: Arc<P>,
    hooks: Arc<H>,
    hook_places: Arc<tokio::sync::Semaphore>,
    calls: JoinSet<Report>,
    seen: BTreeMap<HostName, Seen>,
    waiting: BTreeMap<IncidentId, Vec<oneshot::Sender<Outcome>>>,
    outcomes: BTreeMap<IncidentId, Outcome>,
    counters: Counters,
    frozen: bool,
    /// Requests for evacuations that are not answered yet.
    posting: usize,
    /// When one was last given up without an answer.
    unheard: Option<Instant>,
    /// What was not answered may still come to something for so long.
    unheard_for: Duration,
    /// Something has changed that others must know at once.
    tell: bool,
    begun: Instant,
}

impl<C: Compute, P: Proofs, H: Hooks> Runner<C, P, H> {
    async fn order(&mut self, order: Order, now: Now) -> Result<(), RunError> {
        match order {
            Order::Request { request, story, taken, ended } => {
                let open = self.engine.incidents().any(|one| one.host == request.host);
                let (answer, actions) = self.engine.request(request, now);
                if matches!(answer, Answer::TakenUp(_)) && !open {
                    self.write(story).await?;
                }
                match answer {
                    Answer::TakenUp(id) | Answer::Already(id) => {
                        self.waiting.entry(id).or_default().push(ended);
                    }
                    // Whoever asks may have gone.
                    Answer::Ended(outcome) => drop(ended.send(outcome)),
                }
                self.carry_out(actions).await?;
                // Before anybody lets the host return.
                self.tell = true;
                let _ = taken.send(answer);
            }
            Order::Switches { frozen, maintenance, go_ahead, released } => {
                self.frozen = frozen.is_some();
                let mut notes = Vec::new();
                for (host, by) in &released {
                    if self.engine.quarantine().contains(host) {
                        let event = Event::Released { host: host.clone(), by: by.clone() };
                        notes.push(Entry::new(now.wall, IncidentId::new_random(), event));
                    }
                }
                self.write(notes).await?;
                let released = released.into_iter().map(|(host, _)| host).collect();
                let input = Input::Switches { frozen, maintenance, go_ahead, released };
                let actions = self.engine.handle(input, now);
                self.carry_out(actions).await?;
            }
            Order::PoweredOn { host, since } => {
                let actions = self.engine.handle(Input::PoweredOn { host, since }, now);
                self.carry_out(actions).await?;
            }
            Order::Failures { records, known } => {
                for (host, record) in records {
                    let actions = self.engine.handle(Input::Failures { host, record }, now);
                    self.carry_out(actions).await?;
                }
                self.tell = true;
                let _ = known.send(());
            }
            Order::Note { entry, written } => {
                self.write(vec![entry]).await?;
                let _ = written.send(());
            }
            Order::Heard { server } => {
                let actions = self.engine.handle(Input::Heard { server }, now);
                self.carry_out(actions).await?;
            }
            // The loop's.
            Order::Leave => {}
        }
        Ok(())
    }

    /// Counts an answer to a request for an evacuation.
    fn heard(&mut self, input: &Input) {
        let Input::Posted { result, .. } = input else { return };
        self.posting = self.posting.saturating_sub(1);
        if result.as_ref().is_err_and(|failed| failed.fate == Fate::Unheard) {
            self.unheard = Some(Instant::now());
        }
    }

    /// Whether Nova shows all that was asked for: nothing may still come of what was not answered.
    fn is_all_in_nova(&self) -> bool {
        self.posting == 0 && self.unheard.is_none_or(|at| at.elapsed() > self.unheard_for)
    }

    /// Hears the answers to requests that are on their way, and writes them down. Nothing more is begun.
    async fn hear_out(&mut self) -> Result<(), RunError> {
        let until = Instant::now() + LAST;
        while self.posting > 0 {
            let Ok(Some(report)) = timeout_at(until, self.calls.join_next()).await else { break };
            let Ok(Report::Input(input @ Input::Posted { .. })) = report else { continue };
            self.heard(&input);
            let now = Now { mono: self.begun.elapsed(), wall: Stamp::now() };
            let actions = self.engine.handle(input, now);
            let heard = actions.into_iter().filter_map(|action| match action {
                Action::Record(incident, event) if !announces(&event) => {
                    Some(Entry::new(now.wall, incident, event))
                }
                _ => None,
            });
            self.write(heard.collect()).await?;
        }
        Ok(())
    }

    async fn report(&mut self, report: Report, now: Now) -> Result<(), RunError> {
        let input = match report {
            Report::Input(input) => {
                self.heard(&input);
                input
            }
            Report::Rows(input, host, seen) => {
                if let Some(seen) = seen {
                    self.seen.insert(host, seen);
                }
                input
            }
            Report::Hooks(incident, events, input) => {
                self.write(events.into_iter().map(|event| Entry::new(now.wall, incident, event)).collect())
                    .await?;
                let Some(input) = input else { return Ok(()) };
                input
            }
        };
        let actions = self.engine.handle(input, now);
        self.carry_out(actions).await
    }

    /// Writes down what is to be written down, then does what is to be done.
    async fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), RunError> {
        let wall = Stamp::now();
        let mut entries = Vec::new();
        for action in &actions {
            if let Action::Record(incident, event) = action {
                entries.push(Entry::new(wall, *incident, event.clone()));
            }
        }
        let ended: Vec<(IncidentId, Outcome)> = entries
            .iter()
            .filter_map(|entry| match entry.event {
                Event::Ended { outcome, .. } => Some((entry.incident, outcome)),
                _ => None,
            })
            .collect();
        self.write(entries).await?;
        for (incident, outcome) in ended {
            for waiting in self.waiting.remove(&incident).unwrap_or_default() {
                let _ = waiting.send(outcome);
            }
            self.outcomes.insert(incident, outcome);
        }
        for action in actions {
            self.call(action);
        }
        if self.engine.is_idle() {
            self.seen.clear();
            self.outcomes.clear();
            self.rotate().await?;
        }
        Ok(())
    }

    async fn write(&mut self, entries: Vec<Entry>) -> Result<(), RunError> {
        if entries.is_empty() {
            return Ok(());
        }
        for entry in &entries {
            self.counters.count(&entry.event);
            log(entry);
        }
        self.disk(move |journal| journal.append(&entries)).await
    }

    async fn rotate(&mut self) -> Result<(), RunError> {
        if !self.journal.as_ref().is_some_and(Journal::is_large) {
            return Ok(());
        }
        let wall = Stamp::now();
        let carried = self.engine.quarantine().iter().map(|host| {
            let why = "carried over from an older journal".to_owned();
            Entry::new(wall, IncidentId::new_random(), Event::Quarantined { host: host.clone(), why })
        });
        let carried: Vec<Entry> = carried.collect();
        self.disk(move |journal| journal.rotate(&carried)).await
    }

    /// The disk may hang: the engine must not hang with it for ever.
    async fn disk(
        &mut self,
        work: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), RunError> {
        let Some(mut journal) = self.journal.take() else { return Err(RunError::Disk) };
        let work = tokio::task::spawn_blocking(move || {
            let done = work(&mut journal);
            (journal, done)
        });
        let Ok(Ok((journal, done))) = timeout(DISK, work).await else { return Err(RunError::Disk) };
        self.journal = Some(journal);
        Ok(done?)
    }

    fn call(&mut self, action: Action) {
        let compute = Arc::clone(&self.compute);
        let begun = self.begun.elapsed();
        match action {
            Action::Record(..) => {}
            Action::ReadService { incident, host } => self.spawn(async move {
                let read = within(CALL, compute.service(&host)).await;
                Report::Input(Input::Service { incident, read })
            }),
            Action::ForceDown { incident, service, reason } => self.spawn(async move {
                let read = within(CALL, compute.force_down(service, &reason)).await;
                Report::Input(Input::Service { incident, read })
            }),
            Action::TakeInventory { incident, host } => self.spawn(async move {
                let (read, seen) = match within(LIST, compute.inventory(&host)).await {
                    Ok((inventory, rows, seen)) => (Ok((inventory, rows)), Some(seen)),
                    Err(trouble) => (Err(trouble), None),
                };
                Report::Rows(Input::Inventory { incident, begun, read }, host, seen)
            }),
            Action::ReadRows { incident, host } => {
                let seen = self.seen.get(&host).copied().unwrap_or_default();
                self.spawn(async move {
                    let (read, seen) = match within(LIST, compute.rows(&host, seen)).await {
                        Ok((rows, seen)) => (Ok(rows), Some(seen)),
                        Err(trouble) => (Err(trouble), None),
                    };
                    Report::Rows(Input::Rows { incident, begun, read }, host, seen)
                });
            }
            Action::Post { incident, server, proof } => {
                self.posting = self.posting.saturating_add(1);
                self.spawn(async move {
                    let at = Instant::now();
                    let result = match timeout(CALL, compute.evacuate(server, &proof)).await {
                        Ok(result) => result,
                        // It was sent, as far as anybody knows.
                        Err(_) => Err(PostFailed {
                            fate: Fate::Unheard,
                            status: None,
                            why: "no answer in time".to_owned(),
                            request_id: None,
                        }),
                    };
                    Report::Input(Input::Posted { incident, server, took: at.elapsed(), result })
                });
            }
            Action::Look { incident, server, history } => self.spawn(async move {
                let read = within(CALL, compute.look(server, history)).await;
                Report::Input(Input::Looked { incident, server, read })
            }),
            Action::Reset { incident, server } => self.spawn(async move {
                let read = within(CALL, compute.reset(server)).await;
                Report::Input(Input::Told { incident, server, read })
            }),
            Action::Start { incident, server } => self.spawn(async move {
                let read = within(CALL, compute.start(server)).await;
                Report::Input(Input::Told { incident, server, read })
            }),
            Action::Stop { incident, server } => self.spawn(async move {
                let read = within(CALL, compute.stop(server)).await;
                Report::Input(Input::Told { incident, server, read })
            }),
            Action::ReadControl => self
                .spawn(async move { Report::Input(Input::Control(within(CALL, compute.control()).await)) }),
            Action::CheckProof { host } => {
                let proofs = Arc::clone(&self.proofs);
                self.spawn(async move {
                    let read = within(PROOF, proofs.current(&host)).await;
                    Report::Input(Input::Proof { host, begun, read })
                });
            }
            Action::Hook { incident, host, point, server } => {
                let outcome = self.outcomes.get(&incident).copied().filter(|_| point == Point::End);
                self.hook(Occasion { incident, host, point, server, outcome });
            }
        }
    }

    fn hook(&mut self, occasion: Occasion) {
        let hooks = Arc::clone(&self.hooks);
        let places = Arc::clone(&self.hook_places);
        self.spawn(async move {
            let (incident, point) = (occasion.incident, occasion.point);
            // What is waited for does not wait for what is not.
            let _place = if point.is_waited_for() { None } else { places.acquire().await.ok() };
            let (events, stop) = timeout(HOOKS, hooks.run(occasion)).await.unwrap_or_else(|_| {
                warn!(%incident, point = point.as_str(), "the hooks have not ended in time");
                (Vec::new(), None)
            });
            let input = point.is_waited_for().then_some(Input::Hooked { incident, point, stop });
            Report::Hooks(incident, events, input)
        });
    }

    fn spawn(&mut self, call: impl Future<Output = Report> + Send + 'static) {
        self.calls.spawn(call);
    }

    fn status(&self) -> Status {
        let (in_flight, limit) = self.engine.in_flight();
        Status {
            incidents: self.engine.incidents().collect(),
            in_flight,
            limit,
            quarantine: self.engine.quarantine().clone(),
            failures: self.engine.failures(Now { mono: self.begun.elapsed(), wall: Stamp::now() }),
            frozen: self.frozen,
            counters: self.counters.clone(),
        }
    }
}

/// Whether the journal says with it that something is about to be done.
fn announces(event: &Event) -> bool {
    matches!(
        event,
        Event::Posting { .. }
            | Event::Resetting { .. }
            | Event::Starting { .. }
            | Event::Stopping { .. }
            | Event::ForcingDown { .. }
    )
}

async fn within<T>(time: Duration, call: impl Future<Output = Read<T>>) -> Read<T> {
    timeout(time, call).await.unwrap_or_else(|_| {
        Err(Trouble { why: format!("no answer in {} s", time.as_secs()), hopeless: false, overload: true })
    })
}

fn log(entry: &Entry) {
    let incident = entry.incident;
    let server = entry.event.server().map(tracing::field::display);
    let host = entry.event.host().map(tracing::field::display);
    match &entry.event {
        Event::GaveUp { why, .. } => error!(%incident, server, "given up: {why}"),
        Event::Gate { gate, verdict, why } => warn!(%incident, %gate, ?verdict, "{why}"),
        Event::Failed { why, attempt, retry_ms, .. } => {
            warn!(%incident, server, attempt, retry_ms, "an evacuation failed: {why}");
        }
        Event::Unheard { why, attempt, .. } => warn!(%incident, server, attempt, "no answer: {why}"),
        Event::Refused { why, attempt, request_id, .. } => {
            warn!(%incident, server, attempt, request_id, "refused: {why}");
        }
        Event::WrittenOff { number, why, .. } => warn!(%incident, server, number, "written off: {why}"),
        Event::Slow { why, .. } => warn!(%incident, server, "{why}"),
        Event::Quarantined { why, .. } => warn!(%incident, host, "quarantine: {why}"),
        Event::Posted { attempt, request_id, took_ms, .. } => {
            info!(%incident, server, attempt, request_id, took_ms, "evacuation accepted");
        }
        Event::Ended { outcome, moved, failed, left_out } => {
            info!(%incident, %outcome, moved, failed, left_out, "the incident has ended");
        }
        event if event.server().is_some() => debug!(%incident, server, ?event),
        event => info!(%incident, host, ?event),
    }
}

#[cfg(test)]
mod tests;

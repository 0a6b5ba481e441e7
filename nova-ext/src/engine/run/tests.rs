//! The runner with a small cloud in memory and a real journal. The clock is the runtime's, and stands still while nothing
//! waits.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use super::*;
use crate::engine::flapping::Record;
use crate::engine::sim::{host, proof, server_id};
use crate::engine::values::{ControlPlane, Look, Request, Row, ServiceView};
use crate::ids::ServiceId;
use crate::plan::{Flavor, Inventory, Power, Server, VmState};
use crate::policy::{Mode, Policy};

/// That `c1` is off.
static PROOF: LazyLock<FenceProof> = LazyLock::new(|| proof("c1"));

#[derive(Default)]
struct Guests {
    here: Vec<ServerId>,
    rows: Vec<Row>,
    stopped: BTreeSet<ServerId>,
}

#[derive(Clone, Default)]
struct Small {
    guests: Arc<Mutex<Guests>>,
    down: Arc<AtomicBool>,
    posts: Arc<AtomicU32>,
    hangs: Arc<AtomicBool>,
    slow: Arc<AtomicBool>,
}

impl Small {
    fn with(servers: u64) -> Self {
        let small = Self::default();
        small.guests.lock().unwrap().here = (0..servers).map(server_id).collect();
        small
    }

    fn view(&self) -> (ServiceView, Option<String>) {
        let id: ServiceId = "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap();
        let forced_down = self.down.load(Ordering::SeqCst);
        (ServiceView { id, forced_down, enabled: !forced_down }, Some("req-1".into()))
    }
}

impl Compute for Small {
    async fn service(&self, _: &HostName) -> Read<(ServiceView, Option<String>)> {
        Ok(self.view())
    }

    async fn force_down(&self, _: ServiceId, reason: &str) -> Read<(ServiceView, Option<String>)> {
        assert!(reason.contains("ann confirms it"), "{reason}");
        self.down.store(true, Ordering::SeqCst);
        Ok(self.view())
    }

    async fn inventory(&self, host: &HostName) -> Read<(Inventory, Vec<Row>, Seen)> {
        let guests = self.guests.lock().unwrap();
        let servers = guests.here.iter().map(|id| Server {
            id: *id,
            name: "s".into(),
            project: "p".into(),
            host: Some(host.clone()),
            created: None,
            vm_state: VmState::Active,
            task_state: None,
            power: Power::Running,
            locked: false,
            image: None,
            flavor: Flavor::default(),
            metadata: BTreeMap::new(),
            tags: Vec::new(),
        });
        let inventory = Inventory {
            host: host.clone(),
            servers: servers.collect(),
            aggregates: Vec::new(),
            images: BTreeMap::new(),
            tried: BTreeSet::new(),
        };
        Ok((inventory, guests.rows.clone(), Seen::default()))
    }

    async fn rows(&self, _: &HostName, seen: Seen) -> Read<(Vec<Row>, Seen)> {
        Ok((self.guests.lock().unwrap().rows.clone(), seen))
    }

    async fn evacuate(&self, server: ServerId, proof: &FenceProof) -> Result<Option<String>, PostFailed> {
        assert_eq!(proof.host(), &host("c1"));
        self.posts.fetch_add(1, Ordering::SeqCst);
        {
            let mut guests = self.guests.lock().unwrap();
            let number = i64::try_from(guests.rows.len()).unwrap() + 1;
            let status = "done".to_owned();
            guests.rows.push(Row { number, id: None, server, status, destination: Some(host("d1")) });
            guests.here.retain(|one| *one != server);
            guests.stopped.insert(server);
        }
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Ok(Some("req-2".into()))
    }

    async fn look(&self, server: ServerId, _: bool) -> Read<Option<Look>> {
        let guests = self.guests.lock().unwrap();
        let there = !guests.here.contains(&server);
        let stopped = guests.stopped.contains(&server);
        Ok(Some(Look {
            host: Some(host(if there { "d1" } else { "c1" })),
            vm_state: if stopped { VmState::Stopped } else { VmState::Active },
            task_state: None,
            fault: None,
            was_stopped: Some(false),
        }))
    }

    async fn reset(&self, _: ServerId) -> Read<()> {
        Ok(())
    }

    async fn start(&self, server: ServerId) -> Read<()> {
        self.guests.lock().unwrap().stopped.remove(&server);
        Ok(())
    }

    async fn stop(&self, _: ServerId) -> Read<()> {
        panic!("nothing is to be stopped")
    }

    async fn control(&self) -> Read<ControlPlane> {
        Ok(ControlPlane { schedulers: 1, conductors: 1, computes: 9 })
    }
}

struct Off;

impl Proofs for Off {
    async fn current(&self, _: &HostName) -> Read<Option<FenceProof>> {
        Ok(Some(PROOF.clone()))
    }
}

fn settings() -> Settings {
    Settings { policy: Policy::of(Mode::All), to_stopped: true, controller: "ctl1".into() }
}

fn request(id: IncidentId) -> (Order, oneshot::Receiver<Answer>, oneshot::Receiver<Outcome>) {
    let (taken, is_taken) = oneshot::channel();
    let (ended, has_ended) = oneshot::channel();
    let request = Request { host: host("c1"), incident: id, proof: PROOF.clone(), by: "test".into() };
    let seen = Event::Detected { host: host("c1"), seen: Stamp::now(), by: "the cluster".into() };
    let story = vec![Entry::new(Stamp::now(), id, seen)];
    (Order::Request { request, story, taken, ended }, is_taken, has_ended)
}

#[tokio::test(start_paused = true)]
async fn from_request_to_end_with_everything_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let (orders, receiver) = mpsc::channel(8);
    let (status, watched) = watch::channel(Arc::new(Status::default()));
    let small = Small::with(20);
    let engine = tokio::spawn(run(settings(), journal, small.clone(), (Off, NoHooks), receiver, status));
    let id = IncidentId::new_random();
    let (order, taken, ended) = request(id);
    orders.send(order).await.unwrap();
    assert_eq!(taken.await, Ok(Answer::TakenUp(id)));
    assert_eq!(ended.await, Ok(Outcome::Complete));
    assert_eq!(small.posts.load(Ordering::SeqCst), 20);
    assert!(small.guests.lock().unwrap().stopped.is_empty(), "all were started");
    drop(orders);
    engine.await.unwrap().unwrap();
    assert!(super::super::metrics::text(&watched.borrow(), &[]).contains("nova_ha_incidents 0"));
    let entries = Journal::read(folder.path()).unwrap();
    assert!(matches!(entries[0].event, Event::Detected { .. }), "the story comes first");
    assert!(entries.iter().all(|entry| entry.incident == id));
    assert_eq!(entries.iter().filter(|entry| matches!(entry.event, Event::Done { .. })).count(), 20);
    assert!(matches!(
        entries.last().unwrap().event,
        Event::Ended { outcome: Outcome::Complete, moved: 20, .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn another_run_goes_on_where_the_first_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let small = Small::with(20);
    small.hangs.store(true, Ordering::SeqCst);
    let id = IncidentId::new_random();
    {
        let journal = Journal::open(folder.path()).unwrap();
        let (orders, receiver) = mpsc::channel(8);
        let (status, _watched) = watch::channel(Arc::new(Status::default()));
        let engine = tokio::spawn(run(settings(), journal, small.clone(), (Off, NoHooks), receiver, status));
        let (order, taken, _ended) = request(id);
        orders.send(order).await.unwrap();
        taken.await.unwrap();
        while small.posts.load(Ordering::SeqCst) < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        engine.abort();
        assert!(engine.await.unwrap_err().is_cancelled());
    }
    small.hangs.store(false, Ordering::SeqCst);
    // The blocking thread of the first run may hold the journal for a moment.
    let journal = loop {
        match Journal::open(folder.path()) {
            Ok(journal) => break journal,
            Err(JournalError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let (orders, receiver) = mpsc::channel(8);
    let (status, _watched) = watch::channel(Arc::new(Status::default()));
    let engine = tokio::spawn(run(settings(), journal, small.clone(), (Off, NoHooks), receiver, status));
    let (order, taken, ended) = request(id);
    orders.send(order).await.unwrap();
    assert_eq!(taken.await, Ok(Answer::Already(id)));
    assert_eq!(ended.await, Ok(Outcome::Complete));
    assert_eq!(small.posts.load(Ordering::SeqCst), 20, "nothing twice");
    drop(orders);
    engine.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_others_must_know_is_said_and_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let (orders, receiver) = mpsc::channel(8);
    let (status, mut watched) = watch::channel(Arc::new(Status::default()));
    let small = Small::with(20);
    small.hangs.store(true, Ordering::SeqCst);
    let engine = tokio::spawn(run(settings(), journal, small, (Off, NoHooks), receiver, status));
    let id = IncidentId::new_random();
    let begun = Instant::now();
    let (order, taken, _ended) = request(id);
    orders.send(order).await.unwrap();
    taken.await.unwrap();
    let open = |status: &Arc<Status>| status.incidents.iter().any(|one| one.incident == id);
    watched.wait_for(open).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(watched.borrow().failures[&host("c1")].failures.len(), 1);

    let (known, is_known) = oneshot::channel();
    let record = Record { quarantined: true, changed: Some(Stamp::now()), failures: Vec::new() };
    orders.send(Order::Failures { records: vec![(host("c9"), record)], known }).await.unwrap();
    is_known.await.unwrap();
    let (written, is_written) = oneshot::channel();
    let entry = Entry::new(Stamp::now(), id, Event::Returned { host: host("c9") });
    orders.send(Order::Note { entry: entry.clone(), written }).await.unwrap();
    is_written.await.unwrap();
    let entries = Journal::read(folder.path()).unwrap();
    assert!(entries.contains(&entry));
    let held =
        |entry: &Entry| matches!(&entry.event, Event::Quarantined { host: of, .. } if *of == host("c9"));
    assert!(entries.iter().any(held));
    assert!(watched.borrow().quarantine.contains(&host("c9")));
    engine.abort();
}

/// Leaves in the middle: whether all that was asked for is in Nova, and the journal.
async fn leaves(small: &Small) -> (bool, Vec<Entry>) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let (orders, receiver) = mpsc::channel(8);
    let (status, _watched) = watch::channel(Arc::new(Status::default()));
    let engine = tokio::spawn(run(settings(), journal, small.clone(), (Off, NoHooks), receiver, status));
    let (order, taken, ended) = request(IncidentId::new_random());
    orders.send(order).await.unwrap();
    taken.await.unwrap();
    while small.posts.load(Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    orders.send(Order::Leave).await.unwrap();
    let all_in_nova = engine.await.unwrap().unwrap();
    assert!(ended.await.is_err(), "it has not ended");
    (all_in_nova, Journal::read(folder.path()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_leaves_hears_what_was_asked_and_begins_nothing() {
    let small = Small::with(20);
    small.slow.store(true, Ordering::SeqCst);
    let (all_in_nova, entries) = leaves(&small).await;
    assert!(all_in_nova);
    let count = |wanted: fn(&Event) -> bool| entries.iter().filter(|entry| wanted(&entry.event)).count();
    let posts = usize::try_from(small.posts.load(Ordering::SeqCst)).unwrap();
    assert!((5..20).contains(&posts), "{posts}");
    assert_eq!(count(|event| matches!(event, Event::Posting { .. })), posts);
    assert_eq!(count(|event| matches!(event, Event::Posted { .. })), posts);

    let small = Small::with(20);
    small.hangs.store(true, Ordering::SeqCst);
    let (all_in_nova, _) = leaves(&small).await;
    assert!(!all_in_nova, "what was not answered may still come to something");
}

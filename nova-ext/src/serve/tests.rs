//! What the tests of the parts share: a state folder, and an engine that only listens.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::cloud::tests::fake::{Fake, Reply};
use crate::config::remember_hosts;
use crate::engine::Summary;
use crate::handover::{Marked, Request, Wish};
use crate::proof::FenceProof;
use crate::proof::ledger::Proofs;
use crate::proof::operator;

pub(super) fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

/// So many seconds after a time long ago.
pub(super) fn stamp(seconds: u64) -> Stamp {
    "2026-11-25T10:00:00Z".parse::<Stamp>().unwrap().after(Duration::from_secs(seconds))
}

pub(super) fn request(wish: Wish, name: &str, at: u64) -> Request {
    Request {
        id: IncidentId::new_random(),
        wish,
        at: stamp(at),
        by: "ann".into(),
        node: name.parse().unwrap(),
        host: host(name),
        proof: None,
        marked: Marked::Done,
        power_on: false,
        evacuates: wish == Wish::Evacuate,
        shared_storage: None,
        not_before: None,
        story: Vec::new(),
    }
}

pub(super) struct Bench {
    pub(super) shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    status: watch::Sender<Arc<Status>>,
    _folder: TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.files.state = folder.path().to_owned();
        let names = Names::new(&config.hosts).unwrap();
        remember_hosts(&config.files.known_hosts(), &[host("c1"), host("c2")]).unwrap();
        let key = folder.path().join("key");
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&key).unwrap();
        file.write_all(&[b'k'; 32]).unwrap();
        let signer = Signer::from_file(&key).unwrap();
        let (orders, ordered) = mpsc::channel(16);
        let (status, told) = watch::channel(Arc::new(Status::default()));
        let shared = Arc::new(Shared {
            config,
            names,
            map: None,
            signer: Some(signer),
            storage_in_common: false,
            stale: 90,
            failures_known: AtomicBool::new(true),
            orders,
            status: told,
        });
        Self { shared, orders: ordered, status, _folder: folder }
    }

    pub(super) fn prove(&self, name: &str, at: u64) {
        let mut proofs = Proofs::load(&self.shared.config.files.proofs()).unwrap();
        proofs.record(&proof(name, at)).unwrap();
    }

    /// Since when the host is proven off.
    pub(super) fn proven(&self, name: &str) -> Option<Stamp> {
        let proofs = Proofs::load(&self.shared.config.files.proofs()).unwrap();
        proofs.current(&host(name)).map(FenceProof::at)
    }

    /// The line of another controller's proof.
    pub(super) fn line(&self, name: &str, at: u64) -> String {
        self.shared.signer.as_ref().unwrap().sign(&proof(name, at))
    }

    pub(super) fn is_evacuating(&self, name: &str) {
        let summary = Summary {
            incident: IncidentId::new_random(),
            host: host(name),
            phase: "running".into(),
            held: None,
            servers: std::collections::BTreeMap::new(),
            left_out: 0,
        };
        self.status.send_replace(Arc::new(Status { incidents: vec![summary], ..Status::default() }));
    }

    pub(super) fn order(&mut self) -> Option<Order> {
        self.orders.try_recv().ok()
    }

    /// The next entry, and whom to tell that it is on disk.
    pub(super) async fn note(&mut self) -> (Entry, oneshot::Sender<()>) {
        match self.orders.recv().await {
            Some(Order::Note { entry, written }) => (entry, written),
            other => panic!("{other:?}"),
        }
    }
}

fn proof(name: &str, at: u64) -> FenceProof {
    operator::confirms(&host(name), "Ann", stamp(at)).unwrap()
}

/// A cloud with one compute, `c1`, that is forced down or not.
pub(super) async fn compute(forced_down: bool) -> (Fake, Cloud) {
    let service = json!({
        "id": "69fdce77-581d-44b8-813d-3e451870fb45", "binary": "nova-compute", "host": "c1", "zone": "nova",
        "status": if forced_down { "disabled" } else { "enabled" }, "state": "down", "forced_down": forced_down,
        "updated_at": "2026-11-25T10:00:00.000000", "disabled_reason": forced_down.then_some("nova-ha: off"),
    });
    let fake = Fake::new("2.104", move |seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/v2.1/os-services") => Some(Reply::Json(200, json!({"services": [service]}))),
        ("PUT", path) if path.starts_with("/v2.1/os-services/") => {
            let mut changed = service.clone();
            for (name, value) in seen.body.as_object().into_iter().flatten() {
                changed[name] = value.clone();
            }
            Some(Reply::Json(200, json!({"service": changed})))
        }
        _ => None,
    })
    .await;
    let cloud = Cloud::connect(&fake.settings()).await.unwrap();
    (fake, cloud)
}

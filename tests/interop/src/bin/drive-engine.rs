//! The engine of nova-ext, asked to move the servers of one host, as a process that can be killed:
//! `drive-engine CREDENTIALS POLICY STATE HOST`. It ends when the incident has.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nova_ext::cloud::{Cloud, Settings as Login, Source};
use nova_ext::engine::journal::Journal;
use nova_ext::engine::run::{NoHooks, Order, Proofs, Status, run};
use nova_ext::engine::{Read, Request, Settings};
use nova_ext::ids::{HostName, IncidentId};
use nova_ext::policy::Policy;
use nova_ext::proof::FenceProof;
use nova_ext::proof::operator::confirms;
use nova_ext::stamp::Stamp;
use pcmk_interop::error::Context;
use pcmk_interop::{Result, fail};
use tokio::sync::{mpsc, oneshot, watch};

/// How long a cloud that does not let it in is asked again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Somebody's word, for this host.
struct Word(FenceProof);

impl Proofs for Word {
    async fn current(&self, host: &HostName) -> Read<Option<FenceProof>> {
        Ok((self.0.host() == host).then(|| self.0.clone()))
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("a runtime").and_then(|runtime| runtime.block_on(drive())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn drive() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [credentials, policy, state, host] = words.as_slice() else {
        return fail("usage: drive-engine CREDENTIALS POLICY STATE HOST");
    };
    let host: HostName = host.parse().context("the host's name")?;
    let policy = Policy::parse(&std::fs::read_to_string(policy)?).context("the policy")?;
    let login = Login::load(&Source::File(credentials.into()), &env::vars().collect()).context("settings")?;
    let deadline = Instant::now() + PATIENCE;
    let cloud = loop {
        match Cloud::connect(&login).await {
            Ok(cloud) => break cloud,
            Err(error) if Instant::now() < deadline => eprintln!("again: {error}"),
            Err(error) => return fail(format!("connecting: {error}")),
        }
    };
    let (journal, entries) = Journal::open(Path::new(state)).context("the journal")?;
    let proof = confirms(&host, "Ann Lee", Stamp::now()).context("a proof")?;
    let (orders, inbox) = mpsc::channel(8);
    let (status, _) = watch::channel(Arc::new(Status::default()));
    let (taken, at_once) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    let request =
        Request { host, incident: IncidentId::new_random(), proof: proof.clone(), by: "the rig".to_owned() };
    let order = Order::Request { request, story: Vec::new(), taken, ended };
    orders.send(order).await.context("asking")?;
    let settings = Settings { policy, to_stopped: cloud.evacuates_stopped(), controller: "rig".to_owned() };
    let engine =
        tokio::spawn(run(settings, (journal, entries), cloud, (Word(proof), NoHooks), inbox, (status, None)));
    println!("{:?}", at_once.await.context("no answer")?);
    println!("{:?}", end.await.context("no end")?);
    drop(orders);
    engine.await.context("the engine")?.context("the engine")
}

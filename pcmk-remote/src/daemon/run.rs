//! The event loop: carries what happens to the executor and does what it decides.

use std::collections::HashMap;
use std::time::Duration;

use pcmk_proto::xml::WriteXml as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::config::Config;
use super::log::Logging;
use super::systemd::ServiceManager;
use super::{Fatal, node};
use crate::executor::watchdog::{self, Verdict};
use crate::executor::{Action, Executor, ExitReason, Input, Mono, Settings};
use crate::host::{Host, HostEvent, HostSettings};
use crate::ids::ClientId;
use crate::net::tls::KeyStore;
use crate::net::{self, NetEvent, Outbox, Server, ServerHandle, ServerOptions};

/// Requests that may wait for the executor; beyond that, peers wait.
const REQUESTS: usize = 64;
/// How long peers may take to hear that we close.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long running alerts hold up the end: the default timeout of an alert and five seconds.
const ALERTS: Duration = Duration::from_secs(35);

/// Serves until told to stop.
pub(super) async fn run(config: Config, logging: &Logging) -> Result<(), Fatal> {
    tracing::info!(target: "notice", "Starting Pacemaker remote executor");
    if let Err(error) = node::create_agent_state_dir() {
        warn!("Could not create /run/resource-agents: {error}");
    }
    let mut signals = Signals::install().map_err(Fatal::Runtime)?;
    // TLS must be ready before the port opens: a peer that is accepted and then fails does not try again.
    let keys = KeyStore::open(config.key_location.clone()).await?;
    let listener = bind(&config).await?;
    let manager = ServiceManager::from_env();
    let (net_events, mut from_net) = mpsc::channel(REQUESTS);
    let (host_events, mut from_host) = mpsc::unbounded_channel();
    let options = ServerOptions { user_timeout: config.tcp_user_timeout(), ..ServerOptions::default() };
    let server = Server::start(listener, keys, options, net_events);
    let host = Host::new(
        HostSettings { base_env: config.agent_env.clone(), ..HostSettings::default() },
        host_events,
    );
    let mut daemon = Daemon {
        executor: Executor::new(Settings {
            started: node::mono(),
            node_start_state: config.node_start_state.clone(),
            ..Settings::default()
        }),
        host,
        server,
        outboxes: HashMap::new(),
        manager,
        sbd_timeout_ms: config.sbd_timeout_ms,
        watchdog: mpsc::channel(1),
        exit: None,
    };
    daemon.manager.ready();
    tracing::info!(
        target: "notice",
        "Pacemaker remote executor successfully started and accepting connections"
    );

    while daemon.exit.is_none() {
        let deadline = daemon.executor.next_deadline();
        let input = tokio::select! {
            Some(event) = from_net.recv() => Some(daemon.net_event(event)),
            Some(event) = from_host.recv() => host_input(event),
            () = until(deadline) => Some(Input::Tick),
            Some(verdict) = daemon.watchdog.1.recv() => return Err(Fatal::Watchdog(verdict)),
            asked = signals.next() => match asked {
                Asked::Stop => Some(Input::Terminate),
                Asked::Record(on) => { logging.record(on); None }
                Asked::Dump => { logging.dump(); None }
            },
        };
        if let Some(input) = input {
            daemon.carry_out(input);
        }
    }
    daemon.say_goodbye(&mut from_net).await;
    Ok(())
}

/// The parts that decisions are carried out with.
struct Daemon {
    executor: Executor,
    host: Host,
    server: ServerHandle,
    outboxes: HashMap<ClientId, Outbox>,
    manager: ServiceManager,
    sbd_timeout_ms: u64,
    /// Where a check that ran aside reports that this node must not serve.
    watchdog: (mpsc::Sender<String>, mpsc::Receiver<String>),
    exit: Option<ExitReason>,
}

impl Daemon {
    fn net_event(&mut self, event: NetEvent) -> Input {
        match event {
            NetEvent::Connected { client, peer, outbox } => {
                self.outboxes.insert(client, outbox);
                self.manager.status(&format!("Connected to {peer}"));
                Input::Connected { client, token: node::uuid() }
            }
            NetEvent::Request { client, request } => Input::Request { client, request },
            NetEvent::Unreadable { client, msg_id } => Input::Unreadable { client, msg_id },
            NetEvent::Closed { client, reason } => {
                debug!("Connection {client} ended: {reason}");
                self.outboxes.remove(&client);
                if self.outboxes.is_empty() {
                    self.manager.status("Waiting for the cluster");
                }
                Input::Disconnected { client }
            }
        }
    }

    fn carry_out(&mut self, input: Input) {
        if matches!(input, Input::Terminate) {
            self.manager.stopping();
        }
        for action in self.executor.handle(input, node::now()) {
            match action {
                Action::Send { to, message } => {
                    let xml = message.to_xml();
                    if let Some((last, others)) = to.split_last() {
                        for client in others {
                            self.send(*client, xml.clone());
                        }
                        self.send(*last, xml);
                    }
                }
                Action::Start { op, call } => self.host.start(op, call),
                Action::Kill { op } => self.host.kill(op),
                Action::Alert(call) => self.host.alert(call),
                Action::CheckWatchdog { timeout } => self.check_watchdog(timeout),
                Action::StopListening => self.server.stop_listening(),
                Action::Exit(reason) => self.exit = Some(reason),
            }
        }
    }

    fn send(&self, client: ClientId, xml: String) {
        if let Some(outbox) = self.outboxes.get(&client) {
            outbox.send(xml);
        }
    }

    fn check_watchdog(&self, timeout: Option<String>) {
        if timeout.is_none() {
            return;
        }
        let (report, sbd_timeout_ms) = (self.watchdog.0.clone(), self.sbd_timeout_ms);
        tokio::task::spawn_blocking(move || {
            match watchdog::judge(timeout.as_deref(), node::sbd_is_running(), sbd_timeout_ms) {
                Verdict::Unused => {}
                Verdict::Met => debug!("This node's watchdog meets the cluster's timeout"),
                Verdict::Violated(reason) => {
                    let _ = report.try_send(reason);
                }
            }
        });
    }

    /// Closes connections in order and lets running alerts end, neither for long.
    async fn say_goodbye(&mut self, from_net: &mut mpsc::Receiver<NetEvent>) {
        match self.exit {
            Some(ExitReason::Drained) => info!("The cluster has stopped our resources and disconnected"),
            Some(ExitReason::Refused) => info!("The cluster leaves our resources running"),
            Some(ExitReason::NotConnected) | None => {}
        }
        self.server.stop_listening();
        for outbox in self.outboxes.values() {
            outbox.close();
        }
        let closed = async {
            while !self.outboxes.is_empty() {
                match from_net.recv().await {
                    Some(NetEvent::Closed { client, .. }) => drop(self.outboxes.remove(&client)),
                    Some(NetEvent::Connected { outbox, .. }) => outbox.close(),
                    Some(NetEvent::Request { .. } | NetEvent::Unreadable { .. }) => {}
                    None => break,
                }
            }
        };
        let _ = timeout(GOODBYE, closed).await;
        let alerts = async {
            while self.host.alerts_in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = timeout(ALERTS, alerts).await;
    }
}

async fn bind(config: &Config) -> Result<TcpListener, Fatal> {
    let listener = net::bind(config.address.as_deref(), config.port).await?;
    if let Ok(address) = listener.local_addr() {
        info!("Listening on {address}");
    }
    Ok(listener)
}

fn host_input(event: HostEvent) -> Option<Input> {
    match event {
        HostEvent::Spawned { op, pid } => Some(Input::Spawned { op, pid }),
        HostEvent::Finished { op, outcome } => Some(Input::Finished { op, outcome }),
        HostEvent::AlertFinished { .. } => None,
    }
}

async fn until(deadline: Option<Mono>) {
    match deadline {
        Some(at) => sleep_until(Instant::now() + Duration::from_millis(at.since(node::mono()))).await,
        None => std::future::pending().await,
    }
}

/// What a signal asks for.
enum Asked {
    Stop,
    Record(bool),
    Dump,
}

/// The signals that do not simply end the daemon. Those of the flight recorder have handlers from the
/// start: by default they would kill it.
struct Signals {
    terminate: Signal,
    record: Signal,
    forget: Signal,
    dump: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            record: signal(SignalKind::user_defined1())?,
            forget: signal(SignalKind::user_defined2())?,
            dump: signal(SignalKind::from_raw(libc::SIGTRAP))?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.record.recv() => Asked::Record(true),
            _ = self.forget.recv() => Asked::Record(false),
            _ = self.dump.recv() => Asked::Dump,
        }
    }
}

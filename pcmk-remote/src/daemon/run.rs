//! The event loop: carries what happens to the executor and does what it decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use libvirt_probe::agents::{Answer, Attributes, Wanted};
use pcmk_proto::lrmd::Message;
use pcmk_proto::xml::WriteXml as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::config::Config;
use super::links::Links;
use super::log::Logging;
use super::schemas::Schemas;
use super::status::{Question, Reporter, StatusServer};
use super::systemd::ServiceManager;
use super::tools::Tools;
use super::{Fatal, node, policy};
use crate::audit::Entry;
use crate::executor::watchdog::{self, Verdict};
use crate::executor::{Action, Executor, ExitReason, Input, Mono, Settings};
use crate::host::{Host, HostEvent, HostSettings};
use crate::ids::ClientId;
use crate::ipc::{IpcServer, MOST_DESCRIPTORS};
use crate::net::tls::Credentials;
use crate::net::{self, NetEvent, Peer, Server, ServerHandle, ServerOptions};
use crate::policy::Policy;
use crate::status::Watchdog;
use crate::sys::DescriptorLimit;

/// Requests that may wait for the executor; beyond that, peers wait.
const REQUESTS: usize = 64;
/// How often is looked whether a cluster node that read too slowly has caught up.
const ROOM_CHECK: Duration = Duration::from_millis(20);
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
    // Every local tool takes several, and the usual limit of 1024 is for programs with few files.
    let programs = DescriptorLimit::raise(MOST_DESCRIPTORS).unwrap_or_else(|error| {
        warn!("Could not raise the limit of open files: {error}");
        None
    });
    let mut signals = Signals::install().map_err(Fatal::Runtime)?;
    let (ipc_events, mut from_ipc) = mpsc::channel(REQUESTS);
    let ipc = IpcServer::start(config.ipc.clone(), ipc_events)?;
    // TLS must be ready before the port opens: a peer that is accepted and then fails does not try again.
    let mut policy = policy::start(&config).await?;
    let credentials = Credentials::open(config.credentials.clone()).await?;
    let listener = bind(&config).await?;
    let manager = ServiceManager::from_env();
    let (net_events, mut from_net) = mpsc::channel(REQUESTS);
    let (host_events, mut from_host) = mpsc::unbounded_channel();
    let options = ServerOptions {
        user_timeout: config.tcp_user_timeout(),
        policy: policy.clone(),
        ..ServerOptions::default()
    };
    let mut status = StatusServer::start(config.status_socket.as_deref(), Arc::clone(&credentials));
    let report = Reporter::start(
        crate::status::Daemon {
            listening: listener.local_addr().ok().map(|address| address.to_string()),
            node_start_state: config.node_start_state.clone(),
            watchdog: Watchdog { sbd_timeout_ms: config.sbd_timeout_ms, cluster_timeout: None },
            ..crate::status::Daemon::default()
        },
        Arc::clone(&credentials),
        Arc::clone(&options.meter),
    );
    let server = Server::start(listener, credentials, options, net_events);
    let (attributes, mut from_agents) = Attributes::channel();
    let host = Host::new(host_settings(&config, programs, attributes), host_events);
    let (schema_news, mut from_schemas) = mpsc::unbounded_channel();
    let mut daemon = Daemon {
        executor: Executor::new(Settings {
            started: node::mono(),
            node_start_state: config.node_start_state.clone(),
            ..Settings::default()
        }),
        host,
        server,
        peers: HashMap::new(),
        links: Links::default(),
        tools: Tools::new(ipc, Schemas::new(config.schemas.clone(), schema_news)),
        manager,
        sbd_timeout_ms: config.sbd_timeout_ms,
        report,
        watchdog: mpsc::channel(1),
        policy: Arc::default(),
        exit: None,
    };
    let first = daemon.adopt(&policy.borrow_and_update().clone(), logging);
    daemon.carry_out(first);
    daemon.manager.ready();
    tracing::info!(
        target: "notice",
        "Pacemaker remote executor successfully started and accepting connections"
    );

    while daemon.exit.is_none() {
        let (deadline, room) = (daemon.next_deadline(), daemon.has_room());
        let input = tokio::select! {
            Some(event) = from_net.recv() => daemon.net_event(event),
            Some(event) = from_host.recv() => host_input(event),
            () = sleep(ROOM_CHECK), if !room => None,
            Some(event) = from_ipc.recv(), if room => {
                daemon.tools.event(event, daemon.executor.current_provider(), &daemon.links)
            }
            Some((wanted, answer)) = from_agents.recv() => daemon.attribute(wanted, answer),
            Some(news) = from_schemas.recv() => { daemon.tools.schema_news(news, &daemon.links); None }
            () = until(deadline) => Some(Input::Tick),
            question = status.question() => daemon.answer(question),
            Ok(()) = policy.changed() => Some(daemon.adopt(&policy.borrow_and_update().clone(), logging)),
            Some(verdict) = daemon.watchdog.1.recv() => return Err(Fatal::Watchdog(verdict)),
            asked = signals.next() => match asked {
                Asked::Stop => Some(Input::Terminate),
                Asked::Record(on) => { logging.record(on); None }
                Asked::Dump => { logging.dump(); None }
            },
        };
        if let Some(input) = input {
            let began = std::time::Instant::now();
            daemon.carry_out(input);
            daemon.report.turn(began);
        }
    }
    from_ipc.close(); // nobody listens any more: a tool that comes now is not to wait
    daemon.say_goodbye(&mut from_net).await;
    if let Some(reason) = daemon.exit {
        status.say_goodbye(reason.into()).await;
    }
    Ok(())
}

/// The parts that decisions are carried out with.
struct Daemon {
    executor: Executor,
    host: Host,
    server: ServerHandle,
    peers: HashMap<ClientId, Peer>,
    links: Links,
    tools: Tools,
    manager: ServiceManager,
    sbd_timeout_ms: u64,
    report: Reporter,
    /// Where a check that ran aside reports that this node must not serve.
    watchdog: (mpsc::Sender<String>, mpsc::Receiver<String>),
    /// In force.
    policy: Arc<Policy>,
    exit: Option<ExitReason>,
}

impl Daemon {
    fn net_event(&mut self, event: NetEvent) -> Option<Input> {
        Some(match event {
            NetEvent::Connected { client, peer, outbox } => {
                self.links.add(client, outbox.clone());
                // It was admitted by the policy at the beginning of its handshake.
                if !policy::may_stay(&self.policy, &peer) {
                    outbox.close();
                    return None; // the executor hears nobody whom it does not know
                }
                self.report.connected(client, peer.clone(), outbox, node::now());
                let origin = policy::origin(&peer);
                self.manager.status(&format!("Connected to {}", peer.address));
                Entry::new("connect", "ok").field("connection", client).log(origin.fields());
                self.peers.insert(client, peer);
                Input::Connected { client, token: node::uuid(), origin }
            }
            // What a peer said before the policy threw it out is not heard any more.
            NetEvent::Request { client, .. } | NetEvent::Unreadable { client, .. }
                if !self.peers.contains_key(&client) =>
            {
                return None;
            }
            NetEvent::Request { client, request } => Input::Request { client, request },
            NetEvent::Unreadable { client, msg_id } => Input::Unreadable { client, msg_id },
            NetEvent::Closed { client, reason } => {
                debug!("Connection {client} ended: {reason}");
                self.links.remove(client);
                self.report.closed(client);
                self.peers.remove(&client);
                // At once: tools that wait for an answer will get none.
                self.tools.client_gone(client, &self.links);
                if self.links.is_empty() {
                    self.manager.status("Waiting for the cluster");
                }
                Input::Disconnected { client }
            }
        })
    }

    /// What a question of the operator amounts to.
    fn answer(&self, question: Question) -> Option<Input> {
        match question {
            Question::Status(answer) => {
                // Whoever asked may be gone.
                let _ = answer.send(self.report.document(&self.executor, &self.tools, node::now()));
                None
            }
            Question::Drain => Some(Input::Terminate),
        }
    }

    /// An agent in this process wants something of the cluster.
    fn attribute(&mut self, wanted: Wanted, answer: Answer) -> Option<Input> {
        let provider = self.executor.current_provider();
        self.tools.attribute(wanted, answer, provider, &self.links);
        None
    }

    /// Puts a policy into force, also for those who are here already.
    fn adopt(&mut self, policy: &Arc<Policy>, logging: &Logging) -> Input {
        self.policy = Arc::clone(policy);
        logging.audit(policy.audit());
        let links = &self.links;
        self.peers.retain(|client, peer| {
            let stays = policy::may_stay(policy, peer);
            if !stays {
                links.close(*client);
            }
            stays
        });
        Input::Policy(Arc::clone(policy))
    }

    /// When something must be done even if nothing happens.
    fn next_deadline(&self) -> Option<Mono> {
        let (operations, tools) = (self.executor.next_deadline(), self.tools.deadline());
        operations.into_iter().chain(tools).min()
    }

    /// Whether tools are heard: not while they ask faster than the cluster node takes it in.
    fn has_room(&self) -> bool {
        self.tools.has_room()
            && self.executor.current_provider().is_none_or(|provider| self.links.has_room(provider))
    }

    fn carry_out(&mut self, input: Input) {
        match input {
            Input::Terminate => self.manager.stopping(),
            Input::Tick => self.tools.tick(&self.links),
            _ => {}
        }
        for action in self.executor.handle(input, node::now()) {
            match action {
                Action::Send { to, message } => self.send(&to, &message),
                Action::Start { op, call } => self.host.start(op, call),
                Action::Kill { op } => self.host.kill(op),
                Action::Forget { resource } => self.host.forget(&resource),
                Action::Alert(call) => self.host.alert(call),
                Action::CheckWatchdog { timeout } => self.check_watchdog(timeout),
                Action::Forward { from, forward } => self.tools.forward(from, forward, &self.links),
                Action::FetchSchemas { provider } => self.tools.fetch_schemas(provider, &self.links),
                Action::StopListening => {
                    self.server.stop_listening();
                    self.report.stopped_listening();
                }
                Action::Exit(reason) => self.exit = Some(reason),
            }
        }
    }

    fn send(&self, to: &[ClientId], message: &Message) {
        let (local, remote): (Vec<ClientId>, Vec<ClientId>) =
            to.iter().partition(|client| client.tool().is_some());
        if let Some((last, others)) = remote.split_last() {
            let xml = message.to_xml();
            for client in others {
                self.links.send_xml(*client, xml.clone());
            }
            self.links.send_xml(*last, xml);
        }
        for tool in local.into_iter().filter_map(ClientId::tool) {
            self.tools.tell(tool, message);
        }
    }

    fn check_watchdog(&mut self, timeout: Option<String>) {
        self.report.watchdog_checked(timeout.as_deref());
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
        self.links.close_all();
        let closed = async {
            while !self.links.is_empty() {
                match from_net.recv().await {
                    Some(NetEvent::Closed { client, .. }) => self.links.remove(client),
                    Some(NetEvent::Connected { outbox, .. }) => outbox.close(),
                    Some(NetEvent::Request { .. } | NetEvent::Unreadable { .. }) => {}
                    None => break,
                }
            }
        };
        let _ = timeout(GOODBYE, closed).await;
        self.tools.shut_down(GOODBYE).await;
        let alerts = async {
            while self.host.alerts_in_flight() > 0 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = timeout(ALERTS, alerts).await;
    }
}

fn host_settings(
    config: &Config,
    descriptors: Option<DescriptorLimit>,
    attributes: Attributes,
) -> HostSettings {
    HostSettings { base_env: config.agent_env.clone(), descriptors, attributes, ..HostSettings::default() }
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
        HostEvent::Hurry { resource } => Some(Input::Hurry { resource }),
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

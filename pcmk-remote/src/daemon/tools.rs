//! Local tools: carries what happens on their side to the proxy or the executor, and back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use libvirt_probe::agents::{Answer, Wanted};
use pcmk_proto::lrmd::{IpcForward, Message, ProxyNotify, Request};
use pcmk_proto::qb::{IpcName, flags};
use pcmk_proto::xml::{Element, WriteXml as _};
use tracing::{debug, warn};

use super::attributes::AttributeSessions;
use super::bulk::{Bulk, is_large};
use super::links::{FOR_TOOLS, Links};
use super::node;
use super::schemas::Schemas;
use crate::audit::{self, Entry, Origin};
use crate::caller::{Access, Caller};
use crate::executor::{self, Mono};
use crate::ids::{ClientId, ToolId};
use crate::ipc::{IpcEvent, IpcHandle};
use crate::proxy::{self, Proxy};
use crate::status::{self, MAX_LISTED};

/// The tools on this node and the sessions that they have with the cluster.
#[derive(Debug)]
pub(super) struct Tools {
    ipc: IpcHandle,
    proxy: Proxy,
    bulk: Bulk,
    /// Held by each large request that is still to be written.
    large_requests: Arc<()>,
    /// Those that talk to the executor itself.
    of_executor: HashMap<ToolId, Caller>,
    /// When each connected, seconds since the epoch.
    since: HashMap<ToolId, u64>,
    /// The one that is being let in or turned away.
    arriving: Option<(IpcName, Caller)>,
    pub(super) schemas: Schemas,
    attributes: AttributeSessions,
}

impl Tools {
    pub(super) fn new(ipc: IpcHandle, schemas: Schemas) -> Self {
        let proxy = Proxy::new(proxy::Settings::default());
        let bulk = Bulk::new();
        Self {
            ipc,
            proxy,
            bulk,
            large_requests: Arc::default(),
            of_executor: HashMap::new(),
            since: HashMap::new(),
            arriving: None,
            schemas,
            attributes: AttributeSessions::default(),
        }
    }

    /// Takes in what happened on the tools' side; gives what the executor must know.
    pub(super) fn event(
        &mut self,
        event: IpcEvent,
        provider: Option<ClientId>,
        links: &Links,
    ) -> Option<executor::Input> {
        match &event {
            IpcEvent::Connecting { tool, .. } => drop(self.since.insert(*tool, node::now().wall)),
            IpcEvent::Closed { tool } => drop(self.since.remove(tool)),
            IpcEvent::Request { .. } => {}
        }
        let input = match event {
            IpcEvent::Connecting { tool, server: IpcName::Lrmd, caller } => {
                return self.executor_client(tool, caller);
            }
            IpcEvent::Request { tool, msg_id, flags, payload } if self.of_executor.contains_key(&tool) => {
                return executor_request(tool, msg_id, flags, payload);
            }
            IpcEvent::Closed { tool } if self.of_executor.remove(&tool).is_some() => {
                return Some(executor::Input::Disconnected { client: ClientId::local(tool) });
            }
            IpcEvent::Connecting { tool, server, caller } => {
                self.arriving = Some((server, caller.clone()));
                proxy::Input::Connecting { tool, server, caller, session: node::uuid(), provider }
            }
            IpcEvent::Request { tool, msg_id, flags, payload } => {
                match self.proxy.provider_of(tool).filter(|provider| !links.has_room(*provider)) {
                    Some(_) => proxy::Input::Overflow { tool },
                    None => proxy::Input::Request { tool, msg_id, flags, payload },
                }
            }
            IpcEvent::Closed { tool } => proxy::Input::Closed { tool },
        };
        self.carry_out(input, links);
        None
    }

    /// Who is connected, for the operator.
    pub(super) fn describe(&self) -> Vec<status::Tool> {
        let of_executor = self.of_executor.iter().map(|(tool, caller)| {
            let described = status::Tool {
                pid: caller.pid,
                user: caller.user.clone(),
                server: IpcName::Lrmd.to_string(),
                ..status::Tool::default()
            };
            (*tool, described)
        });
        let mut all: Vec<(ToolId, status::Tool)> =
            self.proxy.describe().filter(|(tool, _)| !tool.is_own()).chain(of_executor).collect();
        all.sort_unstable_by_key(|(tool, _)| *tool);
        all.truncate(MAX_LISTED);
        let dated = |(tool, described)| status::Tool {
            connected_at: self.since.get(&tool).copied().unwrap_or_default(),
            ..described
        };
        all.into_iter().map(dated).collect()
    }

    /// Whether tools are heard: not while they have asked for more than can be passed on.
    pub(super) fn has_room(&self) -> bool {
        !self.bulk.is_crowded() && Arc::strong_count(&self.large_requests) == 1
    }

    /// Lets tools have what is meant for them and ends their connections.
    pub(super) async fn shut_down(&self, patience: Duration) {
        self.ipc.shut_down(patience).await;
    }

    /// A cluster node speaks to a tool.
    pub(super) fn forward(&mut self, from: ClientId, forward: IpcForward, links: &Links) {
        self.carry_out(proxy::Input::Forward { from, forward }, links);
    }

    /// A client of the executor is gone, and with it the service of its tools.
    pub(super) fn client_gone(&mut self, client: ClientId, links: &Links) {
        self.carry_out(proxy::Input::ClientGone { client }, links);
    }

    /// What the executor says to a local client of its own.
    pub(super) fn tell(&self, tool: ToolId, message: &Message) {
        let xml = message.to_local_xml();
        match message {
            // The number came from the tool's own request, so it fits.
            Message::Reply(reply) => self.ipc.respond(tool, i32::try_from(reply.msg_id).unwrap_or(0), xml),
            Message::Notify(_) | Message::Proxy(_) => self.ipc.event(tool, 0, xml),
        }
    }

    /// A new provider has schemas to send.
    pub(super) fn fetch_schemas(&mut self, provider: ClientId, links: &Links) {
        if let Some(input) = self.schemas.fetch(provider, node::mono()) {
            self.carry_out(input, links);
        }
    }

    /// Goes on with fetching schemas.
    pub(super) fn schema_news(&mut self, news: super::schemas::News, links: &Links) {
        if let Some(input) = self.schemas.news(news) {
            self.carry_out(input, links);
        }
    }

    /// An agent in this process wants something of the cluster's attribute manager.
    pub(super) fn attribute(
        &mut self,
        wanted: Wanted,
        answer: Answer,
        provider: Option<ClientId>,
        links: &Links,
    ) {
        if let Some(input) = self.attributes.ask(wanted, answer, provider, node::mono()) {
            self.carry_out(input, links);
        }
    }

    /// When [`Tools::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.schemas.deadline().into_iter().chain(self.attributes.deadline()).min()
    }

    /// Gives up what has taken too long.
    pub(super) fn tick(&mut self, links: &Links) {
        for input in self.attributes.expire(node::mono()) {
            self.carry_out(input, links);
        }
        if let Some(input) = self.schemas.expire(node::mono()) {
            self.carry_out(input, links);
        }
    }

    fn executor_client(&mut self, tool: ToolId, caller: Caller) -> Option<executor::Input> {
        if caller.access == Access::None {
            audit_session(IpcName::Lrmd, &caller, "refused");
            self.ipc.refuse(tool, proxy::NOT_ALLOWED);
            return None;
        }
        debug!("Process {} of {} is a client of the executor", caller.pid, caller.user);
        audit_session(IpcName::Lrmd, &caller, "ok");
        let origin = Origin::process(&caller);
        self.of_executor.insert(tool, caller);
        self.ipc.accept(tool);
        Some(executor::Input::Connected { client: ClientId::local(tool), token: node::uuid(), origin })
    }

    fn carry_out(&mut self, input: proxy::Input, links: &Links) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.proxy.handle(input) {
                match own(&action) {
                    Some(tool) if self.attributes.has(tool) => inputs.extend(self.attributes.session(action)),
                    Some(_) => inputs.extend(self.schemas.session(action)),
                    None => self.pass_on(action, links),
                }
            }
        }
    }

    fn pass_on(&mut self, action: proxy::Action, links: &Links) {
        let ipc = self.ipc.clone();
        match action {
            proxy::Action::Accept { tool } => {
                if let Some((server, caller)) = self.arriving.take() {
                    audit_session(server, &caller, "ok");
                }
                ipc.accept(tool);
            }
            proxy::Action::Refuse { tool, errno } => {
                if let Some((server, caller)) = self.arriving.take() {
                    audit_session(server, &caller, "refused");
                }
                ipc.refuse(tool, errno);
            }
            proxy::Action::Respond { tool, msg_id, payload } => {
                self.bulk.run(is_large(&payload), move || ipc.respond(tool, msg_id, payload.to_xml()));
            }
            proxy::Action::Event { tool, payload } => {
                self.bulk.run(is_large(&payload), move || ipc.event(tool, 0, payload.to_xml()));
            }
            proxy::Action::Close { tool } => self.bulk.run(false, move || ipc.close(tool)),
            proxy::Action::Send { to, message } => self.send(to, message, links),
        }
    }

    fn send(&self, to: ClientId, message: ProxyNotify, links: &Links) {
        let request = match &message {
            ProxyNotify::Request { session, payload, .. } => Some((session.clone(), is_large(payload))),
            _ => None,
        };
        let message = Message::Proxy(message);
        if let Some(tool) = to.tool() {
            return self.tell(tool, &message);
        }
        let Some(outbox) = links.outbox(to) else { return };
        let Some((session, large)) = request else {
            return self.bulk.run(false, move || outbox.send(message.to_xml()));
        };
        let (ipc, tool) = (self.ipc.clone(), self.proxy.tool_of(&session));
        let turn = large.then(|| Arc::clone(&self.large_requests));
        self.bulk.run(large, move || {
            // How long it is shows only when it is written.
            if !outbox.offer(message.to_xml(), FOR_TOOLS) {
                warn!("Disconnecting {session}: it asks for more than the cluster node takes in");
                if let Some(tool) = tool {
                    ipc.close(tool);
                }
            }
            drop(turn);
        });
    }
}

/// The session that the daemon itself has and that it is for.
fn own(action: &proxy::Action) -> Option<ToolId> {
    match action {
        proxy::Action::Accept { tool }
        | proxy::Action::Refuse { tool, .. }
        | proxy::Action::Respond { tool, .. }
        | proxy::Action::Event { tool, .. }
        | proxy::Action::Close { tool } => Some(*tool).filter(|tool| tool.is_own()),
        proxy::Action::Send { .. } => None,
    }
}

/// Writes down that a tool has come: not for servers that only answer questions.
fn audit_session(server: IpcName, caller: &Caller, result: &str) {
    if audit::is_on() && !matches!(server, IpcName::CibRo | IpcName::Pacemakerd) {
        // Kept in memory by the kernel; the process may be gone.
        let program = std::fs::read_to_string(format!("/proc/{}/comm", caller.pid)).unwrap_or_default();
        let entry =
            Entry::new("session", result).field("server", server).field("program", program.trim_end());
        entry.log(Origin::process(caller).fields());
    }
}

fn executor_request(tool: ToolId, msg_id: i32, flags: u32, payload: Element) -> Option<executor::Input> {
    if flags & flags::CLIENT_RESPONSE == 0 {
        warn!("Ignoring a request of {tool} that expects no response");
        return None;
    }
    let client = ClientId::local(tool);
    Some(match Request::parse_local(payload, msg_id) {
        Ok(request) => executor::Input::Request { client, request },
        Err(error) => {
            warn!("Ignoring request {msg_id} of {tool}: {error}");
            executor::Input::Unreadable { client, msg_id: i64::from(msg_id) }
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::{sleep, timeout};

    use super::super::schemas::SchemaPaths;
    use super::*;
    use crate::ipc::{IpcOptions, IpcServer};
    use crate::net::Outbox;

    const PROVIDER: ClientId = ClientId(1);

    /// Tools without anybody at the other end, and a cluster node that reads nothing.
    fn tools() -> (Tools, Links, Outbox) {
        let (events, _) = mpsc::channel(1);
        let nowhere = tempfile::tempdir().unwrap().path().to_owned();
        let options = IpcOptions { names: Vec::new(), folder: nowhere.clone(), ..IpcOptions::default() };
        let ipc = IpcServer::start(options, events).unwrap();
        let paths = SchemaPaths { installed: nowhere.clone(), fetched: nowhere };
        let tools = Tools::new(ipc, Schemas::new(paths, mpsc::unbounded_channel().0));
        let (mut links, outbox) = (Links::default(), Outbox::new(32 << 20));
        links.add(PROVIDER, outbox.clone());
        (tools, links, outbox)
    }

    fn connect(tools: &mut Tools, tool: ToolId, links: &Links) {
        let user = "root".to_owned();
        let caller = Caller { pid: 1, uid: 0, gid: 0, user, access: Access::Privileged };
        let event = IpcEvent::Connecting { tool, server: IpcName::CibRw, caller };
        assert!(tools.event(event, Some(PROVIDER), links).is_none());
    }

    fn ask(tools: &mut Tools, tool: ToolId, text: String, links: &Links) {
        let mut payload = Element::new("cib_command");
        payload.set("text", text);
        let event = IpcEvent::Request { tool, msg_id: 1, flags: flags::CLIENT_RESPONSE, payload };
        assert!(tools.event(event, Some(PROVIDER), links).is_none());
    }

    async fn all_written(tools: &Tools) {
        let written = async {
            while Arc::strong_count(&tools.large_requests) > 1 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), written).await.unwrap();
    }

    /// Whether the connection of the cluster node has been given up.
    async fn is_cut(outbox: &Outbox) -> bool {
        timeout(Duration::ZERO, outbox.ended()).await.is_ok()
    }

    #[tokio::test]
    async fn large_requests_never_cost_the_connection_of_a_cluster_node() {
        let (mut tools, links, outbox) = tools();
        connect(&mut tools, ToolId(1), &links);
        ask(&mut tools, ToolId(1), "x".repeat(15 << 20), &links);
        assert!(!tools.has_room(), "one at a time");
        // Those that are under way already, or on other connections.
        for _ in 0..3 {
            ask(&mut tools, ToolId(1), "x".repeat(15 << 20), &links);
        }
        all_written(&tools).await;
        assert!(tools.has_room());
        assert!(!is_cut(&outbox).await);
        assert!(outbox.queued_bytes() > 15 << 20);
        outbox.send("x".repeat(2 << 20));
        assert!(!is_cut(&outbox).await, "the executor's share is its own");
    }

    #[tokio::test]
    async fn a_request_that_grows_when_it_is_written_costs_its_tool_alone() {
        let (mut tools, links, outbox) = tools();
        connect(&mut tools, ToolId(1), &links);
        ask(&mut tools, ToolId(1), "\"".repeat(15 << 20), &links);
        all_written(&tools).await;
        assert!(!is_cut(&outbox).await);
        assert!(outbox.queued_bytes() < 1 << 20, "only the session's beginning");
    }
}

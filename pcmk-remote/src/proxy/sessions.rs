//! The table of sessions.

use std::collections::{BTreeMap, HashMap, VecDeque};

use pcmk_proto::lrmd::{IpcForward, IpcForwardKind, ProxyNotify};
use pcmk_proto::qb::{IpcName, flags};
use pcmk_proto::xml::Element;
use tracing::{debug, error, info, trace, warn};

use super::{Action, Input, NOT_ALLOWED, NOT_HERE, Settings, TOO_MANY};
use crate::caller::{Access, Caller};
use crate::ids::{ClientId, ToolId};
use crate::status;

/// The sender of a request is a proxy: whoever answers must not make it wait.
const FLAG_PROXIED: u32 = 0x100;

/// One tool's connection to a service of the cluster.
#[derive(Debug)]
struct Session {
    /// As the cluster knows it.
    name: String,
    server: IpcName,
    /// The cluster node that serves it, for good.
    provider: ClientId,
    /// As the cluster's log names the tool.
    client: String,
    user: String,
    pid: u32,
    /// Requests whose response is still to come, oldest first.
    waiting: VecDeque<i32>,
}

/// Who talks to whom. See the module's documentation.
#[derive(Debug)]
pub struct Proxy {
    settings: Settings,
    sessions: BTreeMap<ToolId, Session>,
    by_name: HashMap<String, ToolId>,
    out: Vec<Action>,
}

impl Proxy {
    /// A proxy without sessions.
    pub fn new(settings: Settings) -> Self {
        Self { settings, sessions: BTreeMap::new(), by_name: HashMap::new(), out: Vec::new() }
    }

    /// Takes in what happened and says what to do, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Connecting { tool, server, caller, session, provider } => {
                match self.admit(server, &caller, provider) {
                    Ok(provider) => self.open(tool, server, caller, session, provider),
                    Err(errno) => self.out.push(Action::Refuse { tool, errno }),
                }
            }
            Input::Request { tool, msg_id, flags, payload } => self.request(tool, msg_id, flags, payload),
            Input::Closed { tool } => self.end(tool),
            Input::Forward { from, forward } => self.forward(from, forward),
            Input::ClientGone { client } => self.client_gone(client),
            Input::Overflow { tool } => {
                if let Some(session) = self.sessions.get(&tool) {
                    warn!(
                        "Disconnecting {}: it asks for more than the cluster node takes in",
                        session.client
                    );
                    self.cut(tool);
                }
            }
        }
        std::mem::take(&mut self.out)
    }

    /// Sessions at present.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The sessions as an operator sees them, except for when they began, by their tools.
    pub fn describe(&self) -> impl Iterator<Item = (ToolId, status::Tool)> {
        self.sessions.iter().map(|(tool, session)| {
            let described = status::Tool {
                pid: session.pid,
                user: session.user.clone(),
                server: session.server.to_string(),
                session: session.name.clone(),
                client: Some(session.provider.0),
                outstanding: u64::try_from(session.waiting.len()).unwrap_or(u64::MAX),
                ..status::Tool::default()
            };
            (*tool, described)
        })
    }

    /// The cluster node that serves a tool.
    pub fn provider_of(&self, tool: ToolId) -> Option<ClientId> {
        self.sessions.get(&tool).map(|session| session.provider)
    }

    /// The tool that has a session.
    pub fn tool_of(&self, session: &str) -> Option<ToolId> {
        self.by_name.get(session).copied()
    }

    fn admit(&self, server: IpcName, caller: &Caller, provider: Option<ClientId>) -> Result<ClientId, i32> {
        let Caller { uid, gid, .. } = *caller;
        // A remote node has no launcher: by this very answer tools know that they are on one, whoever runs them.
        if matches!(server, IpcName::Pacemakerd | IpcName::Lrmd) {
            return Err(NOT_HERE);
        }
        let Some(provider) = provider else {
            warn!(
                "Cannot proxy IPC connection from uid {uid} gid {gid} to {server} because not connected to \
                 cluster"
            );
            return Err(NOT_HERE);
        };
        if caller.access == Access::None {
            warn!("Refusing uid {uid} gid {gid} a connection to {server}: not in group haclient");
            return Err(NOT_ALLOWED);
        }
        if self.sessions.len() >= self.settings.max_sessions {
            warn!("Refusing process {} a connection to {server}: too many of them", caller.pid);
            return Err(TOO_MANY);
        }
        Ok(provider)
    }

    fn open(&mut self, tool: ToolId, server: IpcName, caller: Caller, name: String, provider: ClientId) {
        let short: String = name.chars().take(8).collect();
        debug!(
            "Accepted IPC proxy connection (session ID {name}) from uid {} gid {} on channel {server}",
            caller.uid, caller.gid
        );
        let session = Session {
            client: format!("proxy-{}-{}-{short}", server.channel(), caller.pid),
            name: name.clone(),
            server,
            provider,
            user: caller.user,
            pid: caller.pid,
            waiting: VecDeque::new(),
        };
        self.sessions.insert(tool, session);
        self.by_name.insert(name.clone(), tool);
        self.out.push(Action::Accept { tool });
        let message = ProxyNotify::New { session: name, server: server.channel().to_owned() };
        self.out.push(Action::Send { to: provider, message });
    }

    fn request(&mut self, tool: ToolId, msg_id: i32, flags: u32, payload: Element) {
        // A session that was ended may have had a request under way.
        let Some(session) = self.sessions.get_mut(&tool) else { return };
        if flags & flags::CLIENT_RESPONSE != 0 {
            if session.waiting.len() >= self.settings.max_waiting {
                warn!(
                    "Disconnecting {}: {} requests wait for a response",
                    session.client,
                    session.waiting.len()
                );
                return self.cut(tool);
            }
            session.waiting.push_back(msg_id);
        }
        trace!("Request {msg_id} of {} with flags {flags:#x}", session.client);
        let message = ProxyNotify::Request {
            session: session.name.clone(),
            client: session.client.clone(),
            user: session.user.clone(),
            msg_id: i64::from(msg_id),
            flags: flags | FLAG_PROXIED,
            payload,
        };
        self.out.push(Action::Send { to: session.provider, message });
    }

    fn forward(&mut self, from: ClientId, forward: IpcForward) {
        let IpcForward { kind, session: name, msg_id, payload } = forward;
        let Some(name) = name else {
            return warn!("Ignoring proxy message {kind:?} of {from} without session");
        };
        let tool = self.by_name.get(&name).copied();
        let Some((tool, session)) = tool
            .and_then(|tool| self.sessions.get_mut(&tool).map(|session| (tool, session)))
            .filter(|(_, session)| session.provider == from)
        else {
            // Whoever it was is gone: the cluster is to forget it, too.
            debug!("Received proxy message for unknown session {name}");
            let message = ProxyNotify::Destroy { session: name };
            return self.out.push(Action::Send { to: from, message });
        };
        match (kind, payload) {
            (IpcForwardKind::Destroy, _) => self.cut(tool),
            (IpcForwardKind::Event, Some(payload)) => self.out.push(Action::Event { tool, payload }),
            (IpcForwardKind::Response, Some(payload)) => {
                let Ok(msg_id) = i32::try_from(msg_id.unwrap_or_default()) else {
                    return warn!("Ignoring a response to {}: it made no such request", session.client);
                };
                // Passed on even if nobody waits for it: the tool finds out by itself.
                session.waiting.retain(|waiting| *waiting != msg_id);
                self.out.push(Action::Respond { tool, msg_id, payload });
            }
            (IpcForwardKind::Event | IpcForwardKind::Response, None) => {
                warn!("Ignoring an empty message to {}", session.client);
            }
            (kind, _) => error!("Unknown ipc proxy msg type {kind:?}"),
        }
    }

    fn client_gone(&mut self, client: ClientId) {
        let tools: Vec<ToolId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.provider == client)
            .map(|(tool, _)| *tool)
            .collect();
        for tool in tools {
            if let Some(session) = self.forget(tool) {
                info!(
                    "IPC proxy connection for client {} pid {} destroyed because cluster node disconnected",
                    session.name, session.pid
                );
                self.out.push(Action::Close { tool });
            }
        }
    }

    /// Ends a session and the tool's connection.
    fn cut(&mut self, tool: ToolId) {
        self.end(tool);
        self.out.push(Action::Close { tool });
    }

    /// Ends a session whose tool is gone, or about to.
    fn end(&mut self, tool: ToolId) {
        if let Some(session) = self.forget(tool) {
            let message = ProxyNotify::Destroy { session: session.name };
            self.out.push(Action::Send { to: session.provider, message });
        }
    }

    fn forget(&mut self, tool: ToolId) -> Option<Session> {
        let session = self.sessions.remove(&tool)?;
        self.by_name.remove(&session.name);
        Some(session)
    }
}

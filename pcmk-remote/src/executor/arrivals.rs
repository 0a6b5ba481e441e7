//! Clients come, introduce themselves and go; and how the daemon goes.

use pcmk_proto::lrmd::{IpcForward, IpcForwardKind, Message, Notify, Operation, ProxyNotify, ReplyBody};
use pcmk_proto::types::ResourceId;
use tracing::{debug, error, info, warn};

use super::core::{Asked, Executor};
use super::{Action, ExitReason, Now};
use crate::audit::{Local, Origin};
use crate::ids::ClientId;

/// The executor protocol that we speak; 1.2 adds `uptime` to the answer to `register`.
pub(super) const PROTOCOL_VERSION: &str = "1.2";
/// The first version whose clients have schemas to send.
const SENDS_SCHEMAS: (u32, u32) = (1, 2);

const EACCES: i32 = -13;
const EPROTO: i32 = -71;

impl Executor {
    pub(super) fn connected(&mut self, client: ClientId, token: String, origin: Origin) {
        // A controller that hears of a second client while it moves the connection knows that the other
        // cluster node has taken over. At any other time it disconnects, and this node is lost: a process of
        // this node must not be able to do that.
        let mut to = self.clients.listeners();
        if origin.local().is_some() {
            to.retain(|listener| self.clients.local(*listener).is_some());
        }
        self.clients.add(client, token, origin);
        self.send(to, Message::Notify(Notify::NewClient { origin: "notify_of_new_client".into() }));
    }

    pub(super) fn disconnected(&mut self, client: ClientId, now: Now) {
        let was_provider = self.clients.is_provider(client);
        let local = self.clients.local(client);
        let name = self.clients.name(client).unwrap_or("without name").to_owned();
        if !self.clients.remove(client) {
            return;
        }
        // A process takes along what it asked for; a cluster node leaves everything to the next one.
        let whose = local.map(|_| client);
        if local.is_none() {
            info!("Cleaning up after remote client {name} disconnected");
        }
        if whose.is_some() || self.clients.is_empty() {
            let dropped: Vec<ResourceId> = self
                .resources
                .iter()
                .filter(|(_, resource)| resource.options.drop_recurring())
                .map(|(id, _)| id.clone())
                .collect();
            for id in dropped {
                self.cancel_recurring(&id, whose, now);
            }
        }
        if was_provider && self.shutting_down && self.clients.current_provider().is_none() {
            self.exit(ExitReason::Drained);
        }
    }

    pub(super) fn terminate(&mut self) {
        let Some(provider) = self.clients.current_provider() else {
            info!("Shutting down: no cluster is connected");
            return self.exit(ExitReason::NotConnected);
        };
        if self.shutting_down {
            warn!("Waiting for cluster to stop resources before exiting");
            return;
        }
        info!("Sending shutdown request to cluster");
        self.shutting_down = true;
        self.out.push(Action::StopListening);
        self.send(vec![provider], Message::Proxy(ProxyNotify::ShutdownRequest));
    }

    pub(super) fn register(&mut self, asked: &Asked, version: Option<&str>, is_provider: bool, now: Now) {
        // No release leaves it out, and none accepts a client that does.
        let version = version.unwrap_or("");
        self.clients.set_version(asked.client, version);
        let mut rc = 0;
        if version_of(version) < Some((1, 0)) {
            error!("Cluster API version must be greater than or equal to 1.0, not '{version}'");
            rc = EPROTO;
        } else if is_provider && self.clients.local(asked.client).is_some() {
            warn!("{} cannot provide the cluster's services: it is no cluster node", self.name(asked.client));
            rc = EACCES;
        } else if is_provider && !self.admit_provider(asked) {
            return;
        } else if is_provider {
            info!("Client {} provides the cluster's services", self.name(asked.client));
            self.clients.add_provider(asked.client);
        }
        let body = ReplyBody::Registered {
            client_id: self.clients.token(asked.client).unwrap_or_default().to_owned(),
            protocol_version: PROTOCOL_VERSION.into(),
            uptime_s: Some(now.mono.since(self.settings.started) / 1000),
            node_start_state: self.settings.node_start_state.clone(),
        };
        self.reply_with(asked, rc, "process_lrmd_signon", body);
        if is_provider && rc == 0 && version_of(version) >= Some(SENDS_SCHEMAS) {
            self.out.push(Action::FetchSchemas { provider: asked.client });
        }
    }

    /// A cluster node speaks to a tool on this node, or answers a shutdown request.
    pub(super) fn ipc_forward(&mut self, asked: &Asked, forward: IpcForward) {
        match forward.kind {
            IpcForwardKind::ShutdownAck if self.shutting_down => {
                info!("IPC proxy provider acknowledged shutdown request");
            }
            IpcForwardKind::ShutdownNack if self.shutting_down => {
                info!("Exiting immediately after IPC proxy provider indicated no resources will be stopped");
                self.reply(asked, 0);
                return self.exit(ExitReason::Refused);
            }
            IpcForwardKind::ShutdownAck | IpcForwardKind::ShutdownNack => {
                debug!("Ignoring an answer to a shutdown request that was not made");
            }
            _ => self.out.push(Action::Forward { from: asked.client, forward }),
        }
        // Nobody waits for this reply, but the controller counts on one for each message.
        self.reply(asked, 0);
    }

    /// Answers a request that [`may_ask`] does not allow.
    pub(super) fn reject(&mut self, asked: &Asked, operation: &Operation) {
        let op = operation.name();
        warn!("Rejecting IPC request '{op}' from unprivileged client {}", self.name(asked.client));
        // As always, nobody is answered to a check.
        if !matches!(operation, Operation::Check { .. }) {
            self.reply(asked, EACCES);
        }
    }

    fn exit(&mut self, reason: ExitReason) {
        self.exited = true;
        self.out.push(Action::Exit(reason));
    }
}

/// Whether a client may ask this: processes of users other than root and `hacluster` must not get around
/// the cluster's access rules.
pub(super) fn may_ask(local: Option<Local>, operation: &Operation) -> bool {
    let harmless =
        matches!(operation, Operation::Register { .. } | Operation::Poke { .. } | Operation::Other(_));
    harmless || local.is_none_or(|local| local.privileged)
}

/// Major and minor number.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0);
    Some((major, minor))
}

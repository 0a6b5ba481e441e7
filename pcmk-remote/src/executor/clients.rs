//! Who is connected, who hears notifications, and which cluster node provides the cluster's services.

use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use crate::audit::{Entry, Local, Origin};
use crate::ids::ClientId;
use crate::status;

/// One connection as the executor knows it.
#[derive(Debug)]
struct Client {
    token: String,
    /// Set by the first request that carries a name; without one a client hears no notifications.
    name: Option<String>,
    /// Set by the request that registers.
    version: Option<String>,
    origin: Origin,
    /// Who it is, for the audit log.
    who: Arc<str>,
    /// Refused as provider: nothing is done for it any more.
    refused: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Clients {
    connected: BTreeMap<ClientId, Client>,
    /// Connections that declared themselves providers, newest last.
    providers: Vec<ClientId>,
}

impl Clients {
    pub(super) fn add(&mut self, id: ClientId, token: String, origin: Origin) {
        let who = who(id, &origin, None);
        self.connected.insert(id, Client { token, name: None, version: None, origin, who, refused: false });
    }

    /// Forgets a connection; true if it was known.
    pub(super) fn remove(&mut self, id: ClientId) -> bool {
        self.providers.retain(|provider| *provider != id);
        self.connected.remove(&id).is_some()
    }

    /// The process that a client is, if it is one of this node.
    pub(super) fn local(&self, id: ClientId) -> Option<Local> {
        self.connected.get(&id).and_then(|client| client.origin.local())
    }

    pub(super) fn contains(&self, id: ClientId) -> bool {
        self.connected.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connected.is_empty()
    }

    pub(super) fn token(&self, id: ClientId) -> Option<&str> {
        self.connected.get(&id).map(|client| client.token.as_str())
    }

    pub(super) fn name(&self, id: ClientId) -> Option<&str> {
        self.connected.get(&id).and_then(|client| client.name.as_deref())
    }

    /// Names a connection, once.
    pub(super) fn set_name(&mut self, id: ClientId, name: &str) {
        if let Some(client) = self.connected.get_mut(&id)
            && client.name.is_none()
        {
            client.who = who(id, &client.origin, Some(name));
            client.name = Some(name.to_owned());
        }
    }

    /// What it speaks; cut, as it is only for people to read.
    pub(super) fn set_version(&mut self, id: ClientId, version: &str) {
        if let Some(client) = self.connected.get_mut(&id) {
            client.version = Some(version.chars().take(16).collect());
        }
    }

    /// What is known here of each connection, oldest first.
    pub(super) fn describe(&self) -> Vec<status::Peer> {
        let current = self.current_provider();
        let describe = |(id, client): (&ClientId, &Client)| status::Peer {
            client: id.0,
            name: client.name.clone(),
            protocol_version: client.version.clone(),
            provider: self.is_provider(*id),
            current_provider: current == Some(*id),
            ..status::Peer::default()
        };
        self.connected.iter().map(describe).collect()
    }

    /// Who it is, for the audit log.
    pub(super) fn who(&self, id: ClientId) -> Arc<str> {
        self.connected
            .get(&id)
            .map_or_else(|| Origin::default().fields().into(), |client| Arc::clone(&client.who))
    }

    pub(super) fn refuse(&mut self, id: ClientId) {
        if let Some(client) = self.connected.get_mut(&id) {
            client.refused = true;
        }
    }

    pub(super) fn is_refused(&self, id: ClientId) -> bool {
        self.connected.get(&id).is_some_and(|client| client.refused)
    }

    /// Places other than this client's that have a provider.
    pub(super) fn other_provider_sites(&self, id: ClientId) -> usize {
        let site = |id: &ClientId| self.connected.get(id).map(|client| client.origin.site());
        let own = site(&id);
        self.providers.iter().map(site).filter(|other| *other != own).collect::<BTreeSet<_>>().len()
    }

    /// Everybody who hears notifications.
    pub(super) fn listeners(&self) -> Vec<ClientId> {
        self.connected.iter().filter(|(_, client)| client.name.is_some()).map(|(id, _)| *id).collect()
    }

    /// Everybody who hears results. They tell all parameters of agents, passwords among them, so that processes
    /// which may not ask for an operation do not hear of any.
    pub(super) fn result_listeners(&self) -> Vec<ClientId> {
        let hears = |client: &Client| client.origin.local().is_none_or(|local| local.privileged);
        let named = self.connected.iter().filter(|(_, client)| client.name.is_some());
        named.filter(|(_, client)| hears(client)).map(|(id, _)| *id).collect()
    }

    pub(super) fn add_provider(&mut self, id: ClientId) {
        self.providers.retain(|provider| *provider != id);
        self.providers.push(id);
    }

    pub(super) fn is_provider(&self, id: ClientId) -> bool {
        self.providers.contains(&id)
    }

    /// The provider that new requests to the cluster go to.
    pub(super) fn current_provider(&self) -> Option<ClientId> {
        self.providers.last().copied()
    }
}

fn who(id: ClientId, origin: &Origin, name: Option<&str>) -> Arc<str> {
    Entry::who(origin).some("client", name).field("connection", id).text().into()
}

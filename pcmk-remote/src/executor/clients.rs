//! Who is connected, who hears notifications, and which cluster node provides the cluster's services.

use std::collections::BTreeMap;

use crate::ids::ClientId;

/// One connection as the executor knows it.
#[derive(Debug)]
struct Client {
    token: String,
    /// Set by the first request that carries a name; without one a client hears no notifications.
    name: Option<String>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Clients {
    connected: BTreeMap<ClientId, Client>,
    /// Connections that declared themselves providers, newest last.
    providers: Vec<ClientId>,
}

impl Clients {
    pub(super) fn add(&mut self, id: ClientId, token: String) {
        self.connected.insert(id, Client { token, name: None });
    }

    /// Forgets a connection; true if it was known.
    pub(super) fn remove(&mut self, id: ClientId) -> bool {
        self.providers.retain(|provider| *provider != id);
        self.connected.remove(&id).is_some()
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
        if let Some(client) = self.connected.get_mut(&id) {
            client.name.get_or_insert_with(|| name.to_owned());
        }
    }

    /// Everybody who hears notifications.
    pub(super) fn listeners(&self) -> Vec<ClientId> {
        self.connected.iter().filter(|(_, client)| client.name.is_some()).map(|(id, _)| *id).collect()
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

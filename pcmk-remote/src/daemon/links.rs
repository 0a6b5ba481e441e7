//! The connections to cluster nodes, as the event loop uses them.

use std::collections::HashMap;

use crate::ids::ClientId;
use crate::net::Outbox;

/// With so much waiting for a cluster node to read, tools are not heard. One more request of the largest size
/// still fits.
const HEARD: usize = 8 << 20;
/// What tools may have waiting for a cluster node to read: the rest of its outbox (32 MiB) belongs to the
/// executor, whose answers decide whether this node is fenced.
pub(super) const FOR_TOOLS: usize = 28 << 20;

/// Where to put what cluster nodes shall read.
#[derive(Debug, Default)]
pub(super) struct Links {
    outboxes: HashMap<ClientId, Outbox>,
}

impl Links {
    pub(super) fn add(&mut self, client: ClientId, outbox: Outbox) {
        self.outboxes.insert(client, outbox);
    }

    pub(super) fn remove(&mut self, client: ClientId) {
        self.outboxes.remove(&client);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outboxes.is_empty()
    }

    pub(super) fn outbox(&self, client: ClientId) -> Option<Outbox> {
        self.outboxes.get(&client).cloned()
    }

    pub(super) fn send_xml(&self, client: ClientId, xml: String) {
        if let Some(outbox) = self.outboxes.get(&client) {
            outbox.send(xml);
        }
    }

    /// Whether tools may send more to this cluster node.
    pub(super) fn has_room(&self, client: ClientId) -> bool {
        self.outboxes.get(&client).is_none_or(|outbox| outbox.queued_bytes() < HEARD)
    }

    /// Lets what is queued go out and closes one.
    pub(super) fn close(&self, client: ClientId) {
        if let Some(outbox) = self.outboxes.get(&client) {
            outbox.close();
        }
    }

    /// Lets what is queued go out and closes all.
    pub(super) fn close_all(&self) {
        for outbox in self.outboxes.values() {
            outbox.close();
        }
    }
}

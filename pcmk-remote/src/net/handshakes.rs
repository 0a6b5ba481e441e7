//! The bound on unfinished handshakes, and who is dropped beyond it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All unfinished handshakes.
///
/// When there are too many, the oldest one of the address with the most of them is dropped. One address
/// that holds many half-open handshakes so only ever pushes out its own, and a cluster node, which has
/// one that takes milliseconds, gets in. Where as many addresses as there are places hold one each, the
/// oldest goes: a cluster node is pushed out only if that many strangers connect within those
/// milliseconds. An IPv6 address is taken by its /64, which one host can have to itself.
pub(super) struct Handshakes {
    most: usize,
    open: Mutex<BTreeMap<u64, Open>>,
}

struct Open {
    origin: IpAddr,
    dropped: Arc<Notify>,
}

/// A place among the unfinished handshakes, given back when it goes.
pub(super) struct Ticket {
    all: Arc<Handshakes>,
    number: u64,
    dropped: Arc<Notify>,
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), open: Mutex::default() })
    }

    /// Makes room and takes a place.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Ticket {
        let mut open = self.lock();
        while open.len() >= self.most && drop_one(&mut open) {}
        let number = open.last_key_value().map_or(0, |(last, _)| last.wrapping_add(1));
        let dropped = Arc::new(Notify::new());
        open.insert(number, Open { origin: origin(peer), dropped: Arc::clone(&dropped) });
        Ticket { all: Arc::clone(self), number, dropped }
    }

    /// Gives up one, for want of something else than places.
    pub(super) fn drop_one(&self) {
        drop_one(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits until this handshake has to go.
    pub(super) async fn dropped(&self) {
        self.dropped.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        // The number may be another's by now if this one was dropped.
        if open.get(&self.number).is_some_and(|entry| Arc::ptr_eq(&entry.dropped, &self.dropped)) {
            open.remove(&self.number);
        }
    }
}

/// `false` if there is none.
fn drop_one(open: &mut BTreeMap<u64, Open>) -> bool {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for entry in open.values() {
        let count = counts.entry(entry.origin).or_default();
        *count = count.saturating_add(1);
    }
    let most = counts.values().copied().max().unwrap_or(0);
    // Of equals, the one whose oldest handshake is older.
    let victim = open.iter().find(|(_, entry)| counts.get(&entry.origin) == Some(&most));
    let Some(number) = victim.map(|(number, _)| *number) else { return false };
    if let Some(entry) = open.remove(&number) {
        entry.dropped.notify_one();
    }
    true
}

fn origin(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_many_loses_its_own_oldest() {
        let all = Handshakes::new(4);
        let genuine = all.admit(IpAddr::from([10, 0, 0, 1]));
        let attackers: Vec<Ticket> = (0..10).map(|_| all.admit(IpAddr::from([10, 0, 0, 2]))).collect();
        assert_eq!(all.lock().len(), 4);
        assert!(!gone(&genuine));
        let left: Vec<bool> = attackers.iter().map(|ticket| !gone(ticket)).collect();
        assert_eq!(left, [false, false, false, false, false, false, false, true, true, true]);
        drop((genuine, attackers));
        assert!(all.lock().is_empty());
    }

    #[test]
    fn a_newcomer_gets_in_when_one_address_holds_every_place() {
        let all = Handshakes::new(4);
        let attackers: Vec<Ticket> = (0..4).map(|_| all.admit(IpAddr::from([10, 0, 0, 2]))).collect();
        let genuine = all.admit(IpAddr::from([10, 0, 0, 1]));
        assert!(gone(&attackers[0]) && !gone(&genuine));
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let all = Handshakes::new(3);
        let tickets: Vec<Ticket> = (1..=5).map(|host| all.admit(IpAddr::from([10, 0, 0, host]))).collect();
        let left: Vec<bool> = tickets.iter().map(|ticket| !gone(ticket)).collect();
        assert_eq!(left, [false, false, true, true, true]);
    }

    #[test]
    fn addresses_of_one_host_count_as_one() {
        let v6 = |text: &str| origin(text.parse::<Ipv6Addr>().unwrap().into());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:2"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(v6("::ffff:10.0.0.1"), IpAddr::from([10, 0, 0, 1]));
    }

    fn gone(ticket: &Ticket) -> bool {
        ticket
            .all
            .lock()
            .get(&ticket.number)
            .is_none_or(|entry| !Arc::ptr_eq(&entry.dropped, &ticket.dropped))
    }
}

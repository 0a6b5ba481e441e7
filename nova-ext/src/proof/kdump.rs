//! A host whose crash kernel runs says so itself (`fence_kdump_send`): its guests are gone.
//!
//! The message has no authentication. It counts only if it comes from an address that is configured for the host, on a
//! network where nobody else can use that address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Evidence, FenceProof};
use crate::ids::HostName;
use crate::stamp::Stamp;

/// The UDP port.
pub const PORT: u16 = 7410;
/// The message, as numbers in the sender's byte order.
const MAGIC: u32 = 0x1B30_2A40;
const VERSION: u32 = 1;
/// Its length.
pub const LENGTH: usize = 8;

/// The addresses from which each host sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Senders(BTreeMap<IpAddr, HostName>);

/// Two hosts that would send from one address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is the kdump address of both {one} and {other}: a message from it would prove nothing")]
pub struct Ambiguous {
    /// The address.
    pub address: IpAddr,
    /// One host.
    pub one: HostName,
    /// The other.
    pub other: HostName,
}

impl Senders {
    /// Adds an address of a host.
    pub fn add(&mut self, host: &HostName, address: IpAddr) -> Result<(), Ambiguous> {
        let address = address.to_canonical();
        match self.0.insert(address, host.clone()) {
            Some(one) if one != *host => Err(Ambiguous { address, one, other: host.clone() }),
            _ => Ok(()),
        }
    }

    /// Whether a host has an address.
    pub fn has(&self, host: &HostName) -> bool {
        self.0.values().any(|known| known == host)
    }

    /// What a message proves. None for one of somebody else, or that is something else.
    pub fn proof(&self, from: IpAddr, message: &[u8], received: Stamp) -> Option<FenceProof> {
        let from = from.to_canonical();
        let host = self.0.get(&from).filter(|_| is_kdump(message))?;
        let evidence = Evidence::Kdump { from: from.to_string(), received };
        Some(FenceProof::new(host.clone(), evidence, received))
    }
}

/// Whether this is the message, in either byte order.
fn is_kdump(message: &[u8]) -> bool {
    let Ok(message) = <[u8; LENGTH]>::try_from(message) else { return false };
    // Two numbers of four bytes: as one of eight, least significant first, the second is the upper half.
    let little = u64::from(VERSION) << 32 | u64::from(MAGIC);
    let big = u64::from(MAGIC) << 32 | u64::from(VERSION);
    u64::from_le_bytes(message) == little || u64::from_be_bytes(message) == big
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_message_of_a_configured_host() {
        let mut senders = Senders::default();
        let host: HostName = "compute-1".parse().unwrap();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        senders.add(&host, address).unwrap();
        senders.add(&host, "2001:db8::1".parse().unwrap()).unwrap();
        let little = [0x40, 0x2A, 0x30, 0x1B, 1, 0, 0, 0];
        let big = [0x1B, 0x30, 0x2A, 0x40, 0, 0, 0, 1];
        let now = Stamp::now();
        for message in [little, big] {
            let proof = senders.proof(address, &message, now).unwrap();
            assert_eq!((proof.host(), proof.at()), (&host, now));
        }
        // As a socket for both families shows it.
        assert!(senders.proof("::ffff:192.0.2.1".parse().unwrap(), &little, now).is_some());
        assert!(senders.proof("192.0.2.2".parse().unwrap(), &little, now).is_none());
        let mut other = little;
        other[4] = 2;
        for not in [&other[..], &little[..7], &[little.as_slice(), &[0]].concat(), &[]] {
            assert!(senders.proof(address, not, now).is_none(), "{not:?}");
        }
        let second = "compute-2".parse().unwrap();
        assert!(senders.add(&second, address).is_err_and(|error| error.one == host && error.other == second));
    }
}

//! The log of failed handshakes: each peer's reason once, and again after a while with a count.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::tls::HandshakeError;
use crate::audit::{Entry, Origin};

#[derive(Default)]
pub(super) struct FailureLog(Mutex<HashMap<Key, Seen>>);

impl FailureLog {
    /// Says it, unless the same was said about this peer a short time ago.
    pub(super) fn report(&self, peer: SocketAddr, error: &HandshakeError) {
        let Some(unsaid) = self.note(peer.ip(), error, Instant::now()) else { return };
        let more =
            if unsaid > 0 { format!(" ({unsaid} more since this was last said)") } else { String::new() };
        match error {
            HandshakeError::Timeout => warn!("Remote client authentication timed out: {peer}: {error}{more}"),
            HandshakeError::Refused(refusal) => {
                warn!("Refused remote client {peer}: {refusal}{more}");
                let who = Origin::peer(peer, "none", None);
                Entry::new("connect", "refused")
                    .field("reason", refusal)
                    .field("more", unsaid)
                    .log(who.fields());
            }
            // Monitoring that only connects is no reason for concern.
            HandshakeError::ClosedAtOnce => {
                info!("TLS handshake with remote client failed: {peer}: {error}{more}");
            }
            _ => warn!("TLS handshake with remote client failed: {peer}: {error}{more}"),
        }
    }

    /// `Some` if it must be said, with how often it was not.
    fn note(&self, peer: IpAddr, error: &HandshakeError, now: Instant) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = reason(error);
        let mut key = (peer.to_canonical(), kind);
        if seen.len() >= MOST && !seen.contains_key(&key) {
            seen.retain(|_, seen| now.duration_since(seen.said) < QUIET);
            if seen.len() >= MOST {
                // Too many addresses at once: the rest share one entry for each reason.
                key = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), kind);
            }
        }
        let Some(entry) = seen.get_mut(&key) else {
            seen.insert(key, Seen { said: now, unsaid: 0 });
            return Some(0);
        };
        if now.duration_since(entry.said) < QUIET {
            entry.unsaid = entry.unsaid.saturating_add(1);
            return None;
        }
        entry.said = now;
        Some(std::mem::take(&mut entry.unsaid))
    }
}

/// The reason's name in counters.
pub(super) fn reason(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::NoKey(_) => "no_key",
        HandshakeError::OldTls => "old_tls",
        HandshakeError::WrongKey { .. } => "wrong_key",
        HandshakeError::WrongIdentity(_) => "wrong_identity",
        HandshakeError::NoPsk => "no_psk",
        HandshakeError::UnusablePsk => "unusable_psk",
        HandshakeError::NoSuite | HandshakeError::NoModernSuite => "no_suite",
        HandshakeError::NoGroup => "no_group",
        HandshakeError::KeyInsteadOfCertificate => "key_instead_of_certificate",
        HandshakeError::NoCertificate => "no_certificate",
        HandshakeError::Certificate(refusal) => refusal.problem.name(),
        HandshakeError::OwnCertificate { .. } => "own_certificate_refused",
        HandshakeError::NoSignature => "no_signature",
        HandshakeError::NotTls(_) => "not_tls",
        HandshakeError::ClosedAtOnce => "closed_at_once",
        HandshakeError::ClosedEarly => "closed_early",
        HandshakeError::PeerAlert(_) => "peer_alert",
        HandshakeError::Tls(_) => "tls",
        HandshakeError::Io(_) => "io",
        HandshakeError::Timeout => "timeout",
        HandshakeError::Crowded => "crowded",
        HandshakeError::Refused(_) => "refused",
    }
}

type Key = (IpAddr, &'static str);

struct Seen {
    said: Instant,
    unsaid: u64,
}

const QUIET: Duration = Duration::from_secs(60);
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_a_minute_for_each_peer() {
        let log = FailureLog::default();
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        let old = HandshakeError::OldTls;
        assert_eq!(log.note(one, &old, start), Some(0));
        for _ in 0..5 {
            assert_eq!(log.note(one, &old, start + Duration::from_secs(59)), None);
        }
        assert_eq!(log.note(two, &old, start), Some(0));
        assert_eq!(log.note(one, &HandshakeError::NoPsk, start), Some(0));
        let wrong = |sha256: &str| HandshakeError::WrongKey { sha256: sha256.into() };
        assert_eq!(log.note(one, &wrong("a"), start), Some(0));
        assert_eq!(log.note(one, &wrong("b"), start), None);
        assert_eq!(log.note(one, &old, start + QUIET), Some(5));
        assert_eq!(log.note(one, &old, start + QUIET), None);
    }

    #[test]
    fn many_addresses_cannot_fill_the_memory_or_the_log() {
        let log = FailureLog::default();
        let now = Instant::now();
        let said = (0..100_000_u32)
            .filter(|i| {
                log.note(IpAddr::V4(Ipv4Addr::from_bits(i + 1)), &HandshakeError::Timeout, now).is_some()
            })
            .count();
        assert_eq!(said, MOST + 1);
        assert_eq!(log.0.lock().unwrap().len(), MOST + 1);
    }
}

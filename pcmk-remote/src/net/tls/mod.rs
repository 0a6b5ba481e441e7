//! TLS 1.3 with Pacemaker's pre-shared key: the server's side of a handshake.

mod psk;
mod reload;

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::server::Acceptor;
use rustls::{AlertDescription, Error as TlsError, PeerIncompatible, PeerMisbehaved};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub use reload::KeyStore;

use psk::{Offer, PskServer};

#[cfg(feature = "test-client")]
pub(crate) use psk::{IDENTITY, Psk, client_for_connection};

/// Why a connection did not get through its handshake, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(
        "this node has no key: create /etc/pacemaker/authkey as a copy of the cluster nodes' file, \
         or set PCMK_authkey_location ({0})"
    )]
    NoKey(String),
    #[error(
        "the peer offered only TLS 1.2 or older, and TLS 1.3 is needed: check PCMK_tls_priorities and the \
         system's crypto policy on the cluster nodes"
    )]
    OldTls,
    #[error(
        "wrong key: compare the sha256 of the key file on both sides (sha256sum /etc/pacemaker/authkey), \
         here it is {sha256}"
    )]
    WrongKey { sha256: String },
    #[error("the peer offered a key as \"{0}\" instead of \"lrmd\": it is not a Pacemaker cluster node")]
    WrongIdentity(String),
    #[error(
        "the peer offered no pre-shared key but an anonymous or certificate handshake: it is not a \
         Pacemaker cluster node, or the cluster is set up for certificates (PCMK_cert_file, PCMK_ca_file and \
         PCMK_key_file on the cluster nodes)"
    )]
    NoPsk,
    #[error(
        "the peer offered the right identity in a way that cannot be used (a key exchange without forward \
         secrecy, or a server name): check PCMK_tls_priorities on the cluster nodes"
    )]
    UnusablePsk,
    #[error(
        "no cipher suite in common: the peer must allow AES-128-GCM-SHA256 or CHACHA20-POLY1305-SHA256; check \
         PCMK_tls_priorities and the system's crypto policy on the cluster nodes"
    )]
    NoSuite,
    #[error(
        "no key exchange group in common: the peer must allow X25519, P-256 or P-384; check \
         PCMK_tls_priorities and the system's crypto policy on the cluster nodes"
    )]
    NoGroup,
    #[error("what the peer sent is not TLS ({0}): something other than a cluster node uses this port")]
    NotTls(TlsError),
    #[error("the peer closed the connection before it sent anything (a port check?)")]
    ClosedAtOnce,
    #[error("the peer closed the connection in the middle of the handshake")]
    ClosedEarly,
    #[error("the peer gave up: {}", alert_hint(*.0))]
    PeerAlert(AlertDescription),
    #[error("{0}")]
    Tls(TlsError),
    #[error("connection lost: {0}")]
    Io(io::Error),
    /// Logged with a text of its own.
    #[error("no complete handshake within the time allowed")]
    Timeout,
    #[error(
        "too many unfinished handshakes at once: dropped the oldest of the address that has most of them"
    )]
    Crowded,
}

/// The whole handshake; the caller sets the deadline.
pub(crate) async fn accept<S>(keys: &KeyStore, socket: S) -> Result<TlsStream<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = match LazyConfigAcceptor::new(Acceptor::default(), socket).await {
        Ok(start) => start,
        Err(error) => return Err(classify(error, None)),
    };
    // Only now: garbage and silent peers must not make us look at the disk.
    let server = keys.current().await.map_err(|error| HandshakeError::NoKey(error.to_string()))?;
    let (config, offer) = server
        .config_for(&start.client_hello())
        .ok_or_else(|| HandshakeError::Tls(TlsError::General("no configuration".into())))?;
    let stream = match start.into_stream(config).await {
        Ok(stream) => stream,
        Err(error) => return Err(classify(error, Some((&server, &offer)))),
    };
    if !PskServer::authenticated(stream.get_ref().1) {
        return Err(HandshakeError::NoPsk);
    }
    Ok(stream)
}

fn classify(error: io::Error, hello: Option<(&PskServer, &Offer)>) -> HandshakeError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return HandshakeError::ClosedEarly;
    }
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return HandshakeError::Io(error);
    };
    match (tls, hello) {
        (TlsError::PeerMisbehaved(PeerMisbehaved::IncorrectBinder), Some((server, _))) => {
            HandshakeError::WrongKey { sha256: server.sha256().to_owned() }
        }
        (TlsError::PeerIncompatible(reason), Some((_, offer))) => match reason {
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired => HandshakeError::OldTls,
            PeerIncompatible::NoCipherSuitesInCommon => HandshakeError::NoSuite,
            PeerIncompatible::NoKxGroupsInCommon => HandshakeError::NoGroup,
            _ if offer.matched() => HandshakeError::UnusablePsk,
            PeerIncompatible::NoSignatureSchemesInCommon | PeerIncompatible::KeyShareExtensionRequired => {
                offer.other_identity().map_or(HandshakeError::NoPsk, HandshakeError::WrongIdentity)
            }
            _ => HandshakeError::Tls(tls.clone()),
        },
        (TlsError::AlertReceived(alert), _) => HandshakeError::PeerAlert(*alert),
        (
            TlsError::InvalidMessage(_)
            | TlsError::InappropriateMessage { .. }
            | TlsError::InappropriateHandshakeMessage { .. },
            _,
        ) => HandshakeError::NotTls(tls.clone()),
        _ => HandshakeError::Tls(tls.clone()),
    }
}

fn alert_hint(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::DecryptError | AlertDescription::BadRecordMac => {
            format!("alert {alert:?}, which usually means that the keys differ")
        }
        _ => format!("alert {alert:?}"),
    }
}

/// A lock that outlives a panic of another holder: what it guards here is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! TLS with Pacemaker's pre-shared key or with certificates: the server's side of a handshake.

mod certificate_store;
pub mod client;
mod credentials;
mod failure;
mod file;
mod key_store;
pub mod probe;
mod psk;
mod refresh;
mod x509;

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::digest::{SHA256, digest};
use rustls::Error as TlsError;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

pub use certificate_store::CertificateStore;
pub use credentials::{
    AuthorityReport, CertificateReport, CredentialKind, CredentialReport, CredentialSettings, Credentials,
    KeyReport, RevocationReport,
};
pub(crate) use key_store::DEFAULT_LOCATIONS as KEY_LOCATIONS;
pub use key_store::KeyStore;
pub use x509::{CertificateFiles, CertificateProblem, CertificateRefusal};

pub(crate) use failure::HandshakeError;

use super::PeerIdentity;
use crate::policy::Policy;
use credentials::Kind;
use psk::PskServer;
use x509::Facts;

/// The whole handshake with a peer that this policy admits; the caller sets the deadline.
pub(crate) async fn accept<S>(
    credentials: &Credentials,
    policy: &Arc<Policy>,
    socket: S,
) -> Result<(TlsStream<S>, PeerIdentity), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await.map_err(HandshakeError::before)?;
    // Only now: garbage and silent peers must not make us look at the disk.
    match credentials.kind() {
        Kind::Key(keys) => {
            // A key has no name: this is known before the peer takes its handshake for done.
            policy.admit_names(None).map_err(HandshakeError::Refused)?;
            accept_key(keys, start).await
        }
        Kind::Certificates(certificates) => accept_certificate(certificates, policy, start).await,
    }
}

async fn accept_key<S>(
    keys: &KeyStore,
    start: StartHandshake<S>,
) -> Result<(TlsStream<S>, PeerIdentity), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let server = keys.current().await.map_err(|error| HandshakeError::NoKey(error.to_string()))?;
    let (config, offer) = server
        .config_for(&start.client_hello())
        .ok_or_else(|| HandshakeError::Tls(TlsError::General("no configuration".into())))?;
    let stream = match start.into_stream(config).await {
        Ok(stream) => stream,
        Err(error) => return Err(HandshakeError::with_key(error, &server, &offer)),
    };
    if !PskServer::authenticated(stream.get_ref().1) {
        return Err(HandshakeError::NoPsk);
    }
    Ok((stream, PeerIdentity::Key))
}

async fn accept_certificate<S>(
    certificates: &CertificateStore,
    policy: &Arc<Policy>,
    start: StartHandshake<S>,
) -> Result<(TlsStream<S>, PeerIdentity), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let loaded = certificates.current().await;
    let (config, witness) =
        x509::config_for(&loaded, policy, &start.client_hello()).map_err(HandshakeError::Tls)?;
    let stream = match start.into_stream(config).await {
        Ok(stream) => stream,
        Err(error) => {
            let subject = &loaded.certificate.subject;
            return Err(HandshakeError::with_certificates(error, &witness, subject));
        }
    };
    let connection = stream.get_ref().1;
    let peer = connection.peer_certificates().and_then(<[_]>::first).filter(|_| x509::is_full(connection));
    let Some(peer) = peer else { return Err(HandshakeError::NoCertificate) };
    let identity = PeerIdentity::Certificate(Box::new(Facts::of(peer).into()));
    Ok((stream, identity))
}

/// What the TLS library said, where it is behind this.
fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>())
}

/// A lock that outlives a panic of another holder: what it guards here is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SHA-256 in lower-case hexadecimal, as `sha256sum` prints it.
fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

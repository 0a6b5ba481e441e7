//! What rustls insists on and a pre-shared key does not have: certificates, a clock, a ticket store.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{GetRandomFailed, SecureRandom};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, Error, NamedGroup, SignatureAlgorithm, SignatureScheme};

use crate::net::tls::lock;

/// Random source of the in-memory server only. `ticket_age_add` is its one draw of 4 bytes, and an
/// external key wants an obfuscated age of 0 (`GnuTLS` servers insist).
#[derive(Debug)]
pub(super) struct ZeroAgeAdd;

impl SecureRandom for ZeroAgeAdd {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        if buf.len() == 4 {
            buf.fill(0);
            return Ok(());
        }
        getrandom::fill(buf).map_err(|_| GetRandomFailed)
    }
}

/// Keeps a key's age at 0.
#[derive(Debug)]
pub(super) struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(1)))
    }
}

/// A certificate that proves nothing. With `sign == false` it cannot even be presented, so a handshake
/// that does not select the key ends with `handshake_failure`.
#[derive(Debug)]
pub(super) struct NoCertificate {
    pub(super) sign: bool,
}

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = Arc::new(Self { sign: self.sign });
        Some(Arc::new(CertifiedKey::new(vec![CertificateDer::from(vec![0; 4])], key)))
    }
}

impl SigningKey for NoCertificate {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.sign.then(|| Box::new(Self { sign: true }) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for NoCertificate {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(vec![0])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// What the client says of a server that presents a certificate instead.
pub(super) const NOT_SELECTED: &str = "the peer did not select the pre-shared key";

/// Lets the in-memory peer pass until closed; refuses every certificate afterwards.
#[derive(Debug)]
pub(super) struct Seal(AtomicBool);

impl Seal {
    pub(super) fn open() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(super) fn close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::SeqCst) {
            return Err(Error::General(NOT_SELECTED.into()));
        }
        Ok(())
    }
}

impl ServerCertVerifier for Seal {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check().map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("no TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check().map(|()| HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Keeps the session that rustls hands over to be made into a ticket.
pub(super) struct Recorder {
    ticket: Vec<u8>,
    session: Mutex<Option<Vec<u8>>>,
}

impl Recorder {
    pub(super) fn new(ticket: &[u8]) -> Self {
        Self { ticket: ticket.to_vec(), session: Mutex::new(None) }
    }

    pub(super) fn session(&self) -> Option<Vec<u8>> {
        lock(&self.session).take()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl ProducesTickets for Recorder {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        *lock(&self.session) = Some(plain.to_vec());
        Some(self.ticket.clone())
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// The client's store: one session, taken by the first connection.
#[derive(Default)]
pub(super) struct OneSession(Mutex<Option<Tls13ClientSessionValue>>);

impl fmt::Debug for OneSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneSession")
    }
}

impl ClientSessionStore for OneSession {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        *lock(&self.0) = Some(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        lock(&self.0).take()
    }
}

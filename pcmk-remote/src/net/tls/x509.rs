//! Certificates (Pacemaker 3): this node's own, and what is asked of a peer's.
//!
//! A peer must present a certificate of one of the given authorities that is not revoked. As with the C
//! daemon its name does not matter here. What the certificate may be used for matters little: clusters
//! use one certificate for both ends of a connection, so either of client and server will do.

mod facts;
mod load;
mod problem;
mod trust;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    HandshakeKind, ServerConfig, ServerConnection, SignatureScheme, SupportedCipherSuite,
};

pub(super) use facts::{Facts, date};
pub(super) use load::{Contents, Loaded, load};
pub use problem::{CertificateProblem, CertificateRefusal};

use super::lock;
use super::psk::IDENTITY;
use crate::policy::{Policy, Refusal};
use trust::Trust;

/// The files with this node's certificate and what peers' certificates are checked against, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// This node's certificate (`PCMK_cert_file`), followed by what links it to the authority, if anything.
    pub certificate: PathBuf,
    /// Its private key (`PCMK_key_file`).
    pub key: PathBuf,
    /// The authorities' certificates (`PCMK_ca_file`).
    pub authority: PathBuf,
    /// Certificates that they have revoked (`PCMK_crl_file`).
    pub revocations: Option<PathBuf>,
}

impl CertificateFiles {
    /// All files that are set, with the names of their settings.
    pub(super) fn all(&self) -> Vec<(&'static str, &Path)> {
        let mut files = vec![
            ("PCMK_cert_file", self.certificate.as_path()),
            ("PCMK_key_file", self.key.as_path()),
            ("PCMK_ca_file", self.authority.as_path()),
        ];
        files.extend(self.revocations.as_deref().map(|path| ("PCMK_crl_file", path)));
        files
    }
}

/// Watches one handshake for what the log should say about it.
pub(super) struct Witness {
    trust: Arc<Trust>,
    policy: Arc<Policy>,
    refusal: Mutex<Option<CertificateRefusal>>,
    unwelcome: Mutex<Option<Refusal>>,
    key_offered: Mutex<bool>,
}

impl Witness {
    fn new(loaded: &Loaded, policy: Arc<Policy>, key_offered: bool) -> Self {
        Self {
            trust: Arc::clone(&loaded.trust),
            policy,
            refusal: Mutex::new(None),
            unwelcome: Mutex::new(None),
            key_offered: Mutex::new(key_offered),
        }
    }

    /// Why the peer's certificate was refused, if it was.
    pub(super) fn refusal(&self) -> Option<CertificateRefusal> {
        lock(&self.refusal).clone()
    }

    /// Why the policy does not admit the peer with its certificate, if so.
    pub(super) fn unwelcome(&self) -> Option<Refusal> {
        lock(&self.unwelcome).clone()
    }

    /// Whether the peer offered a pre-shared key: it is set up for that, then.
    pub(super) fn key_offered(&self) -> bool {
        *lock(&self.key_offered)
    }
}

/// Settings for one connection, and what will be known about its peer's certificate.
///
/// TLS 1.2 where the peer can: there the handshake ends after this end has looked at the peer's certificate, and with
/// TLS 1.3 before. Controllers (3.0.0 to 3.0.2) that are turned away between the end of their handshake and the answer
/// to their registration never report the start that they are in, and the cluster fences the remote node in the end.
pub(super) fn config_for(
    loaded: &Loaded,
    policy: &Arc<Policy>,
    hello: &ClientHello<'_>,
) -> Result<(Arc<ServerConfig>, Arc<Witness>), Error> {
    let suites = hello.cipher_suites();
    let key_offered = suites.iter().any(|suite| is_psk(*suite));
    let witness = Arc::new(Witness::new(loaded, Arc::clone(policy), key_offered));
    let version = if has_tls12(loaded, hello) { &TLS12 } else { &TLS13 };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&loaded.provider))
        .with_protocol_versions(&[version])?
        .with_client_cert_verifier(Arc::<Witness>::clone(&witness))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&loaded.own))));
    // Else what is negotiated with TLS 1.2 is not bound to all that was said before.
    config.require_ems = true;
    // No session is ever resumed: each connection looks at the certificate and the revocation list anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // C peers block on a readable socket that carries no data: no tickets.
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    if suites.iter().all(|suite| u16::from(*suite) >> 8 == 0x13) {
        config.ticketer = Arc::new(KeySpotter(Arc::clone(&witness)));
    }
    Ok((Arc::new(config), witness))
}

/// The client's end of one connection.
pub(super) fn client_for_connection(loaded: &Loaded) -> Result<(Arc<ClientConfig>, Arc<Witness>), Error> {
    let witness = Arc::new(Witness::new(loaded, Arc::default(), false));
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&loaded.provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Witness>::clone(&witness))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&loaded.own))));
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), witness))
}

/// Whether the peer's certificate was looked at in this very handshake. Must be true before the first
/// byte of application data is read.
pub(super) fn is_full(connection: &ServerConnection) -> bool {
    matches!(
        connection.handshake_kind(),
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
    )
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

impl ClientCertVerifier for Witness {
    /// None: a peer with a certificate of another authority shall present it and read why it is refused
    /// in our log, instead of presenting none.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust.check(end_entity, intermediates, now).map_err(|refusal| {
            let error = refusal.problem.tls_error();
            *lock(&self.refusal) = Some(refusal);
            error
        })?;
        self.policy.admit_names(Some(&Facts::of(end_entity).names)).map_err(|refusal| {
            *lock(&self.unwelcome) = Some(refusal);
            CertificateError::ApplicationVerificationFailure
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.trust.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

/// Stands where rustls looks up tickets, and notes that a peer which offers TLS 1.3 alone has a key.
struct KeySpotter(Arc<Witness>);

impl fmt::Debug for KeySpotter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySpotter")
    }
}

impl ProducesTickets for KeySpotter {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, identity: &[u8]) -> Option<Vec<u8>> {
        if identity == IDENTITY {
            *lock(&self.0.key_offered) = true;
        }
        None
    }
}

/// The suites of TLS 1.2 with a pre-shared key, which every stock peer that has one offers.
fn is_psk(suite: CipherSuite) -> bool {
    matches!(u16::from(suite), 0x008a..=0x0095 | 0x00a8..=0x00b9 | 0xc033..=0xc03b | 0xccab..=0xccae)
}

/// Whether a peer that says this can do TLS 1.2 with this node's certificate.
fn has_tls12(loaded: &Loaded, hello: &ClientHello<'_>) -> bool {
    let usable = |schemes: &[SignatureScheme]| {
        let offered = hello.signature_schemes().iter().copied();
        let common: Vec<_> = offered.filter(|scheme| schemes.contains(scheme)).collect();
        loaded.own.key.choose_scheme(&common).is_some()
    };
    loaded.provider.cipher_suites.iter().any(|suite| match suite {
        SupportedCipherSuite::Tls12(tls12) => {
            hello.cipher_suites().contains(&suite.suite()) && usable(tls12.sign)
        }
        SupportedCipherSuite::Tls13(_) => false,
    })
}

/// The client's end: accepts a daemon by the same rules. Cluster nodes do not check names.
impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_client_cert(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.trust.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

//! A handshake that is left as soon as the daemon has proved itself, and before we have: to the daemon
//! it is a handshake that failed, and the cluster hears nothing of it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, ProtocolVersion,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::client::{ConnectError, Connector};
use super::lock;
use super::x509::Facts;

/// What a handshake has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Version of TLS, as `TLSv1_3`.
    pub version: String,
    /// Cipher suite.
    pub suite: String,
    /// The daemon's certificate, where it has one.
    pub certificate: Option<SeenCertificate>,
}

/// A certificate as it was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCertificate {
    /// Subject.
    pub subject: String,
    /// Subject of the authority.
    pub issuer: String,
    /// When it begins to be valid, seconds since the epoch.
    pub not_before: u64,
    /// When it expires, seconds since the epoch.
    pub not_after: u64,
}

impl Connector {
    /// As far as it goes without taking part: the daemon has proved that it has the key, or shown a
    /// certificate that is accepted here. The caller sets the deadline.
    pub async fn probe<S>(&self, socket: S) -> Result<Sight, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (config, witness) = self.config()?;
        run(config, socket).await.map_err(|error| self.classify_with(witness.as_deref(), error))
    }
}

/// Connects without any credentials and believes everything, to see whether the daemon has a certificate.
pub async fn look<S>(socket: S) -> Option<SeenCertificate>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let seen = Arc::new(Onlooker::default());
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Onlooker>::clone(&seen))
        .with_no_client_auth();
    config.enable_sni = false;
    // However this ends, a certificate that was shown was seen.
    let _ = run(Arc::new(config), socket).await;
    let certificate = lock(&seen.0).take();
    certificate.map(|der| SeenCertificate::of(&der))
}

/// What a daemon answers to a key with TLS 1.2, which is not spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldTls {
    /// It refuses.
    Refused,
    /// It would take it, and says that it could do better: it speaks TLS 1.3, too.
    Downgraded,
    /// It would take it, and knows nothing better.
    Newest,
}

/// Offers a key with TLS 1.2 and leaves at the answer.
pub async fn offer_key_with_tls12<S>(mut socket: S) -> OldTls
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// What a server that speaks TLS 1.3 puts at the end of its random bytes then (RFC 8446, 4.1.3).
    const DOWNGRADE: &[u8] = b"DOWNGRD\x01";
    // Of a record with a ServerHello, up to the end of its random bytes.
    let mut answer = [0; 43];
    let asked = async {
        socket.write_all(&hello_of_tls12()).await?;
        socket.read_exact(&mut answer).await
    };
    if asked.await.is_err() || [answer[0], answer[5]] != [22, 2] {
        OldTls::Refused
    } else if answer.ends_with(DOWNGRADE) {
        OldTls::Downgraded
    } else {
        OldTls::Newest
    }
}

/// A `ClientHello` of TLS 1.2 with nothing but pre-shared keys: with and without Diffie-Hellman, AES in GCM or
/// CBC, and `ChaCha20`.
fn hello_of_tls12() -> Vec<u8> {
    const SUITES: [u8; 16] = [0, 0xaa, 0, 0xab, 0xcc, 0xad, 0, 0x90, 0, 0xa8, 0, 0xa9, 0xcc, 0xab, 0, 0x8c];
    // Renegotiation info (empty), extended master secret, groups (FFDHE2048).
    const EXTENSIONS: [u8; 17] = [0xff, 1, 0, 1, 0, 0, 0x17, 0, 0, 0, 10, 0, 4, 0, 2, 1, 0];
    let mut random = [0; 32];
    // Nobody relies on it: the handshake ends here.
    let _ = getrandom::fill(&mut random);
    let mut body = vec![3, 3];
    body.extend(random);
    body.push(0);
    body.extend(length(&SUITES));
    body.extend(SUITES);
    body.extend([1, 0]);
    body.extend(length(&EXTENSIONS));
    body.extend(EXTENSIONS);
    let message = [&[1, 0], &length(&body)[..], &body].concat();
    [&[22, 3, 1], &length(&message)[..], &message].concat()
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

impl SeenCertificate {
    fn of(der: &[u8]) -> Self {
        let facts = Facts::of(der);
        Self {
            subject: facts.subject,
            issuer: facts.issuer,
            not_before: facts.not_before,
            not_after: facts.not_after,
        }
    }
}

async fn run<S>(config: Arc<ClientConfig>, mut socket: S) -> io::Result<Sight>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let invalid = |error: TlsError| io::Error::new(io::ErrorKind::InvalidData, error);
    // An address: cluster nodes send no server name.
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let mut tls = ClientConnection::new(config, name).map_err(invalid)?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        if tls.is_handshaking() && tls.wants_write() {
            // With TLS 1.2, what comes after the daemon's certificate would be our half of the keys.
            if tls.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
                return Ok(sight(&tls));
            }
            let mut wire = Vec::new();
            tls.write_tls(&mut wire)?;
            socket.write_all(&wire).await?;
        }
        if !tls.is_handshaking() {
            // What is left to be written is our Finished: it stays here.
            return Ok(sight(&tls));
        }
        let length = socket.read(&mut buffer).await?;
        let mut received = buffer.get(..length).unwrap_or_default();
        if received.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !received.is_empty() {
            tls.read_tls(&mut received)?;
            tls.process_new_packets().map_err(invalid)?;
        }
    }
}

fn sight(tls: &ClientConnection) -> Sight {
    let named = |name: Option<String>| name.unwrap_or_else(|| "unknown".to_owned());
    Sight {
        version: named(tls.protocol_version().map(|version| format!("{version:?}"))),
        suite: named(
            tls.negotiated_cipher_suite()
                .map(|suite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")),
        ),
        certificate: tls
            .peer_certificates()
            .and_then(<[CertificateDer<'_>]>::first)
            .map(|der| SeenCertificate::of(der)),
    }
}

/// Believes everything and remembers the certificate.
#[derive(Debug, Default)]
struct Onlooker(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        *lock(&self.0) = Some(certificate.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

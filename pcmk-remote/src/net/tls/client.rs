//! The other end: how a cluster node connects to a daemon. For the operator's tools and for tests.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, Error as TlsError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::certificate_store::read_and_load;
use super::psk::{self, Psk};
use super::tls_error;
use super::x509::{self, CertificateFiles, CertificateRefusal, Loaded, Witness};

/// The identity under which cluster nodes offer their key.
pub const IDENTITY: &str = "lrmd";

/// Connects as a cluster node does.
pub struct Connector(Kind);

enum Kind {
    Key { psk: Psk, suite: Suite },
    Certificates { loaded: Box<Loaded> },
}

/// A cipher suite that pre-shared keys can be used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// `TLS_AES_128_GCM_SHA256`.
    Aes128Gcm = 0,
    /// `TLS_CHACHA20_POLY1305_SHA256`, which stock peers prefer.
    ChaCha20Poly1305 = 1,
}

/// Why a daemon cannot be connected to, as seen from the client's end.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// These credentials cannot be used at all.
    #[error("these credentials cannot be used: {0}")]
    Unusable(String),
    /// The daemon answered the key with an alert that means this.
    #[error("the daemon has another key: compare the sha256 of both key files")]
    WrongKey,
    /// It took no notice of the key.
    #[error("the daemon does not use a pre-shared key, or not under this identity")]
    NotPsk,
    /// No version of TLS in common.
    #[error(
        "no version of TLS or no cipher suite in common: the daemon must speak TLS 1.3 (1.2 with certificates)"
    )]
    Version,
    /// The daemon's certificate is not accepted here.
    #[error("{0}")]
    Certificate(CertificateRefusal),
    /// The daemon does not accept the certificate.
    #[error("the daemon does not accept this certificate (alert {0:?}): its log says why")]
    CertificateRefused(AlertDescription),
    /// The daemon has no certificate.
    #[error("the daemon has no certificate that it can use: it is probably set up for a pre-shared key")]
    NoCertificate,
    /// The daemon gave up.
    #[error("the daemon refused the handshake: alert {0:?}")]
    Refused(AlertDescription),
    /// The daemon closed the connection without a word.
    #[error("the daemon closed the connection in the middle of the handshake")]
    Closed,
    /// Anything else in TLS.
    #[error("{0}")]
    Tls(TlsError),
    /// The network.
    #[error("connection lost: {0}")]
    Io(std::io::Error),
}

impl Connector {
    /// With a pre-shared key, of any length.
    pub fn with_key(identity: &str, key: Zeroizing<Vec<u8>>, suite: Suite) -> Result<Self, ConnectError> {
        let psk =
            Psk::new(identity.as_bytes(), key).map_err(|error| ConnectError::Unusable(error.to_string()))?;
        Ok(Self(Kind::Key { psk, suite }))
    }

    /// With a certificate. Reads the files: may block.
    pub fn with_certificates(files: &CertificateFiles) -> Result<Self, ConnectError> {
        let loaded = read_and_load(files).map_err(ConnectError::Unusable)?;
        Ok(Self(Kind::Certificates { loaded: Box::new(loaded) }))
    }

    /// SHA-256 of the key in hexadecimal.
    pub fn key_sha256(&self) -> Option<&str> {
        match &self.0 {
            Kind::Key { psk, .. } => Some(psk.sha256()),
            Kind::Certificates { .. } => None,
        }
    }

    /// The whole handshake; the caller sets the deadline.
    pub async fn connect<S>(&self, socket: S) -> Result<TlsStream<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (config, witness) = self.config()?;
        // An address: cluster nodes send no server name.
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let connected = TlsConnector::from(config).connect(name, socket).await;
        connected.map_err(|error| self.classify_with(witness.as_deref(), error))
    }

    /// Settings for one connection, and what will be known about the daemon's certificate.
    pub(super) fn config(&self) -> Result<(Arc<ClientConfig>, Option<Arc<Witness>>), ConnectError> {
        let unusable = |error: String| ConnectError::Unusable(error);
        match &self.0 {
            Kind::Key { psk, suite } => {
                let config = psk::client_for_connection(psk, *suite as usize);
                Ok((config.map_err(|error| unusable(error.to_string()))?, None))
            }
            Kind::Certificates { loaded } => {
                let config = x509::client_for_connection(loaded);
                let (config, witness) = config.map_err(|error| unusable(error.to_string()))?;
                Ok((config, Some(witness)))
            }
        }
    }

    /// What an error in a handshake means.
    pub(super) fn classify_with(&self, witness: Option<&Witness>, error: std::io::Error) -> ConnectError {
        match witness.and_then(Witness::refusal) {
            Some(refusal) => ConnectError::Certificate(refusal),
            None => self.classify(error),
        }
    }

    /// Waits whether the daemon takes back what the handshake promised: with TLS 1.3 it looks at a
    /// client's certificate only after the client's end is done. Sends nothing.
    pub async fn confirm<S>(&self, stream: &mut TlsStream<S>, wait: Duration) -> Result<(), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout(wait, stream.read(&mut [0])).await {
            Ok(Ok(0)) => Err(ConnectError::Closed),
            Ok(Err(error)) => Err(self.classify(error)),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// What an error on a connection means, in the handshake or after it.
    pub fn classify(&self, error: std::io::Error) -> ConnectError {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return ConnectError::Closed;
        }
        let Some(tls) = tls_error(&error) else { return ConnectError::Io(error) };
        match (&self.0, tls) {
            (
                Kind::Key { .. },
                TlsError::AlertReceived(
                    AlertDescription::DecryptError
                    | AlertDescription::BadRecordMac
                    | AlertDescription::IllegalParameter,
                ),
            ) => ConnectError::WrongKey,
            (
                _,
                TlsError::AlertReceived(AlertDescription::ProtocolVersion) | TlsError::PeerIncompatible(_),
            ) => ConnectError::Version,
            (
                Kind::Certificates { .. },
                TlsError::AlertReceived(
                    alert @ (AlertDescription::BadCertificate
                    | AlertDescription::UnsupportedCertificate
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::CertificateRequired
                    | AlertDescription::UnknownCA
                    | AlertDescription::AccessDenied
                    | AlertDescription::DecryptError),
                ),
            ) => ConnectError::CertificateRefused(*alert),
            (Kind::Certificates { .. }, TlsError::AlertReceived(AlertDescription::HandshakeFailure)) => {
                ConnectError::NoCertificate
            }
            (_, TlsError::AlertReceived(alert)) => ConnectError::Refused(*alert),
            (Kind::Key { .. }, error) if psk::is_not_selected(error) => ConnectError::NotPsk,
            (_, other) => ConnectError::Tls(other.clone()),
        }
    }
}

//! Why a handshake failed, in the operator's words.

use std::io;

use rustls::{AlertDescription, Error as TlsError, PeerIncompatible, PeerMisbehaved};

use super::psk::{Offer, PskServer};
use super::tls_error;
use super::x509::{CertificateRefusal, Witness};
use crate::policy::Refusal;

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
    #[error(
        "the peer offered a pre-shared key, and this node is set up for certificates: set PCMK_cert_file, \
         PCMK_ca_file and PCMK_key_file on the cluster nodes as well (Pacemaker 3), or remove them here"
    )]
    KeyInsteadOfCertificate,
    #[error(
        "the peer presented no certificate: it is not a Pacemaker cluster node, PCMK_cert_file, \
         PCMK_ca_file and PCMK_key_file are not set there, or the key of its certificate is none of RSA, \
         ECDSA P-256 or P-384, or Ed25519"
    )]
    NoCertificate,
    /// The peer's certificate.
    #[error(transparent)]
    Certificate(CertificateRefusal),
    #[error(
        "the peer did not accept this node's certificate \"{subject}\"{}: its issuer must be in PCMK_ca_file \
         on the cluster nodes, it must not have expired, and its key must suit their crypto policy",
        .alert.map(|alert| format!(" (alert {alert:?})")).unwrap_or_default()
    )]
    OwnCertificate { subject: String, alert: Option<AlertDescription> },
    #[error(
        "the peer and this node's certificate have no signature algorithm in common: check \
         PCMK_tls_priorities and the system's crypto policy on the cluster nodes"
    )]
    NoSignature,
    #[error(
        "no cipher suite in common: the peer must allow AES-GCM or CHACHA20-POLY1305 with ECDHE; check \
         PCMK_tls_priorities and the system's crypto policy on the cluster nodes"
    )]
    NoModernSuite,
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
    #[error("{0}")]
    Refused(Refusal),
    /// Logged with a text of its own.
    #[error("no complete handshake within the time allowed")]
    Timeout,
    #[error(
        "too many unfinished handshakes at once: dropped the oldest of the address that has most of them"
    )]
    Crowded,
}

impl HandshakeError {
    /// Before anything was negotiated.
    pub(super) fn before(error: io::Error) -> Self {
        general(error).unwrap_or_else(Self::Tls)
    }

    /// In a handshake with a key.
    pub(super) fn with_key(error: io::Error, server: &PskServer, offer: &Offer) -> Self {
        let tls = match general(error) {
            Ok(known) => return known,
            Err(tls) => tls,
        };
        match &tls {
            TlsError::PeerMisbehaved(PeerMisbehaved::IncorrectBinder) => {
                Self::WrongKey { sha256: server.sha256().to_owned() }
            }
            TlsError::PeerIncompatible(reason) => match reason {
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired => Self::OldTls,
                PeerIncompatible::NoCipherSuitesInCommon => Self::NoSuite,
                PeerIncompatible::NoKxGroupsInCommon => Self::NoGroup,
                _ if offer.matched() => Self::UnusablePsk,
                PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::KeyShareExtensionRequired => {
                    offer.other_identity().map_or(Self::NoPsk, Self::WrongIdentity)
                }
                _ => Self::Tls(tls),
            },
            _ => Self::Tls(tls),
        }
    }

    /// In a handshake with certificates; `subject` is this node's own.
    pub(super) fn with_certificates(error: io::Error, witness: &Witness, subject: &str) -> Self {
        if let Some(refusal) = witness.refusal() {
            return Self::Certificate(refusal);
        }
        if let Some(refusal) = witness.unwelcome() {
            return Self::Refused(refusal);
        }
        let failure = general(error);
        if witness.key_offered() {
            return Self::KeyInsteadOfCertificate;
        }
        let own = |alert| Self::OwnCertificate { subject: subject.to_owned(), alert };
        match failure {
            // Stock peers leave without a word when they do not like what they see.
            Ok(Self::ClosedEarly) => own(None),
            Ok(Self::PeerAlert(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA),
            )) => own(Some(alert)),
            Ok(known) => known,
            Err(TlsError::NoCertificatesPresented) => Self::NoCertificate,
            Err(TlsError::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)) => Self::NoModernSuite,
            Err(TlsError::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon)) => Self::NoGroup,
            Err(TlsError::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon)) => {
                Self::NoSignature
            }
            Err(tls) => Self::Tls(tls),
        }
    }
}

/// What means the same in every handshake, or else what the TLS library said.
fn general(error: io::Error) -> Result<HandshakeError, TlsError> {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Ok(HandshakeError::ClosedEarly);
    }
    let Some(tls) = tls_error(&error) else { return Ok(HandshakeError::Io(error)) };
    match tls {
        TlsError::AlertReceived(alert) => Ok(HandshakeError::PeerAlert(*alert)),
        TlsError::InvalidMessage(_)
        | TlsError::InappropriateMessage { .. }
        | TlsError::InappropriateHandshakeMessage { .. } => Ok(HandshakeError::NotTls(tls.clone())),
        other => Err(other.clone()),
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

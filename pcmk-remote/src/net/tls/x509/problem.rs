//! Why a certificate is not accepted, in the operator's words.

use rustls::{CertRevocationListError, CertificateError, Error as TlsError, OtherError};

use super::facts::date;

/// A certificate that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate \"{subject}\" is not accepted: {problem}")]
pub struct CertificateRefusal {
    /// Whose certificate it is, or says it is.
    pub subject: String,
    /// What is wrong with it.
    pub problem: CertificateProblem,
}

/// What is wrong with a certificate, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// Its time is over.
    #[error("it expired on {0}: renew it (and compare the clocks of both nodes)")]
    Expired(String),
    /// Its time has not come.
    #[error("it is not valid before {0}: compare the clocks of both nodes")]
    NotYetValid(String),
    /// The revocation list names it.
    #[error(
        "it has been revoked (PCMK_crl_file): issue the node a new one if it still belongs to the cluster"
    )]
    Revoked,
    /// Of another authority.
    #[error(
        "its issuer \"{issuer}\" is not in PCMK_ca_file: all nodes need certificates of the same authority"
    )]
    UnknownIssuer {
        /// Who signed it.
        issuer: String,
    },
    /// Of an authority with the same name, or changed.
    #[error(
        "it is not signed with the key of its issuer in PCMK_ca_file: that authority has been made anew \
         under the same name, so copy its certificate to all nodes and issue theirs again"
    )]
    BadSignature,
    /// An authority's.
    #[error(
        "it is an authority's own certificate (CA:TRUE): issue the node one of its own with \
         basicConstraints CA:FALSE, signed by that authority"
    )]
    IsAuthority,
    /// Signed by what is not an authority.
    #[error("it is signed by a certificate that is not an authority's (basicConstraints lacks CA:TRUE)")]
    IssuerIsNoAuthority,
    /// Not version 3.
    #[error("it is of X.509 version 1: issue one of version 3 (openssl x509 -req needs -extfile)")]
    OldVersion,
    /// For other things than TLS.
    #[error(
        "its extended key usage allows neither TLS client nor TLS server authentication: issue it with \
         clientAuth and serverAuth, or without that extension"
    )]
    Purpose,
    /// A key that is too weak or unknown.
    #[error("its key is {0}: use RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519")]
    Key(String),
    /// A signature that is too weak or unknown.
    #[error(
        "it is signed with an algorithm that is too weak or unknown: have it signed with SHA-256 or better by \
         a key of RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519"
    )]
    Algorithm,
    /// The revocation list of its issuer is unusable.
    #[error("the revocation list of its issuer (PCMK_crl_file) cannot be used: {0}")]
    RevocationList(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl CertificateProblem {
    /// What the library found; `issuer` is who signed the certificate.
    pub(super) fn new(error: &webpki::Error, issuer: &str) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { not_after, .. } => Self::Expired(date(not_after.as_secs())),
            E::CertNotValidYet { not_before, .. } => Self::NotYetValid(date(not_before.as_secs())),
            E::CertRevoked => Self::Revoked,
            E::UnknownIssuer => Self::UnknownIssuer { issuer: issuer.to_owned() },
            E::InvalidSignatureForPublicKey | E::SignatureAlgorithmMismatch => Self::BadSignature,
            E::CaUsedAsEndEntity => Self::IsAuthority,
            E::EndEntityUsedAsCa => Self::IssuerIsNoAuthority,
            E::UnsupportedCertVersion => Self::OldVersion,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Self::Purpose,
            E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::Algorithm,
            E::InvalidCrlSignatureForPublicKey => {
                Self::RevocationList("it is not signed with the key of that authority in PCMK_ca_file".into())
            }
            E::IssuerNotCrlSigner => {
                Self::RevocationList("that authority's key usage does not allow it (cRLSign)".into())
            }
            E::UnsupportedCrlSignatureAlgorithmContext(_)
            | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                Self::RevocationList("its signature algorithm is too weak or unknown".into())
            }
            other => Self::Other(format!("{other}")),
        }
    }

    /// Its name in counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Expired(_) => "certificate_expired",
            Self::NotYetValid(_) => "certificate_not_yet_valid",
            Self::Revoked => "certificate_revoked",
            Self::UnknownIssuer { .. } => "certificate_of_unknown_issuer",
            Self::BadSignature => "certificate_signature",
            Self::IsAuthority => "certificate_of_authority",
            Self::IssuerIsNoAuthority => "certificate_issuer",
            Self::OldVersion => "certificate_version",
            Self::Purpose => "certificate_purpose",
            Self::Key(_) => "certificate_key",
            Self::Algorithm => "certificate_algorithm",
            Self::RevocationList(_) => "revocation_list",
            Self::Other(_) => "certificate",
        }
    }

    /// For the library, which makes the alert from it that the peer gets.
    pub(super) fn tls_error(&self) -> TlsError {
        match self {
            Self::Expired(_) => CertificateError::Expired.into(),
            Self::NotYetValid(_) => CertificateError::NotValidYet.into(),
            Self::Revoked => CertificateError::Revoked.into(),
            Self::UnknownIssuer { .. } => CertificateError::UnknownIssuer.into(),
            Self::BadSignature => CertificateError::BadSignature.into(),
            Self::Purpose => CertificateError::InvalidPurpose.into(),
            Self::RevocationList(_) => CertRevocationListError::BadSignature.into(),
            other => CertificateError::Other(OtherError(std::sync::Arc::new(other.clone()))).into(),
        }
    }
}

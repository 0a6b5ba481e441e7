//! What this node proves itself with and checks its peers against.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::certificate_store::CertificateStore;
use super::key_store::KeyStore;
use super::x509::CertificateFiles;
use crate::net::NetError;

/// Which credentials an operator wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialSettings {
    /// Where the shared key is looked for first.
    pub key_location: Option<PathBuf>,
    /// Certificates; if given, they are used instead of a key.
    pub certificates: Option<CertificateFiles>,
}

/// What this node proves itself with and checks its peers against, kept up to date with its files.
pub struct Credentials(Kind);

pub(super) enum Kind {
    Key(Arc<KeyStore>),
    Certificates(Arc<CertificateStore>),
}

impl Credentials {
    /// Reads the files, and from then on looks at them at each handshake and every hour. A missing key is
    /// no error, certificates that cannot be used are. Must be called on a runtime.
    pub async fn open(settings: CredentialSettings) -> Result<Arc<Self>, NetError> {
        let kind = match settings.certificates {
            Some(files) => Kind::Certificates(CertificateStore::open(files).await?),
            None => Kind::Key(KeyStore::open(settings.key_location).await?),
        };
        let credentials = Arc::new(Self(kind));
        tokio::spawn(keep_fresh(Arc::downgrade(&credentials)));
        Ok(credentials)
    }

    /// What is in use, for whoever wants to show it. Does not look at the files, so it is as of the last
    /// handshake or [`Credentials::refresh`].
    pub fn describe(&self) -> CredentialReport {
        match &self.0 {
            Kind::Key(store) => {
                let (key, problem) = store.report();
                CredentialReport { key, problem, ..CredentialReport::new(CredentialKind::Psk) }
            }
            Kind::Certificates(store) => store.report(),
        }
    }

    /// Looks at the files as a handshake does: takes over what has changed and says what is wrong. Waits
    /// for a disk that hangs no longer than a second.
    pub async fn refresh(&self) {
        match &self.0 {
            Kind::Key(store) => store.refresh().await,
            Kind::Certificates(store) => store.refresh().await,
        }
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.0
    }
}

/// Without handshakes nobody would notice that a certificate is about to expire.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

async fn keep_fresh(credentials: Weak<Credentials>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(credentials) = credentials.upgrade() else { return };
        credentials.refresh().await;
    }
}

impl From<Arc<CertificateStore>> for Credentials {
    fn from(store: Arc<CertificateStore>) -> Self {
        Self(Kind::Certificates(store))
    }
}

impl From<Arc<KeyStore>> for Credentials {
    fn from(store: Arc<KeyStore>) -> Self {
        Self(Kind::Key(store))
    }
}

/// How nodes prove themselves to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// With a key that all of them share.
    Psk,
    /// With certificates.
    X509,
}

/// A node's credentials as they may be shown: nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialReport {
    /// How this node proves itself.
    pub kind: CredentialKind,
    /// The shared key, once there is one.
    pub key: Option<KeyReport>,
    /// This node's certificate.
    pub certificate: Option<CertificateReport>,
    /// The authorities that peers' certificates must come from.
    pub authorities: Vec<AuthorityReport>,
    /// The certificates that are not accepted any more.
    pub revocations: Option<RevocationReport>,
    /// What is wrong with the files by now, as in the log; what is described above stays in use.
    pub problem: Option<String>,
}

impl CredentialReport {
    pub(super) fn new(kind: CredentialKind) -> Self {
        Self { kind, key: None, certificate: None, authorities: Vec::new(), revocations: None, problem: None }
    }
}

/// A shared key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// The file it was read from.
    pub path: PathBuf,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// When the file was last changed, seconds since the epoch.
    pub modified: u64,
}

/// A node's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateReport {
    /// The file it was read from.
    pub path: PathBuf,
    /// Subject, as `CN=compute1,O=Example`.
    pub subject: String,
    /// DNS names and addresses among its alternative names, then its common name.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, lower-case hex.
    pub sha256: String,
    /// When it begins to be valid, seconds since the epoch.
    pub not_before: u64,
    /// When it expires, seconds since the epoch.
    pub not_after: u64,
}

/// An authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityReport {
    /// Subject.
    pub subject: String,
    /// When its certificate expires, seconds since the epoch.
    pub not_after: u64,
}

/// A revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationReport {
    /// The file it was read from.
    pub path: PathBuf,
    /// How many certificates it revokes.
    pub revoked: usize,
    /// The first time at which one of its parts should have been replaced, seconds since the epoch.
    pub next_update: Option<u64>,
}

//! The certificate files: when they are read again, and when somebody should renew what is in them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};
use zeroize::Zeroizing;

use super::credentials::{CredentialKind, CredentialReport};
use super::file::{self, Stamp};
use super::lock;
use super::refresh::{Refresh, Source};
use super::x509::{CertificateFiles, Contents, Loaded, date, load};
use crate::net::NetError;

/// Certificates, looked up again at every handshake.
///
/// When one of the files changes, all are read anew, and taken if they fit together: otherwise the last
/// good ones stay in use, and the reason is logged once. How files are touched is as with
/// [`super::KeyStore`].
pub struct CertificateStore(Refresh<Files>);

impl CertificateStore {
    /// Reads the files. Unlike a missing key, certificates that cannot be used are an error, as with the
    /// C daemon.
    pub async fn open(paths: CertificateFiles) -> Result<Arc<Self>, NetError> {
        let read = tokio::task::spawn_blocking(move || Files::open(paths));
        let read = tokio::time::timeout(OPEN_DEADLINE, read).await.map_err(|_| {
            NetError::Certificates(format!("could not be read within {OPEN_DEADLINE:?}: does the disk hang?"))
        })?;
        let files = read.map_err(|error| NetError::Certificates(error.to_string()))?;
        Ok(Arc::new(Self(Refresh::new(files.map_err(NetError::Certificates)?))))
    }

    /// The certificates for a handshake that begins now.
    pub(super) async fn current(&self) -> Arc<Loaded> {
        self.0.run().await;
        Arc::clone(&lock(&self.0.source().state).loaded)
    }

    /// Looks at the files as a handshake does.
    pub(super) async fn refresh(&self) {
        self.0.run().await;
    }

    /// What is in use, and what is wrong with the files.
    pub(super) fn report(&self) -> CredentialReport {
        let state = lock(&self.0.source().state);
        CredentialReport {
            certificate: Some(state.loaded.certificate.clone()),
            authorities: state.loaded.authorities.clone(),
            revocations: state.loaded.revocations.clone(),
            problem: state.complaint.clone(),
            ..CredentialReport::new(CredentialKind::X509)
        }
    }
}

impl CertificateFiles {
    /// Whether a daemon could start with these files: what it would warn about, or why it would not. May
    /// block.
    pub fn check(&self) -> Result<Vec<String>, String> {
        let loaded = read_and_load(self)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(loaded.doubts.iter().cloned().chain(expiring(&loaded, now)).collect())
    }
}

/// One look at the files, as at start. May block.
pub(super) fn read_and_load(paths: &CertificateFiles) -> Result<Loaded, String> {
    let (_, contents) = read(paths)?;
    load(paths, &contents).map_err(|error| error.to_string())
}

/// At start there is no last good state to go on with.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// Certificates and keys are a few thousand bytes, with many links a few ten thousand.
const LARGEST: u64 = 1 << 20;
/// A revocation list grows for years: some hundred thousand entries.
const LARGEST_LIST: u64 = 16 << 20;
/// As long before their end certificates are spoken of.
const EXPIRES_SOON: u64 = 30 * DAY;
const DAY: u64 = 24 * 60 * 60;

struct Files {
    paths: CertificateFiles,
    state: Mutex<State>,
}

struct State {
    loaded: Arc<Loaded>,
    /// As the files were when they were last read, whether or not they could be used.
    stamps: Vec<Stamp>,
    complaint: Option<String>,
    warned: Instant,
}

impl Source for Files {
    const WHAT: &'static str = "the TLS certificate files";

    fn check(&self) {
        let (stamps, warned) = {
            let state = lock(&self.state);
            (state.stamps.clone(), state.warned)
        };
        if self.unchanged(&stamps) {
            if warned.elapsed() >= Duration::from_secs(DAY) {
                let mut state = lock(&self.state);
                state.warned = Instant::now();
                warn_of_expiry(&state.loaded);
            }
            return;
        }
        let read = read(&self.paths);
        let (stamps, result) = match read {
            Ok((stamps, contents)) => {
                (stamps, load(&self.paths, &contents).map_err(|error| error.to_string()))
            }
            Err(error) => (Vec::new(), Err(error)),
        };
        let mut state = lock(&self.state);
        state.stamps = stamps;
        match result {
            Ok(loaded) => {
                let renewed = !loaded.is_same(&state.loaded);
                state.complaint = None;
                state.loaded = Arc::new(loaded);
                if renewed {
                    state.warned = Instant::now();
                    introduce(&state.loaded, "New");
                }
            }
            Err(error) if state.complaint.as_ref() == Some(&error) => {}
            Err(error) => {
                warn!(
                    "Could not take over the changed TLS certificates: {error}; the last good ones stay in use"
                );
                state.complaint = Some(error);
            }
        }
    }
}

impl Files {
    fn open(paths: CertificateFiles) -> Result<Self, String> {
        let (stamps, contents) = read(&paths)?;
        let loaded = load(&paths, &contents).map_err(|error| error.to_string())?;
        introduce(&loaded, "Using");
        let state = State { loaded: Arc::new(loaded), stamps, complaint: None, warned: Instant::now() };
        Ok(Self { paths, state: Mutex::new(state) })
    }

    fn unchanged(&self, stamps: &[Stamp]) -> bool {
        let paths = self.paths.all();
        stamps.len() == paths.len()
            && paths.iter().zip(stamps).all(|((_, path), stamp)| stamp.is_still(path).unwrap_or(false))
    }
}

fn read(paths: &CertificateFiles) -> Result<(Vec<Stamp>, Contents), String> {
    let mut stamps = Vec::new();
    let mut one = |setting: &str, path: &Path, largest: u64| -> Result<Zeroizing<Vec<u8>>, String> {
        let (stamp, content) = file::read(path, largest)
            .map_err(|error| format!("Could not read {setting} {}: {error}", path.display()))?;
        stamps.push(stamp);
        Ok(content)
    };
    let contents = Contents {
        certificate: one("PCMK_cert_file", &paths.certificate, LARGEST)?,
        key: one("PCMK_key_file", &paths.key, LARGEST)?,
        authority: one("PCMK_ca_file", &paths.authority, LARGEST)?,
        revocations: paths
            .revocations
            .as_ref()
            .map(|path| one("PCMK_crl_file", path, LARGEST_LIST))
            .transpose()?,
    };
    Ok((stamps, contents))
}

fn introduce(loaded: &Loaded, verb: &str) {
    let own = &loaded.certificate;
    info!(
        "{verb} TLS certificate {} ({}), valid until {}, sha256 {}, for authority {}{}",
        own.path.display(),
        own.subject,
        date(own.not_after),
        own.sha256,
        loaded
            .authorities
            .iter()
            .map(|authority| authority.subject.as_str())
            .collect::<Vec<_>>()
            .join(" and "),
        loaded.revocations.as_ref().map_or_else(String::new, |list| format!(
            ", revocation list {} with {} certificates",
            list.path.display(),
            list.revoked
        ))
    );
    for doubt in &loaded.doubts {
        warn!("{doubt}");
    }
    warn_of_expiry(loaded);
}

fn warn_of_expiry(loaded: &Loaded) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for warning in expiring(loaded, now) {
        warn!("{warning}");
    }
}

/// What ends within a month, or has ended.
fn expiring(loaded: &Loaded, now: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    let own = &loaded.certificate;
    if let Some(when) = soon(own.not_after, now) {
        // The beginning is that of the C daemon.
        warnings.push(format!(
            "TLS certificate {when}: {} ({}); replace it and its key, no restart is needed",
            own.path.display(),
            own.subject
        ));
    }
    for authority in &loaded.authorities {
        if let Some(when) = soon(authority.not_after, now) {
            warnings.push(format!(
                "The certificate of the TLS authority {} {when}: add its successor to PCMK_ca_file on all nodes \
                 before nodes get certificates from it",
                authority.subject
            ));
        }
    }
    // A list is replaced every few days or weeks: only one that was not is worth a word.
    if let Some(list) = &loaded.revocations
        && let Some(due) = list.next_update
        && due <= now
    {
        warnings.push(format!(
            "The TLS revocation list {} should have been replaced on {}: it stays in use, but certificates \
             revoked since then are accepted",
            list.path.display(),
            date(due)
        ));
    }
    warnings
}

fn soon(not_after: u64, now: u64) -> Option<String> {
    let left = not_after.saturating_sub(now);
    if left == 0 {
        Some(format!("expired on {}", date(not_after)))
    } else if left <= EXPIRES_SOON {
        Some(format!("will expire on {}, in {} days", date(not_after), left / DAY))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ahead_is_soon() {
        let end = 1_800_000_000;
        assert_eq!(soon(end, end - EXPIRES_SOON - 1), None);
        assert_eq!(
            soon(end, end - EXPIRES_SOON).as_deref(),
            Some("will expire on 2027-01-15T08:00:00Z, in 30 days")
        );
        assert_eq!(soon(end, end - 1).as_deref(), Some("will expire on 2027-01-15T08:00:00Z, in 0 days"));
        assert_eq!(soon(end, end).as_deref(), Some("expired on 2027-01-15T08:00:00Z"));
    }
}

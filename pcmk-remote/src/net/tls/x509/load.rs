//! From the bytes of the files to what a handshake needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use zeroize::Zeroizing;

use super::CertificateFiles;
use super::facts::{Facts, ListFacts};
use super::problem::CertificateProblem;
use super::trust::Trust;
use crate::net::tls::credentials::{AuthorityReport, CertificateReport, RevocationReport};
use crate::net::tls::sha256_hex;

/// What was read from the files.
pub(in crate::net::tls) struct Contents {
    pub(in crate::net::tls) certificate: Zeroizing<Vec<u8>>,
    pub(in crate::net::tls) key: Zeroizing<Vec<u8>>,
    pub(in crate::net::tls) authority: Zeroizing<Vec<u8>>,
    pub(in crate::net::tls) revocations: Option<Zeroizing<Vec<u8>>>,
}

impl Contents {
    fn fingerprint(&self) -> String {
        let none = Zeroizing::default();
        let parts =
            [&self.certificate, &self.key, &self.authority, self.revocations.as_ref().unwrap_or(&none)];
        parts.map(|part| sha256_hex(part)).concat()
    }
}

/// One state of the files, checked and ready for use.
pub(in crate::net::tls) struct Loaded {
    pub(in crate::net::tls) own: Arc<CertifiedKey>,
    pub(in crate::net::tls) trust: Arc<Trust>,
    pub(in crate::net::tls) provider: Arc<CryptoProvider>,
    pub(in crate::net::tls) certificate: CertificateReport,
    pub(in crate::net::tls) authorities: Vec<AuthorityReport>,
    pub(in crate::net::tls) revocations: Option<RevocationReport>,
    /// Of everything that was read.
    fingerprint: String,
    /// What does not keep this node from serving, but should not be.
    pub(in crate::net::tls) doubts: Vec<String>,
}

impl Loaded {
    /// Whether the same files give the same again.
    pub(in crate::net::tls) fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// Why a set of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::net::tls) enum LoadError {
    #[error("{setting} {}: {problem}", .path.display())]
    File { setting: &'static str, path: PathBuf, problem: String },
    #[error(
        "PCMK_key_file {} is not the key of the certificate in PCMK_cert_file {}: they must be replaced \
         together", .key.display(), .certificate.display()
    )]
    Mismatch { key: PathBuf, certificate: PathBuf },
}

pub(in crate::net::tls) fn load(files: &CertificateFiles, contents: &Contents) -> Result<Loaded, LoadError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates("PCMK_cert_file", &files.certificate, &contents.certificate)?;
    let key = private_key(&files.key, &contents.key)?;
    let own = CertifiedKey::from_der(chain, key, &provider).map_err(|error| own_error(files, &error))?;
    let authorities = certificates("PCMK_ca_file", &files.authority, &contents.authority)?;
    let anchors = authorities
        .iter()
        .map(|der| webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned()))
        .collect::<Result<Vec<TrustAnchor<'static>>, _>>()
        .map_err(|error| file_error("PCMK_ca_file", &files.authority, error.to_string()))?;
    let mut doubts = Vec::new();
    let authorities: Vec<Facts> = authorities.iter().map(|der| Facts::of(der)).collect();
    let (lists, revocations) = match (&files.revocations, &contents.revocations) {
        (Some(path), Some(pem)) => {
            let (lists, report) = revocation_lists(path, pem, &authorities, &mut doubts)?;
            (lists, Some(report))
        }
        _ => (Vec::new(), None),
    };
    let trust = Trust { anchors, revocations: lists, algorithms: provider.signature_verification_algorithms };
    let facts = own.cert.first().map(|der| Facts::of(der));
    let Some(facts) = facts else { return Err(no_certificate("PCMK_cert_file", &files.certificate)) };
    check_own(files, &own, &trust, &mut doubts)?;
    Ok(Loaded {
        own: Arc::new(own),
        trust: Arc::new(trust),
        provider,
        certificate: CertificateReport {
            path: files.certificate.clone(),
            subject: facts.subject,
            names: facts.names,
            sha256: facts.sha256,
            not_before: facts.not_before,
            not_after: facts.not_after,
        },
        authorities: authorities
            .into_iter()
            .map(|facts| AuthorityReport { subject: facts.subject, not_after: facts.not_after })
            .collect(),
        revocations,
        fingerprint: contents.fingerprint(),
        doubts,
    })
}

fn file_error(setting: &'static str, path: &Path, problem: impl Into<String>) -> LoadError {
    LoadError::File { setting, path: path.to_owned(), problem: problem.into() }
}

fn no_certificate(setting: &'static str, path: &Path) -> LoadError {
    file_error(setting, path, "there is no certificate in it (PEM format is needed)")
}

fn certificates(
    setting: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| file_error(setting, path, error.to_string()))?;
    if found.is_empty() { Err(no_certificate(setting, path)) } else { Ok(found) }
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let encrypted = text.windows(9).any(|window| window == b"ENCRYPTED");
        let problem = match error {
            pem::Error::NoItemsFound if encrypted => {
                "the key is encrypted: write it without a passphrase (openssl pkey)".into()
            }
            pem::Error::NoItemsFound => "there is no private key in it (PEM format is needed)".into(),
            other => other.to_string(),
        };
        file_error("PCMK_key_file", path, problem)
    })
}

fn own_error(files: &CertificateFiles, error: &TlsError) -> LoadError {
    match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            LoadError::Mismatch { key: files.key.clone(), certificate: files.certificate.clone() }
        }
        TlsError::InvalidCertificate(_) => file_error(
            "PCMK_cert_file",
            &files.certificate,
            format!("the certificate cannot be used ({error}): X.509 version 3 is needed"),
        ),
        other => file_error(
            "PCMK_key_file",
            &files.key,
            format!(
                "the key cannot be used ({other}): use RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or \
                 Ed25519, not encrypted"
            ),
        ),
    }
}

fn revocation_lists(
    path: &Path,
    text: &[u8],
    authorities: &[Facts],
    doubts: &mut Vec<String>,
) -> Result<(Vec<CertRevocationList<'static>>, RevocationReport), LoadError> {
    let error = |problem: String| file_error("PCMK_crl_file", path, problem);
    let mut lists = Vec::new();
    let mut report = RevocationReport { path: path.to_owned(), revoked: 0, next_update: None };
    for der in CertificateRevocationListDer::pem_slice_iter(text) {
        let der = der.map_err(|problem| error(problem.to_string()))?;
        let facts = ListFacts::of(&der).ok_or_else(|| {
            error(
                "the revocation list is malformed or of version 1: make one of version 2 (crl_extensions or \
                 crlnumber of openssl ca, or certtool)"
                    .into(),
            )
        })?;
        let list = OwnedCertRevocationList::from_der(&der)
            .map_err(|problem| error(format!("the revocation list cannot be used: {problem}")))?;
        lists.push(list.into());
        if !authorities.iter().any(|authority| authority.subject == facts.issuer) {
            doubts.push(format!(
                "PCMK_crl_file {} has a revocation list of \"{}\", which is not in PCMK_ca_file: unless it has \
                 issued nodes' certificates as an intermediate authority, it revokes nothing",
                path.display(),
                facts.issuer
            ));
        }
        report.revoked = report.revoked.saturating_add(facts.revoked);
        report.next_update = match (report.next_update, facts.next_update) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    if lists.is_empty() {
        return Err(error("there is no revocation list in it (PEM format is needed)".into()));
    }
    Ok((lists, report))
}

/// The cluster nodes check this certificate as we check theirs.
fn check_own(
    files: &CertificateFiles,
    own: &CertifiedKey,
    trust: &Trust,
    doubts: &mut Vec<String>,
) -> Result<(), LoadError> {
    let Some((certificate, links)) = own.cert.split_first() else { return Ok(()) };
    match trust.check(certificate, links, UnixTime::now()) {
        Ok(()) => Ok(()),
        // Every peer's certificate would be refused for it.
        Err(refusal) if matches!(refusal.problem, CertificateProblem::RevocationList(_)) => Err(file_error(
            "PCMK_crl_file",
            files.revocations.as_deref().unwrap_or(Path::new("")),
            refusal.problem.to_string(),
        )),
        // The C daemon's library accepts this one; whether the peers do is for them to say.
        Err(refusal) if refusal.problem == CertificateProblem::IsAuthority => Ok(()),
        // This has a warning of its own.
        Err(refusal) if matches!(refusal.problem, CertificateProblem::Expired(_)) => Ok(()),
        Err(refusal) => {
            doubts.push(format!(
                "The cluster nodes will hardly accept this node's certificate {}: {}",
                files.certificate.display(),
                refusal.problem
            ));
            Ok(())
        }
    }
}

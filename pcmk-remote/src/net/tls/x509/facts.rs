//! What a certificate or a revocation list says of itself.

use std::net::IpAddr;
use std::time::Duration;

use x509_cert::Certificate;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{Any, AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{DateTime, Decode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::net::PeerCertificate;
use crate::net::tls::sha256_hex;

/// A certificate's subject, names and times. Texts are printable and of bounded length: they may be a
/// stranger's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net::tls) struct Facts {
    pub(in crate::net::tls) subject: String,
    pub(in crate::net::tls) issuer: String,
    pub(in crate::net::tls) names: Vec<String>,
    pub(in crate::net::tls) sha256: String,
    pub(in crate::net::tls) not_before: u64,
    pub(in crate::net::tls) not_after: u64,
    /// Why its key cannot be used, if so.
    pub(super) bad_key: Option<String>,
}

impl Facts {
    /// Of a certificate that cannot be made out nothing but its hash is known.
    pub(in crate::net::tls) fn of(der: &[u8]) -> Self {
        let sha256 = sha256_hex(der);
        let Ok(certificate) = Certificate::from_der(der) else {
            return Self {
                subject: format!("unreadable, sha256 {sha256}"),
                issuer: "unreadable".into(),
                names: Vec::new(),
                sha256,
                not_before: 0,
                not_after: 0,
                bad_key: None,
            };
        };
        let tbs = certificate.tbs_certificate();
        Self {
            subject: shown(&tbs.subject().to_string()),
            issuer: shown(&tbs.issuer().to_string()),
            names: names(&certificate),
            sha256,
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            bad_key: bad_key(tbs.subject_public_key_info()),
        }
    }
}

impl From<Facts> for PeerCertificate {
    fn from(facts: Facts) -> Self {
        Self { subject: facts.subject, names: facts.names, sha256: facts.sha256, not_after: facts.not_after }
    }
}

/// What a revocation list says.
pub(super) struct ListFacts {
    pub(super) issuer: String,
    pub(super) revoked: usize,
    pub(super) next_update: Option<u64>,
}

impl ListFacts {
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let list = CertificateList::<Rfc5280>::from_der(der).ok()?.tbs_cert_list;
        Some(Self {
            issuer: shown(&list.issuer.to_string()),
            revoked: list.revoked_certificates.map_or(0, |revoked| revoked.len()),
            next_update: list.next_update.map(|time| time.to_unix_duration().as_secs()),
        })
    }
}

/// A time as people read it.
pub(in crate::net::tls) fn date(seconds: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(seconds))
        .map_or_else(|_| format!("second {seconds} since 1970"), |date| date.to_string())
}

/// Names that a peer may send are cut here.
const LONGEST: usize = 256;
const MOST_NAMES: usize = 64;

fn shown(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn names(certificate: &Certificate) -> Vec<String> {
    let tbs = certificate.tbs_certificate();
    let alternative = tbs.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0);
    let alternative = alternative.unwrap_or_default().into_iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
        _ => None,
    });
    let common = tbs.subject().common_name().ok().flatten().map(|name| name.value().into_owned());
    let mut names: Vec<String> = Vec::new();
    for name in alternative.chain(common) {
        // Cut off, it would be another name.
        if name.len() <= LONGEST && !name.chars().any(char::is_control) && !names.contains(&name) {
            names.push(name);
        }
        if names.len() == MOST_NAMES {
            break;
        }
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6).ok().map(|address| address.to_string())
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// Signatures of such a key cannot be checked.
fn bad_key(key: &SubjectPublicKeyInfoOwned) -> Option<String> {
    match key.algorithm.oid {
        RSA => match rsa_bits(key.subject_public_key.raw_bytes()) {
            Some(2048..=8192) => None,
            Some(bits) => Some(format!("RSA of {bits} bits")),
            None => Some("a malformed RSA key".into()),
        },
        EC => {
            let curve = key.algorithm.parameters.as_ref().map(Any::decode_as::<ObjectIdentifier>);
            match curve {
                Some(Ok(P256 | P384)) => None,
                Some(Ok(other)) => Some(format!("of the elliptic curve {other}")),
                _ => Some("of an elliptic curve without a name".into()),
            }
        }
        ED25519 => None,
        other => Some(format!("of the kind {other}")),
    }
}

fn rsa_bits(key: &[u8]) -> Option<usize> {
    let any = AnyRef::from_der(key).ok()?;
    let modulus = any.sequence(|reader| -> Result<Vec<u8>, x509_cert::der::Error> {
        let modulus = UintRef::decode(reader)?;
        UintRef::decode(reader)?;
        Ok(modulus.as_bytes().to_vec())
    });
    let modulus = modulus.ok()?;
    let leading = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    modulus.len().checked_mul(8)?.checked_sub(leading)
}

//! Which certificates are accepted.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::facts::Facts;
use super::problem::{CertificateProblem, CertificateRefusal};

/// The authorities, and what they have revoked.
#[derive(Debug)]
pub(in crate::net::tls) struct Trust {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) revocations: Vec<CertRevocationList<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Checks everything but names.
    pub(in crate::net::tls) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        links: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateRefusal> {
        let result = self.check_chain(certificate, links, now);
        // Only now: a stranger's certificate is not worth reading twice.
        let facts = Facts::of(certificate);
        let problem = match result {
            Ok(()) => facts.bad_key.map(CertificateProblem::Key),
            Err(error) => Some(CertificateProblem::new(&error, &facts.issuer)),
        };
        problem.map_or(Ok(()), |problem| Err(CertificateRefusal { subject: facts.subject, problem }))
    }

    fn check_chain(
        &self,
        certificate: &CertificateDer<'_>,
        links: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.revocations.iter().collect();
        // As with the C daemon: a list that should have been replaced still counts (this is warned about
        // when it is read), and an authority without a list has revoked nothing.
        let revocation = RevocationOptionsBuilder::new(&lists)
            .ok()
            .map(|options| options.with_status_policy(UnknownStatusPolicy::Allow).build());
        EndEntityCert::try_from(certificate)?
            .verify_for_usage(self.algorithms.all, &self.anchors, links, now, ForTls, revocation, None)
            .map(drop)
    }
}

/// For either end of a TLS connection, or for anything: clusters have one certificate for each node, and
/// their nodes are clients of one another. Many an authority issues for servers only.
struct ForTls;

impl ExtendedKeyUsageValidator for ForTls {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        const ANY: &[usize] = &[2, 5, 29, 37, 0];
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?.to_decoded_oid();
            if [KeyUsage::CLIENT_AUTH_REPR, KeyUsage::SERVER_AUTH_REPR, ANY].contains(&purpose.as_slice()) {
                return Ok(());
            }
            present.push(purpose);
        }
        if present.is_empty() {
            return Ok(()); // no restriction
        }
        let required = KeyUsage::client_auth();
        Err(Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

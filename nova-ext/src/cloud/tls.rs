//! The rustls configuration of all our HTTPS: the workspace's one provider, a bundle of our own or the system's
//! authorities, a client certificate if there is one.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use super::settings::{SettingsError, Tls};

/// The configuration that these settings ask for.
pub(crate) fn config(tls: &Tls) -> Result<ClientConfig, SettingsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Tls(error.to_string()))?;
    let builder = if tls.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(roots(tls.ca.as_deref())?)
    };
    let mut config = match &tls.certificate {
        Some(path) => {
            let chain = certificates(path)?;
            let key_path = tls.key.as_deref().unwrap_or(path);
            let bad = |why: String| SettingsError::Certificate(key_path.to_owned(), why);
            let key = PrivateKeyDer::from_pem_file(key_path)
                .map_err(|error| bad(format!("no private key: {error}")))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| bad(format!("the key does not go with the certificate: {error}")))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let bad = |why: String| SettingsError::Certificate(path.to_owned(), why);
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?.collect();
    match all {
        Ok(all) if all.is_empty() => Err(bad("it has no certificate".into())),
        Ok(all) => Ok(all),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// What an error of TLS means, and the option that helps.
pub(crate) fn explain(error: &Error) -> String {
    let what = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is of an authority that is not trusted here: see cafile"
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name",
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate of ours: see certfile and keyfile"
        }
        Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => "it does not accept our certificate: see certfile",
        Error::InvalidMessage(_) => "it does not speak TLS: is it http instead of https?",
        _ => return error.to_string(),
    };
    format!("{what} ({error})")
}

fn roots(bundle: Option<&Path>) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = bundle else {
        // A system without any fails at the first handshake, and a cloud without TLS needs none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let (_, unusable) = roots.add_parsable_certificates(certificates(path)?);
    if roots.is_empty() {
        let why = format!("none of its {unusable} certificates can be used as an authority");
        return Err(SettingsError::Certificate(path.to_owned(), why));
    }
    Ok(roots)
}

/// `insecure`: whoever answers is believed. Signatures are still checked, so that a broken peer shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

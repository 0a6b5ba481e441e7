//! Certificates made when a test needs them, by the rig's script.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use pcmk_remote::net::ServerOptions;
use pcmk_remote::net::tls::client::Connector;
use pcmk_remote::net::tls::{CertificateFiles, CertificateStore, Credentials};
use tempfile::TempDir;

use super::*;

/// A folder with an authority `ca` and the certificate `node` of this node.
pub(crate) struct Pki(PathBuf);

impl Pki {
    pub(crate) fn new(dir: &Path) -> Self {
        let pki = Self(dir.to_owned());
        pki.make(&["authority", "ca"]);
        pki.make(&["issue", "ca", "node"]);
        pki
    }

    /// Runs the script.
    pub(crate) fn make(&self, words: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rig/pki");
        let child = Command::new(script)
            .arg(&self.0)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "apt install openssl? pki {words:?}: {text}");
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// Puts one file in the place of another as careful tools do.
    pub(crate) fn replace(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path("new")).unwrap();
        std::fs::rename(self.path("new"), self.path(to)).unwrap();
    }

    pub(crate) fn files(&self, name: &str) -> CertificateFiles {
        CertificateFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            authority: self.path("ca.pem"),
            revocations: None,
        }
    }

    /// A cluster node with this certificate.
    pub(crate) fn connector(&self, name: &str) -> Connector {
        Connector::with_certificates(&self.files(name)).unwrap()
    }
}

/// A server with certificates.
pub(crate) async fn certificate_rig(change: impl FnOnce(&Pki, &mut CertificateFiles)) -> (Rig, Pki) {
    certificate_rig_with(ServerOptions::default(), change).await
}

/// The same with other options.
pub(crate) async fn certificate_rig_with(
    options: ServerOptions,
    change: impl FnOnce(&Pki, &mut CertificateFiles),
) -> (Rig, Pki) {
    let dir = TempDir::new().unwrap();
    let pki = Pki::new(dir.path());
    let mut files = pki.files("node");
    change(&pki, &mut files);
    let store = CertificateStore::open(files).await.unwrap();
    let credentials = Arc::new(Credentials::from(store));
    let rig = Rig::with_credentials(options, credentials, dir, PathBuf::new(), Vec::new());
    (rig.await, pki)
}

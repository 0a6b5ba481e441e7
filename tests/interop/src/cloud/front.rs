//! HTTPS in front of one of the cloud's APIs, with a certificate that can be any.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Cloud;
use super::http::{self, Message};
use crate::error::{Context, Result};
use crate::images::rig_file;
use crate::run;

/// How long the server behind may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Certificates for a place, made by `tests/rig/pki`.
pub struct Certificates {
    dir: PathBuf,
    place: SocketAddr,
}

impl Certificates {
    /// An authority.
    pub fn authority(&self, name: &str) -> Result<()> {
        self.pki(&["authority", name])
    }

    /// A certificate for the place, of this authority, with more options of `tests/rig/pki`.
    pub fn issue(&self, authority: &str, name: &str, more: &[&str]) -> Result<()> {
        let place = format!("subjectAltName = IP:{}", self.place.ip());
        self.pki(&[&["issue", authority, name, &place], more].concat())
    }

    /// One for another place.
    pub fn issue_for_another(&self, authority: &str, name: &str) -> Result<()> {
        self.pki(&["issue", authority, name, "subjectAltName = DNS:elsewhere.example.org"])
    }

    fn pki(&self, words: &[&str]) -> Result<()> {
        let (script, dir) = (rig_file("pki").display().to_string(), self.dir.display().to_string());
        run::host(&[&[script.as_str(), &dir], words].concat()).map(drop)
    }
}

/// The front. It ends with the test program.
pub struct Front {
    address: SocketAddr,
    shown: Arc<Mutex<Arc<ServerConfig>>>,
    certificates: Certificates,
}

impl Cloud {
    /// A front of Keystone, which shows a certificate that `first` makes and names.
    pub fn keystone_front(&self, first: impl FnOnce(&Certificates) -> Result<String>) -> Result<Front> {
        let listener = TcpListener::bind(self.outside(0)?)?;
        let address = listener.local_addr()?;
        let certificates = Certificates { dir: self.dir().join("front"), place: address };
        let name = first(&certificates)?;
        let shown = Arc::new(Mutex::new(config(&certificates.dir, &name)?));
        let (now, behind) = (Arc::clone(&shown), self.keystone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let config = Arc::clone(&now.lock().unwrap_or_else(PoisonError::into_inner));
                // What fails here fails for the client: that is what it is for.
                thread::spawn(move || serve(client, config, behind));
            }
        });
        Ok(Front { address, shown, certificates })
    }
}

impl Front {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of an authority.
    pub fn authority(&self, name: &str) -> PathBuf {
        self.certificates.dir.join(format!("{name}.pem"))
    }

    /// Shows another certificate from now on.
    pub fn show(&self, name: &str) -> Result<()> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = config(&self.certificates.dir, name)?;
        Ok(())
    }
}

fn config(dir: &Path, name: &str) -> Result<Arc<ServerConfig>> {
    let (chain, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let chain =
        CertificateDer::pem_file_iter(&chain).context(name)?.collect::<std::result::Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_file(&key).context(name)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .with_no_client_auth()
        .with_single_cert(chain.context(name)?, key);
    Ok(Arc::new(config.context(name)?))
}

fn serve(client: TcpStream, config: Arc<ServerConfig>, behind: SocketAddr) -> Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(config).context("TLS")?;
    let mut client = BufReader::new(StreamOwned::new(connection, client));
    while let Some(request) = Message::read(&mut client)? {
        let reply = http::exchange(behind, &request, PATIENCE)?.with("Connection", "keep-alive");
        let out = client.get_mut();
        out.write_all(&reply.bytes()).and_then(|()| out.flush())?;
    }
    Ok(())
}

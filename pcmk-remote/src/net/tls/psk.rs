//! External pre-shared keys (RFC 8446, `psk_dhe_ke`) on unmodified rustls.
//!
//! rustls knows session tickets but no external keys. Each key therefore gets a random *handle*, and
//! a wrapped HKDF stands between rustls and its provider: where a key schedule starts from the handle,
//! it is started from the key's Early Secret instead, and the binder gets the label of an external key.
//! The serialised session that the ticket path expects is never written by hand: rustls itself makes it
//! in one in-memory handshake per suite when a key is loaded ([`bootstrap`]).
//!
//! Fails closed: if a release of rustls stops working this way, either the bootstrap reports it before
//! the port is opened, or no peer can know the handle and every handshake fails.

mod hkdf;
mod standin;
#[cfg(test)]
mod tests;

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ProducesTickets};
use rustls::version::TLS13;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection,
    SupportedCipherSuite, Tls13CipherSuite,
};
use zeroize::{Zeroize, Zeroizing};

use hkdf::Slot;
use standin::{FixedTime, NoCertificate, OneSession, Recorder, Seal, ZeroAgeAdd};

use super::{lock, sha256_hex};

/// Name under which every release of Pacemaker offers its key.
pub(crate) const IDENTITY: &[u8] = b"lrmd";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PskError {
    /// Nothing to authenticate with.
    #[error("the key is empty")]
    Empty,
    /// The kernel gave no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(getrandom::Error),
    /// This rustls is not the one that the module was written for.
    #[error("TLS library: {0}; this build cannot use pre-shared keys, please report it")]
    Library(&'static str),
    /// The in-memory handshake failed.
    #[error("TLS library: {0}")]
    Tls(#[from] rustls::Error),
}

/// One key and the name that peers must offer it under. The key itself is not kept.
pub(crate) struct Psk {
    identity: Vec<u8>,
    slot: Arc<Slot>,
    sha256: String,
}

impl Psk {
    /// Takes the raw key, of any length, and wipes it.
    pub(crate) fn new(identity: &[u8], mut key: Zeroizing<Vec<u8>>) -> Result<Self, PskError> {
        if key.is_empty() {
            return Err(PskError::Empty);
        }
        let suite = suites().first().ok_or(NO_SUITE)?;
        let sha256 = sha256_hex(&key);
        let slot = Slot::register(suite.hkdf_provider, &key)?;
        key.zeroize();
        Ok(Self { identity: identity.to_vec(), slot, sha256 })
    }

    /// SHA-256 of the key in hexadecimal, as `sha256sum` prints it for the file.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl Drop for Psk {
    fn drop(&mut self) {
        self.slot.unregister();
    }
}

/// A session as rustls serialises it. Holds the handle, not the key.
type Session = Arc<Zeroizing<Vec<u8>>>;

/// Server side of one key.
pub(crate) struct PskServer {
    configs: Vec<(CipherSuite, ServerConfig, Session)>,
    psk: Arc<Psk>,
}

impl PskServer {
    /// One in-memory handshake per suite: about 1 ms of CPU.
    pub(crate) fn new(psk: Arc<Psk>) -> Result<Self, PskError> {
        let mut configs = Vec::new();
        for suite in suites() {
            let client = client_config(suite, Arc::new(Seal::open()))?;
            let session = Arc::new(Zeroizing::new(bootstrap(&psk, suite, Arc::new(client))?));
            let mut config = ServerConfig::builder_with_provider(provider(suite))
                .with_protocol_versions(&[&TLS13])?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(NoCertificate { sign: false }));
            // C peers block on a readable socket that carries no data: no tickets.
            config.send_tls13_tickets = 0;
            config.max_early_data_size = 0;
            config.time_provider = Arc::new(FixedTime); // a key has no age; nothing else here looks at the clock
            configs.push((suite.common.suite, config, session));
        }
        if configs.is_empty() {
            return Err(NO_SUITE);
        }
        Ok(Self { configs, psk })
    }

    /// A key that nobody knows, to find out at start whether the method works with this rustls.
    pub(crate) fn self_test() -> Result<(), PskError> {
        let mut key = Zeroizing::new(vec![0; 32]);
        getrandom::fill(&mut key).map_err(PskError::Random)?;
        Self::new(Arc::new(Psk::new(IDENTITY, key)?)).map(drop)
    }

    /// As [`Psk::sha256`].
    pub(crate) fn sha256(&self) -> &str {
        self.psk.sha256()
    }

    /// Settings for one connection, and what will be known about the identity that it offers.
    ///
    /// The suite is fixed by the client's offer before rustls looks at the key, because a session
    /// belongs to one suite.
    pub(crate) fn config_for(&self, hello: &ClientHello<'_>) -> Option<(Arc<ServerConfig>, Arc<Offer>)> {
        let (_, config, session) = self
            .configs
            .iter()
            .find(|(suite, ..)| hello.cipher_suites().contains(suite))
            .or_else(|| self.configs.first())?;
        let offer = Arc::new(Offer {
            psk: Arc::clone(&self.psk),
            session: Arc::clone(session),
            other: Mutex::new(None),
            matched: Mutex::new(false),
        });
        let mut config = config.clone();
        config.ticketer = Arc::<Offer>::clone(&offer);
        Some((Arc::new(config), offer))
    }

    /// Must be true before the first byte of application data is read.
    pub(crate) fn authenticated(connection: &ServerConnection) -> bool {
        connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Stands where rustls looks up tickets: knows one identity, and remembers what one peer offered.
pub(crate) struct Offer {
    psk: Arc<Psk>, // the key outlives a rotation until this handshake is over
    session: Session,
    other: Mutex<Option<String>>,
    matched: Mutex<bool>,
}

impl Offer {
    /// The first identity offered that is not ours, printable and bounded.
    pub(crate) fn other_identity(&self) -> Option<String> {
        lock(&self.other).clone()
    }

    /// Whether our identity was offered.
    pub(crate) fn matched(&self) -> bool {
        *lock(&self.matched)
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offer")
    }
}

impl ProducesTickets for Offer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, identity: &[u8]) -> Option<Vec<u8>> {
        if identity == self.psk.identity {
            *lock(&self.matched) = true;
            return Some(self.session.to_vec());
        }
        let shown = identity.get(..64).unwrap_or(identity);
        lock(&self.other).get_or_insert_with(|| shown.escape_ascii().to_string());
        None
    }
}

/// Client side: settings for one connection (rustls takes the session out of its store).
pub(crate) fn client_for_connection(psk: &Psk, suite: usize) -> Result<Arc<ClientConfig>, PskError> {
    let suite = suites().get(suite).ok_or(NO_SUITE)?;
    let seal = Arc::new(Seal::open());
    let config = Arc::new(client_config(suite, Arc::clone(&seal))?);
    bootstrap(psk, suite, Arc::clone(&config))?;
    seal.close();
    Ok(config)
}

/// Whether a client's handshake failed because the server did without the key.
pub(crate) fn is_not_selected(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::General(text) if text == standin::NOT_SELECTED)
}

const NO_SUITE: PskError = PskError::Library("no cipher suite of TLS 1.3 with SHA-256");

/// SHA-256 suites only, most preferred first: an external key without a stated hash is bound to SHA-256.
fn suites() -> &'static [&'static Tls13CipherSuite] {
    hkdf::wrapped_suites()
}

fn provider(suite: &'static Tls13CipherSuite) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(suite)],
        ..rustls::crypto::ring::default_provider()
    })
}

fn client_config(suite: &'static Tls13CipherSuite, seal: Arc<Seal>) -> Result<ClientConfig, PskError> {
    let mut config = ClientConfig::builder_with_provider(provider(suite))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(seal)
        .with_no_client_auth();
    config.enable_sni = false;
    config.time_provider = Arc::new(FixedTime);
    config.resumption = Resumption::store(Arc::new(OneSession::default()));
    Ok(config)
}

/// One in-memory handshake. Returns the session as rustls serialises it for the server side, and leaves
/// the client's in the store of `client`.
fn bootstrap(
    psk: &Psk,
    suite: &'static Tls13CipherSuite,
    client: Arc<ClientConfig>,
) -> Result<Vec<u8>, PskError> {
    let recorder = Arc::new(Recorder::new(&psk.identity));
    let mut provider = CryptoProvider::clone(&provider(suite));
    provider.secure_random = &ZeroAgeAdd;
    let mut server = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate { sign: true }));
    server.ticketer = Arc::<Recorder>::clone(&recorder);
    server.time_provider = Arc::new(FixedTime);
    server.send_tls13_tickets = 1;

    let (talked, forced) = hkdf::forcing_resumption_secret(&psk.slot, || talk(client, Arc::new(server)));
    talked?;
    recorder
        .session()
        .filter(|session| forced && psk.slot.is_in(session))
        .ok_or(PskError::Library("ticket secrets do not come from the HKDF provider"))
}

/// Runs both ends until neither has anything left to say.
fn talk(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<(), PskError> {
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into()); // an address: no SNI
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    for _ in 0..8 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).map_err(in_memory)?;
        server.read_tls(&mut wire.as_slice()).map_err(in_memory)?;
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).map_err(in_memory)?;
        client.read_tls(&mut wire.as_slice()).map_err(in_memory)?;
        client.process_new_packets()?;
        let busy = client.is_handshaking() || server.is_handshaking();
        if !busy && !server.wants_write() && !client.wants_write() {
            return Ok(());
        }
    }
    Err(PskError::Library("the in-memory handshake does not end"))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn in_memory(error: io::Error) -> PskError {
    PskError::Tls(rustls::Error::General(error.to_string()))
}

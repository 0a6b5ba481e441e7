//! `tls-check`: why a node cannot be connected to, step by step, without being noticed by its cluster.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::AlertDescription;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::args::TlsCheckOptions;
use super::table::{clean, short_hash, span};
use super::{Exit, Failure, print, print_json, validate};
use crate::net::tls::client::{ConnectError, Connector, IDENTITY, Suite};
use crate::net::tls::probe::{self, OldTls, SeenCertificate, Sight};
use crate::net::tls::{CertificateFiles, KEY_LOCATIONS};

const DEFAULT_PORT: u16 = 3121;
/// Pacemaker itself has no limit.
const LARGEST_KEY: u64 = 1 << 20;
/// An expiry this near is worth a word.
const SOON_S: u64 = 30 * 86_400;

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok,
    Warning,
    Bad,
    /// A step before went wrong.
    Unknown,
}

#[derive(Debug, Serialize)]
struct Step {
    check: &'static str,
    outcome: Outcome,
    text: String,
}

#[derive(Debug, Serialize)]
struct Report {
    target: String,
    /// `key` or `certificate`.
    mode: &'static str,
    ok: bool,
    steps: Vec<Step>,
}

/// The steps in their order; those that are not reached stay unknown.
struct Steps(Vec<Step>);

impl Steps {
    fn new(checks: &[&'static str]) -> Self {
        let step =
            |check: &&'static str| Step { check, outcome: Outcome::Unknown, text: "not reached".into() };
        Self(checks.iter().map(step).collect())
    }

    fn set(&mut self, check: &str, outcome: Outcome, text: impl Into<String>) {
        if let Some(step) = self.0.iter_mut().find(|step| step.check == check) {
            step.outcome = outcome;
            step.text = text.into();
        }
    }

    fn ok(&mut self, check: &str, text: impl Into<String>) {
        self.set(check, Outcome::Ok, text);
    }

    fn bad(&mut self, check: &str, text: impl Into<String>) {
        self.set(check, Outcome::Bad, text);
    }
}

/// What to prove ourselves with.
enum Proof {
    Key { path: PathBuf, key: Zeroizing<Vec<u8>> },
    Certificates(CertificateFiles),
}

pub(super) fn run(options: &TlsCheckOptions, json: bool) -> Result<Exit, Failure> {
    let proof = proof(options)?;
    let (host, port) = target(&options.target)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(check(&host, port, proof, options.timeout));
    // A name service that hangs must not keep us.
    runtime.shutdown_background();
    let exit = if report.ok { Exit::Ok } else { Exit::Bad };
    if json {
        print_json(&report)?
    } else {
        print(shown(&report).as_bytes())?
    };
    Ok(exit)
}

fn shown(report: &Report) -> String {
    let mut text = String::new();
    let how = if report.mode == "key" { "with the pre-shared key" } else { "with certificates" };
    let _ = writeln!(text, "{} {how}", clean(&report.target));
    for step in &report.steps {
        let outcome = match step.outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Bad => "BAD",
            Outcome::Unknown => "-",
        };
        let _ = writeln!(text, "  {:<12} {outcome:<8} {}", step.check, clean(&step.text));
    }
    text
}

/// `HOST`, `HOST:PORT`, `ADDRESS`, `[ADDRESS]:PORT`.
fn target(text: &str) -> Result<(String, u16), Failure> {
    let wrong = || Failure::new(Exit::Usage, format!("`{text}` is no HOST[:PORT]"));
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), DEFAULT_PORT));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<IpAddr>().map(|ip| (ip.to_string(), DEFAULT_PORT)).map_err(|_| wrong());
    }
    match text.split_once(':') {
        None if !text.is_empty() => Ok((text.to_owned(), DEFAULT_PORT)),
        Some((host, port)) if !host.is_empty() => {
            Ok((host.to_owned(), port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?))
        }
        _ => Err(wrong()),
    }
}

/// What the options name, else what this node's settings do.
fn proof(options: &TlsCheckOptions) -> Result<Proof, Failure> {
    let settings = validate::quiet_settings();
    let named = options.cert_file.is_some() || options.ca_file.is_some() || options.key_file.is_some();
    if options.key.is_none() {
        let known = settings.certificates;
        let or_known = |option: &Option<PathBuf>, file: fn(&CertificateFiles) -> &PathBuf| {
            option.clone().or_else(|| known.as_ref().map(|known| file(known).clone()))
        };
        let certificate = or_known(&options.cert_file, |known| &known.certificate);
        let authority = or_known(&options.ca_file, |known| &known.authority);
        let key = or_known(&options.key_file, |known| &known.key);
        if let (Some(certificate), Some(authority), Some(key)) = (certificate, authority, key) {
            let revocations = known.and_then(|known| known.revocations);
            return Ok(Proof::Certificates(CertificateFiles { certificate, key, authority, revocations }));
        }
        if named {
            let text = "certificates need all of --cert-file, --ca-file and --key-file";
            return Err(Failure::new(Exit::Usage, text));
        }
    }
    let paths: Vec<PathBuf> = match &options.key {
        Some(path) => vec![path.clone()],
        None => settings.key_location.into_iter().chain(KEY_LOCATIONS.iter().map(PathBuf::from)).collect(),
    };
    let mut first = None;
    for path in paths {
        match read_key(&path) {
            Ok(key) => return Ok(Proof::Key { path, key }),
            Err(error) => drop(first.get_or_insert_with(|| format!("{}: {error}", path.display()))),
        }
    }
    let error = first.unwrap_or_default();
    Err(Failure::new(Exit::Bad, format!("there is no key to check with (--key): {error}")))
}

fn read_key(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() == 0 || metadata.len() > LARGEST_KEY {
        return Err(io::Error::other("empty, or too large for a key"));
    }
    std::fs::read(path).map(Zeroizing::new)
}

async fn check(host: &str, port: u16, proof: Proof, patience: Duration) -> Report {
    let mode = match proof {
        Proof::Key { .. } => "key",
        Proof::Certificates(_) => "certificate",
    };
    let mut steps = Steps::new(match proof {
        Proof::Key { .. } => &["network", "TLS version", "identity", "key", "cipher"],
        Proof::Certificates(_) => &["network", "own files", "TLS version", "certificate", "cipher"],
    });
    if let Some(door) = network(host, port, patience, &mut steps).await {
        match proof {
            Proof::Key { path, key } => with_key(door, &path, &key, &mut steps).await,
            Proof::Certificates(files) => with_certificates(door, &files, &mut steps).await,
        }
    }
    let ok = steps.0.iter().all(|step| matches!(step.outcome, Outcome::Ok | Outcome::Warning));
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Report { target, mode, ok, steps: steps.0 }
}

/// Where the daemon is, and the first connection to it.
struct Door {
    address: SocketAddr,
    /// Used by the first try, so that no connection is made for nothing.
    first: Option<TcpStream>,
    patience: Duration,
}

impl Door {
    async fn connect(&mut self) -> io::Result<TcpStream> {
        match self.first.take() {
            Some(socket) => Ok(socket),
            None => TcpStream::connect(self.address).await,
        }
    }

    /// One try on a connection of its own.
    async fn try_once(&mut self, connector: &Connector) -> Result<Sight, ConnectError> {
        let tried = timeout(self.patience, async {
            let socket = self.connect().await.map_err(ConnectError::Io)?;
            connector.probe(socket).await
        });
        tried.await.unwrap_or_else(|_| Err(ConnectError::Io(io::ErrorKind::TimedOut.into())))
    }

    async fn certificate(&mut self) -> Option<SeenCertificate> {
        let looked = timeout(self.patience, async { probe::look(self.connect().await.ok()?).await });
        looked.await.ok().flatten()
    }

    async fn with_tls12(&mut self) -> OldTls {
        let asked = timeout(self.patience, async {
            match self.connect().await {
                Ok(socket) => probe::offer_key_with_tls12(socket).await,
                Err(_) => OldTls::Refused,
            }
        });
        asked.await.unwrap_or(OldTls::Refused)
    }
}

/// The first address that can be connected to.
async fn network(host: &str, port: u16, patience: Duration, steps: &mut Steps) -> Option<Door> {
    let looked_up = match timeout(patience, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect::<Vec<_>>(),
        Ok(Err(error)) => {
            steps.bad("network", format!("{host} cannot be resolved: {error}"));
            return None;
        }
        Err(_) => {
            steps.bad("network", format!("{host} cannot be resolved: the name service does not answer"));
            return None;
        }
    };
    let mut last = format!("{host} has no address");
    for address in looked_up {
        let began = Instant::now();
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                let took = began.elapsed().as_secs_f64() * 1000.0;
                steps.ok("network", format!("{address} accepts connections ({took:.1} ms)"));
                return Some(Door { address, first: Some(socket), patience });
            }
            Ok(Err(error)) => {
                let hint = match error.kind() {
                    io::ErrorKind::ConnectionRefused => {
                        ": nothing listens there; is pacemaker_remote running, on this port and address?"
                    }
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        ": no way to that node; is it on, and in this network?"
                    }
                    _ => "",
                };
                last = format!("{address}: {error}{hint}");
            }
            Err(_) => {
                last = format!(
                    "{address} does not answer within {patience:?}: is it on, and does a firewall drop TCP {port}?"
                );
            }
        }
    }
    steps.bad("network", last);
    None
}

async fn with_key(mut door: Door, path: &Path, key: &[u8], steps: &mut Steps) {
    let mut sights = Vec::new();
    let mut failure = None;
    let mut sha256 = String::new();
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes128Gcm] {
        let connector = match Connector::with_key(IDENTITY, Zeroizing::new(key.to_vec()), suite) {
            Ok(connector) => connector,
            Err(error) => return steps.bad("key", format!("{}: {error}", path.display())),
        };
        connector.key_sha256().unwrap_or_default().clone_into(&mut sha256);
        match door.try_once(&connector).await {
            Ok(sight) => sights.push(sight),
            Err(error) => drop(failure.get_or_insert(error)),
        }
        // What goes wrong for other reasons than the cipher suite would go wrong again.
        if !matches!(failure, None | Some(ConnectError::Refused(_) | ConnectError::Version)) {
            break;
        }
    }
    if let Some(sight) = sights.first() {
        steps.ok("TLS version", sight.version.replace('_', "."));
        steps.ok("identity", format!("the daemon takes a key under the name \"{IDENTITY}\""));
        steps.ok("key", format!("the same as {}, sha256 {}", path.display(), short_hash(&sha256)));
        let suites: Vec<&str> = sights.iter().map(|sight| sight.suite.as_str()).collect();
        return steps.ok("cipher", suites.join(", "));
    }
    let Some(failure) = failure else { return };
    let unclear = matches!(
        failure,
        ConnectError::NotPsk | ConnectError::Refused(_) | ConnectError::Version | ConnectError::Closed
    );
    if unclear {
        match (door.with_tls12().await, &failure) {
            (OldTls::Newest, _) => return explain_key(&ConnectError::Version, path, &sha256, steps),
            // The C daemon says nothing when it does not like a key.
            (OldTls::Downgraded, ConnectError::Closed) => {
                return explain_key(&ConnectError::WrongKey, path, &sha256, steps);
            }
            (OldTls::Downgraded | OldTls::Refused, _) => {}
        }
    }
    if unclear && let Some(certificate) = door.certificate().await {
        return steps.bad(
            "identity",
            format!(
                "the daemon uses certificates, not a key ({}): set PCMK_cert_file, PCMK_ca_file and PCMK_key_file \
                 on the cluster nodes, or unset them there; Pacemaker 2 cannot use certificates",
                certificate.subject
            ),
        );
    }
    explain_key(&failure, path, &sha256, steps);
}

fn explain_key(failure: &ConnectError, path: &Path, sha256: &str, steps: &mut Steps) {
    match failure {
        ConnectError::WrongKey => {
            steps.ok("TLS version", "TLSv1.3");
            steps.ok("identity", format!("the daemon takes a key under the name \"{IDENTITY}\""));
            steps.bad(
                "key",
                format!(
                    "the daemon has another key, or none: {} here has sha256 {sha256}; compare sha256sum \
                     /etc/pacemaker/authkey there, or pcmk-remotectl status",
                    path.display()
                ),
            );
        }
        ConnectError::Version => steps.bad(
            "TLS version",
            "the daemon does not speak TLS 1.3: check PCMK_tls_priorities and the crypto policy there",
        ),
        ConnectError::NotPsk => steps.bad(
            "identity",
            format!("the daemon takes no notice of a key under the name \"{IDENTITY}\": is it pacemaker-remoted?"),
        ),
        ConnectError::Refused(AlertDescription::HandshakeFailure) => steps.bad(
            "identity",
            format!(
                "the daemon takes no key under the name \"{IDENTITY}\", or allows neither \
                 TLS_CHACHA20_POLY1305_SHA256 nor TLS_AES_128_GCM_SHA256: check PCMK_tls_priorities and the crypto \
                 policy there"
            ),
        ),
        other => explain_rest(other, steps),
    }
}

/// What is no matter of key or certificate.
fn explain_rest(failure: &ConnectError, steps: &mut Steps) {
    let text = match failure {
        ConnectError::Closed => {
            "the daemon closes the connection without a word: it has no key, or its policy does not admit this \
             address; its log says which"
                .to_owned()
        }
        ConnectError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            "the daemon accepts connections and says nothing: is it stopped or blocked, or is it something else?"
                .to_owned()
        }
        ConnectError::Io(error) => format!("connection lost: {error}; the daemon's log may say why"),
        ConnectError::Tls(error) => format!("what answers there is not pacemaker-remoted: {error}"),
        other => other.to_string(),
    };
    steps.bad("TLS version", text);
}

async fn with_certificates(mut door: Door, files: &CertificateFiles, steps: &mut Steps) {
    let connector = match Connector::with_certificates(files) {
        Ok(connector) => connector,
        Err(error) => return steps.bad("own files", error.to_string()),
    };
    steps.ok(
        "own files",
        "can be used; whether the daemon accepts this certificate shows only in a whole handshake",
    );
    match door.try_once(&connector).await {
        Ok(sight) => {
            steps.ok("TLS version", sight.version.replace('_', "."));
            steps.ok("cipher", sight.suite);
            let (outcome, text) = sight.certificate.map_or_else(
                || (Outcome::Bad, "the daemon has shown none".to_owned()),
                |certificate| judged(&certificate),
            );
            steps.set("certificate", outcome, text);
        }
        Err(ConnectError::Certificate(refusal)) => {
            let shown = door.certificate().await.map(|seen| format!("{}: ", seen.subject));
            steps.bad("certificate", format!("{}{refusal}", shown.unwrap_or_default()));
        }
        Err(error @ ConnectError::NoCertificate) => steps.bad("certificate", error.to_string()),
        Err(ConnectError::Version) => {
            steps.bad("TLS version", "no version of TLS or no cipher suite in common: is the daemon set up for a key?");
        }
        Err(ConnectError::Refused(AlertDescription::HandshakeFailure)) => steps.bad(
            "certificate",
            "the daemon has no certificate: it uses a key. Set PCMK_cert_file, PCMK_ca_file and PCMK_key_file there",
        ),
        Err(other) => explain_rest(&other, steps),
    }
}

fn judged(certificate: &SeenCertificate) -> (Outcome, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = certificate.not_after.saturating_sub(now);
    let text = format!(
        "{}, signed by {}, expires in {}",
        certificate.subject,
        certificate.issuer,
        span(left.saturating_mul(1000))
    );
    (if left < SOON_S { Outcome::Warning } else { Outcome::Ok }, text)
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn targets_are_names_and_addresses_of_both_families() {
        for (text, host, port) in [
            ("compute1", "compute1", 3121),
            ("compute1:4000", "compute1", 4000),
            ("10.0.0.1", "10.0.0.1", 3121),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("::1", "::1", 3121),
            ("[::1]", "::1", 3121),
            ("[::1]:5", "::1", 5),
        ] {
            assert_eq!(target(text).unwrap(), (host.to_owned(), port), "{text}");
        }
        for text in ["", ":1", "a:", "a:0", "a:70000", "[x]"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}

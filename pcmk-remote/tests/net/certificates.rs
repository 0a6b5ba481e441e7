//! Certificates: who gets in, who does not, what the operator reads, and when files are read again.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pcmk_remote::net::test_client::Client;
use pcmk_remote::net::tls::client::{ConnectError, Connector, Suite};
use pcmk_remote::net::tls::{CertificateProblem, CertificateStore, CredentialKind, Credentials};
use pcmk_remote::net::{NetError, PeerIdentity, ServerOptions};
use pcmk_remote::policy::Policy;
use tokio::process::Command;
use tokio::sync::watch;

use super::interop::{address, exchange, gnutls, refused, tool};
use super::pki::{Pki, certificate_rig, certificate_rig_with};
use super::*;

const FAILED: &str = "TLS handshake with remote client failed: 127.0.0.1:";
/// What Pacemaker asks of `GnuTLS` with certificates.
const PACEMAKER: &str = "NORMAL";
const TLS13_ALONE: &str = "NORMAL:-VERS-ALL:+VERS-TLS1.3";

/// A kind of certificate, how the script makes it, and what the log says if it is refused. `GnuTLS` as
/// server takes those marked `C takes it`.
const TABLE: &[(&str, &[&str], Option<&str>)] = &[
    ("plain", &[], None),
    ("p384", &["key=P-384"], None),
    ("ed25519", &["key=ed25519"], None),
    ("rsa2048", &["key=rsa:2048"], None),
    ("client", &["extendedKeyUsage=clientAuth"], None),
    ("server", &["extendedKeyUsage=serverAuth"], None), // rustls by itself would not take it, C does
    ("any", &["extendedKeyUsage=anyExtendedKeyUsage"], None),
    ("both", &["extendedKeyUsage=codeSigning,serverAuth,clientAuth"], None),
    ("code", &["extendedKeyUsage=codeSigning"], Some("allows neither TLS client nor TLS server")), // C takes it
    ("authority", &["basicConstraints=CA:TRUE"], Some("an authority's own certificate (CA:TRUE)")), // C takes it
    ("v1", &["v1"], Some("it is of X.509 version 1")), // C takes it
    ("sha1", &["md=sha1"], Some("an algorithm that is too weak or unknown")),
    (
        "expired",
        &["from=20200101000000Z", "to=20210101000000Z"],
        Some("it expired on 2021-01-01T00:00:00Z: renew it"),
    ),
    (
        "future",
        &["from=20400101000000Z", "to=20410101000000Z"],
        Some("it is not valid before 2040-01-01T00:00:00Z: compare the clocks"),
    ),
];

#[tokio::test]
async fn gnutls_gets_in_with_some_certificates_and_the_log_says_why_not_with_others() {
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    for (name, options, reason) in TABLE {
        let (log, _guard) = Log::capture();
        pki.make(&[&["issue", "ca", name], *options].concat());
        match reason {
            None => exchange(gnutls_with(&rig, &pki, name, PACEMAKER), &rig).await,
            Some(reason) => {
                refused(gnutls_with(&rig, &pki, name, PACEMAKER)).await;
                let subject = match *name {
                    "v1" => "\"CN=v1,O=Rig\"".to_owned(),
                    _ => format!("the certificate \"CN={name},O=Rig\" is not accepted"),
                };
                log.line_with(&[FAILED, &subject, reason]).await;
            }
        }
    }
    rig.look(|seen| {
        let peers = seen.peers.iter().map(|peer| match &peer.identity {
            PeerIdentity::Certificate(certificate) => certificate.names.join(" "),
            PeerIdentity::Key => "key".into(),
        });
        let accepted =
            TABLE.iter().filter(|(.., reason)| reason.is_none()).map(|(name, ..)| (*name).to_owned());
        assert_eq!(peers.collect::<Vec<_>>(), accepted.collect::<Vec<_>>());
    });
}

#[tokio::test]
async fn openssl_gets_in_with_either_version_of_tls() {
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    pki.make(&["issue", "ca", "rsa", "key=rsa:3072"]);
    for (name, options) in [
        ("node", vec!["-tls1_3"]),
        ("rsa", vec!["-tls1_3"]),
        ("node", vec!["-tls1_2"]),
        ("rsa", vec!["-tls1_2"]),
    ] {
        exchange(openssl_with(&rig, &pki, Some(name), &options), &rig).await;
    }
    let (log, _guard) = Log::capture();
    pki.make(&["issue", "ca", "p521", "key=P-521"]);
    refused(gnutls_with(&rig, &pki, "p521", PACEMAKER)).await;
    log.line_with(&[FAILED, "its key is of the elliptic curve 1.3.132.0.35", "ECDSA P-256 or P-384"]).await;
    // `GnuTLS` presents neither of these two then.
    let (log, _guard) = Log::capture();
    refused(gnutls_with(&rig, &pki, "p521", TLS13_ALONE)).await;
    log.line_with(&[FAILED, "the peer presented no certificate", "ECDSA P-256 or P-384"]).await;
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    pki.make(&["issue", "ca", "weak", "key=rsa:1024"]);
    let (log, _guard) = Log::capture();
    refused(openssl_with(&rig, &pki, Some("weak"), &["-tls1_3", "-quiet", "-cipher", "ALL:@SECLEVEL=0"]))
        .await;
    log.line_with(&[FAILED, "\"CN=weak,O=Rig\"", "its key is RSA of 1024 bits"]).await;
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    let (log, _guard) = Log::capture();
    refused(openssl_with(&rig, &pki, None, &["-tls1_2", "-quiet"])).await;
    log.line_with(&[FAILED, "the peer presented no certificate"]).await;
}

#[tokio::test]
async fn gnutls_gets_in_with_the_policies_of_distributions() {
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    for priority in [
        "NORMAL",
        "SECURE128",
        "PFS",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        "SUITEB128",
        "NORMAL:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP256R1",
    ] {
        exchange(gnutls_with(&rig, &pki, "node", priority), &rig).await;
    }
    let (log, _guard) = Log::capture();
    refused(gnutls_with(&rig, &pki, "node", "SECURE192")).await;
    log.line_with(&[FAILED, "have no signature algorithm in common: check PCMK_tls_priorities"]).await;
}

#[tokio::test]
async fn a_chain_over_an_intermediate_authority_is_followed() {
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    pki.make(&["issue", "ca", "middle", "basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign,cRLSign"]);
    pki.make(&["issue", "middle", "leaf"]);
    let (log, _guard) = Log::capture();
    refused(gnutls_with(&rig, &pki, "leaf", PACEMAKER)).await;
    log.line_with(&[FAILED, "\"CN=leaf,O=Rig\"", "its issuer \"CN=middle,O=Rig\" is not in PCMK_ca_file"])
        .await;

    let chain = ["leaf.pem", "middle.pem"].map(|file| std::fs::read(pki.path(file)).unwrap()).concat();
    std::fs::write(pki.path("leaf.pem"), chain).unwrap();
    exchange(gnutls_with(&rig, &pki, "leaf", PACEMAKER), &rig).await;

    // What signed is no authority.
    pki.make(&["issue", "node", "under"]);
    let chain = ["under.pem", "node.pem"].map(|file| std::fs::read(pki.path(file)).unwrap()).concat();
    std::fs::write(pki.path("under.pem"), chain).unwrap();
    refused(gnutls_with(&rig, &pki, "under", PACEMAKER)).await;
    log.line_with(&[FAILED, "\"CN=under,O=Rig\"", "signed by a certificate that is not an authority's"])
        .await;
}

#[tokio::test]
async fn strangers_are_told_apart() {
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    let other = Pki::new(&pki.path("other"));
    other.make(&["authority", "stranger"]);
    other.make(&["issue", "stranger", "lost"]);
    other.make(&["self", "alone", "basicConstraints=CA:TRUE"]);
    for (command, reasons) in [
        // An authority of the same name with another key.
        (gnutls_with(&rig, &other, "node", PACEMAKER), vec!["\"CN=node,O=Rig\"", "under the same name"]),
        (gnutls_with(&rig, &other, "lost", PACEMAKER), vec!["its issuer \"CN=stranger,O=Rig\" is not in"]),
        (gnutls_with(&rig, &other, "alone", PACEMAKER), vec!["\"CN=alone,O=Rig\"", "CA:TRUE"]),
        (gnutls_without(&rig, PACEMAKER), vec!["the peer presented no certificate"]),
    ] {
        let (log, _guard) = Log::capture();
        refused(command).await;
        log.line_with(&[vec![FAILED], reasons].concat()).await;
    }
    rig.look(|seen| assert!(seen.peers.is_empty()));
    exchange(gnutls_with(&rig, &pki, "node", PACEMAKER), &rig).await;
}

#[tokio::test]
async fn a_cluster_that_is_set_up_for_a_key_is_named() {
    // TLS 1.3 alone, too.
    for base in ["NORMAL", "NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2"] {
        let (rig, _pki) = certificate_rig(|_, _| {}).await;
        let (log, _guard) = Log::capture();
        refused(gnutls(&rig, &format!("{base}:+DHE-PSK:+PSK"), "lrmd", &key(1, 64))).await;
        log.line_with(&[FAILED, "offered a pre-shared key, and this node is set up for certificates"]).await;
    }
}

/// A cluster node that does not like what this node presents.
#[tokio::test]
async fn a_peer_that_refuses_our_certificate_is_named() {
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    let other = Pki::new(&pki.path("other"));
    let (log, _guard) = Log::capture();
    let mut command = tool("gnutls-cli");
    command.args(["--disable-sni", "--priority", PACEMAKER, "--x509cafile"]).arg(other.path("ca.pem"));
    command.arg("--x509certfile").arg(pki.path("node.pem")).arg("--x509keyfile").arg(pki.path("node.key"));
    refused(address(command, &rig)).await;
    log.line_with(&[FAILED, "the peer did not accept this node's certificate \"CN=node,O=Rig\""]).await;
}

#[tokio::test]
async fn our_own_client_gets_in_and_understands_refusals() {
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    let connector = pki.connector("node");
    let mut client = soon("connect", Client::with(&connector, rig.raw().await)).await.unwrap();
    ask(&mut client, 1).await;
    rig.look(|seen| {
        let PeerIdentity::Certificate(certificate) = &seen.peers[0].identity else { panic!("{seen:?}") };
        assert_eq!((certificate.subject.as_str(), certificate.sha256.len()), ("CN=node,O=Rig", 64));
    });

    pki.make(&["issue", "ca", "old", "from=20200101000000Z", "to=20210101000000Z"]);
    let refused = confirm(&rig, &pki.connector("old")).await;
    assert!(matches!(refused, ConnectError::CertificateRefused(_)), "{refused:?}");

    let other = Pki::new(&pki.path("other"));
    other.make(&["authority", "stranger"]);
    other.replace("stranger.pem", "ca.pem");
    let unknown = confirm(&rig, &other.connector("node")).await;
    let ConnectError::Certificate(refusal) = &unknown else { panic!("{unknown:?}") };
    assert!(matches!(refusal.problem, CertificateProblem::UnknownIssuer { .. }), "{unknown}");

    let with_key = Connector::with_key("lrmd", key(1, 10).into(), Suite::Aes128Gcm).unwrap();
    let not_psk = confirm(&rig, &with_key).await;
    assert!(matches!(not_psk, ConnectError::NotPsk), "{not_psk:?}");

    let keyed = Rig::start().await;
    let no_certificate = confirm(&keyed, &pki.connector("node")).await;
    assert!(matches!(no_certificate, ConnectError::NoCertificate), "{no_certificate:?}");
    let wrong = confirm(&keyed, &with_key).await;
    assert!(matches!(wrong, ConnectError::WrongKey), "{wrong:?}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_at_the_next_handshake() {
    let (rig, pki) = certificate_rig(|pki, files| {
        pki.make(&["list", "ca"]);
        files.revocations = Some(pki.path("ca.crl"));
    })
    .await;
    pki.make(&["issue", "ca", "c1"]);
    pki.make(&["issue", "ca", "c2"]);
    let mut before = client(&rig, &pki, "c1").await;
    pki.make(&["revoke", "ca", "c1"]);
    let (log, _guard) = Log::capture();
    refused(gnutls_with(&rig, &pki, "c1", PACEMAKER)).await;
    log.line_with(&[FAILED, "\"CN=c1,O=Rig\"", "it has been revoked (PCMK_crl_file)"]).await;
    ask(&mut client(&rig, &pki, "c2").await, 1).await;
    ask(&mut before, 2).await; // what exists stays
    drop(rig);
}

/// Controllers that are turned away after the end of their handshake never report the start that they are in.
#[tokio::test]
async fn a_controller_is_turned_away_within_its_handshake() {
    let policy = Policy::parse("[peers]\nnames = ['c*']").unwrap();
    let options = ServerOptions { policy: watch::channel(Arc::new(policy)).1, ..ServerOptions::default() };
    let (rig, pki) = certificate_rig_with(options, |pki, files| {
        pki.make(&["list", "ca"]);
        files.revocations = Some(pki.path("ca.crl"));
    })
    .await;
    for name in ["c1", "c2", "stranger"] {
        pki.make(&["issue", "ca", name]);
    }
    pki.make(&["issue", "ca", "crsa", "key=rsa:2048"]);
    for name in ["c2", "crsa"] {
        pki.make(&["revoke", "ca", name]);
    }
    let unlisted = "its certificate's names (stranger) is among those that this node's policy allows";
    // The same reason is logged once a minute.
    for (name, priority, reason, completed) in [
        ("c2", PACEMAKER, Some("it has been revoked"), false),
        ("crsa", PACEMAKER, None, false),
        ("stranger", PACEMAKER, Some(unlisted), false),
        // What is to be avoided: nothing can be done for a peer that can do nothing else.
        ("c2", TLS13_ALONE, None, true),
    ] {
        let (log, _guard) = Log::capture();
        let mut command = gnutls_with(&rig, &pki, name, priority);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = soon("the tool's end", command.spawn().unwrap().wait_with_output()).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(said.contains("Handshake was completed"), completed, "{said}");
        assert!(said.contains("*** Fatal error"), "{said}");
        if let Some(reason) = reason {
            log.line_with(&[reason]).await;
        }
    }
    exchange(gnutls_with(&rig, &pki, "c1", PACEMAKER), &rig).await;
    exchange(gnutls_with(&rig, &pki, "c1", TLS13_ALONE), &rig).await;
    rig.look(|seen| assert_eq!(seen.peers.len(), 2));
}

#[tokio::test]
async fn revocation_lists_that_do_not_fit_are_handled() {
    let log = Log::global();
    // One that should have been replaced still counts, as with the C daemon.
    let (rig, pki) = certificate_rig(|pki, files| {
        pki.make(&["issue", "ca", "c1"]);
        pki.make(&["revoke", "ca", "c1"]);
        pki.make(&["list", "ca", "from=20200101000000Z", "to=20210101000000Z"]);
        files.revocations = Some(pki.path("ca.crl"));
    })
    .await;
    let list = pki.path("ca.crl").display().to_string();
    log.line_with(&["WARN", &list, "should have been replaced on 2021-01-01T00:00:00Z"]).await;
    refused(gnutls_with(&rig, &pki, "c1", PACEMAKER)).await;
    exchange(gnutls_with(&rig, &pki, "node", PACEMAKER), &rig).await;

    // Another authority's revokes nothing here, and that is said.
    pki.make(&["authority", "stranger"]);
    pki.make(&["list", "stranger"]);
    pki.replace("stranger.crl", "ca.crl");
    exchange(gnutls_with(&rig, &pki, "node", PACEMAKER), &rig).await;
    log.line_with(&["WARN", &list, "of \"CN=stranger,O=Rig\", which is not in PCMK_ca_file"]).await;

    // One that is forged would make every peer be refused: it is not taken.
    let other = Pki::new(&pki.path("other"));
    other.make(&["list", "ca"]);
    std::fs::copy(other.path("ca.crl"), pki.path("ca.crl")).unwrap();
    exchange(gnutls_with(&rig, &pki, "node", PACEMAKER), &rig).await;
    log.line_with(&["WARN", &list, "not signed with the key of that authority", "the last good ones stay"])
        .await;

    pki.make(&["list", "ca", "v1"]);
    exchange(gnutls_with(&rig, &pki, "node", PACEMAKER), &rig).await;
    log.line_with(&["WARN", &list, "or of version 1", "the last good ones stay"]).await;
}

#[tokio::test]
async fn new_files_count_for_new_connections_and_broken_ones_do_not() {
    let log = Log::global();
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    let mut before = client(&rig, &pki, "node").await;

    // A new authority while the old one stays, and then a certificate of it.
    let other = Pki::new(&pki.path("other"));
    let both = [pki.path("ca.pem"), other.path("ca.pem")].map(|path| std::fs::read(path).unwrap()).concat();
    std::fs::write(pki.path("ca.pem"), &both).unwrap();
    exchange(gnutls_with(&rig, &other, "node", PACEMAKER), &rig).await;
    exchange(gnutls_with(&rig, &pki, "node", PACEMAKER), &rig).await;

    // The certificate comes first, its key a little later: until then the old pair serves.
    let certificate = pki.path("node.pem").display().to_string();
    pki.make(&["issue", "ca", "successor"]);
    pki.make(&["issue", "ca", "peer"]);
    pki.replace("successor.pem", "node.pem");
    for _ in 0..3 {
        exchange(gnutls_with(&rig, &pki, "peer", PACEMAKER), &rig).await;
    }
    let complaint = format!("is not the key of the certificate in PCMK_cert_file {certificate}");
    assert_eq!(log.count(&complaint), 1);
    log.line_with(&["WARN", &complaint, "the last good ones stay in use"]).await;
    pki.replace("successor.key", "node.key");
    exchange(gnutls_with(&rig, &pki, "peer", PACEMAKER), &rig).await;
    log.line_with(&["INFO New TLS certificate", &certificate, "CN=successor,O=Rig"]).await;

    std::fs::write(pki.path("ca.pem"), "").unwrap();
    exchange(gnutls_with(&rig, &pki, "peer", PACEMAKER), &rig).await;
    std::fs::remove_file(pki.path("ca.pem")).unwrap();
    exchange(gnutls_with(&rig, &pki, "peer", PACEMAKER), &rig).await;
    let missing = format!("Could not read PCMK_ca_file {}", pki.path("ca.pem").display());
    log.line_with(&["WARN", &missing, "it is empty"]).await;
    log.line_with(&["WARN", &missing, "No such file"]).await;
    ask(&mut before, 9).await;
}

#[tokio::test]
async fn what_ends_soon_is_said_and_described() {
    let log = Log::global();
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    pki.make(&[
        "issue",
        "ca",
        "short",
        "to=20270115080000Z",
        "subjectAltName=DNS:short.example,IP:192.0.2.7",
    ]);
    pki.make(&["list", "ca"]);
    let mut files = pki.files("short");
    files.revocations = Some(pki.path("ca.crl"));
    let credentials = Credentials::from(CertificateStore::open(files.clone()).await.unwrap());
    let report = credentials.describe();
    let certificate = report.certificate.unwrap();
    assert_eq!(report.kind, CredentialKind::X509);
    assert_eq!(certificate.names, ["short.example", "192.0.2.7", "short"]);
    assert_eq!((certificate.subject.as_str(), certificate.not_after), ("CN=short,O=Rig", 1_800_000_000));
    assert_eq!(report.authorities[0].subject, "CN=ca,O=Rig");
    let list = report.revocations.unwrap();
    assert_eq!((list.revoked, list.next_update.is_some()), (0, true));
    assert_eq!(report.problem, None);
    log.line_with(&["INFO Using TLS certificate", &files.certificate.display().to_string()]).await;

    pki.make(&["issue", "ca", "short", "from=20200101000000Z", "to=20210101000000Z"]);
    credentials.refresh().await;
    let path = files.certificate.display().to_string();
    log.line_with(&["WARN TLS certificate expired on 2021-01-01T00:00:00Z", &path, "no restart is needed"])
        .await;
    std::fs::write(&files.key, "nothing").unwrap();
    credentials.refresh().await;
    let problem = credentials.describe().problem.unwrap();
    assert!(problem.contains("there is no private key in it"), "{problem}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_an_error_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    pki.make(&["issue", "ca", "v1", "v1"]);
    pki.make(&["issue", "ca", "p521", "key=P-521"]);
    pki.make(&["issue", "ca", "rsa1024", "key=rsa:1024"]);
    pki.make(&["list", "ca", "v1"]);
    std::fs::write(pki.path("empty"), "").unwrap();
    std::fs::write(pki.path("text"), "not a certificate").unwrap();
    let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    std::fs::write(pki.path("cut"), cut).unwrap();
    std::fs::write(
        pki.path("locked"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    for (certificate, key, authority, list, reason) in [
        ("missing", "node.key", "ca.pem", None, "Could not read PCMK_cert_file"),
        ("text", "node.key", "ca.pem", None, "text: there is no certificate in it"),
        ("cut", "node.key", "ca.pem", None, "PCMK_cert_file"),
        ("node.pem", "empty", "ca.pem", None, "Could not read PCMK_key_file"),
        ("node.pem", "text", "ca.pem", None, "text: there is no private key in it"),
        ("node.pem", "locked", "ca.pem", None, "the key is encrypted: write it without a passphrase"),
        ("node.pem", "v1.key", "ca.pem", None, "is not the key of the certificate"),
        ("v1.pem", "v1.key", "ca.pem", None, "version 3 is needed"),
        ("p521.pem", "p521.key", "ca.pem", None, "the key cannot be used"),
        ("rsa1024.pem", "rsa1024.key", "ca.pem", None, "the key cannot be used"),
        ("node.pem", "node.key", "empty", None, "Could not read PCMK_ca_file"),
        ("node.pem", "node.key", "node.key", None, "there is no certificate in it"),
        ("node.pem", "node.key", "cut", None, "PCMK_ca_file"),
        ("node.pem", "node.key", "ca.pem", Some("text"), "there is no revocation list in it"),
        ("node.pem", "node.key", "ca.pem", Some("ca.crl"), "or of version 1: make one of version 2"),
    ] {
        let mut files = pki.files("node");
        (files.certificate, files.key, files.authority) =
            (pki.path(certificate), pki.path(key), pki.path(authority));
        files.revocations = list.map(|list| pki.path(list));
        let error = CertificateStore::open(files).await.map(drop).unwrap_err();
        assert!(matches!(error, NetError::Certificates(_)), "{error}");
        assert!(error.to_string().contains(reason), "{certificate} {key} {authority}: {error}");
    }
}

/// No session tickets: stock peers wait for data when the socket is readable.
#[tokio::test]
async fn nothing_is_sent_that_a_stock_peer_does_not_expect() {
    let (rig, pki) = certificate_rig(|_, _| {}).await;
    let (proxy, records) = record_proxy(rig.address).await;
    let connector = pki.connector("node");
    let socket = soon("connect", tokio::net::TcpStream::connect(proxy)).await.unwrap();
    let mut client = soon("connect", Client::with(&connector, socket)).await.unwrap();
    ask(&mut client, 1).await;
    let answered = records.lock().unwrap().len();
    ask(&mut client, 2).await;
    // One record for the header, one for the text.
    assert_eq!(records.lock().unwrap().len(), answered + 2);
    let stream = client.stream();
    assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
}

async fn client(rig: &Rig, pki: &Pki, name: &str) -> Client {
    let mut client = soon("connect", Client::with(&pki.connector(name), rig.raw().await)).await.unwrap();
    ask(&mut client, 1).await;
    client
}

/// Connects in vain.
async fn confirm(rig: &Rig, connector: &Connector) -> ConnectError {
    let attempt = async {
        let mut stream = connector.connect(rig.raw().await).await?;
        connector.confirm(&mut stream, Duration::from_secs(10)).await
    };
    soon("a refusal", attempt).await.unwrap_err()
}

fn gnutls_with(rig: &Rig, pki: &Pki, name: &str, priority: &str) -> Command {
    let mut command = tool("gnutls-cli");
    command.args(["--disable-sni", "--priority", priority, "--no-ca-verification"]);
    command.arg("--x509certfile").arg(pki.path(&format!("{name}.pem")));
    command.arg("--x509keyfile").arg(pki.path(&format!("{name}.key")));
    address(command, rig)
}

fn gnutls_without(rig: &Rig, priority: &str) -> Command {
    let mut command = tool("gnutls-cli");
    command.args(["--disable-sni", "--no-ca-verification", "--priority", priority]);
    address(command, rig)
}

fn openssl_with(rig: &Rig, pki: &Pki, name: Option<&str>, options: &[&str]) -> Command {
    let mut command = tool("openssl");
    command.args(["s_client", "-connect", &rig.address.to_string(), "-noservername", "-nocommands"]);
    command.args(["-verify_return_error", "-CAfile"]).arg(pki.path("ca.pem")).args(options);
    if let Some(name) = name {
        command.arg("-cert").arg(pki.path(&format!("{name}.pem")));
        command.arg("-key").arg(pki.path(&format!("{name}.key")));
    }
    command.stdin(Stdio::piped());
    command
}

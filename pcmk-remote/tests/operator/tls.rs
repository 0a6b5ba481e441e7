//! `tls-check` against our daemon and against others' TLS servers. (Against the C daemon: `tests/interop`.)

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::*;

/// A TLS server of somebody else, on port 3121 of a network of its own.
struct Server(Child);

impl Server {
    fn start(program: &str, package: &str, arguments: &[&str]) -> Self {
        own_network();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; install it with: apt-get install {package}"));
        let address: SocketAddr = "127.0.0.1:3121".parse().unwrap();
        until(&format!("{program} to listen"), || TcpStream::connect(address).ok());
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tls_check(words: &[&str]) -> Said {
    ctl(&[&["tls-check", "127.0.0.1", "--timeout", "3"], words].concat())
}

/// The line of one step: `ok`, `BAD`, `warning` or `-`, and the text.
fn step(said: &Said, check: &str) -> (String, String) {
    let line = said.out.lines().find_map(|line| line.trim_start().strip_prefix(check));
    let line = line.unwrap_or_else(|| panic!("no {check} in {said:?}")).trim_start();
    let (outcome, text) = line.split_once(' ').unwrap_or((line, ""));
    (outcome.into(), text.trim_start().into())
}

fn key_file(dir: &Path, key: &[u8]) -> String {
    let path = dir.join("checked-key");
    std::fs::write(&path, key).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn the_right_key_is_proved_and_nobody_notices() {
    let daemon = Daemon::start();
    let cluster = daemon.joined().await;
    let said = tls_check(&["--key", &key_file(daemon.dir.path(), KEY)]);
    assert_eq!(said.code, 0, "{said:?}");
    for check in ["network", "TLS version", "identity", "key", "cipher"] {
        assert_eq!(step(&said, check).0, "ok", "{said:?}");
    }
    let suites = step(&said, "cipher").1;
    assert!(suites.contains("CHACHA20_POLY1305") && suites.contains("AES_128_GCM"), "{suites}");
    let status = daemon.status();
    assert_eq!((status.peers.len(), status.counters.net.handshakes_ok), (1, 1));
    assert_eq!(status.counters.net.handshakes_failed.keys().collect::<Vec<_>>(), ["closed_early"]);
    cluster.0.close().await.unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    let daemon = Daemon::start();
    let wrong = tls_check(&["--key", &key_file(daemon.dir.path(), b"another key")]);
    assert_eq!((wrong.code, step(&wrong, "key").0.as_str()), (1, "BAD"), "{wrong:?}");
    assert_eq!(step(&wrong, "identity").0, "ok", "{wrong:?}");
    assert!(step(&wrong, "key").1.contains("sha256sum"), "{wrong:?}");

    let right = key_file(daemon.dir.path(), KEY);
    let elsewhere = ctl(&["tls-check", "127.0.0.1:3122", "--key", &right]);
    assert_eq!(elsewhere.code, 1);
    assert!(step(&elsewhere, "network").1.contains("is pacemaker_remote running"), "{elsewhere:?}");
    assert_eq!(step(&elsewhere, "key").0, "-");

    let json = ctl(&["--json", "tls-check", "127.0.0.1", "--key", &right]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert!(value["ok"] == true && value["mode"] == "key", "{value}");

    std::fs::remove_file(daemon.dir.path().join("key")).unwrap();
    assert_eq!(tls_check(&["--key", &right]).code, 0, "the last good key stays in use");
    assert_eq!(tls_check(&["--key", "/nonexistent"]).code, 1);
    assert_eq!(tls_check(&["--cert-file", "/nonexistent"]).code, 64);
}

#[test]
fn a_server_of_tls_1_2_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("psk"), "lrmd:6b6579\n").unwrap();
    let passwd = dir.path().join("psk").display().to_string();
    let priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2:+DHE-PSK:+PSK";
    let server = ["--port", "3121", "--pskpasswd", &passwd, "--priority", priority];
    let _server = Server::start("gnutls-serv", "gnutls-bin", &server);
    let said = tls_check(&["--key", &key_file(dir.path(), b"key")]);
    assert_eq!((said.code, step(&said, "TLS version").0.as_str()), (1, "BAD"), "{said:?}");
    assert!(step(&said, "TLS version").1.contains("PCMK_tls_priorities"), "{said:?}");
}

#[test]
fn gnutls_proves_the_key_and_tells_a_wrong_one_and_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let passwd = dir.path().join("psk").display().to_string();
    let server = ["--port", "3121", "--pskpasswd", &passwd, "--priority", "NORMAL:+DHE-PSK:+PSK"];
    std::fs::write(&passwd, "lrmd:6b6579\n").unwrap();
    {
        let _server = Server::start("gnutls-serv", "gnutls-bin", &server);
        let right = tls_check(&["--key", &key_file(dir.path(), b"key")]);
        assert_eq!(right.code, 0, "{right:?}");
        let wrong = tls_check(&["--key", &key_file(dir.path(), b"yek")]);
        assert_eq!((wrong.code, step(&wrong, "key").0.as_str()), (1, "BAD"), "{wrong:?}");
    }
    std::fs::write(&passwd, "hacluster:6b6579\n").unwrap();
    let _server = Server::start("gnutls-serv", "gnutls-bin", &server);
    let other = tls_check(&["--key", &key_file(dir.path(), b"key")]);
    assert_eq!(other.code, 1, "{other:?}");
    assert_ne!(step(&other, "cipher").0, "ok", "{other:?}");
}

#[test]
fn a_server_that_is_silent_or_no_tls_is_told() {
    own_network();
    let dir = tempfile::tempdir().unwrap();
    let key = key_file(dir.path(), KEY);
    let listener = TcpListener::bind("127.0.0.1:3121").unwrap();
    let silent = ctl(&["tls-check", "127.0.0.1", "--timeout", "0.5", "--key", &key]);
    assert!(silent.code == 1 && step(&silent, "TLS version").1.contains("says nothing"), "{silent:?}");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut &stream, b"SSH-2.0-OpenSSH\r\n");
            // Long enough for it to be read.
            let _ = std::io::Read::read(&mut &stream, &mut [0; 4096]);
        }
    });
    let other = until("the next listener's turn", || {
        let said = tls_check(&["--key", &key]);
        said.out.contains("not pacemaker-remoted").then_some(said)
    });
    assert_eq!(other.code, 1);
}

/// Certificates: an authority, a node, and somebody else's authority.
fn certificates(dir: &Path) {
    let script = "set -e\n\
        echo basicConstraints=CA:FALSE >node.ext\n\
        for ca in ca other; do openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=$ca -days 2 -keyout $ca.key -out $ca.pem; done\n\
        openssl req -newkey rsa:2048 -nodes -subj /CN=node -keyout node.key -out node.csr\n\
        openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile node.ext -days 1 -out node.pem\n";
    let made = say(Command::new("sh").arg("-c").arg(script).current_dir(dir));
    assert_eq!(made.code, 0, "openssl is needed (apt-get install openssl): {made:?}");
}

#[test]
fn certificates_are_checked_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let files = |ca: &str| {
        [
            "--cert-file".to_owned(),
            path("node.pem"),
            "--key-file".to_owned(),
            path("node.key"),
            "--ca-file".to_owned(),
            path(ca),
        ]
    };
    let check = |ca: &str| {
        let files = files(ca);
        tls_check(&files.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (cert, key, ca) = (path("node.pem"), path("node.key"), path("ca.pem"));
    let server = [
        "--port",
        "3121",
        "--x509certfile",
        &cert,
        "--x509keyfile",
        &key,
        "--x509cafile",
        &ca,
        "--require-client-cert",
        "--priority",
        "NORMAL",
    ];
    {
        let _server = Server::start("gnutls-serv", "gnutls-bin", &server);
        let right = check("ca.pem");
        assert_eq!(right.code, 0, "{right:?}");
        let shown = step(&right, "certificate");
        assert!(
            shown.0 == "warning" && shown.1.contains("CN=node, signed by CN=ca, expires in 2"),
            "{right:?}"
        );
        let wrong = check("other.pem");
        assert!(
            wrong.code == 1 && step(&wrong, "certificate").1.contains("not in PCMK_ca_file"),
            "{wrong:?}"
        );
        let with_key = tls_check(&["--key", &key_file(dir.path(), b"key")]);
        assert!(
            step(&with_key, "identity").1.contains("the daemon uses certificates, not a key (CN=node)"),
            "{with_key:?}"
        );
    }
    {
        let daemon = Daemon::with(|command| {
            command.env("PCMK_cert_file", &cert).env("PCMK_key_file", &key).env("PCMK_ca_file", &ca);
        });
        let right = check("ca.pem");
        assert_eq!(right.code, 0, "{right:?}");
        let wrong = check("other.pem");
        assert!(wrong.code == 1 && step(&wrong, "certificate").0 == "BAD", "{wrong:?}");
        let with_key = tls_check(&["--key", &key_file(dir.path(), b"key")]);
        assert!(step(&with_key, "identity").1.contains("not a key (CN=node)"), "{with_key:?}");
        let status = daemon.status();
        let credentials = status.credentials.unwrap();
        assert_eq!(
            (credentials.kind.as_str(), credentials.subject.as_deref()),
            ("certificate", Some("CN=node"))
        );
        assert!(status.peers.is_empty() && credentials.expires_at.is_some());
        assert!(daemon.ctl(&["status"]).out.contains("* the certificate expires in"));
    }
    // Our daemon with a key, asked with certificates.
    let daemon = Daemon::start();
    let said = check("ca.pem");
    assert_eq!((said.code, step(&said, "certificate").0.as_str()), (1, "BAD"), "{said:?}");
    assert_eq!(daemon.status().peers.len(), 0);
}

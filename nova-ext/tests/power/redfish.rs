//! The Redfish driver against a device of our own over TLS: slow, lying, refusing, ambiguous, with sessions and without.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nova_ext::power::{self, PowerError, PowerState, Redfish, RedfishSettings, Retry};
use nova_ext::secret::Secret;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const TIME: Duration = Duration::from_secs(20);

/// How the device is.
struct Device {
    systems: Vec<&'static str>,
    state: &'static str,
    /// What a reset leads to, one reading after the other.
    after: Vec<&'static str>,
    coming: Vec<&'static str>,
    allowed: Option<Vec<&'static str>>,
    reset_status: u16,
    target: &'static str,
    /// Sessions that are open.
    sessions: Vec<u32>,
    made: u32,
    password: &'static str,
    /// So long a log-in takes.
    slow_login: Duration,
    huge: bool,
    /// Keeps connections open, and closes one in the moment in which it gets an order that is not the first request there.
    keeps: bool,
    connections: u32,
    resets: Vec<String>,
    /// Each request: method, path, how it was authorised.
    log: Vec<(String, String, &'static str)>,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            systems: vec!["1"],
            state: "On",
            after: vec!["PoweringOff", "Off"],
            coming: Vec::new(),
            allowed: Some(vec!["On", "ForceOff", "GracefulShutdown"]),
            reset_status: 204,
            target: "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
            sessions: Vec::new(),
            made: 0,
            password: "hunter2",
            slow_login: Duration::ZERO,
            huge: false,
            keeps: false,
            connections: 0,
            resets: Vec::new(),
            log: Vec::new(),
        }
    }
}

impl Device {
    fn answer(&mut self, method: &str, path: &str, head: &str, body: &str) -> (u16, String, Value) {
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let basic = header("authorization").is_some_and(|text| text == "Basic ZmVuY2VyOmh1bnRlcjI=");
        let token = header("x-auth-token").and_then(|text| text.strip_prefix("token-")?.parse().ok());
        let session = token.is_some_and(|token| self.sessions.contains(&token));
        let by = if session {
            "session"
        } else if basic {
            "basic"
        } else {
            "nobody"
        };
        self.log.push((method.into(), path.into(), by));
        let none = String::new;
        if (method, path) == ("GET", "/redfish/v1/") {
            let links = json!({"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}});
            return (200, none(), json!({"Systems": {"@odata.id": "/redfish/v1/Systems"}, "Links": links}));
        }
        if (method, path) == ("POST", "/redfish/v1/SessionService/Sessions") {
            let login: Value = serde_json::from_str(body).unwrap();
            if login != json!({"UserName": "fencer", "Password": self.password}) {
                return (401, none(), json!({}));
            }
            self.made += 1;
            self.sessions.push(self.made);
            let number = self.made;
            let headers = format!(
                "X-Auth-Token: token-{number}\r\nLocation: /redfish/v1/SessionService/Sessions/{number}\r\n"
            );
            return (201, headers, json!({}));
        }
        if by == "nobody" || self.password != "hunter2" {
            return (401, none(), json!({"error": {"message": "go away"}}));
        }
        if let (Some(id), "DELETE") = (path.strip_prefix("/redfish/v1/SessionService/Sessions/"), method) {
            self.sessions.retain(|session| session.to_string() != id);
            return (204, none(), Value::Null);
        }
        if (method, path) == ("GET", "/redfish/v1/Systems") {
            let members: Vec<_> = self
                .systems
                .iter()
                .map(|id| json!({"@odata.id": format!("/redfish/v1/Systems/{id}")}))
                .collect();
            return (200, none(), json!({ "Members": members }));
        }
        if method == "GET" && path.starts_with("/redfish/v1/Systems/") {
            if self.huge {
                return (200, none(), json!({"PowerState": "Off", "Name": "x".repeat(2 << 20)}));
            }
            if !self.coming.is_empty() {
                self.state = self.coming.remove(0);
            }
            let mut reset = json!({ "target": self.target });
            if let Some(allowed) = &self.allowed {
                reset["ResetType@Redfish.AllowableValues"] = json!(allowed);
            }
            return (
                200,
                none(),
                json!({"PowerState": self.state, "Actions": {"#ComputerSystem.Reset": reset}}),
            );
        }
        if method == "POST" && path.ends_with("ComputerSystem.Reset") {
            let order: Value = serde_json::from_str(body).unwrap();
            let kind = order["ResetType"].as_str().unwrap().to_owned();
            self.coming = if kind == "On" { vec!["PoweringOn", "On"] } else { self.after.clone() };
            self.resets.push(kind);
            let info = json!([{"Message": "it is off\u{7} already"}]);
            return (self.reset_status, none(), json!({"error": {"@Message.ExtendedInfo": info}}));
        }
        (404, none(), Value::Null)
    }
}

struct Peer {
    device: Arc<Mutex<Device>>,
    address: String,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power").join(name)
}

impl Peer {
    async fn start(device: Device) -> Self {
        let chain =
            CertificateDer::pem_file_iter(file("redfish-cert.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(file("redfish-key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let device = Arc::new(Mutex::new(device));
        let served = Arc::clone(&device);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, device) = (acceptor.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let keeps = device.lock().unwrap().keeps;
                    device.lock().unwrap().connections += 1;
                    let connection = if keeps { "keep-alive" } else { "close" };
                    for count in 0_u32.. {
                        let mut bytes = Vec::new();
                        let (head, body) = loop {
                            let mut part = [0; 4096];
                            let Ok(length @ 1..) = stream.read(&mut part).await else { return };
                            bytes.extend_from_slice(&part[..length]);
                            let text = String::from_utf8(bytes.clone()).unwrap();
                            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                                line.strip_prefix("content-length: ")
                                    .and_then(|text| text.parse::<usize>().ok())
                            });
                            if body.len() >= length.unwrap_or(0) {
                                break (head.to_owned(), body.to_owned());
                            }
                        };
                        let mut words = head.split(' ');
                        let (method, path) = (words.next().unwrap(), words.next().unwrap());
                        if count > 0 && path.ends_with("ComputerSystem.Reset") {
                            return;
                        }
                        let (status, headers, answer) =
                            device.lock().unwrap().answer(method, path, &head, &body);
                        let slow = device.lock().unwrap().slow_login;
                        if (method, path) == ("POST", "/redfish/v1/SessionService/Sessions") {
                            tokio::time::sleep(slow).await;
                        }
                        let answer = if status == 204 { String::new() } else { answer.to_string() };
                        let text = format!(
                            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: {connection}\r\n\r\n{answer}",
                            answer.len()
                        );
                        let _ = stream.write_all(text.as_bytes()).await;
                        if !keeps {
                            break;
                        }
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { device, address }
    }

    fn settings(&self) -> RedfishSettings {
        RedfishSettings {
            place: self.address.parse().unwrap(),
            user: "fencer".into(),
            password: Secret::new("hunter2".into()),
            system: None,
            session: false,
            ca_file: Some(file("redfish-cert.pem")),
            insecure: false,
        }
    }

    fn driver(&self) -> Redfish {
        Redfish::new(self.settings()).unwrap()
    }
}

async fn off(mut driver: Redfish, within: Duration) -> Result<(), PowerError> {
    let host = "compute-1".parse().unwrap();
    power::confirm_off(&mut driver, &host, within).await.map(|proof| {
        assert!(proof.to_string().contains("read off 2 times"), "{proof}");
    })
}

#[tokio::test]
async fn powering_off_is_not_off() {
    let peer = Peer::start(Device::default()).await;
    let started = Instant::now();
    off(peer.driver(), TIME).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let device = peer.device.lock().unwrap();
    assert_eq!(device.resets, ["ForceOff"]);
    assert!(device.log.iter().all(|(_, path, by)| *by == "basic" || path == "/redfish/v1/"));
}

#[tokio::test]
async fn an_order_has_a_connection_of_its_own() {
    let peer = Peer::start(Device { keeps: true, ..Device::default() }).await;
    off(peer.driver(), TIME).await.unwrap();
    let device = peer.device.lock().unwrap();
    assert_eq!(device.resets, ["ForceOff"]);
    // All that only reads is asked on one.
    assert_eq!(device.connections, 2, "{:?}", device.log);
}

#[tokio::test]
async fn a_session_is_used_and_deleted_whatever_comes_of_it() {
    for (after, ends) in [(vec!["Off"], true), (vec!["On"], false)] {
        let peer = Peer::start(Device { after, ..Device::default() }).await;
        let driver = Redfish::new(RedfishSettings { session: true, ..peer.settings() }).unwrap();
        assert_eq!(off(driver, Duration::from_secs(3)).await.is_ok(), ends);
        let device = peer.device.lock().unwrap();
        assert_eq!((device.made, device.sessions.len()), (1, 0));
        assert!(device.log.iter().all(|(_, _, by)| *by != "basic"), "{:?}", device.log);
    }
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_no_session_behind() {
    let peer = Peer::start(Device { after: vec!["On"], ..Device::default() }).await;
    for made in 1..=3 {
        let mut driver = Redfish::new(RedfishSettings { session: true, ..peer.settings() }).unwrap();
        let host = "compute-1".parse().unwrap();
        let cut = power::confirm_off(&mut driver, &host, TIME);
        assert!(tokio::time::timeout(Duration::from_secs(1), cut).await.is_err());
        assert_eq!(peer.device.lock().unwrap().sessions.len(), 1);
        drop(driver);
        power::farewells(TIME).await;
        let device = peer.device.lock().unwrap();
        assert_eq!((device.made, device.sessions.len()), (made, 0));
    }
}

#[tokio::test]
async fn a_session_that_is_made_too_late_is_deleted() {
    let slow_login = Duration::from_millis(700);
    let peer = Peer::start(Device { slow_login, ..Device::default() }).await;
    let mut driver = Redfish::new(RedfishSettings { session: true, ..peer.settings() }).unwrap();
    let error = power::status(&mut driver, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, PowerError::Silent { .. }), "{error}");
    drop(driver);
    power::farewells(TIME).await;
    let device = peer.device.lock().unwrap();
    assert_eq!((device.made, device.sessions.len()), (1, 0));
}

#[tokio::test]
async fn a_program_that_is_told_to_end_deletes_its_session() {
    use std::os::unix::fs::PermissionsExt as _;
    let peer = Peer::start(Device { after: vec!["On"], ..Device::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_nova-ha"))
        .args([
            "power",
            "off",
            "--driver",
            "redfish",
            "--session",
            "--address",
            &peer.address,
            "--user",
            "fencer",
        ])
        .arg("--password-file")
        .arg(&password)
        .arg("--ca-file")
        .arg(file("redfish-cert.pem"))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    // It has given its order, and waits for what comes of it.
    while peer.device.lock().unwrap().resets.is_empty() {
        assert!(begun.elapsed() < TIME, "no order came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(peer.device.lock().unwrap().sessions.len(), 1);
    let id = nix::unistd::Pid::from_raw(program.id().unwrap().try_into().unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), program.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(peer.device.lock().unwrap().sessions.is_empty());
}

#[tokio::test]
async fn a_session_that_expires_is_made_again() {
    let peer = Peer::start(Device { after: vec!["Off"], ..Device::default() }).await;
    let mut driver = Redfish::new(RedfishSettings { session: true, ..peer.settings() }).unwrap();
    let until = || tokio::time::Instant::now() + TIME;
    power::Device::status(&mut driver, until()).await.unwrap();
    peer.device.lock().unwrap().sessions.clear();
    off(driver, TIME).await.unwrap();
    assert_eq!(peer.device.lock().unwrap().made, 2);
}

#[tokio::test]
async fn tasks_and_refusals_are_judged_by_what_is_read() {
    for status in [200, 202, 204, 400, 409, 500] {
        let peer =
            Peer::start(Device { reset_status: status, after: vec!["Off"], ..Device::default() }).await;
        off(peer.driver(), TIME).await.unwrap();
        let peer = Peer::start(Device { reset_status: status, after: vec!["On"], ..Device::default() }).await;
        let error = off(peer.driver(), Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, PowerError::NotReached { .. }), "{error}");
        assert_eq!(error.to_string().contains("it is off already"), status >= 400, "{error}");
    }
    let peer = Peer::start(Device { state: "Off", ..Device::default() }).await;
    off(peer.driver(), TIME).await.unwrap();
    assert!(peer.device.lock().unwrap().resets.is_empty());
}

#[tokio::test]
async fn cycle_waits_until_off_is_stable() {
    let peer = Peer::start(Device::default()).await;
    let outcome = power::cycle(&mut peer.driver(), TIME).await.unwrap();
    assert_eq!(outcome.state, PowerState::On);
    assert_eq!(peer.device.lock().unwrap().resets, ["ForceOff", "On"]);
}

#[tokio::test]
async fn several_systems_are_ambiguous() {
    let two = || Device { systems: vec!["1", "2"], ..Device::default() };
    let peer = Peer::start(two()).await;
    let error = off(peer.driver(), TIME).await.unwrap_err();
    assert!(error.to_string().contains("several systems") && error.to_string().contains("1, 2"), "{error}");
    for (system, works) in [("1", true), ("/redfish/v1/Systems/1", true), ("3", false)] {
        let peer = Peer::start(two()).await;
        let driver =
            Redfish::new(RedfishSettings { system: Some(system.into()), ..peer.settings() }).unwrap();
        assert_eq!(off(driver, TIME).await.is_ok(), works, "{system}");
    }
    let odd = RedfishSettings { system: Some("https://evil/".into()), ..peer.settings() };
    assert!(Redfish::new(odd).is_err());
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    for (device, says, retry) in [
        (
            Device { allowed: Some(vec!["GracefulShutdown"]), ..Device::default() },
            "it offers Graceful",
            Retry::Never,
        ),
        (Device { password: "other", ..Device::default() }, "password is wrong: go away", Retry::Never),
        (Device { systems: vec![], ..Device::default() }, "no computer systems", Retry::Again),
        (Device { huge: true, ..Device::default() }, "larger than 1 MiB", Retry::Again),
        (Device { state: "Standby", ..Device::default() }, "PowerState is missing", Retry::Again),
        (
            Device { target: "https://evil/redfish/", after: vec!["Off"], ..Device::default() },
            "leads elsewhere",
            Retry::Again,
        ),
    ] {
        let peer = Peer::start(device).await;
        let error = off(peer.driver(), Duration::from_secs(2)).await.unwrap_err();
        assert!(error.to_string().contains(says) && error.retry() == retry, "{says}: {error}");
        assert!(!error.to_string().contains("hunter2"));
        assert!(peer.device.lock().unwrap().resets.is_empty());
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let peer = Peer::start(Device::default()).await;
    let strict = Redfish::new(RedfishSettings { ca_file: None, ..peer.settings() }).unwrap();
    let started = Instant::now();
    let error = off(strict, TIME).await.unwrap_err();
    assert!(error.to_string().contains("ca_file") && error.retry() == Retry::Never, "{error}");
    assert!(started.elapsed() < Duration::from_secs(5) && peer.device.lock().unwrap().log.is_empty());
    let insecure = RedfishSettings { ca_file: None, insecure: true, ..peer.settings() };
    off(Redfish::new(insecure).unwrap(), TIME).await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let peer = Peer { device: Arc::default(), address: gone };
    let started = Instant::now();
    let error = off(peer.driver(), TIME).await.unwrap_err();
    assert!(matches!(error, PowerError::Unreachable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    // Listens, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer { device: Arc::default(), address: silent.local_addr().unwrap().to_string() };
    let error = off(peer.driver(), Duration::from_secs(2)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20), "{error}");
}

//! The program as an operator or systemd meets it: command line, exit codes, signals, log, readiness,
//! orderly stop. Real processes, sockets on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcmk_remote::net::test_client::Client;
use pcmk_remote::net::tls::client::Suite;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const KEY: &[u8] = b"not so secret";

/// One daemon with files and a port of its own; killed when dropped.
struct Program {
    dir: TempDir,
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start() -> Self {
        Self::with(|_| {})
    }

    /// Starts and waits until it says that it serves.
    fn with(change: impl FnOnce(&mut Command)) -> Self {
        let mut program = Self::spawn(change);
        program.wait_for_log("successfully started");
        program
    }

    fn spawn(change: impl FnOnce(&mut Command)) -> Self {
        own_network();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), KEY).unwrap();
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pacemaker-remoted"));
        command
            .env_clear()
            .env("PCMK_remote_address", address.ip().to_string())
            .env("PCMK_remote_port", address.port().to_string())
            .env("PCMK_authkey_location", dir.path().join("key"))
            .env("PCMK_logfile", dir.path().join("log"))
            .env("PCMK_logfacility", "none")
            .env("PCMK_remote_status_socket", dir.path().join("status"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        change(&mut command);
        let child = command.spawn().unwrap();
        Self { dir, child, address }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn wait_for_log(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "no '{text}' ({ended:?}) in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn refuses_connections(&self) -> bool {
        TcpStream::connect(self.address).is_err()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives the test's thread a network of its own, once: the names of the local IPC belong to a network.
fn own_network() {
    thread_local!(static DONE: Cell<bool> = const { Cell::new(false) });
    if !DONE.replace(true) {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let mut ip = Command::new("ip").args(["link", "set", "lo", "up"]).spawn().unwrap();
        assert!(ip.wait().unwrap().success());
    }
}

/// A port that was free a moment ago, on an address that nothing else uses.
fn free_address() -> SocketAddr {
    let ip = Ipv4Addr::new(127, 77, 0, 1);
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

fn exit_code(arguments: &[&str]) -> (Option<i32>, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_pacemaker-remoted"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// A cluster node's side of an orderly stop.
struct Cluster(Client);

impl Cluster {
    async fn join(program: &Program) -> Self {
        let mut client = Client::connect(program.address, KEY).await.unwrap();
        client
            .send(
                "<lrmd_command t=\"lrmd\" lrmd_op=\"register\" lrmd_clientname=\"c1\" lrmd_protocol_version=\"1.1\" \
                 lrmd_is_ipc_provider=\"true\" lrmd_remote_msg_id=\"1\" lrmd_remote_msg_type=\"request\"/>",
            )
            .await
            .unwrap();
        let mut cluster = Self(client);
        let reply = cluster.heard().await.expect("an answer");
        assert!(reply.contains("lrmd_op=\"register\"") && reply.contains("lrmd_rc=\"0\""), "{reply}");
        cluster
    }

    async fn heard(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(PATIENCE, self.0.recv()).await.expect("something is heard").unwrap();
        frame.map(|frame| String::from_utf8(frame.payload.to_vec()).unwrap())
    }

    async fn answers(&mut self, kind: &str) {
        let answer = format!(
            "<lrmd_ipc_proxy lrmd_ipc_op=\"{kind}\" lrmd_op=\"ipc_fwd\" lrmd_remote_msg_id=\"2\" \
             lrmd_remote_msg_type=\"request\"/>"
        );
        self.0.send(answer).await.unwrap();
    }
}

#[test]
fn help_and_version_are_told_and_nonsense_is_a_usage_error() {
    for (argument, text) in
        [("--help", "--logfile"), ("-?", "--port"), ("--version", "pcmk-remote"), ("-$", "1.2")]
    {
        let (code, said) = exit_code(&[argument]);
        assert!(code == Some(0) && said.contains(text), "{argument}: {code:?} {said}");
    }
    let (code, said) = exit_code(&["--frobnicate"]);
    assert!(code == Some(64) && said.contains("--frobnicate") && said.contains("--help"), "{code:?} {said}");
}

#[test]
fn an_address_that_cannot_be_used_is_not_worth_a_restart() {
    let mut program = Program::spawn(|command| {
        command.env("PCMK_remote_address", "192.0.2.1");
    });
    assert_eq!(program.ended().code(), Some(100));
    assert!(program.log().contains("shutting down and staying down"), "{}", program.log());
    let taken = TcpListener::bind(free_address()).unwrap();
    let mut program = Program::spawn(|command| {
        command.args(["-p", &taken.local_addr().unwrap().port().to_string()]);
    });
    assert_eq!(program.ended().code(), Some(100));
}

#[test]
fn local_names_that_are_taken_are_not_worth_a_restart() {
    let mut first = Program::start();
    let mut second = Program::spawn(|_| {});
    assert_eq!(second.ended().code(), Some(100));
    assert!(second.log().contains("\"lrmd\" is taken"), "{}", second.log());
    assert_eq!(first.child.try_wait().unwrap(), None);
    first.signal(Signal::SIGTERM);
    assert!(first.ended().success());
    // The launcher's alone has its own code.
    let mut name = [0; 107];
    name[..10].copy_from_slice(b"pacemakerd");
    let launcher = UnixAddress::from_abstract_name(name).unwrap();
    let _launcher = UnixListener::bind_addr(&launcher).unwrap();
    let mut third = Program::spawn(|_| {});
    assert_eq!(third.ended().code(), Some(71), "{}", third.log());
}

#[test]
fn certificates_that_cannot_be_used_are_not_worth_a_restart_and_some_of_them_mean_the_key() {
    let mut program = Program::spawn(|command| {
        for name in ["PCMK_cert_file", "PCMK_key_file", "CIB_ca_file"] {
            command.env(name, "/nonexistent/file");
        }
    });
    assert_eq!(program.ended().code(), Some(100));
    let log = program.log();
    assert!(log.contains("Could not set up TLS with certificates: Could not read PCMK_cert_file"), "{log}");

    let mut program = Program::with(|command| {
        command.env("PCMK_cert_file", "/nonexistent/file");
    });
    program.wait_for_log("TLS certificates are not used, but the pre-shared key");
}

#[test]
fn without_a_cluster_a_stop_is_immediate() {
    let mut program = Program::start();
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn signals_of_the_flight_recorder_do_not_kill() {
    let mut program = Program::start();
    program.signal(Signal::SIGUSR1);
    program.signal(Signal::SIGUSR2);
    program.signal(Signal::SIGPIPE);
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn a_missing_key_is_a_warning() {
    let mut program = Program::with(|command| {
        command.env("PCMK_authkey_location", "/nonexistent/key");
    });
    assert!(program.log().contains("Could not read Pacemaker Remote key from"), "{}", program.log());
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn log_files_have_the_mode_that_was_asked_for() {
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("other.log");
    let program = Program::with(|command| {
        command.env("PCMK_logfile_mode", "0640").arg("-V").arg(format!("--logfile={}", path.display()));
    });
    for file in [program.dir.path().join("log"), path] {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o640, "{}", file.display());
        assert!(std::fs::read_to_string(&file).unwrap().contains("successfully started"));
    }
}

#[test]
fn systemd_is_told_when_the_port_is_open_and_when_we_stop() {
    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let program = Program::spawn(|command| {
        command.env("NOTIFY_SOCKET", dir.path().join("notify"));
    });
    let mut buffer = [0; 512];
    let mut told = || loop {
        match manager.recv(&mut buffer) {
            Ok(length) => return buffer[..length].to_vec(),
            // A child of another test has ended.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("nothing was told: {error}"),
        }
    };
    assert!(told().starts_with(b"READY=1"));
    assert!(!program.refuses_connections());
    program.signal(Signal::SIGTERM);
    assert!(told().starts_with(b"STOPPING=1"));
}

#[tokio::test]
async fn a_stop_asks_the_cluster_and_waits_for_it() {
    let mut program = Program::start();
    let mut cluster = Cluster::join(&program).await;
    program.signal(Signal::SIGTERM);
    let asked = cluster.heard().await.unwrap();
    assert!(asked.contains("lrmd_ipc_op=\"shutdown_req\""), "{asked}");
    assert!(program.refuses_connections(), "nobody else may connect now");
    program.signal(Signal::SIGTERM);
    program.wait_for_log("Waiting for cluster to stop resources before exiting");
    cluster.answers("shutdown_ack").await;
    let reply = cluster.heard().await.unwrap();
    assert!(reply.contains("lrmd_reply"), "{reply}");
    assert_eq!(program.child.try_wait().unwrap(), None);
    cluster.0.close().await.unwrap();
    assert_eq!(program.ended().code(), Some(0));
}

#[tokio::test]
async fn a_refusal_ends_the_daemon_in_order() {
    let mut program = Program::start();
    let mut cluster = Cluster::join(&program).await;
    program.signal(Signal::SIGTERM);
    let _ = cluster.heard().await.unwrap();
    cluster.answers("shutdown_nack").await;
    let reply = cluster.heard().await.unwrap();
    assert!(reply.contains("lrmd_reply"), "{reply}");
    assert_eq!(cluster.heard().await, None, "the connection is closed, not lost");
    assert_eq!(program.ended().code(), Some(0));
}

#[tokio::test]
async fn a_cluster_that_vanishes_while_we_stop_does_not_hold_us() {
    let mut program = Program::start();
    let mut cluster = Cluster::join(&program).await;
    program.signal(Signal::SIGTERM);
    let _ = cluster.heard().await.unwrap();
    drop(cluster);
    assert_eq!(program.ended().code(), Some(0));
}

#[tokio::test]
async fn a_watchdog_setting_that_this_node_cannot_meet_ends_the_daemon_for_good() {
    let mut program = Program::start();
    let mut cluster = Cluster::join(&program).await;
    cluster
        .0
        .send(
            "<lrmd_command t=\"lrmd\" lrmd_op=\"lrmd_check\" lrmd_remote_msg_id=\"3\" \
             lrmd_remote_msg_type=\"request\"><lrmd_calldata><lrmd_op lrmd_watchdog=\"10s\"/></lrmd_calldata>\
             </lrmd_command>",
        )
        .await
        .unwrap();
    assert_eq!(program.ended().code(), Some(100));
    assert!(program.log().contains("SBD not active"), "{}", program.log());
}

/// A policy next to the daemon's other files.
fn write_policy(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn a_policy_that_cannot_be_used_is_not_worth_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    for (text, why) in [
        (Some("[peers]\nadresses = []\n"), "line 2: unknown field `adresses`"),
        (Some("[peers]\naddresses = ['controller1']\n"), "\"controller1\" is not an IP address"),
        (None, "is missing"),
    ] {
        let _ = std::fs::remove_file(&path);
        if let Some(text) = text {
            write_policy(&path, text);
        }
        let mut program = Program::spawn(|command| {
            command.env("PCMK_remote_policy_file", &path);
        });
        assert_eq!(program.ended().code(), Some(100), "{why}");
        assert!(program.log().contains(why) && program.refuses_connections(), "{}", program.log());
    }
}

#[tokio::test]
async fn strangers_are_turned_away_and_written_down_until_the_policy_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let (path, audit) = (dir.path().join("policy.toml"), dir.path().join("audit"));
    let policy = |allowed: &str| {
        let audit = audit.display();
        write_policy(
            &path,
            &format!("[peers]\naddresses = ['{allowed}']\n[audit]\nlog = false\nfile = '{audit}'\n"),
        );
    };
    policy("192.0.2.1");
    let mut program = Program::with(|command| {
        command.env("PCMK_remote_policy_file", &path);
    });
    assert!(Client::connect(program.address, KEY).await.is_err());
    program.wait_for_log("is not among the addresses that this node's policy allows");

    policy("127.0.0.0/8");
    program.wait_for_log("New policy from");
    let cluster = Cluster::join(&program).await;
    // Under a policy that no longer admits it, a peer must go.
    policy("192.0.2.2");
    program.wait_for_log("Closing the connection of");
    let mut client = cluster.0;
    while let Ok(Some(_)) = client.recv().await {}

    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().code(), Some(0));
    let lines = std::fs::read_to_string(&audit).unwrap();
    let actions: Vec<&str> = lines.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let results: Vec<&str> = lines.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(
        actions,
        ["action=connect", "action=connect", "action=provide", "action=disconnect"],
        "{lines}"
    );
    assert_eq!(results, ["result=refused", "result=ok", "result=ok", "result=refused"], "{lines}");
    assert_eq!(std::fs::metadata(&audit).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!program.log().contains("action="), "only in its own file");
}

#[tokio::test]
async fn a_policy_that_comes_during_a_handshake_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    write_policy(&path, "[peers]\naddresses = ['127.0.0.0/8']\n");
    let mut program = Program::with(|command| {
        command.env("PCMK_remote_policy_file", &path);
    });
    let socket = tokio::net::TcpStream::connect(program.address).await.unwrap();
    write_policy(&path, "[peers]\naddresses = ['192.0.2.2']\n");
    program.wait_for_log("New policy from");
    let stays = async {
        // Whether the handshake itself still succeeds does not matter.
        if let Ok(mut client) = Client::over(socket, "lrmd", KEY, Suite::Aes128Gcm).await {
            while let Ok(Some(_)) = client.recv().await {}
        }
    };
    let closed = tokio::time::timeout(PATIENCE, stays).await;
    assert!(closed.is_ok(), "it stays connected:\n{}", program.log());
    program.wait_for_log("is not among the addresses that this node's policy allows");
}

//! The program as an operator or systemd meets it: command line, exit codes, signals, log, readiness,
//! orderly stop. Real processes, sockets on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcmk_remote::net::test_client::Client;
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
    let mut first = Program::start();
    let port = first.address.port().to_string();
    let mut second = Program::spawn(|command| {
        command.args(["-p", &port]);
    });
    assert_eq!(second.ended().code(), Some(100));
    assert_eq!(first.child.try_wait().unwrap(), None);
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
    let length = manager.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"READY=1"));
    assert!(!program.refuses_connections());
    program.signal(Signal::SIGTERM);
    let length = manager.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"STOPPING=1"));
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

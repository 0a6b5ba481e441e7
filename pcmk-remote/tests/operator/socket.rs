//! The status socket: what it tells, to whom, and what it does not mind.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pcmk_remote::status::{Phase, State, Verdict};

use super::support::*;

#[tokio::test]
async fn a_cluster_and_its_operations_are_told() {
    let daemon = Daemon::start();
    assert_eq!(daemon.status().daemon.state, State::Waiting);
    assert!(daemon.ctl(&["status"]).out.contains("no cluster node has connected"));

    let mut cluster = daemon.joined().await;
    cluster.runs_something().await;
    let status = daemon.status();
    assert_eq!((status.daemon.state, status.peers.len()), (State::Connected, 1));
    let peer = &status.peers[0];
    assert_eq!((peer.name.as_deref(), peer.identity.as_str()), (Some("c1"), "key"));
    assert!(peer.current_provider && peer.address.starts_with("127.0.0.1:"), "{peer:?}");
    assert_eq!(status.resources[0].agent, "ocf:nobody:Nothing");
    let monitor = &status.operations[0];
    assert_eq!((monitor.phase, monitor.interval_ms), (Phase::Sleeping, 60_000));
    assert!(monitor.next_in_ms.is_some_and(|ms| ms > 30_000), "{monitor:?}");
    assert_eq!(status.history.len(), 2);
    assert!(status.history.iter().all(|outcome| outcome.verdict == Verdict::Error), "{:?}", status.history);
    assert_eq!(status.credentials.as_ref().unwrap().kind, "key");
    assert!(status.counters.net.handshakes_ok == 1 && status.counters.net.bytes_in > 500);

    let text = daemon.ctl(&["status"]).out;
    assert!(text.contains("Needs attention\n  * disk monitor/1m: error"), "{text}");
    let ops = daemon.ctl(&["ops", "--resource", "disk"]).out;
    assert!(ops.contains("idle") && ops.contains("in 59"), "{ops}");
    assert_eq!(daemon.ctl(&["ops", "--running"]).out, "No operations.\n");
    let history = daemon.ctl(&["history", "--bad", "-n", "1"]).out;
    assert!(history.lines().count() == 2 && history.contains("monitor/1m"), "{history}");
}

#[tokio::test]
async fn readers_that_are_stuck_hold_up_nobody() {
    let daemon = Daemon::start();
    let mut cluster = daemon.joined().await;
    let silent: Vec<UnixStream> = (0..16).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    let refused = until("the places to be taken", || {
        let said = daemon.ctl(&["status"]);
        (said.code != 0).then_some(said)
    });
    assert!(refused.code == 102 && refused.err.contains("busy"), "{refused:?}");
    for _ in 0..20 {
        let asked = Instant::now();
        cluster.asks("lrmd_rsc_poke", "").await;
        cluster.hears("lrmd_reply").await;
        assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    }
    drop(silent);
    until("a place", || (daemon.ctl(&["status"]).code == 0).then_some(()));
}

#[test]
fn silence_and_nonsense_are_cut_short() {
    let daemon = Daemon::start();
    let long = [0xff; 5000];
    for nonsense in [&b"\n"[..], b"GET / HTTP/1.1\r\n\r\n", &long, b"\"reboot\"\n", b"{\"status\":1}\n"] {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(nonsense);
        let mut answer = String::new();
        // What was sent in excess may end the connection the hard way, after the answer.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("{\"error\":"), "{answer}");
    }
    let mut silent = UnixStream::connect(daemon.socket()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    // Unlike a single read, it goes on after a signal (a child of another test has ended).
    assert_eq!(silent.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert_eq!(daemon.ctl(&["status"]).code, 0);
}

#[test]
fn strangers_are_told_who_may_ask() {
    let daemon = Daemon::start();
    std::fs::set_permissions(daemon.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let run_as_nobody = |words: &[&str]| {
        let program = daemon.dir.path().join("ctl");
        if !program.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_pcmk-remotectl"), &program).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
        say(command.arg("--socket").arg(daemon.socket()).args(words))
    };
    for words in [&["status"][..], &["drain"]] {
        let said = run_as_nobody(words);
        assert!(said.code == 4 && said.err.contains("haclient or pcmk-remote"), "{said:?}");
    }
    assert_eq!(daemon.status().daemon.state, State::Waiting);
}

/// Set for the process that plays the stranger below.
const STRANGER: &str = "PCMK_TEST_STRANGER";

#[test]
fn strangers_keep_nobody_from_asking() {
    if let Some(socket) = std::env::var_os(STRANGER) {
        let _silent: Vec<UnixStream> = (0..16).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        std::io::stderr().write_all(b"!").unwrap();
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let daemon = Daemon::start();
    std::fs::set_permissions(daemon.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = daemon.dir.path().join("stranger");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut stranger = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", "--nocapture", "socket::strangers_keep_nobody_from_asking"])
        .env(STRANGER, daemon.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0];
    stranger.stderr.take().unwrap().read_exact(&mut ready).unwrap();
    let began = Instant::now();
    until("an answer", || (daemon.ctl(&["status"]).code == 0).then_some(()));
    let took = began.elapsed();
    drop(stranger.stdin.take());
    stranger.wait().unwrap();
    assert!(ready == *b"!" && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn the_socket_comes_and_goes_with_its_daemon() {
    let mut daemon = Daemon::start();
    let socket = daemon.socket();
    assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o777, 0o666);
    daemon.kill();
    let gone = daemon.ctl(&["status"]);
    assert!(gone.code == 102 && gone.err.contains("systemctl status pacemaker_remote"), "{gone:?}");

    // What a dead one left behind is taken over; a live one's is not, and goes by its owner alone.
    let mut second = Daemon::spawn(daemon.dir.path());
    until("the second daemon", || (daemon.ctl(&["status"]).code == 0).then_some(()));
    let pid = daemon.status().daemon.pid;
    own_network();
    let mut third = Daemon::spawn(daemon.dir.path());
    daemon.wait_for_log("another daemon serves it");
    assert_eq!(daemon.status().daemon.pid, pid);
    third.kill().unwrap();
    third.wait().unwrap();
    assert_eq!(daemon.ctl(&["drain"]).code, 0);
    second.wait().unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_drain_is_watched_to_its_end() {
    let mut daemon = Daemon::start();
    let mut cluster = daemon.joined().await;
    cluster.runs_something().await;
    let late = daemon.ctl(&["drain", "--timeout", "0.5"]);
    assert!(late.code == 124 && late.err.contains("still draining"), "{late:?}");
    cluster.hears("shutdown_req").await;
    assert_eq!(daemon.status().daemon.state, State::Draining);
    assert_eq!(daemon.status().daemon.listening, None);

    let waiting = Command::new(env!("CARGO_BIN_EXE_pcmk-remotectl"))
        .args(["--json", "--socket"])
        .arg(daemon.socket())
        .arg("drain")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    daemon.wait_for_log("Waiting for cluster to stop resources before exiting");
    cluster.0.close().await.unwrap();
    let output = waiting.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("\"how\":\"drained\""), "{said}");
    assert_eq!(daemon.ended().code(), Some(0));
}

#[tokio::test]
async fn a_refused_drain_is_told() {
    let mut daemon = Daemon::start();
    let mut cluster = daemon.joined().await;
    let socket = daemon.socket().display().to_string();
    let waiting = tokio::task::spawn_blocking(move || ctl(&["--socket", &socket, "drain"]));
    cluster.hears("shutdown_req").await;
    let nack = "<lrmd_ipc_proxy lrmd_ipc_op=\"shutdown_nack\" lrmd_op=\"ipc_fwd\" lrmd_remote_msg_id=\"2\" \
         lrmd_remote_msg_type=\"request\"/>";
    cluster.says(nack).await;
    let said = waiting.await.unwrap();
    assert!(said.code == 1 && said.out.contains("refused"), "{said:?}");
    assert_eq!(daemon.ended().code(), Some(0));
}

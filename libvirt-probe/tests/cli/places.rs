//! Sockets that are not what they should be.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::support::{LATE, Said, finish, probe, program_for_all};
use crate::fake::{Behaviour, Fake};

/// Unknown, within a second, with a reason and something to do.
fn is_unknown(said: &Said, words: &str) {
    let object = said.json();
    assert_eq!((said.code, &object["verdict"]), (3, &Value::from("unknown")), "{said:?}");
    assert!(object["reason"].as_str().unwrap().contains(words), "{said:?}");
    assert!(!object["advice"].as_str().unwrap().is_empty(), "{said:?}");
    assert!(object["elapsed_ms"].as_f64().unwrap() < 1000.0, "{said:?}");
}

#[tokio::test]
async fn a_wrong_path_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("file"), "").unwrap();
    let check = async |path: &str| probe(&["check", "--socket", path, "--json"]).await;
    is_unknown(&check(&path("nothing")).await, "there is ");
    is_unknown(&check(&path("file")).await, "is not a socket");
    is_unknown(&check("/nowhere/at/all").await, "/nowhere/at/all");
    drop(UnixListener::bind(path("old")).unwrap());
    let said = check(&path("old")).await;
    assert!(said.json()["elapsed_ms"].as_f64().unwrap() < 1000.0 && said.code >= 2, "{said:?}");
    is_unknown(&check(&path(&"x".repeat(200))).await, "");
}

#[tokio::test]
async fn a_socket_of_something_else_is_unknown() {
    let fake = Fake::behaving(Behaviour::Garbage);
    let said = probe(&["check", "--socket", &fake.path().display().to_string(), "--json"]).await;
    is_unknown(&said, "is no libvirt");
}

#[tokio::test]
async fn without_permission_it_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let program = program_for_all(&dir);
    let path = dir.path().join("libvirt-sock");
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new(&program);
    command.args(["check", "--json", "--socket"]).arg(&path).uid(65_534).gid(65_534);
    is_unknown(&finish(command).await, "permission");
    let mut command = Command::new(&program);
    command.args(["check", "--ocf", "--socket"]).arg(&path).uid(65_534).gid(65_534);
    assert_eq!(finish(command).await.code, 4);
}

/// Whoever is asked on the command line vouches for the socket: who owns it and is silent has failed.
#[tokio::test]
async fn a_named_socket_that_accepts_and_never_answers_has_failed() {
    let fake = Fake::behaving(Behaviour::Silent);
    let socket = fake.path().display().to_string();
    for deadline in [500, 1500, 3000] {
        let said =
            probe(&["check", "--socket", &socket, "--deadline", &deadline.to_string(), "--json"]).await;
        let object = said.json();
        assert_eq!((said.code, &object["verdict"]), (2, &Value::from("failed")), "{said:?}");
        assert!(object["elapsed_ms"].as_f64().unwrap() <= f64::from(deadline) + LATE, "{said:?}");
    }
    let said = probe(&["check", "--socket", &socket]).await;
    assert!(said.took < Duration::from_millis(9500), "{said:?}");
}

#[tokio::test]
async fn a_socket_that_is_never_accepted_from_keeps_no_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("libvirt-sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let said =
        probe(&["check", "--socket", &path.display().to_string(), "--deadline", "1000", "--json"]).await;
    let object = said.json();
    assert!(matches!(said.code, 1 | 2), "{said:?}");
    assert!(object["elapsed_ms"].as_f64().unwrap() <= 1000.0 + LATE, "{said:?}");
}

//! Foreign TLS stacks as peers. A missing tool is a failure that says what to install.

use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::*;

/// What Pacemaker asks of `GnuTLS`.
const PACEMAKER: &str = "NORMAL:+DHE-PSK:+PSK";

#[tokio::test]
async fn gnutls_gets_in_with_keys_of_any_length() {
    // The library takes one byte, this tool does not.
    for length in [4, 16, 64, 256, 512, 513, 4096, 20_000] {
        let rig = rig_with(key(3, length)).await;
        exchange(gnutls(&rig, PACEMAKER, "lrmd", &rig.key), &rig).await;
    }
}

#[tokio::test]
async fn gnutls_gets_in_with_the_policies_of_distributions() {
    let rig = rig_with(key(3, 4096)).await;
    for base in [
        "NORMAL",
        "SECURE128",
        "SECURE192",
        "SECURE256",
        "PFS",
        "PERFORMANCE",
        "NORMAL:-CIPHER-ALL:+AES-128-GCM",
        "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305",
        "NORMAL:-GROUP-ALL:+GROUP-SECP384R1",
        // Its first share is for a group that we do not have: one more round trip.
        "NORMAL:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP256R1",
    ] {
        exchange(gnutls(&rig, &format!("{base}:+DHE-PSK:+PSK"), "lrmd", &rig.key), &rig).await;
    }
}

#[tokio::test]
async fn gnutls_that_may_not_come_in_is_told_why_in_our_log() {
    let wrong = key(4, 256);
    for (priority, user, wrong_key, reason) in [
        (PACEMAKER, "lrmd", true, "wrong key: compare the sha256"),
        (PACEMAKER, "hacluster", false, "\"hacluster\" instead of \"lrmd\""),
        (
            "NORMAL:-VERS-ALL:+VERS-TLS1.2:+DHE-PSK:+PSK",
            "lrmd",
            false,
            "offered only TLS 1.2 or older, and TLS 1.3 is needed: check PCMK_tls_priorities",
        ),
        ("NORMAL:-CIPHER-ALL:+AES-256-GCM:+DHE-PSK:+PSK", "lrmd", false, "no cipher suite in common"),
        (
            "NORMAL:-GROUP-ALL:+GROUP-SECP521R1:+DHE-PSK:+PSK",
            "lrmd",
            false,
            "no key exchange group in common",
        ),
    ] {
        let (log, _guard) = Log::capture();
        let rig = rig_with(key(3, 256)).await;
        refused(gnutls(&rig, priority, user, if wrong_key { &wrong } else { &rig.key })).await;
        log.line_with(&["TLS handshake with remote client failed", reason]).await;
        rig.look(|seen| assert!(seen.connected.is_empty()));
    }
}

#[tokio::test]
async fn a_client_without_a_key_is_refused() {
    for priority in ["NORMAL", "NORMAL:-VERS-ALL:+VERS-TLS1.3"] {
        let (log, _guard) = Log::capture();
        let rig = rig_with(key(3, 256)).await;
        let mut command = tool("gnutls-cli");
        command.args(["--insecure", "--disable-sni", "--priority", priority]);
        refused(address(command, &rig)).await;
        log.line_with(&["TLS handshake with remote client failed", "offered no pre-shared key"]).await;
    }
    // Anonymous key exchange ended with TLS 1.2.
    let (log, _guard) = Log::capture();
    let rig = rig_with(key(3, 256)).await;
    let mut command = tool("gnutls-cli");
    command.args([
        "--insecure",
        "--disable-sni",
        "--priority",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ANON-ECDH",
    ]);
    refused(address(command, &rig)).await;
    log.line_with(&["TLS handshake with remote client failed", "offered only TLS 1.2"]).await;
}

#[tokio::test]
async fn openssl_gets_in_or_is_told_why() {
    let rig = rig_with(key(3, 1)).await;
    exchange(openssl(&rig, &["-tls1_3"], "lrmd", &rig.key), &rig).await;
    let rig = rig_with(key(3, 256)).await;
    exchange(openssl(&rig, &["-tls1_3"], "lrmd", &rig.key), &rig).await;
    exchange(openssl(&rig, &["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "lrmd", &rig.key), &rig).await;
    for (options, user, wrong, reason) in [
        (["-tls1_3", "-quiet"], "lrmd", true, "wrong key"),
        (["-tls1_3", "-quiet"], "root", false, "\"root\" instead of"),
        (["-tls1_2", "-quiet"], "lrmd", false, "offered only TLS 1.2"),
    ] {
        let (log, _guard) = Log::capture();
        let rig = rig_with(key(3, 256)).await;
        refused(openssl(&rig, &options, user, &if wrong { key(5, 256) } else { key(3, 256) })).await;
        log.line_with(&["TLS handshake with remote client failed", reason]).await;
    }
}

/// Sends a request through the tool and waits for its answer.
pub(crate) async fn exchange(mut command: Command, rig: &Rig) {
    let before = rig.look(|seen| seen.connected.len());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let shown = format!("the handshake of {command:?}");
    let client = rig.until(&shown, |seen| seen.connected.get(before).copied()).await;
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let frame = pcmk_proto::frame::encode(1, poke(77, 100)).unwrap();
    stdin.write_all(&frame.to_vec()).await.unwrap();
    stdin.flush().await.unwrap();
    let (answer, mut text) = (reply(77, 100), Vec::new());
    soon("the answer at the tool", async {
        while !text.windows(answer.len()).any(|window| window == answer.as_bytes()) {
            assert!(stdout.read_buf(&mut text).await.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
        }
    })
    .await;
    end(child).await;
    rig.until("its end", |seen| seen.closed.iter().any(|(closed, _)| *closed == client).then_some(())).await;
}

/// The tool must end by itself, and not well.
pub(crate) async fn refused(mut command: Command) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = soon("the tool's end", child.wait_with_output()).await.unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

async fn end(mut child: Child) {
    let _ = child.start_kill();
    soon("the tool's end", child.wait()).await.unwrap();
}

pub(crate) fn gnutls(rig: &Rig, priority: &str, user: &str, key: &[u8]) -> Command {
    let mut command = tool("gnutls-cli");
    command.args(["--disable-sni", "--priority", priority, "--pskusername", user, "--pskkey", &hex(key)]);
    address(command, rig)
}

pub(crate) fn address(mut command: Command, rig: &Rig) -> Command {
    command.arg("--port").arg(rig.address.port().to_string()).arg("127.0.0.1");
    command
}

fn openssl(rig: &Rig, options: &[&str], user: &str, key: &[u8]) -> Command {
    let mut command = tool("openssl");
    command.args(["s_client", "-connect", &rig.address.to_string(), "-noservername", "-nocommands"]);
    command.args(["-psk_identity", user, "-psk", &hex(key)]).args(options);
    command
}

pub(crate) fn tool(name: &str) -> Command {
    static PATH: LazyLock<String> = LazyLock::new(|| std::env::var("PATH").unwrap_or_default());
    let found = PATH.split(':').any(|dir| Path::new(dir).join(name).exists());
    assert!(
        found,
        "{name} is missing: apt install {}",
        if name == "openssl" { "openssl" } else { "gnutls-bin" }
    );
    let mut command = Command::new(name);
    command.kill_on_drop(true);
    command
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn rig_with(key: Vec<u8>) -> Rig {
    let mut rig = Rig::start().await;
    write_new(&rig.key_file, &key);
    rig.key = key;
    rig
}

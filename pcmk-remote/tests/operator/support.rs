//! A daemon in a network of its own, a cluster node's side, and running the tools.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use pcmk_remote::net::test_client::Client;
use pcmk_remote::status::Status;
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const KEY: &[u8] = b"a key for tests only, long enough";
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3121);

/// One daemon; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) dir: TempDir,
    child: Child,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Command)) -> Self {
        own_network();
        let dir = tempfile::tempdir().unwrap();
        let child = Self::spawn_with(dir.path(), change);
        let daemon = Self { dir, child };
        daemon.wait_for_log("successfully started");
        daemon
    }

    /// Starts one in this folder, without waiting for anything.
    pub(crate) fn spawn(dir: &Path) -> Child {
        Self::spawn_with(dir, |_| {})
    }

    fn spawn_with(dir: &Path, change: impl FnOnce(&mut Command)) -> Child {
        std::fs::write(dir.join("key"), KEY).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pacemaker-remoted"));
        command
            .env_clear()
            .env("PCMK_remote_address", ADDRESS.ip().to_string())
            .env("PCMK_authkey_location", dir.join("key"))
            .env("PCMK_logfile", dir.join("log"))
            .env("PCMK_logfacility", "none")
            .env("PCMK_remote_status_socket", dir.join("status"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        change(&mut command);
        command.spawn().unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("status")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        until(&format!("'{text}' in the log"), || self.log().contains(text).then_some(()));
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the daemon's end", || child.try_wait().unwrap())
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Runs `pcmk-remotectl` on it.
    pub(crate) fn ctl(&self, words: &[&str]) -> Said {
        ctl(&[&["--socket", &self.socket().display().to_string()], words].concat())
    }

    pub(crate) fn status(&self) -> Status {
        let said = self.ctl(&["--json", "status"]);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }

    /// A cluster node that provides the cluster's services.
    pub(crate) async fn joined(&self) -> Cluster {
        let mut cluster = Cluster(Client::connect(ADDRESS, KEY).await.unwrap());
        let register = "<lrmd_command t=\"lrmd\" lrmd_op=\"register\" lrmd_clientname=\"c1\" \
             lrmd_protocol_version=\"1.1\" lrmd_is_ipc_provider=\"true\" lrmd_remote_msg_id=\"1\" \
             lrmd_remote_msg_type=\"request\"/>";
        cluster.says(register).await;
        cluster.hears("lrmd_op=\"register\"").await;
        cluster
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster node's side.
pub(crate) struct Cluster(pub(crate) Client);

impl Cluster {
    pub(crate) async fn says(&mut self, text: &str) {
        self.0.send(text).await.unwrap();
    }

    /// Reads until something with this text comes.
    pub(crate) async fn hears(&mut self, wanted: &str) -> String {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let frame = self.0.recv().await.unwrap().expect("the daemon closed the connection");
                let text = String::from_utf8(frame.payload.to_vec()).unwrap();
                if text.contains(wanted) {
                    return text;
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no {wanted}"))
    }

    /// A request about a resource of an agent that is not there.
    pub(crate) async fn asks(&mut self, op: &str, data: &str) {
        self.says(&format!(
            "<lrmd_command t=\"lrmd\" lrmd_op=\"{op}\" lrmd_callopt=\"4\" lrmd_remote_msg_id=\"5\" \
             lrmd_remote_msg_type=\"request\"><lrmd_calldata><lrmd_rsc lrmd_origin=\"test\" lrmd_rsc_id=\"disk\" \
             lrmd_class=\"ocf\" lrmd_provider=\"nobody\" lrmd_type=\"Nothing\" {data}/></lrmd_calldata></lrmd_command>"
        ))
        .await;
    }

    /// Has a resource whose start fails and whose monitor recurs.
    pub(crate) async fn runs_something(&mut self) {
        self.asks("lrmd_rsc_register", "").await;
        self.hears("lrmd_op=\"lrmd_rsc_register\"").await;
        for data in [
            "lrmd_rsc_action=\"start\" lrmd_timeout=\"20000\" lrmd_rsc_interval=\"0\"",
            "lrmd_rsc_action=\"monitor\" lrmd_timeout=\"20000\" lrmd_rsc_interval=\"60000\"",
        ] {
            self.asks("lrmd_rsc_exec", data).await;
            self.hears("lrmd_exec_rc").await;
        }
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn ctl(words: &[&str]) -> Said {
    say(Command::new(env!("CARGO_BIN_EXE_pcmk-remotectl")).args(words))
}

pub(crate) fn say(command: &mut Command) -> Said {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Gives the calling thread, and what it starts, a network of its own.
pub(crate) fn own_network() {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
    let up = say(Command::new("ip").args(["link", "set", "lo", "up"]));
    assert_eq!(up.code, 0, "{up:?}");
}

pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

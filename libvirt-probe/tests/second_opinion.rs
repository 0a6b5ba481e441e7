//! The native client and C libvirt agree, situation by situation, asked at the same real daemon.
//!
//! `cargo test -p libvirt-probe --features virt --test second_opinion`, as root; with libvirt-dev, libvirtd and
//! its QEMU driver. The daemon is private: it has files of its own and leaves those of the host alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libvirt_probe::libvirt::{Domain, Error, Libvirt, Settings};
use libvirt_probe::official::{self, OfficialError};
use libvirt_probe::verdict::Health;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use virt::connect::Connect;
use virt::domain::Domain as CDomain;

const PATIENCE: Duration = Duration::from_secs(60);

struct Libvirtd {
    folder: tempfile::TempDir,
    child: Child,
}

impl Libvirtd {
    fn start() -> Self {
        assert!(
            Path::new("/usr/sbin/libvirtd").exists(),
            "libvirtd is missing: apt-get install --no-install-recommends libvirt-daemon libvirt-daemon-driver-qemu"
        );
        assert!(nix::unistd::geteuid().is_root(), "run this test as root");
        // A short path: that of a socket has 107 bytes at most.
        let folder = tempfile::Builder::new().prefix("lv").tempdir_in("/run").unwrap();
        let child = Command::new("unshare")
            .args(["-m", "sh", "-ec", SCRIPT])
            .env("RIG", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { folder, child };
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(daemon.socket()).is_err() {
            let log = std::fs::read_to_string(daemon.folder.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "libvirtd does not start: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("libvirt-sock")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// A host of the test driver: the driver's part of the URI, and the whole for C libvirt.
    fn host(&self, name: &str, domains: &str) -> (String, String) {
        let file = self.folder.path().join(name);
        std::fs::write(&file, format!("<node>{domains}</node>")).unwrap();
        let file = file.display();
        (format!("test://{file}"), format!("test+unix://{file}?socket={}", self.socket().display()))
    }

    fn native(&self, uri: &str) -> Libvirt {
        Libvirt::new(Settings { uri: uri.to_owned(), ..Settings::at(self.socket()) })
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// libvirtd as it is started on a host, with all folders its own.
const SCRIPT: &str = r#"
mount --make-rprivate /
for folder in run/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt etc/libvirt; do
    mkdir -p "/$folder" "$RIG/$folder"
    mount --bind "$RIG/$folder" "/$folder"
done
for file in passwd group; do cp "/etc/$file" "$RIG/$file"; done
grep -q ^libvirt-qemu: /etc/passwd || echo libvirt-qemu:x:64055:64055::/:/bin/false >>"$RIG/passwd"
grep -q ^libvirt-qemu: /etc/group || echo libvirt-qemu:x:64055: >>"$RIG/group"
for file in passwd group; do mount --bind "$RIG/$file" "/etc/$file"; done
cat >/etc/libvirt/libvirtd.conf <<CONF
unix_sock_dir = "$RIG"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:$RIG/log"
host_uuid = "00112233-4455-6677-8899-aabbccddeeff"
CONF
printf 'security_driver = "none"\ncgroup_controllers = [ ]\nstdio_handler = "file"\n' >/etc/libvirt/qemu.conf
exec /usr/sbin/libvirtd -f /etc/libvirt/libvirtd.conf -p "$RIG/pid"
"#;

fn domain(name: &str, number: usize) -> String {
    format!(
        "<domain type='test'><name>{name}</name><uuid>00000000-0000-4000-8000-{number:012}</uuid>\
         <memory>8192</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"
    )
}

/// Name, UUID, number, state and reason.
type Said<'a> = (&'a str, &'a str, Option<i32>, (i32, i32));

/// What both must say alike.
fn seen(domains: &[Domain]) -> Vec<Said<'_>> {
    domains.iter().map(|d| (d.name.as_str(), d.uuid.as_str(), d.id, d.numbers)).collect()
}

#[tokio::test]
async fn both_see_the_same() {
    let daemon = Libvirtd::start();
    let many: String = (0..1000).map(|number| domain(&format!("instance-{number:08x}"), number)).collect();
    let odd = ["a b", "ünïcödé", "&lt;x&gt;", "x'y", &"long".repeat(50)];
    let odd: String = odd.iter().enumerate().map(|(number, name)| domain(name, number)).collect();
    for (name, domains, count) in [("empty", "", 0), ("odd", &odd, 5), ("many", &many, 1000)] {
        let (uri, c_uri) = daemon.host(name, domains);
        compare(&daemon, &mut daemon.native(&uri), &c_uri, count).await;
    }
    // The driver's own host is the same one for all who have it open.
    let c_uri = format!("test+unix:///default?socket={}", daemon.socket().display());
    let host = Connect::open(Some(&c_uri)).unwrap();
    let mut native = daemon.native("test:///default");
    compare(&daemon, &mut native, &c_uri, 1).await;
    for number in 0..6 {
        CDomain::define_xml(&host, &domain(&format!("instance-{number}"), number)).unwrap();
    }
    compare(&daemon, &mut native, &c_uri, 7).await;
    let find = |name: &str| CDomain::lookup_by_name(&host, name).unwrap();
    for number in 0..6 {
        find(&format!("instance-{number}")).create().unwrap();
    }
    compare(&daemon, &mut native, &c_uri, 7).await;
    find("instance-1").suspend().unwrap();
    find("instance-2").destroy().unwrap();
    find("instance-3").shutdown().unwrap();
    find("instance-4").suspend().unwrap();
    compare(&daemon, &mut native, &c_uri, 7).await;
    find("instance-1").resume().unwrap();
    find("instance-2").create().unwrap();
    CDomain::create_xml(&host, &domain("transient", 77), 0).unwrap();
    compare(&daemon, &mut native, &c_uri, 8).await;
    find("instance-3").undefine().unwrap();
    find("transient").destroy().unwrap();
    compare(&daemon, &mut native, &c_uri, 6).await;
    let states: Vec<_> =
        native.domains().await.unwrap().into_iter().map(|domain| (domain.name, domain.state)).collect();
    assert!(states.contains(&("instance-4".into(), "paused")), "{states:?}");
    // The hypervisor itself, which has no domains here.
    let mut native = daemon.native("qemu:///system");
    let c_uri = format!("qemu+unix:///system?socket={}", daemon.socket().display());
    compare(&daemon, &mut native, &c_uri, 0).await;
}

async fn compare(daemon: &Libvirtd, native: &mut Libvirt, c_uri: &str, count: usize) {
    let official = official::ask(c_uri, PATIENCE).await.unwrap();
    let ours = native.domains().await.unwrap();
    let theirs = seen(&official.domains);
    assert_eq!(seen(&ours), theirs, "{c_uri}");
    assert_eq!(ours.len(), count);
    let report = native.check().await;
    assert_eq!(report.health(), Health::Ok, "{report:?}");
    assert_eq!(native.version(), Some(official.version));
    assert_eq!(native.socket(), Some(daemon.socket().as_path()));
}

#[tokio::test]
async fn both_fail_where_there_is_nothing_and_only_one_hangs() {
    let daemon = Libvirtd::start();
    let socket = daemon.socket();
    for (uri, c_uri) in [
        ("vbox:///session".to_owned(), format!("vbox+unix:///session?socket={}", socket.display())),
        ("qemu:///nowhere".to_owned(), format!("qemu+unix:///nowhere?socket={}", socket.display())),
    ] {
        let refused = official::ask(&c_uri, PATIENCE).await;
        assert!(matches!(refused, Err(OfficialError::Refused { .. })), "{refused:?}");
        let refused = daemon.native(&uri).domains().await;
        assert!(matches!(refused, Err(Error::NoConnection(_))), "{refused:?}");
    }
    daemon.signal(Signal::SIGSTOP);
    let c_uri = format!("qemu+unix:///system?socket={}", socket.display());
    let limit = Duration::from_secs(3);
    let start = Instant::now();
    let hangs = official::ask(&c_uri, limit).await;
    assert!(matches!(hangs, Err(OfficialError::Hangs { .. })), "{hangs:?}");
    assert!(start.elapsed() >= limit);
    // The thread is still in there, so nobody follows it; we have the answer all the same.
    assert!(matches!(official::ask(&c_uri, limit).await, Err(OfficialError::Hangs { .. })));
    let report = daemon.native("qemu:///system").check().await;
    assert_eq!(report.health(), Health::Failed, "{report:?}");
    assert!(report.worst().unwrap().reason.contains("stopped"), "{report:?}");
    daemon.signal(Signal::SIGCONT);
    let start = Instant::now();
    while official::ask(&c_uri, PATIENCE).await.is_err() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

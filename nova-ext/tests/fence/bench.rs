//! A folder with a configuration, a power device and the cluster's tools, all made up.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nova_ext::handover::{Queue, Request};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

pub(crate) const PASSWORD: &str = "hunter2-secret";
/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1/v3";
/// Node attributes, kept in files.
const ATTRIBUTES: &str = r#"
words="$*" mode=
while [ $# -gt 0 ]; do
    case $1 in
    -n) name=$2; shift;;
    -N) node=$2; shift;;
    -U) value=$2 mode=set; shift;;
    -D) mode=remove;;
    -Q) mode=query;;
    esac
    shift
done
case $mode in
set) echo "$words" >>DIR/attrd.log; printf %s "$value" >"DIR/attributes/$name@$node";;
remove) rm -f "DIR/attributes/$name@$node";;
query)
    for file in DIR/attributes/"$name"@*; do
        [ -e "$file" ] || exit 105
        echo "name=\"$name\" host=\"${file##*@}\" value=\"$(cat "$file")\""
    done;;
esac
"#;
/// The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) struct Bench {
    dir: TempDir,
    keystone: String,
    /// Where programs are found after those of the bench.
    programs: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(NOWHERE.into())
    }

    /// With this Keystone.
    pub(crate) fn with(keystone: String) -> Self {
        let programs = std::env::var("PATH").unwrap();
        let bench = Self { dir: tempfile::tempdir().unwrap(), keystone, programs };
        fs::create_dir(bench.path("bin")).unwrap();
        let state = bench.path("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
        let text = format!(
            "[files]\nmap = \"{}\"\nstate = \"{}\"\npolicy = \"{}\"\nkey = \"{}\"\n[hooks]\nfolder = \"{}\"\n",
            bench.path("power.toml").display(),
            state.display(),
            bench.path("policy.toml").display(),
            bench.path("key").display(),
            bench.path("hooks").display(),
        );
        write(&bench.path("nova-ha.toml"), &text, 0o644);
        write(&bench.path("policy.toml"), "mode = \"all\"\n", 0o644);
        write(&bench.path("key"), &"k".repeat(44), 0o600);
        fs::create_dir(bench.path("attributes")).unwrap();
        bench.tool("attrd_updater", &ATTRIBUTES.replace("DIR", &bench.dir.path().display().to_string()));
        bench.cluster("<configuration/>", "<pacemaker-result/>");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A machine that is in no cluster.
    pub(crate) fn without_cluster(&mut self) {
        self.programs = "/usr/bin:/bin".into();
        fs::remove_file(self.path("bin/attrd_updater")).unwrap();
    }

    /// Attributes, but first this.
    pub(crate) fn cluster_that(&self, first: &str) {
        let tool = ATTRIBUTES.replace("DIR", &self.dir.path().display().to_string());
        self.tool("attrd_updater", &format!("{first}\n{tool}"));
    }

    fn tool(&self, name: &str, script: &str) {
        write(&self.path("bin").join(name), &format!("#!/bin/sh\n{script}\n"), 0o755);
    }

    /// What the cluster's tools print.
    pub(crate) fn cluster(&self, cib: &str, history: &str) {
        write(&self.path("cib.xml"), cib, 0o644);
        write(&self.path("history.xml"), history, 0o644);
        self.tool("cibadmin", &format!("cat {}", self.path("cib.xml").display()));
        self.tool("stonith_admin", &format!("cat {}", self.path("history.xml").display()));
    }

    /// How `crm_mon` says that c1 is.
    pub(crate) fn node_is(&self, online: bool, unclean: bool) {
        let text = format!(
            "<pacemaker-result><nodes><node name=\"c1\" online=\"{online}\" unclean=\"{unclean}\" pending=\"false\"/></nodes>\
             </pacemaker-result>"
        );
        write(&self.path("nodes.xml"), &text, 0o644);
        self.crm_mon(&format!("cat {}", self.path("nodes.xml").display()));
    }

    /// What `crm_mon` does.
    pub(crate) fn crm_mon(&self, script: &str) {
        self.tool("crm_mon", script);
    }

    /// The power device of c1: whether it is off, and what off and on do.
    pub(crate) fn device(&self, is_off: &str, off: &str, on: &str) {
        let script = format!(
            "#!/bin/sh\naction=$(sed -n 's/^action=//p')\ncase $action in\nstatus) {is_off} && exit 2; exit 0;;\noff) {off};;\non) {on};;\nesac\n"
        );
        write(&self.path("fence_device"), &script, 0o755);
        self.map("power.toml", "c1");
    }

    /// A map with the device, under this name.
    pub(crate) fn map(&self, file: &str, name: &str) {
        let device = self.path("fence_device");
        let map = format!("[host.\"{name}\"]\ndriver = \"agent\"\nagent = \"{}\"\n", device.display());
        write(&self.path(file), &map, 0o600);
    }

    /// Sets a node attribute of c1.
    pub(crate) fn set(&self, name: &str, value: &str) {
        fs::write(self.path(&format!("attributes/{name}@c1")), value).unwrap();
    }

    /// Adds to the configuration.
    pub(crate) fn configure(&self, more: &str) {
        let path = self.path("nova-ha.toml");
        let text = fs::read_to_string(&path).unwrap() + more;
        write(&path, &text, 0o644);
    }

    /// Adds to what the map says of c1.
    pub(crate) fn add_to_map(&self, more: &str) {
        let path = self.path("power.toml");
        let text = fs::read_to_string(&path).unwrap() + more;
        write(&path, &text, 0o600);
    }

    /// Runs an action for c1 with a login, as clusters configure it. Nobody is its parent that the agent knows.
    pub(crate) async fn fence(&self, action: &str, more: &str) -> Ended {
        self.agent(&self.parameters(action, more)).await
    }

    /// The same, run by Pacemaker's fencer: by a script of its name, which is what the kernel calls its process.
    pub(crate) async fn fencer(&self, action: &str, more: &str) -> Ended {
        let fencer = self.path("pacemaker-fence");
        write(&fencer, &format!("#!/bin/sh\n{}\nexit $?\n", env!("CARGO_BIN_EXE_fence_nova")), 0o755);
        self.run(Command::new(fencer), &self.parameters(action, more)).await
    }

    fn parameters(&self, action: &str, more: &str) -> String {
        format!(
            "action={action}\nport=c1\nnodename=c1\nconfig={}\nauth_url={}\nlogin=admin\npasswd={PASSWORD}\n\
             tenant_name=service\nnova_timeout={}\n{more}",
            self.path("nova-ha.toml").display(),
            self.keystone,
            if self.keystone == NOWHERE { 2 } else { 60 },
        )
    }

    /// Runs the agent with this on standard input.
    pub(crate) async fn agent(&self, text: &str) -> Ended {
        self.run(Command::new(env!("CARGO_BIN_EXE_fence_nova")), text).await
    }

    pub(crate) async fn nova_ha(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova-ha"));
        command.arg("--config").arg(self.path("nova-ha.toml")).args(words);
        for (name, value) in [
            ("OS_AUTH_URL", self.keystone.as_str()),
            ("OS_USERNAME", "admin"),
            ("OS_PASSWORD", PASSWORD),
            ("OS_PROJECT_NAME", "service"),
            ("OS_USER_DOMAIN_NAME", "Default"),
            ("OS_PROJECT_DOMAIN_NAME", "Default"),
            ("OS_INTERFACE", "internal"),
            ("OS_REGION_NAME", "R"),
        ] {
            command.env(name, value);
        }
        self.run(command, "").await
    }

    /// Runs an action of the resource agent.
    pub(crate) async fn resource(&self, action: &str) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova-ha"));
        command.args(["agent", "nova-evacuate", action]);
        for (name, value) in [
            ("config", self.path("nova-ha.toml").display().to_string()),
            ("auth_url", self.keystone.clone()),
            ("username", "admin".into()),
            ("password", PASSWORD.into()),
            ("tenant_name", "service".into()),
        ] {
            command.env(format!("OCF_RESKEY_{name}"), value);
        }
        self.run(command, "").await
    }

    async fn run(&self, mut command: Command, input: &str) -> Ended {
        command
            .env("PATH", format!("{}:{}", self.path("bin").display(), self.programs))
            .env("HA_RSCTMP", self.path("run"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that does not read it is no error.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = timeout(PATIENCE, child.wait_with_output()).await.expect("it never hangs").unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        let queued = Queue::new(self.path("state/queue")).list().unwrap();
        assert!(queued.bad.is_empty(), "{:?}", queued.bad);
        queued.requests
    }

    /// A node attribute of c1.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(&format!("attributes/{name}@c1"))).ok()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("state/engine.log")).unwrap_or_default()
    }

    /// The engines of this bench that run.
    pub(crate) fn engines(&self) -> Vec<i32> {
        let config = self.path("nova-ha.toml").display().to_string();
        let of = |pid: i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let mut words = line.split('\0');
            (words.any(|word| word == config) && words.any(|word| word == "engine")).then_some(pid)
        };
        let all =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        all.filter_map(of).collect()
    }

    /// What the cluster was told.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(self.path("attrd.log")).unwrap_or_default()
    }
}

impl Drop for Bench {
    /// An engine that a failed test has left.
    fn drop(&mut self) {
        for pid in self.engines() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

//! The bus and the systemd on it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_core::Stream;
use libvirt_probe::units::{Settings, Systemd};
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, MessageStream, ObjectPath, Variant};

use crate::PATIENCE;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const JOB: &str = "/org/freedesktop/systemd1/job/7";

/// A message bus on a socket in a directory.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    pub(crate) fn start(dir: &Path) -> Self {
        let config = dir.join("bus.conf");
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig><type>custom</type><listen>{}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
             <allow send_type=\"method_call\"/><allow send_type=\"signal\"/>\
             <allow send_requested_reply=\"true\"/><allow receive_type=\"method_call\"/>\
             <allow receive_type=\"method_return\"/><allow receive_type=\"error\"/>\
             <allow receive_type=\"signal\"/></policy></busconfig>\n",
            address(dir)
        );
        std::fs::write(&config, text).expect("written");
        let mut child = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg("--nopidfile")
            .arg(format!("--config-file={}", config.display()))
            .arg("--print-address=1")
            .stdout(Stdio::piped())
            // Complains about limits that it cannot raise.
            .stderr(Stdio::null())
            .spawn()
            .expect("needs dbus-daemon: apt-get install dbus");
        // It says its address when it listens.
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("readable");
        assert!(line.starts_with("unix:path="), "dbus-daemon said {line:?}");
        Self { child }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().expect("is ours");
        self.child.wait().expect("is ours");
    }
}

pub(crate) fn address(dir: &Path) -> String {
    format!("unix:path={}", dir.join("bus").display())
}

/// How a unit is said to be.
#[derive(Debug, Clone)]
pub(crate) struct FakeUnit {
    pub(crate) load: &'static str,
    pub(crate) active: &'static str,
    pub(crate) sub: &'static str,
    pub(crate) job: u32,
    pub(crate) main_pid: u32,
    pub(crate) restarts: u32,
    pub(crate) result: &'static str,
}

impl FakeUnit {
    pub(crate) fn running(main_pid: u32) -> Self {
        Self {
            load: "loaded",
            active: "active",
            sub: "running",
            job: 0,
            main_pid,
            restarts: 0,
            result: "success",
        }
    }

    pub(crate) fn is(load: &'static str, active: &'static str, sub: &'static str) -> Self {
        Self { load, active, sub, ..Self::running(0) }
    }
}

/// What becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum JobEnd {
    /// The signal comes before the answer.
    Early(&'static str),
    /// The signal comes after the answer.
    Late(&'static str),
    /// The job ends and nobody is told.
    Unseen,
    /// The job goes on.
    Never,
    /// The job is refused.
    Refused(&'static str),
}

/// What the manager does and has done.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) units: BTreeMap<&'static str, FakeUnit>,
    pub(crate) files: Vec<(&'static str, &'static str)>,
    pub(crate) calls: Vec<String>,
    pub(crate) job: JobEnd,
    /// A unit is like this after any job.
    pub(crate) after_job: Option<FakeUnit>,
    /// Nothing is answered.
    pub(crate) mute: bool,
    /// Properties are not told.
    pub(crate) mute_get: bool,
}

/// A bus, a fake systemd on it, and somebody who asks it.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) manager: Manager,
    pub(crate) systemd: Systemd,
    daemon: Option<Daemon>,
}

impl Bench {
    pub(crate) async fn new(units: &[(&'static str, FakeUnit)]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let daemon = Daemon::start(dir.path());
        let world = World {
            units: units.iter().cloned().collect(),
            files: Vec::new(),
            calls: Vec::new(),
            job: JobEnd::Late("done"),
            after_job: None,
            mute: false,
            mute_get: false,
        };
        let manager = Manager::start(dir.path(), Arc::new(Mutex::new(world))).await;
        let systemd = Systemd::new(settings(dir.path()));
        Self { dir, manager, systemd, daemon: Some(daemon) }
    }

    /// The bus goes away.
    pub(crate) fn stop(&mut self) {
        self.daemon = None;
    }

    /// It comes back, with systemd on it.
    pub(crate) async fn start(&mut self) {
        self.daemon = Some(Daemon::start(self.dir.path()));
        self.manager = Manager::start(self.dir.path(), Arc::clone(&self.manager.world)).await;
    }
}

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings { address: Some(address(dir)), connect: PATIENCE, call: PATIENCE }
}

/// The fake.
#[derive(Clone)]
pub(crate) struct Manager {
    connection: Connection,
    world: Arc<Mutex<World>>,
}

impl Manager {
    async fn start(dir: &Path, world: Arc<Mutex<World>>) -> Self {
        let address = address(dir);
        let builder = zbus::connection::Builder::address(address.as_str());
        let connection = builder.build().await.expect("bus is there");
        let manager = Self { connection, world };
        tokio::spawn(manager.clone().serve());
        manager.connection.request_name(NAME).await.expect("name is free");
        manager
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("not poisoned")
    }

    /// Calls of this method so far.
    pub(crate) fn calls(&self, method: &str) -> Vec<String> {
        let world = self.world();
        world.calls.iter().filter(|call| call.starts_with(method)).cloned().collect()
    }

    /// A unit is like this from now on, which is told.
    pub(crate) async fn set(&self, name: &'static str, unit: FakeUnit) {
        self.world().units.insert(name, unit);
        self.tell(name).await;
    }

    pub(crate) async fn tell(&self, name: &str) {
        let body = (UNIT, BTreeMap::from([("ActiveState", Variant::new("x"))]), Vec::<String>::new());
        let (path, interface) = (object(name), "org.freedesktop.DBus.Properties");
        let sent =
            self.connection.emit_signal(None::<&str>, path.as_str(), interface, "PropertiesChanged", &body);
        sent.await.expect("sent");
    }

    pub(crate) async fn job_removed(&self, result: &str) {
        let body = (7_u32, path(JOB), "x.service", result);
        // The bus may be gone; that is a test of its own.
        let _ = self.connection.emit_signal(None::<&str>, PATH, MANAGER, "JobRemoved", &body).await;
    }

    async fn serve(self) {
        let mut messages = MessageStream::from(self.connection.clone());
        while let Some(message) = poll_fn(|cx| Pin::new(&mut messages).poll_next(cx)).await {
            let Ok(message) = message else { return };
            if message.message_type() == Type::MethodCall && !self.world().mute {
                self.answer(&message).await;
            }
        }
    }

    async fn answer(&self, message: &Message) {
        let header = message.header();
        let member = header.member().expect("calls have one").as_str();
        let body = message.body();
        match member {
            "ListUnitsByNames" => {
                let names: Vec<String> = body.deserialize().expect("names");
                self.world().calls.push(format!("{member} {}", names.join(" ")));
                let units: Vec<_> = names.iter().rev().map(|name| self.listed(name)).collect();
                self.reply(message, &units).await;
            }
            "ListUnitFilesByPatterns" => {
                let (states, patterns): (Vec<String>, Vec<String>) = body.deserialize().expect("two lists");
                assert!(states.is_empty() && !patterns.is_empty());
                self.world().calls.push(format!("{member} {}", patterns.join(" ")));
                let files = self.world().files.clone();
                self.reply(message, &files).await;
            }
            "StartUnit" | "StopUnit" | "RestartUnit" => {
                let (unit, mode): (String, String) = body.deserialize().expect("name and mode");
                assert_eq!(mode, "replace");
                self.world().calls.push(format!("{member} {unit}"));
                self.run_job(message, &unit).await;
            }
            "ResetFailedUnit" => {
                let unit: String = body.deserialize().expect("a name");
                self.world().calls.push(format!("{member} {unit}"));
                self.reply(message, &()).await;
            }
            "Get" if self.world().mute_get => {}
            "Get" => {
                let (_, property): (String, String) = body.deserialize().expect("interface and name");
                let object = header.path().expect("calls have one").as_str();
                self.get(message, object, &property).await;
            }
            _ => {
                self.world().calls.push(member.to_owned());
                if !message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
                    self.reply(message, &()).await;
                }
            }
        }
    }

    fn listed(
        &self,
        name: &str,
    ) -> (String, String, String, String, String, String, ObjectPath<'static>, u32, String, ObjectPath<'static>)
    {
        let unit = self.world().units.get(name).cloned();
        let unit = unit.unwrap_or_else(|| FakeUnit::is("not-found", "inactive", "dead"));
        let object = ObjectPath::try_from(object(name)).expect("well-formed");
        let job = if unit.job == 0 { path("/") } else { path(JOB) };
        let text = |text: &str| text.to_owned();
        let (load, active, sub) = (text(unit.load), text(unit.active), text(unit.sub));
        (text(name), text("A unit"), load, active, sub, text(""), object, unit.job, text("start"), job)
    }

    async fn run_job(&self, message: &Message, name: &str) {
        let (job, after) = {
            let world = self.world();
            (world.job, world.after_job.clone())
        };
        if let (JobEnd::Early(_) | JobEnd::Late(_) | JobEnd::Unseen, Some(after)) = (job, after)
            && let Some(unit) = self.world().units.get_mut(name)
        {
            *unit = after;
        }
        match job {
            JobEnd::Early(result) => {
                self.job_removed(result).await;
                self.reply(message, &path(JOB)).await;
            }
            JobEnd::Late(result) => {
                self.reply(message, &path(JOB)).await;
                self.job_removed(result).await;
            }
            JobEnd::Unseen | JobEnd::Never => self.reply(message, &path(JOB)).await,
            JobEnd::Refused(error) => self.refuse(message, error).await,
        }
    }

    async fn get(&self, message: &Message, of: &str, property: &str) {
        let value = {
            let world = self.world();
            let unit = world.units.iter().find(|(name, _)| object(name) == of).map(|(_, unit)| unit);
            match (unit, property) {
                (None, "State") if of == JOB && world.job == JobEnd::Never => Some(Variant::new("running")),
                (None, _) => None,
                (Some(unit), "MainPID") => Some(Variant::new(unit.main_pid)),
                (Some(unit), "NRestarts") => Some(Variant::new(unit.restarts)),
                (Some(_), "ControlGroup") => Some(Variant::new("/system.slice/x.service")),
                (Some(unit), "Result") => Some(Variant::new(unit.result)),
                (Some(_), "ActiveEnterTimestampMonotonic") => Some(Variant::new(77_000_000_u64)),
                (Some(_), other) => panic!("nobody knows {other}"),
            }
        };
        match value {
            Some(value) => self.reply(message, &value).await,
            None => self.refuse(message, "org.freedesktop.DBus.Error.UnknownObject").await,
        }
    }

    async fn reply<B: serde::Serialize + zbus::DynamicType>(&self, message: &Message, body: &B) {
        let _ = self.connection.reply(&message.header(), body).await;
    }

    async fn refuse(&self, message: &Message, error: &str) {
        let _ = self.connection.reply_error(&message.header(), error, &"refused").await;
    }
}

fn path(text: &'static str) -> ObjectPath<'static> {
    ObjectPath::try_from(text).expect("well-formed")
}

/// As systemd names it.
fn object(unit: &str) -> String {
    let escaped = unit.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_string(),
        c => format!("_{:02x}", u32::from(c)),
    });
    format!("/org/freedesktop/systemd1/unit/{}", escaped.collect::<String>())
}

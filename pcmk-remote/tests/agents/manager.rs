//! A bus of our own with a systemd that does as it is told.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_core::Stream;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream, ObjectPath, Variant};

use crate::rig::PATIENCE;

pub(crate) const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
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
    format!("unix:path={}", socket(dir).display())
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("bus")
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq)]
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
    /// There is no answer.
    Silence,
}

/// What the manager does and has done.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) calls: Vec<String>,
    /// Answers to "what state", the last one for ever.
    pub(crate) states: VecDeque<&'static str>,
    pub(crate) state_after_job: &'static str,
    pub(crate) load_state: &'static str,
    pub(crate) load_error: Option<&'static str>,
    pub(crate) job: JobEnd,
    pub(crate) job_exists: bool,
}

impl Default for World {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            states: ["inactive"].into(),
            state_after_job: "active",
            load_state: "loaded",
            load_error: None,
            job: JobEnd::Late("done"),
            job_exists: false,
        }
    }
}

/// The fake.
#[derive(Clone)]
pub(crate) struct Manager {
    pub(crate) connection: Connection,
    world: Arc<Mutex<World>>,
}

impl Manager {
    pub(crate) async fn start(dir: &Path, world: World) -> Self {
        let connection = connect(dir).await;
        let manager = Self { connection, world: Arc::new(Mutex::new(world)) };
        tokio::spawn(manager.clone().serve());
        manager.connection.request_name(NAME).await.expect("name is free");
        manager
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("not poisoned")
    }

    /// Calls so far, looks at states left out.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.world().calls.iter().filter(|call| !call.starts_with("Get ")).cloned().collect()
    }

    pub(crate) async fn called(&self, call: &str) {
        let since = Instant::now();
        while !self.world().calls.iter().any(|seen| seen == call) {
            assert!(since.elapsed() < PATIENCE, "no call {call} in {:?}", self.calls());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn job_removed(&self, result: &str) {
        emit(&self.connection, None, result).await;
    }

    async fn serve(self) {
        let mut messages = MessageStream::from(self.connection.clone());
        while let Some(message) = poll_fn(|cx| Pin::new(&mut messages).poll_next(cx)).await {
            let Ok(message) = message else { return };
            if message.message_type() == Type::MethodCall {
                self.answer(&message).await;
            }
        }
    }

    async fn answer(&self, message: &Message) {
        let header = message.header();
        let member = header.member().expect("calls have one").as_str();
        let body = message.body();
        match member {
            "LoadUnit" => {
                let unit: &str = body.deserialize().expect("name");
                self.world().calls.push(format!("LoadUnit {unit}"));
                let error = self.world().load_error;
                match error {
                    Some(error) => self.refuse(message, error).await,
                    None => self.reply(message, &path("/org/freedesktop/systemd1/unit/x")).await,
                }
            }
            "StartUnit" | "StopUnit" | "RestartUnit" => {
                let (unit, mode): (&str, &str) = body.deserialize().expect("name and mode");
                self.world().calls.push(format!("{member} {unit} {mode}"));
                self.run_job(message).await;
            }
            "Get" => {
                let (_, property): (&str, &str) = body.deserialize().expect("interface and name");
                let object = header.path().expect("calls have one").as_str();
                self.world().calls.push(format!("Get {property}"));
                self.get(message, object, property).await;
            }
            _ => {
                self.world().calls.push(member.to_owned());
                if !message.primary_header().flags().contains(zbus::message::Flags::NO_REPLY_EXPECTED) {
                    self.reply(message, &()).await;
                }
            }
        }
    }

    async fn run_job(&self, message: &Message) {
        let job = self.world().job.clone();
        self.world().job_exists = matches!(job, JobEnd::Never);
        if !matches!(job, JobEnd::Never | JobEnd::Silence | JobEnd::Refused(_)) {
            let mut world = self.world();
            world.states = [world.state_after_job].into();
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
            JobEnd::Silence => {}
        }
    }

    async fn get(&self, message: &Message, object: &str, property: &str) {
        if object == JOB && !self.world().job_exists {
            return self.refuse(message, "org.freedesktop.DBus.Error.UnknownObject").await;
        }
        let value = match property {
            "ActiveState" => {
                let mut world = self.world();
                let first = world.states.front().copied().expect("never empty");
                if world.states.len() > 1 {
                    world.states.pop_front();
                }
                first
            }
            "LoadState" => self.world().load_state,
            "Description" => "A unit & more",
            _ => "running",
        };
        self.reply(message, &Variant::new(value)).await;
    }

    async fn reply<B: serde::Serialize + zbus::DynamicType>(&self, message: &Message, body: &B) {
        // The bus may be gone; that is a test of its own.
        let _ = self.connection.reply(&message.header(), body).await;
    }

    async fn refuse(&self, message: &Message, error: &str) {
        let _ = self.connection.reply_error(&message.header(), error, &"refused").await;
    }
}

pub(crate) async fn connect(dir: &Path) -> Connection {
    let address = address(dir);
    let builder = zbus::connection::Builder::address(address.as_str());
    builder.build().await.expect("bus is there")
}

/// The signal that ends a job, to all or to one.
pub(crate) async fn emit(connection: &Connection, to: Option<&str>, result: &str) {
    let body = (7_u32, path(JOB), "x.service", result);
    let _ = connection.emit_signal(to, PATH, MANAGER, "JobRemoved", &body).await;
}

fn path(text: &'static str) -> ObjectPath<'static> {
    ObjectPath::try_from(text).expect("well-formed")
}

//! The connection to systemd: made when first needed, made again when lost, every call with a deadline.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::{Mutex, broadcast};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, DynamicType, MessageStream, OwnedObjectPath, OwnedVariant};

use super::{Settings, UNIT, unit};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const ERRORS: &str = "org.freedesktop.DBus.Error.";

/// Signals that a slow reader may fall behind before it has to look for itself.
const NEWS_KEPT: usize = 256;

/// Why systemd has not answered, or has not done what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no bus, or systemd is not on it.
    #[error("systemd cannot be asked: {0}")]
    Absent(String),
    /// Nothing came within the time allowed.
    #[error("{what} does not answer within {} ms", .limit.as_millis())]
    NoAnswer {
        /// Who should have answered.
        what: &'static str,
        /// The time allowed.
        limit: Duration,
    },
    /// systemd said no.
    #[error("systemd refuses: {message} ({name})")]
    Refused {
        /// D-Bus name of the error.
        name: String,
        /// In systemd's words.
        message: String,
    },
    /// The answer is not what is documented.
    #[error("systemd's answer cannot be understood: {0}")]
    Odd(String),
    /// A job came to another end.
    #[error("systemd could not {task} {unit}: {result}")]
    Job {
        /// What was to be done.
        task: &'static str,
        /// With which unit.
        unit: String,
        /// In systemd's words.
        result: String,
    },
    /// A job did not end in time; it may still do so.
    #[error("systemd did not {task} {unit} within {:.0} s", .limit.as_secs_f64())]
    NotInTime {
        /// What was to be done.
        task: &'static str,
        /// With which unit.
        unit: String,
        /// The time allowed.
        limit: Duration,
    },
}

/// What systemd says unasked.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// A job ended.
    JobEnded { job: OwnedObjectPath, result: String },
    /// A watched unit is in another state.
    Changed(String),
    /// Such news may have been missed.
    Lost,
}

/// A connection, which ends when this is dropped.
#[derive(Debug)]
struct Live {
    connection: Connection,
    reader: JoinHandle<()>,
    watched: HashSet<String>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// systemd's manager. Calls may be made at the same time.
#[derive(Debug)]
pub(super) struct Bus {
    settings: Settings,
    live: Mutex<Option<Live>>,
    news: broadcast::Sender<News>,
}

impl Bus {
    /// Nothing is connected yet.
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, live: Mutex::default(), news: broadcast::channel(NEWS_KEPT).0 }
    }

    /// News from now on; outlives the connection.
    pub(super) fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Has changes of these units told from now on.
    pub(super) async fn watch(&self, units: &[String]) -> Result<(), Error> {
        let connection = self.connection().await?;
        for unit in units {
            let path = unit::path_of(unit);
            if self.watched(|watched| watched.contains(&path)).await {
                continue;
            }
            let rule = format!(
                "type='signal',sender='{NAME}',path='{path}',interface='{PROPERTIES}',\
                 member='PropertiesChanged',arg0='{UNIT}'"
            );
            self.bounded("the message bus", add_match(&connection, &rule)).await?;
            self.watched(|watched| watched.insert(path)).await;
        }
        Ok(())
    }

    /// Whether there is a connection; none is made.
    pub(super) async fn is_connected(&self) -> bool {
        self.live.lock().await.as_ref().is_some_and(|live| !live.connection.is_closed())
    }

    async fn watched(&self, ask: impl FnOnce(&mut HashSet<String>) -> bool) -> bool {
        self.live.lock().await.as_mut().is_some_and(|live| ask(&mut live.watched))
    }

    /// A method of the manager.
    pub(super) async fn manager<B>(&self, method: &str, body: &B) -> Result<Message, Error>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        self.call(PATH, MANAGER, method, body).await
    }

    /// A method of the manager that gives back a path.
    pub(super) async fn path<B>(&self, method: &str, body: &B) -> Result<OwnedObjectPath, Error>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let reply = self.manager(method, body).await?;
        reply.body().deserialize().map_err(|error| Error::Odd(error.to_string()))
    }

    /// A textual property.
    pub(super) async fn text(&self, path: &str, interface: &str, name: &str) -> Result<String, Error> {
        let value = self.property(path, interface, name).await?;
        String::try_from(value).map_err(|error| Error::Odd(format!("{name}: {error}")))
    }

    /// A numeric property, of either of the widths that systemd uses.
    pub(super) async fn number(&self, path: &str, interface: &str, name: &str) -> Result<u64, Error> {
        let value = self.property(path, interface, name).await?;
        match u32::try_from(&*value) {
            Ok(number) => Ok(number.into()),
            Err(_) => u64::try_from(value).map_err(|error| Error::Odd(format!("{name}: {error}"))),
        }
    }

    async fn property(&self, path: &str, interface: &str, name: &str) -> Result<OwnedVariant, Error> {
        let reply = self.call(path, PROPERTIES, "Get", &(interface, name)).await?;
        reply.body().deserialize().map_err(|error| Error::Odd(format!("{name}: {error}")))
    }

    async fn call<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<Message, Error>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let connection = self.connection().await?;
        let call = connection.call_method(Some(NAME), path, Some(interface), method, body);
        let answer = self.bounded("systemd", call).await;
        if matches!(answer, Err(Error::NoAnswer { .. })) {
            // What is not answered is not to pile up in there.
            self.forget(&connection).await;
        }
        answer
    }

    async fn forget(&self, connection: &Connection) {
        let mut live = self.live.lock().await;
        if live.as_ref().is_some_and(|live| live.connection.unique_name() == connection.unique_name()) {
            *live = None;
            // No error: usually nobody listens.
            let _ = self.news.send(News::Lost);
        }
    }

    async fn bounded<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, zbus::Error>>,
    ) -> Result<T, Error> {
        let limit = self.settings.call;
        match timeout(limit, call).await {
            Ok(answer) => answer.map_err(Error::from),
            Err(_) => Err(Error::NoAnswer { what, limit }),
        }
    }

    async fn connection(&self) -> Result<Connection, Error> {
        let mut live = self.live.lock().await;
        if let Some(live) = &*live
            && !live.connection.is_closed()
        {
            return Ok(live.connection.clone());
        }
        if live.take().is_some() {
            // Its reader may not have come to say so.
            let _ = self.news.send(News::Lost);
        }
        let limit = self.settings.connect;
        let connected = timeout(limit, self.connect()).await;
        let made = connected.map_err(|_| Error::NoAnswer { what: "the message bus", limit })??;
        Ok(live.insert(made).connection.clone())
    }

    async fn connect(&self) -> Result<Live, Error> {
        let builder = match &self.settings.address {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            None => zbus::connection::Builder::system(),
        };
        let connection = builder.build().await?;
        // Before any job is asked for: the end of a quick one comes before the answer does.
        let messages = MessageStream::from(connection.clone());
        let reader = tokio::spawn(read(messages, self.news.clone()));
        let live = Live { connection, reader, watched: HashSet::new() };
        let rule =
            format!("type='signal',sender='{NAME}',path='{PATH}',interface='{MANAGER}',member='JobRemoved'");
        add_match(&live.connection, &rule).await?;
        subscribe(&live.connection).await?;
        Ok(live)
    }
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        use zbus::DBusError;
        let (name, message) = match &error {
            zbus::Error::MethodError(name, message, _) => {
                (name.to_string(), message.clone().unwrap_or_default())
            }
            zbus::Error::FDO(error) => {
                (error.name().to_string(), error.description().unwrap_or_default().to_owned())
            }
            zbus::Error::InvalidReply | zbus::Error::SignatureMismatch(..) => {
                return Self::Odd(error.to_string());
            }
            _ => return Self::Absent(error.to_string()),
        };
        match name.strip_prefix(ERRORS) {
            // The first two: while systemd re-executes itself, or where it is not PID 1. Spawn: there neither.
            Some("ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Disconnected" | "NoServer") => {
                Self::Absent(message)
            }
            Some(spawn) if spawn.starts_with("Spawn.") => Self::Absent(message),
            _ => Self::Refused { name, message },
        }
    }
}

async fn add_match(connection: &Connection, rule: &str) -> Result<(), zbus::Error> {
    let bus = Some("org.freedesktop.DBus");
    connection.call_method(bus, "/org/freedesktop/DBus", bus, "AddMatch", &rule).await.map(|_| ())
}

/// systemd sends signals only if somebody has asked it to. Its answer, if any, is that somebody has already.
async fn subscribe(connection: &Connection) -> Result<(), zbus::Error> {
    let message = Message::method_call(PATH, "Subscribe")
        .destination(NAME)
        .interface(MANAGER)
        .with_flags(Flags::NO_REPLY_EXPECTED)
        .build(&())?;
    connection.send(&message).await
}

/// Reads without pause, or the connection would come to a halt, until it is lost.
async fn read(mut messages: MessageStream, news: broadcast::Sender<News>) {
    while let Some(message) = std::future::poll_fn(|cx| Pin::new(&mut messages).poll_next(cx)).await {
        let Ok(message) = message else { continue };
        if let Some(item) = understand(&message) {
            let _ = news.send(item);
        }
    }
    let _ = news.send(News::Lost);
}

fn understand(message: &Message) -> Option<News> {
    let header = message.header();
    // What anybody may send to us alone does not pass the bus's check of the sender.
    if message.message_type() != Type::Signal || header.destination().is_some() {
        return None;
    }
    match header.member()?.as_str() {
        "JobRemoved" => {
            let (_, job, _, result): (u32, OwnedObjectPath, String, String) =
                message.body().deserialize().ok()?;
            Some(News::JobEnded { job, result })
        }
        "PropertiesChanged" => Some(News::Changed(unit::name_of(header.path()?.as_str())?)),
        _ => None,
    }
}

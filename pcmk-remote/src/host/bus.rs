//! The connection to systemd over D-Bus: made when first needed, shared, made again when lost.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::{Mutex, broadcast};
use tokio::time::{Instant, sleep, timeout};
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, DBusError, DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A bus that takes longer to say hello is no bus.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// systemd that re-executes itself or a bus that restarts is back by then.
const COMEBACK: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);
/// Signals that a slow reader may fall behind before it has to look for itself.
const JOBS_KEPT: usize = 256;
const QUEUED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// What systemd says about its jobs.
#[derive(Debug, Clone)]
pub(super) enum JobEvent {
    /// A job of a unit ended.
    Removed { job: OwnedObjectPath, unit: String, result: String },
    /// Such news may have been missed.
    Lost,
}

/// Why a call had no answer that could be used.
#[derive(Debug)]
pub(super) enum BusError {
    /// There is no bus, or systemd is not on it.
    Absent(String),
    /// systemd said no.
    Refused { name: String, message: String },
    /// The answer is not what is documented.
    Odd(String),
}

/// systemd's manager. Calls may be made at the same time; none is bounded by itself.
#[derive(Debug)]
pub(super) struct Bus {
    address: Option<String>,
    connection: Mutex<Option<Connection>>,
    ever_connected: AtomicBool,
    jobs: broadcast::Sender<JobEvent>,
}

impl Bus {
    /// Nothing is connected yet.
    pub(super) fn new(address: Option<String>) -> Self {
        Self {
            address,
            connection: Mutex::default(),
            ever_connected: AtomicBool::new(false),
            jobs: broadcast::channel(JOBS_KEPT).0,
        }
    }

    /// News about jobs from now on; outlives the connection.
    pub(super) fn jobs(&self) -> broadcast::Receiver<JobEvent> {
        self.jobs.subscribe()
    }

    /// A method of the manager that gives back a path, of a unit or of a job.
    pub(super) async fn path<B>(&self, method: &str, body: &B) -> Result<OwnedObjectPath, BusError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let reply = self.call(PATH, MANAGER, method, body).await?;
        reply.body().deserialize().map_err(|error| BusError::Odd(error.to_string()))
    }

    /// Has systemd read its files again.
    pub(super) async fn reload(&self) -> Result<(), BusError> {
        self.call(PATH, MANAGER, "Reload", &()).await.map(|_| ())
    }

    /// A textual property.
    pub(super) async fn property(&self, path: &str, interface: &str, name: &str) -> Result<String, BusError> {
        let reply = self.call(path, "org.freedesktop.DBus.Properties", "Get", &(interface, name)).await?;
        let value: OwnedVariant =
            reply.body().deserialize().map_err(|error| BusError::Odd(error.to_string()))?;
        String::try_from(value).map_err(|error| BusError::Odd(error.to_string()))
    }

    /// Asks for signals once more, for a systemd that has forgotten it.
    pub(super) async fn subscribe_again(&self) {
        if let Ok(connection) = self.connection().await {
            subscribe(&connection).await;
        }
    }

    /// Calls until there is an answer. Once there was a bus, it is waited for to come back.
    async fn call<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<Message, BusError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let mut lost_since = None;
        loop {
            let error = match self.connection().await {
                Ok(connection) => {
                    match connection.call_method(Some(NAME), path, Some(interface), method, body).await {
                        Ok(reply) => return Ok(reply),
                        Err(error) => BusError::from(error),
                    }
                }
                Err(error) => error,
            };
            if !matches!(error, BusError::Absent(_)) || !self.ever_connected.load(Ordering::Relaxed) {
                return Err(error);
            }
            if lost_since.get_or_insert_with(Instant::now).elapsed() > COMEBACK {
                return Err(error);
            }
            sleep(RETRY).await;
        }
    }

    async fn connection(&self) -> Result<Connection, BusError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        *slot = None;
        let connection = timeout(CONNECT_LIMIT, self.connect()).await.unwrap_or_else(|_| {
            Err(BusError::Absent(format!("the bus does not answer within {CONNECT_LIMIT:?}")))
        })?;
        if self.ever_connected.swap(true, Ordering::Relaxed) {
            tracing::info!("Connected to the system bus again");
        }
        Ok(slot.insert(connection).clone())
    }

    async fn connect(&self) -> Result<Connection, BusError> {
        let builder = match &self.address {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            None => zbus::connection::Builder::system(),
        };
        let connection = builder.build().await?;
        // Before any job is asked for: the end of a quick one comes before the answer does.
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(NAME)
            .path(PATH)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()?;
        let signals = MessageStream::for_match_rule(rule, &connection, Some(QUEUED)).await?;
        subscribe(&connection).await;
        tokio::spawn(forward(signals, self.jobs.clone()));
        Ok(connection)
    }
}

impl From<zbus::Error> for BusError {
    fn from(error: zbus::Error) -> Self {
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
        match name.strip_prefix("org.freedesktop.DBus.Error.") {
            // The first two: while systemd re-executes itself. NoReply: it was in the middle of it.
            Some("ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Disconnected" | "NoServer") => {
                Self::Absent(message)
            }
            _ => Self::Refused { name, message },
        }
    }
}

/// systemd sends signals only if somebody has asked it to. Its answer, if any, is that somebody has
/// already; what follows on the connection is handled after this.
async fn subscribe(connection: &Connection) {
    let message = Message::method_call(PATH, "Subscribe")
        .destination(NAME)
        .interface(MANAGER)
        .with_flags(Flags::NO_REPLY_EXPECTED)
        .build(&());
    let sent = match message {
        Ok(message) => connection.send(&message).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        tracing::info!("Could not subscribe to signals of systemd: {error}");
    }
}

/// Reads without pause, or the connection would come to a halt, and lives as long as it does.
async fn forward(mut signals: MessageStream, jobs: broadcast::Sender<JobEvent>) {
    while let Some(signal) = std::future::poll_fn(|cx| Pin::new(&mut signals).poll_next(cx)).await {
        let Ok(message) = signal else { continue };
        // What anybody may send to us alone does not pass the bus's check of the sender.
        if message.header().destination().is_some() {
            continue;
        }
        let body = message.body();
        let Ok((_, job, unit, result)) = body.deserialize::<(u32, OwnedObjectPath, String, String)>() else {
            continue;
        };
        // No error: usually nobody waits.
        let _ = jobs.send(JobEvent::Removed { job, unit, result });
    }
    tracing::info!("Connection to the system bus was lost");
    let _ = jobs.send(JobEvent::Lost);
}

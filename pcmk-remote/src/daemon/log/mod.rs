//! Log lines: to files, standard error and the system log, in Pacemaker's format.
//!
//! Whoever logs only puts a line into a bounded queue; one thread writes. A hung disk or a stopped
//! journal can lose lines (they are counted), never stop the daemon.

mod sinks;
mod writer;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::{Duration, SystemTime};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use super::config::LogConfig;
use crate::audit;
use crate::policy::Audit;
use writer::{Order, Writer};

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// Pacemaker's log levels. [`tracing`] knows fewer: `notice` and `crit` are its info and error with
/// that target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Level {
    Crit = 2,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The level that a syslog priority name stands for.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "emerg" | "panic" | "alert" | "crit" | "critical" => Self::Crit,
            "err" | "error" => Self::Error,
            "warn" | "warning" => Self::Warning,
            "notice" => Self::Notice,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crit => "crit",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Syslog has nothing below debug.
    fn syslog_priority(self) -> u8 {
        (self as u8).min(7)
    }

    fn of(metadata: &Metadata<'_>) -> Self {
        match (*metadata.level(), metadata.target()) {
            (tracing::Level::ERROR, "crit") => Self::Crit,
            (tracing::Level::ERROR, _) => Self::Error,
            (tracing::Level::WARN, _) => Self::Warning,
            (tracing::Level::INFO, "notice") => Self::Notice,
            (tracing::Level::INFO, _) => Self::Info,
            (tracing::Level::DEBUG, _) => Self::Debug,
            (tracing::Level::TRACE, _) => Self::Trace,
        }
    }

    /// As [`tracing`] filters.
    fn filter(self) -> tracing::level_filters::LevelFilter {
        use tracing::level_filters::LevelFilter;
        match self {
            Self::Crit | Self::Error => LevelFilter::ERROR,
            Self::Warning => LevelFilter::WARN,
            Self::Notice | Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            0..=2 => Self::Crit,
            3 => Self::Error,
            4 => Self::Warning,
            5 => Self::Notice,
            6 => Self::Info,
            7 => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// One line on its way to the writer.
#[derive(Debug, Clone)]
struct Line {
    level: Level,
    /// Where in the code it comes from, like Pacemaker's function names.
    origin: String,
    message: String,
    at: SystemTime,
    /// Belongs to the audit log.
    audit: bool,
}

/// Starts logging. Problems with single sinks are logged to the others.
pub(super) fn start(config: &LogConfig) -> Logging {
    let (orders, inbox) = mpsc::sync_channel(QUEUE);
    let shared = Arc::new(Shared {
        configured: config.level,
        level: AtomicU8::new(config.level as u8),
        lost: AtomicU64::new(0),
        orders,
    });
    let writer = Writer::new(config);
    // Without its thread the daemon still works, only silently.
    let _ = std::thread::Builder::new()
        .name("log".into())
        .stack_size(128 << 10)
        .spawn(move || writer.run(&inbox));
    let logging = Logging { shared };
    let _ = tracing::subscriber::set_global_default(Collector(Arc::clone(&logging.shared)));
    if config.recording {
        logging.record(true);
    }
    logging
}

/// Handle on the running log.
#[derive(Debug, Clone)]
pub(super) struct Logging {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    configured: Level,
    level: AtomicU8,
    lost: AtomicU64,
    orders: SyncSender<Order>,
}

impl Logging {
    /// Starts or stops keeping recent lines, debug included, in memory (the "blackbox").
    pub(super) fn record(&self, on: bool) {
        let level = if on { self.shared.configured.max(Level::Debug) } else { self.shared.configured };
        self.shared.level.store(level as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
        let _ = self.shared.orders.try_send(Order::Record(on));
    }

    /// Writes what was recorded to a file.
    pub(super) fn dump(&self) {
        let _ = self.shared.orders.try_send(Order::Dump);
    }

    /// Says where audit lines go.
    pub(super) fn audit(&self, wanted: &Audit) {
        let _ = self.shared.orders.try_send(Order::Audit(wanted.clone()));
    }

    /// Waits until everything logged so far is written, but not for ever.
    pub(super) fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.shared.orders.try_send(Order::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}

/// Turns events into lines.
#[derive(Debug)]
struct Collector(Arc<Shared>);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Level::of(metadata) <= Level::from_u8(self.0.level.load(Ordering::Relaxed))
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(Level::from_u8(self.0.level.load(Ordering::Relaxed)).filter())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        // Libraries' debug chatter (zbus, rustls) says nothing to an operator.
        let module = metadata.module_path().unwrap_or_default();
        if *metadata.level() > tracing::Level::INFO && !module.starts_with("pcmk") {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let line = Line {
            level: Level::of(metadata),
            origin: module.rsplit("::").next().unwrap_or_default().to_owned(),
            message: message.0,
            at: SystemTime::now(),
            audit: metadata.target() == audit::TARGET,
        };
        match self.0.orders.try_send(Order::Write(line)) {
            Ok(()) => {
                let lost = self.0.lost.swap(0, Ordering::Relaxed);
                if lost > 0 && self.0.orders.try_send(Order::Lost(lost)).is_err() {
                    self.0.lost.fetch_add(lost, Ordering::Relaxed);
                }
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    // Spans are not used in this daemon.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The text of an event: its message, then ` | name=value` details.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " | {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::Level;

    #[test]
    fn levels_order_from_loud_to_quiet_and_have_syslog_names() {
        assert!(Level::Crit < Level::Error && Level::Notice < Level::Info && Level::Debug < Level::Trace);
        for level in [Level::Crit, Level::Error, Level::Warning, Level::Notice, Level::Info, Level::Debug] {
            assert_eq!(Level::from_name(level.name()), Some(level));
            assert_eq!(Level::from_u8(level as u8), level);
        }
        assert_eq!(Level::from_name("loud"), None);
        assert_eq!(Level::Trace.syslog_priority(), 7);
    }
}

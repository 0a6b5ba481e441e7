//! The thread that writes log lines, and the flight recorder.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{SystemTime, UNIX_EPOCH};

use super::sinks::{LogFile, SystemLog};
use super::{Level, Line};
use crate::daemon::config::{LogConfig, SERVICE};
use crate::policy::Audit;
use crate::sys::local_time;

/// Bytes of recent lines that the flight recorder keeps.
const RECORDER_BYTES: usize = 4 << 20;
const RECORDER_DIR: &str = "/var/lib/pacemaker/blackbox";

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    Write(Line),
    Lost(u64),
    Record(bool),
    Audit(Audit),
    Dump,
    Flush(SyncSender<()>),
}

/// All sinks. Everything here may block; nobody waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    level: Level,
    files: Vec<LogFile>,
    stderr: bool,
    system: Option<SystemLog>,
    host: String,
    recorder: Option<Recorder>,
    dumps: u32,
    audit: Audit,
    audit_file: Option<LogFile>,
}

impl Writer {
    pub(super) fn new(config: &LogConfig) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            level: config.level,
            files: config.files.iter().map(|path| LogFile::new(path.clone(), config.file_mode)).collect(),
            stderr: config.stderr,
            system: config.facility.as_deref().map(|name| SystemLog::new(name, config.syslog_level)),
            host: host.trim().split('.').next().unwrap_or_default().to_owned(),
            recorder: None,
            dumps: 0,
            audit: Audit::default(),
            audit_file: None,
        }
    }

    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                Order::Write(line) => self.write(&line),
                Order::Lost(count) => {
                    let message = format!("{count} log messages were lost: the log could not keep up");
                    self.write(&own(Level::Warning, message));
                }
                Order::Record(true) => {
                    self.recorder.get_or_insert_with(Recorder::default);
                }
                Order::Record(false) => self.recorder = None,
                Order::Dump => self.dump(),
                Order::Audit(wanted) => self.set_audit(wanted),
                Order::Flush(done) => {
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn set_audit(&mut self, wanted: Audit) {
        if self.audit.file != wanted.file {
            self.audit_file = wanted.file.clone().map(LogFile::private);
        }
        self.audit = wanted;
    }

    fn write(&mut self, line: &Line) {
        if line.audit {
            let failure = self.audit_file.as_mut().and_then(|file| file.write(audit_text(line).as_bytes()));
            if let Some(failure) = failure {
                self.write(&own(Level::Error, failure));
            }
            if !self.audit.log {
                return;
            }
        }
        // One event may carry text with line ends (an agent's): a log line is a line.
        let text = format!("{}\n", self.render(line));
        if let Some(recorder) = &mut self.recorder {
            recorder.keep(text.clone());
        }
        if line.level > self.level {
            return;
        }
        let mut failures = Vec::new();
        for file in &mut self.files {
            if let Some(failure) = file.write(text.as_bytes()) {
                failures.push(failure);
            }
        }
        if self.stderr {
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
        if let Some(system) = &mut self.system {
            system.write(line);
            for failure in failures {
                system.write(&own(Level::Error, failure));
            }
        }
    }

    /// `Nov 22 09:26:22.461 HOST pacemaker-remoted   [PID] (origin) \tlevel: message`
    fn render(&self, line: &Line) -> String {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let since = line.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let local = local_time(i64::try_from(since.as_secs()).unwrap_or(0));
        let month = MONTHS.get(usize::from(local.month)).copied().unwrap_or("???");
        let (hour, minute, second) = local.time;
        format!(
            "{month} {:02} {hour:02}:{minute:02}:{second:02}.{:03} {} {SERVICE:<20}[{}] ({}) \t{}: {}",
            local.day,
            since.subsec_millis(),
            self.host,
            std::process::id(),
            line.origin,
            line.level.name(),
            line.message.replace('\n', "\\n"),
        )
    }

    fn dump(&mut self) {
        self.dumps = self.dumps.saturating_add(1);
        let path: PathBuf =
            [RECORDER_DIR, &format!("{SERVICE}-{}.{}", std::process::id(), self.dumps)].iter().collect();
        let recorder = self.recorder.get_or_insert_with(Recorder::default);
        let outcome = std::fs::create_dir_all(RECORDER_DIR).and_then(|()| recorder.save(&path));
        let line = match outcome {
            Ok(()) => own(Level::Notice, format!("Wrote the flight recorder to {}", path.display())),
            Err(error) => own(Level::Error, format!("Could not write {}: {error}", path.display())),
        };
        self.write(&line);
    }
}

/// `time=1795339584.461 action=…`: seconds since the epoch, as no time zone gets in between.
fn audit_text(line: &Line) -> String {
    let since = line.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("time={}.{:03} {}\n", since.as_secs(), since.subsec_millis(), line.message.replace('\n', "\\n"))
}

/// A line of the log about the log.
fn own(level: Level, message: String) -> Line {
    Line { level, origin: "log".into(), message, at: SystemTime::now(), audit: false }
}

/// Recent lines in memory.
#[derive(Debug, Default)]
struct Recorder {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Recorder {
    fn keep(&mut self, line: String) {
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
        while self.bytes > RECORDER_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }

    fn save(&self, path: &std::path::Path) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
        let mut file = std::io::BufWriter::new(file);
        for line in &self.lines {
            file.write_all(line.as_bytes())?;
        }
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(files: Vec<PathBuf>) -> LogConfig {
        LogConfig {
            files,
            file_mode: 0o660,
            facility: None,
            syslog_level: Level::Notice,
            level: Level::Info,
            stderr: false,
            recording: false,
        }
    }

    #[test]
    fn lines_have_pacemakers_shape() {
        let writer = Writer::new(&config(vec![]));
        let line = Line {
            level: Level::Notice,
            origin: "run".into(),
            message: "two\nlines".into(),
            at: UNIX_EPOCH + std::time::Duration::from_millis(1_795_339_584_461),
            audit: false,
        };
        let text = writer.render(&line);
        assert!(text.contains(".461 ") && text.ends_with("(run) \tnotice: two\\nlines"), "{text}");
        assert!(text.contains(&format!("pacemaker-remoted   [{}]", std::process::id())), "{text}");
    }

    #[test]
    fn a_file_gets_lines_up_to_its_level_and_survives_truncation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = Writer::new(&config(vec![path.clone()]));
        writer.write(&own(Level::Info, "first".into()));
        writer.write(&own(Level::Debug, "hidden".into()));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("info: first\n"));
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        writer.write(&own(Level::Info, "second".into()));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("second\n") && !text.contains('\0') && !text.contains("hidden"), "{text:?}");
    }

    #[test]
    fn the_recorder_keeps_the_newest_lines_within_its_bound() {
        let mut recorder = Recorder::default();
        for number in 0..100 {
            recorder.keep(format!("{number} {}", "x".repeat(RECORDER_BYTES / 10)));
        }
        assert!(recorder.bytes <= RECORDER_BYTES && recorder.lines.len() >= 9);
        assert!(recorder.lines.back().unwrap().starts_with("99 "));
    }
}

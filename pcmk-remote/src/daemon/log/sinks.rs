//! Where log lines end: a file, or the system log (journal or syslog socket).

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{Group, User};

use super::{Level, Line};
use crate::daemon::config::SERVICE;

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// How often an unavailable sink is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Longest message that the system log gets, as Pacemaker limits it.
const SYSTEM_LINE: usize = 256;

/// A log file, opened for appending so that it may be truncated under us (logrotate's copytruncate).
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    mode: u32,
    /// Handed to the cluster's user, with whom the other daemons and the agents share it.
    shared: bool,
    file: Option<File>,
    retry_at: Option<Instant>,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, mode: u32) -> Self {
        Self { path, mode, shared: true, file: None, retry_at: None }
    }

    /// One that only root can read.
    pub(super) fn private(path: PathBuf) -> Self {
        Self { shared: false, ..Self::new(path, 0o600) }
    }

    /// Writes; returns what to tell the operator when the file has just become unusable.
    pub(super) fn write(&mut self, text: &[u8]) -> Option<String> {
        if self.file.is_none() {
            if self.retry_at.is_some_and(|at| now() < at) {
                return None;
            }
            match self.open() {
                Ok(file) => self.file = Some(file),
                Err(error) => return self.fail(&error),
            }
        }
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.write_all(text)) {
            self.file = None;
            return self.fail(&error);
        }
        self.retry_at = None;
        None
    }

    fn fail(&mut self, error: &std::io::Error) -> Option<String> {
        let first = self.retry_at.is_none();
        self.retry_at = Some(now() + RETRY);
        first.then(|| format!("Logging to '{}' is disabled: {error}", self.path.display()))
    }

    fn open(&self) -> std::io::Result<File> {
        if let Some(parent) = self.path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
            DirBuilder::new().recursive(true).mode(0o770).create(parent)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(self.mode).open(&self.path)?;
        if self.shared && nix::unistd::geteuid().is_root() {
            let uid = User::from_name("hacluster").ok().flatten().map(|user| user.uid.as_raw());
            let gid = Group::from_name("haclient").ok().flatten().map(|group| group.gid.as_raw());
            if uid.is_some() && gid.is_some() {
                let _ = fchown(&file, uid, gid);
                let _ = file.set_permissions(Permissions::from_mode(self.mode));
            }
        }
        Ok(file)
    }
}

/// The system's log: the journal's own protocol where there is a journal, else a syslog socket.
#[derive(Debug)]
pub(super) struct SystemLog {
    facility: u8,
    level: Level,
    socket: Option<(UnixDatagram, Kind)>,
    retry_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Journal,
    Syslog,
}

impl SystemLog {
    pub(super) fn new(facility: &str, level: Level) -> Self {
        Self { facility: facility_code(facility), level, socket: None, retry_at: None }
    }

    pub(super) fn write(&mut self, line: &Line) {
        if line.level > self.level {
            return;
        }
        if self.socket.is_none() {
            if self.retry_at.is_some_and(|at| now() < at) {
                return;
            }
            self.retry_at = Some(now() + RETRY);
            self.socket = connect();
        }
        let Some((socket, kind)) = &self.socket else { return };
        let datagram = match kind {
            Kind::Journal => self.journal_entry(line),
            Kind::Syslog => self.syslog_entry(line),
        };
        match socket.send(&datagram) {
            Ok(_) => {}
            // A stopped journal fills its socket: this line is lost, the next may not be.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.socket = None,
        }
    }

    fn journal_entry(&self, line: &Line) -> Vec<u8> {
        let mut entry = Vec::new();
        for (name, value) in [
            ("PRIORITY", line.level.syslog_priority().to_string()),
            ("SYSLOG_FACILITY", self.facility.to_string()),
            ("SYSLOG_IDENTIFIER", SERVICE.to_owned()),
            ("SYSLOG_PID", std::process::id().to_string()),
            ("CODE_FUNC", line.origin.clone()),
        ] {
            entry.extend_from_slice(format!("{name}={value}\n").as_bytes());
        }
        // The length-prefixed form takes any bytes.
        let text = system_text(line);
        entry.extend_from_slice(b"MESSAGE\n");
        entry.extend_from_slice(&u64::try_from(text.len()).unwrap_or(0).to_le_bytes());
        entry.extend_from_slice(text.as_bytes());
        entry.push(b'\n');
        entry
    }

    fn syslog_entry(&self, line: &Line) -> Vec<u8> {
        let priority = u32::from(self.facility) * 8 + u32::from(line.level.syslog_priority());
        format!("<{priority}>{SERVICE}[{}]: {}", std::process::id(), system_text(line)).into_bytes()
    }
}

/// `level: message`, without the technical detail behind ` | `, and not too long.
fn system_text(line: &Line) -> String {
    let message = line.message.split(" | ").next().unwrap_or_default();
    let mut text = format!("{}: {message}", line.level.name());
    if text.len() > SYSTEM_LINE {
        let end = (0..=SYSTEM_LINE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn connect() -> Option<(UnixDatagram, Kind)> {
    [(JOURNAL, Kind::Journal), (SYSLOG, Kind::Syslog)].into_iter().find_map(|(path, kind)| {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(Path::new(path)).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some((socket, kind))
    })
}

fn facility_code(name: &str) -> u8 {
    const NAMES: [&str; 12] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    ];
    let name = name.to_ascii_lowercase();
    if let Some(local) = name.strip_prefix("local").and_then(|digit| digit.parse::<u8>().ok())
        && local < 8
    {
        return 16 + local;
    }
    NAMES.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok()).unwrap_or(3)
}

fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> Line {
        Line {
            level: Level::Error,
            origin: "o".into(),
            message: message.into(),
            at: std::time::SystemTime::now(),
            audit: false,
        }
    }

    #[test]
    fn facilities_have_their_syslog_numbers() {
        for (name, code) in [("daemon", 3), ("LOCAL7", 23), ("local0", 16), ("user", 1), ("nonsense", 3)] {
            assert_eq!(facility_code(name), code, "{name}");
        }
    }

    #[test]
    fn the_system_log_gets_short_lines_without_detail() {
        assert_eq!(system_text(&line("broken | rc=1")), "error: broken");
        let long = system_text(&line(&"é".repeat(300)));
        assert!(long.len() <= SYSTEM_LINE);
        let system = SystemLog::new("daemon", Level::Notice);
        let entry = String::from_utf8(system.syslog_entry(&line("broken"))).unwrap();
        assert_eq!(entry, format!("<27>pacemaker-remoted[{}]: error: broken", std::process::id()));
        let entry = system.journal_entry(&line("a\nb"));
        assert!(entry.windows(18).any(|at| at == [b"MESSAGE\n", &10u64.to_le_bytes()[..], b"er"].concat()));
    }

    #[test]
    fn an_unusable_file_is_complained_about_once() {
        let mut file = LogFile::new("/proc/nowhere/log".into(), 0o660);
        assert!(file.write(b"x").is_some_and(|text| text.contains("/proc/nowhere/log")));
        assert_eq!(file.write(b"x"), None);
    }
}

//! From a path to an opened connection, or to the finding why there is none.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::backlog::{self, Backlog, Listener};
use super::daemon::{Condition, Look};
use super::diagnosis::{Asked, Silence};
use super::process::{self, Process, pid_in};
use super::settings::{Deadlines, Settings};
use crate::rpc::client::{Client, Lost, WaitError, now};
use crate::rpc::message::{
    AllStates, Auth, AuthList, AuthPolkit, GetControl, HasPings, LibVersion, ListDomains, Name, Open,
    Refusal, Subscribe,
};
use crate::rpc::{CallError, Ticket};
use crate::sys::proc::Roots;
use crate::verdict::{Finding, Health, Step};

/// An opened connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: Client,
    /// Over which socket.
    pub(crate) path: PathBuf,
    /// Who is at the other end.
    pub(crate) daemon: Option<Process>,
    /// Name of its program.
    pub(crate) name: String,
    /// Its socket, to see what waits in it.
    pub(crate) listener: Option<Listener>,
    /// The socket's file.
    pub(crate) file: Option<u64>,
    /// Events are told.
    pub(crate) events: bool,
    /// The questions that are on their way, one of each kind at most.
    pub(crate) asked: Asks,
}

impl Link {
    /// A ping or the question for all states waits for too long.
    pub(crate) fn is_late(&mut self, deadlines: Deadlines, now: Instant) -> bool {
        let session = self.client.session();
        let over = |since: Option<Instant>, deadline| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= deadline)
        };
        let states = self.asked.states.and_then(|ticket| session.unanswered(ticket));
        over(session.unanswered_ping(), deadlines.ping) || over(states, deadlines.workers)
    }
}

/// Questions that keep their place until they are answered, over any number of checks.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    /// For the version.
    pub(crate) version: Option<Ticket<LibVersion>>,
    /// For all states.
    pub(crate) states: Option<Ticket<AllStates>>,
    /// For the list of domains.
    pub(crate) names: Option<Ticket<ListDomains>>,
    /// For a domain's monitor.
    pub(crate) monitor: Option<(Name, Ticket<GetControl>)>,
}

impl Asks {
    /// Their serials.
    pub(crate) fn serials(&self) -> Vec<u32> {
        let monitor = self.monitor.as_ref().map(|(_, ticket)| ticket.serial());
        let others = [
            self.version.map(Ticket::serial),
            self.states.map(Ticket::serial),
            self.names.map(Ticket::serial),
        ];
        others.into_iter().chain([monitor]).flatten().collect()
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NoLink {
    /// What to say.
    pub(crate) finding: Finding,
    /// The daemon's process, if there is one.
    pub(crate) daemon: Option<Process>,
    /// The daemon was silent; nothing refused us.
    pub(crate) silent: bool,
    /// No socket took us: it may still come.
    pub(crate) absent: bool,
    /// The socket that took us.
    pub(crate) path: Option<PathBuf>,
    /// The daemon was at work while it was silent.
    pub(crate) worked: bool,
}

/// What has been learnt by earlier connections.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Past {
    /// There has been one.
    pub(crate) linked: bool,
    /// Since when connections are not answered.
    pub(crate) silent: Option<Instant>,
}

/// Sockets in the order in which they are tried.
fn candidates(settings: &Settings) -> Vec<PathBuf> {
    let mut paths = settings.sockets.clone();
    if settings.read_only {
        paths.extend(settings.sockets.iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            (!name.ends_with("-ro")).then(|| path.with_file_name(format!("{name}-ro")))
        }));
    }
    paths
}

/// Connects to the first socket that takes us, and opens the driver.
pub(crate) async fn dial(settings: &Settings, past: Past) -> Result<Link, Box<NoLink>> {
    let started = now();
    let mut refused = Vec::new();
    for path in candidates(settings) {
        match Client::connect(&path, started + settings.deadlines.connect).await {
            Ok(client) => return login(settings, past, &path, client, started).await,
            Err(error) => refused.push((path, error)),
        }
    }
    // The worst news first: a queue that is full, then a daemon that is gone, then one that is closed to us.
    let kind = |kind| refused.iter().find(|(_, error)| error.kind() == kind);
    if let Some((path, _)) = kind(io::ErrorKind::WouldBlock) {
        let backlog = backlog::find(path).ok().flatten().map(|(_, backlog)| backlog);
        let look = Look::at(any_daemon(settings)).await;
        let asked = Asked::Connection { pong: false };
        return Err(Box::new(silence(settings, past, look, backlog, asked, started, 0)));
    }
    let elapsed = now() - started;
    let finding = if let Some((path, _)) = kind(io::ErrorKind::ConnectionRefused) {
        nobody_listens(settings, past, path, elapsed)
    } else if let Some((path, _)) = kind(io::ErrorKind::PermissionDenied) {
        let reason = format!("no permission to connect to {}", path.display());
        Finding::new(Step::Connect, Health::Unknown, reason, elapsed).advise(
            "run as root, or as a member of the group libvirt; read_only may do for unprivileged users",
        )
    } else if let Some((path, error)) =
        refused.iter().find(|(_, error)| error.kind() != io::ErrorKind::NotFound)
    {
        let reason = format!("cannot connect to {}: {error}", path.display());
        Finding::new(Step::Connect, Health::Unknown, reason, elapsed).advise("is this the path of a socket?")
    } else {
        nothing_there(settings, past, elapsed)
    };
    let absent = finding.health == Health::Failed;
    let daemon = if absent { any_daemon(settings) } else { None };
    let finding = match daemon {
        Some(process) => alive(finding, process),
        None => finding,
    };
    Err(Box::new(NoLink { finding, daemon, silent: false, absent, path: None, worked: false }))
}

/// A socket that refuses.
fn nobody_listens(settings: &Settings, past: Past, path: &Path, elapsed: Duration) -> Finding {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| {
        // A link is followed by the system, too.
        file.file_type().is_socket() || std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
    });
    if !is_socket {
        let reason = format!("{} is not a socket", path.display());
        return Finding::new(Step::Socket, Health::Unknown, reason, elapsed).advise(PATHS);
    }
    if !past.linked && !is_installed(settings) {
        let reason = format!("nobody listens at {}, and libvirt is not installed", path.display());
        return Finding::new(Step::Socket, Health::Unknown, reason, elapsed).advise(PATHS);
    }
    let reason = format!("libvirt is not running: nobody listens at {}", path.display());
    Finding::new(Step::Connect, Health::Failed, reason, elapsed).advise(START).at_once()
}

/// No socket at all.
fn nothing_there(settings: &Settings, past: Past, elapsed: Duration) -> Finding {
    let list = settings.sockets.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let installed = is_installed(settings);
    // Given by hand, a path counts only if it looks like one of libvirt's, in a folder that is there.
    let plausible = !settings.by_hand || settings.sockets.iter().any(|path| is_plausible(path));
    if past.linked || (installed && plausible) {
        let reason = format!("libvirt is not running: there is no socket {list}");
        return Finding::new(Step::Connect, Health::Failed, reason, elapsed).advise(START).at_once();
    }
    let reason = if installed {
        format!("there is no socket {list}, and never was since this probe started")
    } else {
        format!("libvirt is not installed: there is neither a socket {list} nor a program")
    };
    Finding::new(Step::Socket, Health::Unknown, reason, elapsed).advise(PATHS)
}

/// There is no way in, but there is a daemon.
fn alive(mut finding: Finding, process: Process) -> Finding {
    let name = process.stat().map(|stat| stat.name).unwrap_or_default();
    let reason = finding.reason.trim_start_matches("libvirt is not running: ");
    finding.reason = format!("{reason}, although {name} runs (pid {})", process.pid);
    finding
        .advise(format!(
            "did somebody remove it? systemctl restart {name}.socket {name} (guests go on running)"
        ))
        .with("pid", process.pid)
}

fn is_plausible(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix("-ro").unwrap_or(name);
    let known = name == "libvirt-sock" || (name.starts_with("virt") && name.ends_with("-sock"));
    known && path.parent().is_some_and(Path::is_dir)
}

fn is_installed(settings: &Settings) -> bool {
    settings
        .folders
        .iter()
        .flat_map(|folder| settings.programs.iter().map(move |program| folder.join(program)))
        .any(|program| program.exists())
}

/// A daemon by its files, or by its name. Looks through all processes if need be.
pub(crate) fn any_daemon(settings: &Settings) -> Option<Process> {
    let is_daemon = |name: &str| settings.programs.iter().any(|program| process::is_program(name, program));
    let by_file = settings.pid_files.iter().find_map(|file| {
        let (process, stat) = Process::alive(pid_in(file)?)?;
        is_daemon(&stat.name).then_some(process)
    });
    by_file.or_else(|| process::named(&settings.programs))
}

/// The file of a socket, to notice that it is another one.
pub(crate) fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.ino())
}

/// Whether a daemon has used more processor time since than answering us costs.
pub(crate) fn has_worked(daemon: Option<Process>, before: u64) -> bool {
    daemon.and_then(Process::stat).is_some_and(|stat| stat.ticks >= before.saturating_add(WORK))
}

async fn login(
    settings: &Settings,
    past: Past,
    path: &Path,
    mut client: Client,
    started: Instant,
) -> Result<Link, Box<NoLink>> {
    let until = started + settings.deadlines.connect;
    let found = client.peer().and_then(Process::find);
    let (daemon, name) = match found {
        Some((process, stat)) => (Some(process), stat.name),
        None => (None, String::new()),
    };
    // systemd holds the socket of a daemon that it is about to start.
    let stranger = !name.is_empty()
        && name != SYSTEMD
        && !settings.programs.iter().any(|program| process::is_program(&name, program));
    let file = inode(path);
    let before = daemon.and_then(Process::stat).map_or(0, |stat| stat.ticks);
    let others;
    let answer = {
        let mut handshake = std::pin::pin!(handshake(settings, &mut client, until));
        let early = tokio::time::timeout(STRANGER, &mut handshake).await;
        others = early.is_err() && name == SYSTEMD && is_for_others(settings, path);
        match early {
            Ok(answer) => answer,
            Err(_) if others => Err(WaitError::Late),
            Err(_) => handshake.await,
        }
    };
    let stranger = stranger || others;
    let peer = Peer { path, daemon, name: &name, stranger, others };
    let error = match answer {
        Ok(events) => {
            let listener = backlog::find(path).ok().flatten().map(|(listener, _)| listener);
            let path = path.to_owned();
            // One that systemd has started for us was not there when we connected.
            let started = if daemon.is_none() || name == SYSTEMD { any_daemon(settings) } else { None };
            let (daemon, name) = match started {
                Some(started) => (Some(started), started.stat().map(|stat| stat.name).unwrap_or_default()),
                None => (daemon, name),
            };
            return Ok(Link { client, path, daemon, name, listener, file, events, asked: Asks::default() });
        }
        Err(error) => error,
    };
    if matches!(error, WaitError::Late) && !stranger {
        let backlog = backlog::find(path).ok().flatten().map(|(_, backlog)| backlog);
        let asked = Asked::Connection { pong: client.session().pongs() > 0 };
        drop(client);
        let daemon =
            if name == SYSTEMD { any_daemon(settings) } else { daemon.or_else(|| any_daemon(settings)) };
        let look = Look::at(daemon).await;
        let mut no_link = silence(settings, past, look, backlog, asked, started, before);
        no_link.path = Some(path.to_owned());
        return Err(Box::new(no_link));
    }
    Err(Box::new(peer.refused(settings, past, &error, now() - started)))
}

/// Whether systemd holds this socket for something else: a daemon of libvirt runs, and has it not.
fn is_for_others(settings: &Settings, path: &Path) -> bool {
    let Some((listener, _)) = backlog::find(path).ok().flatten() else { return false };
    let mut found = HashSet::new();
    for program in &settings.programs {
        let Some(daemon) = process::named(std::slice::from_ref(program)) else { continue };
        let Ok(pid) = u32::try_from(daemon.pid) else { continue };
        if Roots::default().sockets(pid, &mut found).is_err() {
            return false;
        }
    }
    !found.is_empty() && !found.contains(&listener.inode())
}

fn silence(
    settings: &Settings,
    past: Past,
    look: Look,
    backlog: Option<Backlog>,
    asked: Asked,
    started: Instant,
    before: u64,
) -> NoLink {
    let silent = now() - past.silent.unwrap_or(started);
    let daemon = look.process;
    let worked = before > 0 && has_worked(daemon, before) || look.condition == Condition::Blocked;
    let waited = now() - started;
    let silence = Silence { asked, look, backlog, waited, silent, patience: settings.patience };
    NoLink { finding: silence.finding(), daemon, silent: true, absent: false, path: None, worked }
}

struct Peer<'a> {
    path: &'a Path,
    daemon: Option<Process>,
    name: &'a str,
    stranger: bool,
    /// It is a socket that systemd holds for something else.
    others: bool,
}

impl Peer<'_> {
    /// The finding about a peer that answers, but not as it should.
    fn refused(&self, settings: &Settings, past: Past, error: &WaitError, elapsed: Duration) -> NoLink {
        let path = self.path.display();
        let finding = |health, reason: String| Finding::new(Step::Connect, health, reason, elapsed);
        let mut absent = false;
        let finding = if self.stranger {
            let name = self.name;
            let pid = self.daemon.map_or(0, |process| process.pid);
            if matches!(error, WaitError::Late) && settings.vouched && !self.others {
                // Something in front of libvirt, perhaps.
                let reason = format!("{name} takes connections at {path} and does not answer");
                let finding = Finding::new(Step::EventLoop, Health::Failed, reason, elapsed).advise(format!(
                    "is this a libvirt daemon, or something in front of one? ls -l /proc/{pid}/exe"
                ));
                return NoLink {
                    finding: finding.with("pid", pid),
                    daemon: self.daemon,
                    silent: true,
                    absent: false,
                    path: None,
                    worked: false,
                };
            }
            finding(Health::Unknown, format!("{path} belongs to {name}, which is no libvirt ({error})"))
                .advise(PATHS)
        } else {
            match error {
                WaitError::Call(CallError::Refused(refusal)) => {
                    self.refusal(settings, past, refusal, elapsed)
                }
                WaitError::Call(CallError::Peer(_)) | WaitError::Lost(Lost::Peer(_))
                    if self.name.is_empty() =>
                {
                    finding(Health::Unknown, format!("whoever listens at {path} speaks no libvirt: {error}"))
                        .advise(PATHS)
                }
                WaitError::Lost(Lost::Closed | Lost::Io(_)) => {
                    absent = true;
                    finding(
                        Health::Failed,
                        format!("libvirt takes connections at {path} and ends them: {error}"),
                    )
                    .advise("journalctl -u libvirtd -u virtqemud -n 50 says why; it may be about to end")
                }
                _ => finding(Health::Failed, format!("libvirt at {path} talks nonsense: {error}"))
                    .advise("journalctl -u libvirtd -u virtqemud -n 50; restart it"),
            }
        };
        let path = Some(self.path.to_owned());
        NoLink { finding, daemon: self.daemon, silent: false, absent, path, worked: false }
    }

    fn refusal(&self, settings: &Settings, past: Past, refusal: &Refusal, elapsed: Duration) -> Finding {
        let (path, uri) = (self.path.display(), &settings.uri);
        let finding = |health, reason: String| Finding::new(Step::Connect, health, reason, elapsed);
        if refusal.is_permission() {
            finding(
                Health::Unknown,
                format!("libvirt at {path} lets nobody in without authentication: {refusal}"),
            )
            .advise("run as root, or see auth_unix_rw in libvirtd.conf and polkit's rules")
        } else if !past.linked && (refusal.is_unsupported() || *uri != Settings::default().uri) {
            finding(Health::Unknown, format!("libvirt at {path} does not open {uri}: {refusal}"))
                .advise("is the URI right, and the driver's package installed?")
        } else {
            finding(Health::Failed, format!("libvirt does not open {uri}: {refusal}"))
                .advise("journalctl -u libvirtd -u virtqemud -n 50")
        }
    }
}

/// Authentication, pings, the driver, events. Whether events are told.
async fn handshake(settings: &Settings, client: &mut Client, until: Instant) -> Result<bool, WaitError> {
    // The event loop answers this itself, so silence can be told from a lack of workers.
    client.session().ping(now());
    let ways = client.ask(&AuthList, until).await?;
    if ways.contains(&Auth::Polkit) {
        client.ask(&AuthPolkit, until).await?;
    } else if !ways.contains(&Auth::None) {
        let message = "only SASL is offered, which needs a user name and a password".to_owned();
        return Err(CallError::Refused(Refusal { code: 45, message }).into());
    }
    client.ask(&HasPings, until).await?;
    let open = Open { uri: settings.uri.clone(), read_only: settings.read_only };
    client.ask(&open, until).await?;
    let asked = [Subscribe::Lifecycle, Subscribe::IoError].map(|event| client.call(&event));
    let mut events = true;
    for ticket in asked {
        match client.answer(ticket, until).await {
            Ok(_) => {}
            // A driver without events is watched by questions alone.
            Err(WaitError::Call(CallError::Refused(_))) => events = false,
            Err(error) => return Err(error),
        }
    }
    Ok(events)
}

/// Ticks.
const WORK: u64 = 3;
const SYSTEMD: &str = "systemd";
/// Whoever is no libvirt need not be waited for longer.
const STRANGER: Duration = Duration::from_millis(500);
const PATHS: &str = "libvirt's sockets are /run/libvirt/virtqemud-sock and /run/libvirt/libvirt-sock";
const START: &str = "systemctl status libvirtd virtqemud; journalctl -u libvirtd -u virtqemud -n 50; systemctl \
                     start libvirtd (or virtqemud)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_sockets_come_last() {
        let settings = Settings { read_only: true, ..Settings::default() };
        let names: Vec<_> =
            candidates(&settings).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["virtqemud-sock", "libvirt-sock", "virtqemud-sock-ro", "libvirt-sock-ro"]);
        let given = Settings { read_only: true, ..Settings::at("/x/libvirt-sock-ro") };
        assert_eq!(candidates(&given), [PathBuf::from("/x/libvirt-sock-ro")]);
    }

    #[test]
    fn a_path_by_hand_must_look_right_to_be_missed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, plausible) in
            [("libvirt-sock", true), ("virtqemud-sock-ro", true), ("libvirt-sokc", false), ("sock", false)]
        {
            assert_eq!(is_plausible(&folder.path().join(name)), plausible, "{name}");
        }
        assert!(!is_plausible(Path::new("/nowhere/libvirt-sock")));
    }
}

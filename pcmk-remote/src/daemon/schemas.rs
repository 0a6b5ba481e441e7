//! Fetches the schemas that the cluster has and this node has not, as its tools need them.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pcmk_proto::qb::IpcName;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::config::SERVICE;
use crate::caller::{Access, Caller};
use crate::executor::Mono;
use crate::host::schemas::{clear, newest_installed, write};
use crate::ids::{ClientId, ToolId};
use crate::proxy::schemas::{Fetch, Question, SchemaFile, Step};
use crate::proxy::{Action, Input};

/// From the first question to the last file.
const TIMEOUT_MS: u64 = 5 * 60 * 1000;

/// Where schemas are.
#[derive(Debug, Clone)]
pub(super) struct SchemaPaths {
    /// Those of the local packages.
    pub(super) installed: PathBuf,
    /// Those that the cluster sent.
    pub(super) fetched: PathBuf,
}

/// What work on files came to.
#[derive(Debug)]
pub(super) enum News {
    /// The files of an earlier cluster are gone; this is the newest schema that is installed.
    Prepared(u64, io::Result<Option<String>>),
    /// So many files are in place.
    Written(u64, io::Result<usize>),
}

/// Fetches schemas, one time after another.
#[derive(Debug)]
pub(super) struct Schemas {
    files: Arc<Files>,
    report: mpsc::UnboundedSender<News>,
    current: Option<Current>,
}

/// The directories; work on them is done one after the other, and only for the newest fetch.
#[derive(Debug)]
struct Files {
    paths: SchemaPaths,
    newest: AtomicU64,
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Current {
    number: u64,
    provider: ClientId,
    deadline: Mono,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The directory is made ready.
    Preparing,
    /// The session is being opened; this is to be asked then.
    Opening(Fetch, Question),
    /// A question waits for its answer.
    Asking(Fetch),
    /// Files are being written.
    Writing,
}

impl Schemas {
    /// `report` hears what became of work on files.
    pub(super) fn new(paths: SchemaPaths, report: mpsc::UnboundedSender<News>) -> Self {
        let files = Files { paths, newest: AtomicU64::new(0), turn: Mutex::new(()) };
        Self { files: Arc::new(files), report, current: None }
    }

    /// Begins to fetch from a new provider; an earlier attempt is given up.
    pub(super) fn fetch(&mut self, provider: ClientId, now: Mono) -> Option<Input> {
        let earlier = self.give_up();
        let number = self.files.newest.fetch_add(1, Ordering::Relaxed) + 1;
        self.current =
            Some(Current { number, provider, deadline: now.plus(TIMEOUT_MS), state: State::Preparing });
        let prepare = |files: &Files| {
            clear(&files.paths.fetched)?;
            Ok(newest_installed(&files.paths.installed))
        };
        self.aside(number, prepare, News::Prepared);
        earlier
    }

    /// When [`Schemas::expire`] is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.current.as_ref().map(|current| current.deadline)
    }

    /// Gives up what has taken too long.
    pub(super) fn expire(&mut self, now: Mono) -> Option<Input> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        self.failed("the cluster did not answer")
    }

    /// Takes in what became of work on files.
    pub(super) fn news(&mut self, news: News) -> Option<Input> {
        let (News::Prepared(number, _) | News::Written(number, _)) = news;
        let current = self.current.as_mut().filter(|current| current.number == number)?;
        match news {
            News::Prepared(_, Ok(Some(after))) => {
                info!("Fetching extra schema files from cluster");
                debug!("The newest schema of this node is {after}");
                let (fetch, question) = Fetch::begin(after, SERVICE);
                current.state = State::Opening(fetch, question);
                Some(Input::Connecting {
                    tool: ToolId::own(number),
                    server: IpcName::CibRo,
                    caller: ourselves(),
                    session: super::node::uuid(),
                    provider: Some(current.provider),
                })
            }
            News::Prepared(_, Ok(None)) => {
                debug!("This node has no schemas in {:?}, and needs none", self.files.paths.installed);
                self.current = None;
                None
            }
            News::Written(_, Ok(count)) => {
                info!("Fetching extra schema files completed successfully ({count} files)");
                self.current = None;
                None
            }
            News::Prepared(_, Err(error)) | News::Written(_, Err(error)) => {
                self.failed(&format!("{}: {error}", self.files.paths.fetched.display()))
            }
        }
    }

    /// Takes in what the proxy wants of our own session.
    pub(super) fn session(&mut self, action: Action) -> Option<Input> {
        let current = self.current.as_mut()?;
        let tool = ToolId::own(current.number);
        match action {
            Action::Accept { tool: accepted } if accepted == tool => {
                match std::mem::replace(&mut current.state, State::Preparing) {
                    State::Opening(fetch, question) => {
                        current.state = State::Asking(fetch);
                        Some(ask(tool, question))
                    }
                    other => {
                        current.state = other;
                        None
                    }
                }
            }
            Action::Respond { tool: answered, msg_id, payload } if answered == tool => {
                let State::Asking(fetch) = &mut current.state else { return None };
                match fetch.answer(msg_id, &payload)? {
                    Ok(Step::Ask(question)) => Some(ask(tool, question)),
                    Ok(Step::Done(files)) => {
                        self.keep(files);
                        Some(Input::Closed { tool })
                    }
                    Err(error) => self.failed(&error.to_string()),
                }
            }
            Action::Refuse { tool: ended, .. } | Action::Close { tool: ended } if ended == tool => {
                drop(self.failed("the cluster closed the session"));
                None
            }
            _ => None,
        }
    }

    fn keep(&mut self, files: Vec<SchemaFile>) {
        let Some(current) = self.current.as_mut() else { return };
        current.state = State::Writing;
        let number = current.number;
        let write = move |place: &Files| {
            if !files.is_empty() {
                write(&place.paths.fetched, &files)?;
            }
            Ok(files.len())
        };
        self.aside(number, write, News::Written);
    }

    /// Ends the present attempt and takes away what it may have left.
    fn failed(&mut self, reason: &str) -> Option<Input> {
        warn!("Could not load additional schema files: {reason}");
        let end = self.give_up();
        let number = self.files.newest.load(Ordering::Relaxed);
        self.aside(number, |files| clear(&files.paths.fetched).map(|()| 0), News::Written);
        end
    }

    fn give_up(&mut self) -> Option<Input> {
        let given_up = self.current.take()?;
        let open = matches!(given_up.state, State::Opening(..) | State::Asking(_));
        open.then(|| Input::Closed { tool: ToolId::own(given_up.number) })
    }

    /// Does something with the directories where a dead disk harms nobody.
    fn aside<T: 'static>(
        &self,
        number: u64,
        work: impl FnOnce(&Files) -> io::Result<T> + Send + 'static,
        news: impl FnOnce(u64, io::Result<T>) -> News + Send + 'static,
    ) {
        let (files, report) = (Arc::clone(&self.files), self.report.clone());
        tokio::task::spawn_blocking(move || {
            let _turn = files.turn.lock().unwrap_or_else(PoisonError::into_inner);
            if files.newest.load(Ordering::Relaxed) == number {
                let _ = report.send(news(number, work(&files)));
            }
        });
    }
}

fn ask(tool: ToolId, question: Question) -> Input {
    let Question { msg_id, flags, payload } = question;
    Input::Request { tool, msg_id, flags, payload }
}

pub(super) fn ourselves() -> Caller {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let user = if uid.is_root() { "root" } else { "#unprivileged" };
    Caller {
        pid: std::process::id(),
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        user: user.to_owned(),
        access: Access::Privileged,
    }
}

//! The power switch of a cluster: serves what the fence agent `fence_rig` asks for, and remembers it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crate::error::{Context, Result};

/// Something the cluster asked of the power switch.
#[derive(Clone, Debug)]
pub struct Request {
    /// When the agent asked.
    pub asked: SystemTime,
    /// When it was done; not yet: none.
    pub done: Option<SystemTime>,
    /// Which node.
    pub node: String,
    /// `reboot`, `off`, `on` or `status`.
    pub action: String,
}

/// What turns a request into deeds: node, action. Gives what the asker finds in the answer.
pub type Switch = dyn Fn(&str, &str) -> Result<&'static str> + Send + Sync;

/// The power switch. It stops serving when dropped.
pub struct Server {
    requests: Arc<Mutex<Vec<Request>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the requests in a folder that the nodes share.
    pub fn start(folder: PathBuf, switch: Box<Switch>) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let end = Arc::new(AtomicBool::new(false));
        let (log, stop) = (Arc::clone(&requests), Arc::clone(&end));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                serve(&folder, &*switch, &log);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Ok(Self { requests, end, thread: Some(thread) })
    }

    /// Everything asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests since `when` for this node.
    pub fn since(&self, when: SystemTime, node: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.asked >= when && request.node == node).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(folder: &Path, switch: &Switch, log: &Mutex<Vec<Request>>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "req") {
            let asked =
                entry.metadata().and_then(|meta| meta.modified()).unwrap_or_else(|_| SystemTime::now());
            if let Err(error) = one(&path, asked, switch, log) {
                #[allow(clippy::print_stderr, reason = "nobody else hears of it")]
                {
                    eprintln!("rig: power switch: {error}");
                }
            }
        }
    }
}

fn one(path: &Path, asked: SystemTime, switch: &Switch, log: &Mutex<Vec<Request>>) -> Result<()> {
    let name = path.file_stem().context("a request without a name")?.to_string_lossy().into_owned();
    let mut parts = name.split('.');
    let (node, action) = parts.next().zip(parts.next()).context(format!("not a request: {name}"))?;
    let request = Request { asked, done: None, node: node.to_owned(), action: action.to_owned() };
    let at = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(request);
        log.len() - 1
    };
    // A failed power action stays unanswered: the agent gives up and the cluster says so.
    fs::rename(path, path.with_extension("doing"))?;
    let answer = switch(node, action)?;
    fs::write(path.with_extension("doing"), answer)?;
    if let Some(request) = log.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
        request.done = Some(SystemTime::now());
    }
    Ok(fs::rename(path.with_extension("doing"), path.with_extension("done"))?)
}

//! `watch`: checks again and again. On a terminal a live picture, elsewhere a line per change.

mod history;
mod screen;
mod terminal;

use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::args::WatchOptions;
use super::look::Look as _;
use super::probe::Probe;
use super::{Exit, Failure, json_line, print, text};
use crate::config::Config;
use crate::verdict::{Judge, Report, Rules, Subject, Verdict};
use history::History;
use screen::Frame;
use terminal::Terminal;

/// What happens again and again (an event in a burst) is looked at no more often than this.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two pictures if nothing happens.
const REDRAW: Duration = Duration::from_secs(1);

/// What a watcher of one subject tells.
enum News {
    Begins(Subject),
    Ends(Verdict, Report),
}

pub(super) async fn run(config: &Config, options: &WatchOptions) -> Result<Exit, Failure> {
    let subjects = options.subjects.list(&config.subjects);
    let (sender, mut news) = mpsc::channel(16);
    let mut watchers = JoinSet::new();
    for subject in &subjects {
        let probe = Probe::new(*subject, config, options.socket.socket.as_deref(), None);
        watchers.spawn(watch(probe, config.verdict, options.interval, options.count, sender.clone()));
    }
    drop(sender);
    let history = History::of(&subjects);
    if options.json || !std::io::stdout().is_terminal() {
        lines(history, &mut news, options.json).await
    } else {
        live(history, &mut news, options.interval).await
    }
}

/// Ends when it has checked as often as it should, or nobody listens any more.
async fn watch(
    mut probe: Probe,
    rules: Rules,
    every: Duration,
    count: Option<u64>,
    news: mpsc::Sender<News>,
) {
    let mut judge = Judge::new(rules);
    let mut left = count;
    while left != Some(0) {
        if news.send(News::Begins(probe.subject())).await.is_err() {
            return;
        }
        let report = probe.check().await;
        let verdict = judge.hear(&report, SystemTime::now());
        if news.send(News::Ends(verdict, report)).await.is_err() {
            return;
        }
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            return;
        }
        let event = async {
            probe.changed().await;
            sleep(PAUSE).await;
        };
        tokio::select! {
            () = sleep(every) => {}
            () = event => {}
        }
    }
}

/// For files, pipes and programs.
async fn lines(mut history: History, news: &mut mpsc::Receiver<News>, json: bool) -> Result<Exit, Failure> {
    let mut ends = Ends::new()?;
    loop {
        let told = tokio::select! {
            told = news.recv() => told,
            () = ends.wait() => return Ok(Exit::OK),
        };
        let (verdict, report) = match told {
            None => return Ok(history.worst().into()),
            Some(News::Begins(_)) => continue,
            Some(News::Ends(verdict, report)) => (verdict, report),
        };
        let now = SystemTime::now();
        if json {
            print(json_line(&super::output::Object::watched(&verdict, &report))?.as_bytes())?;
        }
        if let Some(change) = history.ends(verdict, report, now)
            && !json
        {
            print(format!("{} {}\n", text::moment(now), screen::words(&change)).as_bytes())?;
        }
    }
}

async fn live(
    mut history: History,
    news: &mut mpsc::Receiver<News>,
    every: Duration,
) -> Result<Exit, Failure> {
    let mut ends = Ends::new()?;
    let (mut resized, mut stopped) =
        (on(SignalKind::window_change())?, on(SignalKind::from_raw(Signal::SIGTSTP as i32))?);
    let mut redraw = interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let host = nix::unistd::gethostname().unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(
        "libvirt-probe {version} on {}, every {}",
        host.to_string_lossy(),
        humantime::format_duration(every)
    );
    let mut terminal = Terminal::take();
    let exit = loop {
        let (width, height) = Terminal::size();
        let frame = Frame { width, height, colour, now: SystemTime::now(), title: &title };
        Terminal::show(&screen::picture(&history, &frame));
        let key = async {
            match &mut terminal {
                Some(terminal) => terminal.key().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            told = news.recv() => match told {
                None => break history.worst().into(),
                Some(News::Begins(subject)) => history.begins(subject, SystemTime::now()),
                Some(News::Ends(verdict, report)) => drop(history.ends(verdict, report, SystemTime::now())),
            },
            key = key => if matches!(key, b'q' | b'Q' | 27) { break Exit::OK },
            _ = resized.recv() => {}
            _ = stopped.recv() => {
                // Ctrl-Z: the shell gets its terminal back, and we ours when we go on.
                drop(terminal.take());
                let _ = raise(Signal::SIGSTOP);
                terminal = Terminal::take();
            }
            _ = redraw.tick() => {}
            () = ends.wait() => break Exit::OK,
        }
    };
    // What was there last stays readable.
    drop(terminal);
    if let Some(change) = history.changes.back() {
        print(format!("last change: {} {}\n", text::moment(change.at), screen::words(change)).as_bytes())?;
    }
    Ok(exit)
}

/// What ends the program in order.
struct Ends([Signals; 3]);

impl Ends {
    fn new() -> Result<Self, Failure> {
        Ok(Self([on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn on(kind: SignalKind) -> Result<Signals, Failure> {
    signal(kind).map_err(|source| Failure::Io { what: "cannot wait for signals", source })
}

//! Other programs: run with a deadline, in a process group of their own that ends with them, with bounded output.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Where programs are looked for, after the folders of the caller.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Of what was printed, so much is kept.
const KEPT: usize = 64 * 1024;

/// A program to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// A name, or a path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment, beside `PATH` and `LC_ALL`.
    pub environment: Vec<(String, String)>,
    /// What it reads.
    pub input: Vec<u8>,
    /// Of its standard output, so much is kept.
    pub kept: usize,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none if a signal has ended it.
    pub code: Option<i32>,
    /// The beginning of its standard output.
    pub output: String,
    /// The beginning of its standard error.
    pub errors: String,
    /// Whether it printed more than was kept.
    pub cut: bool,
}

/// Why it did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It cannot be run.
    #[error("{program} cannot be run: {error}", program = .0.display(), error = .1)]
    Spawn(PathBuf, #[source] io::Error),
    /// It took too long and was killed.
    #[error("{program} did not end within {seconds} s and was killed", program = .0.display(), seconds = .1.as_secs_f64())]
    Late(PathBuf, Duration),
}

impl Program {
    /// This program, without arguments.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Vec::new(),
            kept: KEPT,
        }
    }

    /// With these arguments.
    #[must_use]
    pub fn with<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it. It and everything it started in its group is killed when the time is over, or when this is dropped.
    pub async fn run(self, within: Duration) -> Result<Ended, ProcessError> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", search_path(std::env::var_os("PATH")))
            .env("LC_ALL", "C")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ProcessError::Spawn(self.program.clone(), error))?;
        let group = Group::of(&child);
        let input = self.input;
        let kept = self.kept;
        let ended = async {
            let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let feed = async move {
                if let Some(mut stdin) = stdin {
                    // A program that does not read everything is no error.
                    let _ = stdin.write_all(&input).await;
                }
            };
            // What it left behind in its group may hold the pipes open: it ends when the program does.
            let wait = async {
                let status = child.wait().await;
                drop(group);
                status
            };
            let ((), status, (output, cut), (errors, _)) =
                tokio::join!(feed, wait, text(out, kept), text(err, KEPT));
            status.map(|status| Ended { code: status.code(), output, errors, cut })
        };
        match timeout(within, ended).await {
            Ok(ended) => ended.map_err(|error| ProcessError::Spawn(self.program, error)),
            Err(_) => Err(ProcessError::Late(self.program, within)),
        }
    }
}

/// The caller's, and what it lacks: cron and su leave out the folders of the cluster's tools.
fn search_path(callers: Option<OsString>) -> OsString {
    let mut path = callers.unwrap_or_default();
    let has: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for folder in FOLDERS.iter().filter(|folder| has.iter().all(|has| has != Path::new(folder))) {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(folder);
    }
    path
}

/// Until this process is told to end: by the cluster when its time is over, by systemd, by a person at the terminal.
pub async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

impl Ended {
    /// Whether it ended well.
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// How it ended, for people.
    pub fn why(&self) -> String {
        let code =
            self.code.map_or_else(|| "killed by a signal".to_owned(), |code| format!("exit code {code}"));
        let line =
            |text: &str| text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
        match line(&self.errors).or_else(|| line(&self.output)) {
            Some(said) => {
                let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
                format!("{code}: {said}")
            }
            None => code,
        }
    }
}

/// A process group. Ends with this value.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 1).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// The beginning is kept, the rest is read and forgotten so that the program never blocks.
async fn text(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> (String, bool) {
    let Some(mut pipe) = pipe else { return (String::new(), false) };
    let mut kept = Vec::new();
    let _ = (&mut pipe).take(most as u64).read_to_end(&mut kept).await;
    let more = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.unwrap_or(0);
    (String::from_utf8_lossy(&kept).into_owned(), more > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("sh").with(["-c", script])
    }

    #[tokio::test]
    async fn what_it_says_and_how_it_ends() {
        let mut program = shell("cat; echo oops >&2; exit 3");
        program.input = b"in".to_vec();
        let ended = program.run(Duration::from_secs(20)).await.unwrap();
        assert_eq!(
            (ended.code, ended.output.as_str(), ended.why().as_str()),
            (Some(3), "in", "exit code 3: oops")
        );
        assert!(!ended.is_ok() && !ended.cut);
    }

    #[tokio::test]
    async fn too_late_is_killed_with_everything_it_started() {
        let begun = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let late = shell(&script).run(Duration::from_secs(1)).await;
        assert!(matches!(late, Err(ProcessError::Late(..))), "{late:?}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        let pid = std::fs::read_to_string(&file).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", state());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[test]
    fn tools_are_found_wherever_it_was_started() {
        let path = |callers: Option<&str>| search_path(callers.map(Into::into)).into_string().unwrap();
        for none in [None, Some("")] {
            assert_eq!(path(none), "/usr/sbin:/usr/bin:/sbin:/bin");
        }
        // As cron has it, and as su leaves it.
        assert_eq!(path(Some("/usr/bin:/bin")), "/usr/bin:/bin:/usr/sbin:/sbin");
        assert_eq!(path(Some("/opt/x:/usr/bin:/bin")), "/opt/x:/usr/bin:/bin:/usr/sbin:/sbin");
        let all = "/bin/:/sbin:/usr/bin:/usr/sbin:/opt/x";
        assert_eq!(path(Some(all)), all);
    }

    #[tokio::test]
    async fn what_it_leaves_behind_is_not_waited_for() {
        let begun = Instant::now();
        let ended = shell("sleep 1000 & echo done").run(Duration::from_secs(60)).await.unwrap();
        assert_eq!((ended.code, ended.output.as_str()), (Some(0), "done\n"));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_flood_is_cut() {
        let mut program = shell("yes | head -c 1000000");
        program.kept = 100;
        let ended = program.run(Duration::from_secs(20)).await.unwrap();
        assert!(ended.cut && ended.output.len() == 100 && ended.is_ok());
        let missing = Program::new("/no/such/program").run(Duration::from_secs(1)).await;
        assert!(missing.unwrap_err().to_string().starts_with("/no/such/program cannot be run"));
    }
}

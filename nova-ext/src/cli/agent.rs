//! The resource agent `ocf:pcmk-remote:nova-evacuate`: keeps `nova-ha engine` on one controller.
//!
//! Takes the parameters of `NovaEvacuate`. A password goes to the engine in its environment, never on a command line.

mod running;

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::serve::{self, Health};
use running::{Resource, engine, is_nobody, pid_file, warn};

const OK: u8 = 0;
const GENERIC: u8 = 1;
const UNIMPLEMENTED: u8 = 3;
/// Something on this controller: another one may have it right.
const INSTALLED: u8 = 5;
/// A parameter of the resource: it is as wrong everywhere, and the cluster stops the resource.
const CONFIGURED: u8 = 6;
const NOT_RUNNING: u8 = 7;

/// An engine that has taken no order for so long hangs.
const HANGS: Duration = Duration::from_secs(60);
/// For it to begin, and to end by itself.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);
/// A log that is larger begins anew.
const LARGE_LOG: u64 = 16 << 20;
/// So much of its end is read for the last words.
const LAST_WORDS: u64 = 4096;

/// Name, default, whether it takes yes or no, what it is.
const PARAMETERS: &[(&str, &str, bool, &str)] = &[
    ("config", "/etc/pcmk-remote/nova-ha.toml", false, "Configuration of nova-ha"),
    ("auth_url", "", false, "Keystone's URL; without it the credentials of the configuration are used"),
    ("username", "", false, "Keystone user"),
    (
        "password",
        "",
        false,
        "Keystone password. Everybody who can read the cluster's configuration can read it: prefer a credentials file",
    ),
    ("tenant_name", "", false, "Keystone project"),
    ("user_domain", "Default", false, "Keystone domain of the user"),
    ("project_domain", "Default", false, "Keystone domain of the project"),
    (
        "domain",
        "",
        false,
        "Accepted for compatibility: names of hosts are matched by the configuration and by Nova's list",
    ),
    ("endpoint_type", "internalURL", false, "Which of Nova's endpoints to use with auth_url"),
    ("region_name", "", false, "Region of Nova in Keystone's catalog"),
    ("insecure", "0", true, "Accept any TLS certificate. Not recommended"),
    (
        "no_shared_storage",
        "0",
        true,
        "Accepted for compatibility: Nova finds it out by itself, the policy says what may be lost",
    ),
    ("evacuate_delay", "0", false, "Accepted for compatibility: nothing is waited for that can be checked"),
    ("verbose", "0", true, "More messages in engine.log"),
];

/// Runs an action with the parameters of the environment.
pub(super) async fn run(action: &str) -> u8 {
    match action {
        "meta-data" | "metadata" => {
            let _ = io::stdout().write_all(metadata().as_bytes());
            OK
        }
        "usage" | "help" => {
            let _ =
                io::stdout().write_all(b"usage: nova-evacuate {start|stop|monitor|validate-all|meta-data}\n");
            OK
        }
        "start" | "stop" | "monitor" | "status" | "validate-all" => {
            act(action).await.unwrap_or_else(|(code, why)| {
                let _ = writeln!(io::stderr(), "ocf-exit-reason:{why}");
                code
            })
        }
        other => {
            let _ = writeln!(io::stderr(), "ocf-exit-reason:there is no action {other:?}");
            UNIMPLEMENTED
        }
    }
}

type Why = (u8, String);

async fn act(action: &str) -> Result<u8, Why> {
    let path = parameter("config");
    let config = Config::load(path.as_deref().map(Path::new));
    let resource = Resource::new(path.as_deref(), config.as_ref().ok());
    match (action, config) {
        // Nothing must keep the cluster from stopping it.
        ("stop", _) => stop(&resource).await,
        ("start", Ok(config)) => start(&resource, &config, path).await,
        ("validate-all", Ok(config)) => validate(&config).map(|()| OK),
        ("start" | "validate-all", Err(error)) => Err((INSTALLED, error.to_string())),
        (_, config) => {
            // The engine that runs has read it when it could be read.
            let _ = config.inspect_err(|error| warn("the configuration cannot be read any more", error));
            monitor(&resource).await
        }
    }
}

fn parameter(name: &str) -> Option<String> {
    std::env::var(format!("OCF_RESKEY_{name}")).ok().filter(|value| !value.is_empty())
}

/// What the engine's environment is made of, if the parameters have a login.
fn login() -> Result<Vec<(&'static str, String)>, Why> {
    let Some(url) = parameter("auth_url") else { return Ok(Vec::new()) };
    let mut environment = vec![("OS_AUTH_URL", url)];
    for (name, variable) in
        [("username", "OS_USERNAME"), ("password", "OS_PASSWORD"), ("tenant_name", "OS_PROJECT_NAME")]
    {
        let value =
            parameter(name).ok_or_else(|| (CONFIGURED, format!("auth_url is set, and {name} is not")))?;
        environment.push((variable, value));
    }
    let or = |name: &str, default: &str| parameter(name).unwrap_or_else(|| default.to_owned());
    environment.push(("OS_USER_DOMAIN_NAME", or("user_domain", "Default")));
    environment.push(("OS_PROJECT_DOMAIN_NAME", or("project_domain", "Default")));
    let endpoint = or("endpoint_type", "internalURL");
    // The names of Keystone v2, and what v3 and clouds.yaml call the same.
    if !["internal", "public", "admin"].contains(&endpoint.trim_end_matches("URL")) {
        return Err((
            CONFIGURED,
            format!("endpoint_type is {endpoint:?} and must be internalURL, publicURL or adminURL"),
        ));
    }
    environment.push(("OS_INTERFACE", endpoint));
    environment.extend(parameter("region_name").map(|region| ("OS_REGION_NAME", region)));
    if is_set("insecure") {
        environment.push(("OS_INSECURE", "1".into()));
    }
    Ok(environment)
}

/// Whether a parameter says yes, in any of the words that agents take for it.
fn is_set(name: &str) -> bool {
    parameter(name).is_some_and(|it| ["1", "yes", "true", "on"].contains(&it.to_ascii_lowercase().as_str()))
}

fn validate(config: &Config) -> Result<(), Why> {
    let wrong = |error: &dyn std::fmt::Display| (INSTALLED, error.to_string());
    serve::policy(config).map_err(|error| wrong(&error))?;
    serve::map(config).map_err(|error| wrong(&error))?;
    if login()?.is_empty() {
        serve::settings(config, false).map_err(|error| wrong(&error))?;
    }
    Ok(())
}

async fn monitor(resource: &Resource) -> Result<u8, Why> {
    match resource.health().await {
        Some(Ok(Health { beat_ms: Some(ms), .. })) if Duration::from_millis(ms) > HANGS => {
            Err((GENERIC, format!("the engine has taken no order for {} s: it hangs", ms / 1000)))
        }
        Some(Ok(_)) => Ok(OK),
        asked => match (resource.find().await.pids.first(), asked) {
            // Somebody holds the socket.
            (None, Some(Err(error))) if !is_nobody(&error) => {
                Err((GENERIC, format!("the engine does not answer: {error}")))
            }
            (None, _) => Ok(NOT_RUNNING),
            (Some(pid), Some(Err(error))) => {
                Err((GENERIC, format!("the engine (process {pid}) does not answer: {error}")))
            }
            // It runs, and nobody knows any more where it could be asked.
            (Some(_), _) => Ok(OK),
        },
    }
}

async fn start(resource: &Resource, config: &Config, path: Option<String>) -> Result<u8, Why> {
    if matches!(resource.health().await, Some(Ok(_))) {
        return Ok(OK);
    }
    validate(config)?;
    let failed = |what: &str, error: io::Error| (GENERIC, format!("{what}: {error}"));
    fs::create_dir_all(&config.files.state).map_err(|error| failed("state folder", error))?;
    let log = open_log(&log_file(config)).map_err(|error| failed("engine.log", error))?;
    let environment = login()?;
    let program = std::env::current_exe().map_err(|error| failed("nova-ha", error))?;
    let mut command = Command::new(program);
    command.args(path.iter().flat_map(|path| ["--config", path.as_str()]));
    command.arg("engine");
    if !environment.is_empty() {
        command.arg("--from-environment");
    }
    if is_set("verbose") {
        command.env(super::log::VARIABLE, "debug");
    }
    // What Pacemaker gave this agent is not the engine's; above all not the password twice.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OCF_RESKEY_") {
            command.env_remove(name);
        }
    }
    let mut child = command
        .envs(environment)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| failed("nova-ha engine", error))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    if let Err(error) = fs::write(pid_file(&config.files.state), format!("{pid}\n")) {
        // One that nobody finds again must not run.
        let _ = child.kill().await;
        return Err(failed("engine.pid", error));
    }
    if let Err(error) = resource.remember(pid, &config.files.state) {
        warn("it is written down in the state folder alone which engine runs", error);
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let health = serve::ask(config.files.socket(), LOOK * 10).await;
        if health.is_ok_and(|health| i32::try_from(health.pid) == Ok(pid)) {
            return Ok(OK);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err((
                GENERIC,
                format!("the engine has ended at once ({status}): {}", last_words(config)),
            ));
        }
        if Instant::now() >= until {
            return Err((GENERIC, "the engine runs and does not answer".into()));
        }
        sleep(LOOK).await;
    }
}

async fn stop(resource: &Resource) -> Result<u8, Why> {
    let found = resource.find().await;
    if let (true, Some(doubt)) = (found.pids.is_empty(), found.doubt) {
        return Err((GENERIC, format!("it cannot be told whether the engine runs: {doubt}")));
    }
    let mut left: Vec<i32> = found.pids.into_iter().collect();
    for (signal, patience) in [(Signal::SIGTERM, PATIENCE), (Signal::SIGKILL, PATIENCE)] {
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        let until = Instant::now() + patience;
        loop {
            left.retain(|pid| engine(*pid).is_some());
            if left.is_empty() {
                resource.forget();
                return Ok(OK);
            }
            if Instant::now() >= until {
                break;
            }
            sleep(LOOK).await;
        }
    }
    Err((GENERIC, format!("the engine (process {}) does not end", left.first().unwrap_or(&0))))
}

fn log_file(config: &Config) -> PathBuf {
    config.files.state.join("engine.log")
}

/// The log, for appending: whoever cuts it off meanwhile gets what comes after at its beginning. Of earlier lives, the
/// journal is kept; the log only as long as it is small.
fn open_log(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let about = log.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if about.len() > LARGE_LOG {
        log.set_len(0)?;
    }
    Ok(log)
}

fn last_words(config: &Config) -> String {
    let end = || -> io::Result<String> {
        let mut log = File::open(log_file(config))?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
        let mut end = Vec::new();
        log.take(LAST_WORDS).read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    let text = end().unwrap_or_default();
    text.lines().last().unwrap_or("nothing was said").chars().take(300).collect()
}

fn metadata() -> String {
    let escaped = |text: &str| {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
    };
    let mut xml = format!(
        "<?xml version=\"1.0\"?>\n<resource-agent name=\"nova-evacuate\" version=\"{}\">\n<version>1.1</version>\n\
         <longdesc lang=\"en\">\nKeeps the engine of nova-ha on one controller: it takes up the evacuation of computes that fence_nova or \
         fence_compute has fenced, follows every server to its end, and lets the hosts return to service. Takes the \
         parameters of NovaEvacuate.\n</longdesc>\n<shortdesc lang=\"en\">Evacuates fenced computes of OpenStack Nova</shortdesc>\n<parameters>\n",
        env!("CARGO_PKG_VERSION")
    );
    for (name, default, flag, about) in PARAMETERS {
        let kind = if *flag { "boolean" } else { "string" };
        let default = if default.is_empty() { String::new() } else { format!(" default=\"{default}\"") };
        let about = escaped(about);
        // No errors: into a string.
        let _ = write!(
            xml,
            "<parameter name=\"{name}\" unique=\"0\" required=\"0\">\n<longdesc lang=\"en\">\n{about}\n</longdesc>\n\
             <shortdesc lang=\"en\">{about}</shortdesc>\n<content type=\"{kind}\"{default}/>\n</parameter>\n"
        );
    }
    xml.push_str(
        "</parameters>\n<actions>\n<action name=\"start\" timeout=\"30s\"/>\n<action name=\"stop\" timeout=\"40s\"/>\n\
         <action name=\"monitor\" timeout=\"20s\" interval=\"10s\" depth=\"0\"/>\n<action name=\"validate-all\" timeout=\"20s\"/>\n\
         <action name=\"meta-data\" timeout=\"5s\"/>\n</actions>\n</resource-agent>\n",
    );
    xml
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Files;

    #[test]
    fn the_log_is_appended_to_even_if_it_is_cut_off_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.log");
        let words = || fs::read_to_string(&path).unwrap();
        open_log(&path).unwrap().write_all(b"first\n").unwrap();
        let mut log = open_log(&path).unwrap();
        log.write_all(b"second\n").unwrap();
        assert_eq!(words(), "first\nsecond\n");
        // As a log rotation that copies and truncates does.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        log.write_all(b"third\n").unwrap();
        assert_eq!(words(), "third\n");
        // What is large begins anew, and is appended to from then on.
        File::options().write(true).open(&path).unwrap().set_len(LARGE_LOG + 1).unwrap();
        let (mut one, mut other) = (open_log(&path).unwrap(), open_log(&path).unwrap());
        one.write_all(b"fourth\n").unwrap();
        other.write_all(b"fifth\n").unwrap();
        assert_eq!(words(), "fourth\nfifth\n");
        let config = Config {
            files: Files { state: folder.path().to_owned(), ..Files::default() },
            ..Config::default()
        };
        assert_eq!(last_words(&config), "fifth");
    }

    #[test]
    fn a_log_that_is_a_pipe_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(open_log(&path).is_err());
    }

    #[test]
    fn what_nova_evacuate_took_is_taken() {
        let xml = metadata();
        for name in [
            "auth_url",
            "username",
            "password",
            "tenant_name",
            "domain",
            "endpoint_type",
            "region_name",
            "user_domain",
            "project_domain",
            "insecure",
            "no_shared_storage",
            "evacuate_delay",
            "verbose",
        ] {
            assert_eq!(xml.matches(&format!("<parameter name=\"{name}\"")).count(), 1, "{name}");
        }
    }
}

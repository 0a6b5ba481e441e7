//! What the operator wants: command line and `PCMK_*` variables, as one checked value.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use pcmk_proto::qb::Transport;

use super::schemas::SchemaPaths;
use crate::executor::watchdog::parse_ms;
use crate::ipc::IpcOptions;
use crate::net::tls::{CertificateFiles, CredentialSettings};
use crate::status::SOCKET;

/// Name in logs and in lists such as `PCMK_debug=pacemaker-remoted`.
pub(super) const SERVICE: &str = "pacemaker-remoted";

const DEFAULT_PORT: u16 = 3121;
const DEFAULT_LOGFILE: &str = "/var/log/pacemaker/pacemaker.log";
const DEFAULT_LOGFILE_MODE: u32 = 0o660;
const INSTALLED_SCHEMAS: &str = "/usr/share/pacemaker";
const FETCHED_SCHEMAS: &str = "/var/lib/pacemaker/schemas";

/// What was asked on the command line.
#[derive(Debug, PartialEq)]
pub(super) enum CommandLine {
    Run(Options),
    Help,
    Version,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) verbose: u8,
    pub(super) logfiles: Vec<PathBuf>,
    pub(super) port: Option<String>,
}

/// A command line that makes no sense (exit code 64).
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum UsageError {
    #[error("unknown option {0}")]
    UnknownOption(String),
    #[error("option {0} needs a value")]
    MissingValue(String),
    #[error("option {0} takes no value")]
    UnexpectedValue(String),
    #[error("unexpected argument {0}")]
    UnexpectedArgument(String),
}

pub(super) const HELP: &str = "\
Usage: pacemaker-remoted [options]

Resource agent executor of a Pacemaker Remote node

Options:
  -?, --help             Show this help and exit
  -$, --version          Show the version and exit
  -V, --verbose          Log more; may be given more than once
  -l, --logfile=FILE     Log to this file as well; may be given more than once
  -p, --port=PORT        Listen on this TCP port (default 3121)

Settings are read from the environment, usually /etc/default/pacemaker or
/etc/sysconfig/pacemaker: see pacemaker-remoted(8).

Exit codes: 0 stopped on request, 64 bad command line, 71 the local IPC name
pacemakerd is taken, 100 cannot serve here and should not be restarted.
";

pub(super) fn parse_command_line(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<CommandLine, UsageError> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let (name, attached) = split_option(&text)?;
        let mut value = |name: &str| match attached.clone() {
            Some(value) => Ok(value),
            None => arguments
                .next()
                .map(|value| value.to_string_lossy().into_owned())
                .ok_or_else(|| UsageError::MissingValue(name.to_owned())),
        };
        match name.as_str() {
            "-l" | "--logfile" => options.logfiles.push(PathBuf::from(value("--logfile")?)),
            "-p" | "--port" => options.port = Some(value("--port")?),
            flag => {
                // Short flags may be bundled: -VV.
                let flags = flag.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
                let bundled = flags.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c == 'V'));
                match flag {
                    "-?" | "-h" | "--help" => return Ok(CommandLine::Help),
                    "-$" | "--version" => return Ok(CommandLine::Version),
                    "--verbose" if attached.is_none() => options.verbose = options.verbose.saturating_add(1),
                    _ if bundled => {
                        let times = u8::try_from(flag.len().saturating_sub(1)).unwrap_or(u8::MAX);
                        options.verbose = options.verbose.saturating_add(times);
                    }
                    _ => return Err(UsageError::UnknownOption(flag.to_owned())),
                }
                if attached.is_some() {
                    return Err(UsageError::UnexpectedValue(flag.to_owned()));
                }
            }
        }
    }
    Ok(CommandLine::Run(options))
}

/// `--name=value` and `-nvalue` into name and value.
fn split_option(text: &str) -> Result<(String, Option<String>), UsageError> {
    if let Some(long) = text.strip_prefix("--") {
        return Ok(match long.split_once('=') {
            Some((name, value)) => (format!("--{name}"), Some(value.to_owned())),
            None => (text.to_owned(), None),
        });
    }
    let Some(short) = text.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
        return Err(UsageError::UnexpectedArgument(text.to_owned()));
    };
    for name in ["l", "p"] {
        if let Some(value) = short.strip_prefix(name) {
            let value = (!value.is_empty()).then(|| value.to_owned());
            return Ok((format!("-{name}"), value));
        }
    }
    Ok((text.to_owned(), None))
}

/// Where log lines go and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogConfig {
    pub(super) files: Vec<PathBuf>,
    pub(super) file_mode: u32,
    /// Facility name for the system log; `None` is off.
    pub(super) facility: Option<String>,
    pub(super) syslog_level: super::log::Level,
    pub(super) level: super::log::Level,
    pub(super) stderr: bool,
    pub(super) recording: bool,
}

/// Everything that the daemon was told.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) address: Option<String>,
    pub(super) port: u16,
    pub(super) credentials: CredentialSettings,
    pub(super) node_start_state: Option<String>,
    /// Where to tell the operator's tools the status; `None` is nowhere.
    pub(super) status_socket: Option<PathBuf>,
    pub(super) policy_file: Option<PathBuf>,
    pub(super) log: LogConfig,
    /// `SBD_WATCHDOG_TIMEOUT`, milliseconds.
    pub(super) sbd_timeout_ms: u64,
    /// The local tools' side.
    pub(super) ipc: IpcOptions,
    /// Where the schemas of the cluster's configuration are.
    pub(super) schemas: SchemaPaths,
    /// Environment that agents inherit.
    pub(super) agent_env: Vec<(OsString, OsString)>,
    /// What the operator should know about these settings, to be logged once logging works.
    pub(super) warnings: Vec<String>,
}

impl Config {
    /// Combines command line and environment; bad values are warned about and replaced by defaults, as an
    /// executor that does not start helps nobody.
    pub(super) fn new(options: &Options, env: &Environment) -> Self {
        let mut warnings = super::variables::unknown(env.0.keys().map(OsString::as_os_str));
        let port = port(options.port.as_deref().or(env.get("remote_port")), &mut warnings);
        let log = log_config(options, env, &mut warnings);
        let node_start_state = env.get("node_start_state").and_then(|state| match state {
            "online" | "standby" => Some(state.to_owned()),
            "default" => None,
            other => {
                warnings
                    .push(format!("Ignoring PCMK_node_start_state={other}: not online, standby or default"));
                None
            }
        });
        for name in ["tls_priorities", "dh_max_bits", "dh_min_bits"] {
            if let Some(value) = env.get(name) {
                warnings.push(format!(
                    "PCMK_{name}={value} has no effect: this daemon speaks TLS 1.3 with \
                     TLS_AES_128_GCM_SHA256 or TLS_CHACHA20_POLY1305_SHA256"
                ));
            }
        }
        for name in ["trace_functions", "trace_files", "trace_formats", "trace_tags", "trace_blackbox"] {
            if env.get(name).is_some() {
                warnings.push(format!("PCMK_{name} has no effect: use PCMK_debug={SERVICE}"));
            }
        }
        Self {
            address: env.get("remote_address").map(str::to_owned),
            port,
            credentials: CredentialSettings {
                key_location: env.get("authkey_location").map(PathBuf::from),
                certificates: certificates(env, &mut warnings),
            },
            status_socket: match env.get("remote_status_socket") {
                Some("none" | "/dev/null") => None,
                path => Some(PathBuf::from(path.unwrap_or(SOCKET))),
            },
            node_start_state,
            policy_file: env.get("remote_policy_file").map(PathBuf::from),
            schemas: SchemaPaths {
                installed: env.get("schema_directory").unwrap_or(INSTALLED_SCHEMAS).into(),
                fetched: env.get("remote_schema_directory").unwrap_or(FETCHED_SCHEMAS).into(),
            },
            sbd_timeout_ms: env
                .raw("SBD_WATCHDOG_TIMEOUT")
                .and_then(parse_ms)
                .and_then(|ms| u64::try_from(ms).ok())
                .unwrap_or(0),
            agent_env: agent_env(env, &log),
            ipc: ipc_options(env, &mut warnings),
            log,
            warnings,
        }
    }

    /// How long sent data may stay unacknowledged before the connection is given up: half the watchdog's
    /// time, so that the node does not outlive its fencing deadline unnoticed.
    pub(super) fn tcp_user_timeout(&self) -> Option<Duration> {
        (self.sbd_timeout_ms > 0).then(|| Duration::from_millis(self.sbd_timeout_ms / 2))
    }
}

/// What `PCMK_ipc_type` and `PCMK_ipc_buffer` ask for. Unreadable values are the C daemon's defaults.
fn ipc_options(env: &Environment, warnings: &mut Vec<String>) -> IpcOptions {
    let mut options = IpcOptions::default();
    match env.get("ipc_type") {
        None | Some("shared-mem") => {}
        Some("socket") => options.transport = Transport::Socket,
        Some(other) => {
            warnings.push(format!("Ignoring PCMK_ipc_type={other}: neither shared-mem nor socket"));
        }
    }
    if let Some(value) = env.get("ipc_buffer") {
        match value.trim().parse::<u64>() {
            Ok(bytes @ 1..) => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                options.buffer = bytes.min(IpcOptions::LARGEST_BUFFER);
            }
            Ok(0) | Err(_) => {
                warnings.push(format!("Ignoring PCMK_ipc_buffer={value}: not a number of bytes"));
            }
        }
    }
    options
}

/// The process environment, looked up as Pacemaker does: `PCMK_name`, then `HA_name`.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    pub(super) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    pub(super) fn of(variables: BTreeMap<OsString, OsString>) -> Self {
        Self(variables)
    }

    /// An empty value counts as unset.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.raw(&format!("PCMK_{name}")).or_else(|| self.raw(&format!("HA_{name}")))
    }

    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(OsStr::new(name)).and_then(|value| value.to_str()).filter(|value| !value.is_empty())
    }
}

fn port(text: Option<&str>, warnings: &mut Vec<String>) -> u16 {
    let Some(text) = text else { return DEFAULT_PORT };
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => port,
        _ => {
            warnings.push(format!("Using port {DEFAULT_PORT}: PCMK_remote_port={text} is not a port number"));
            DEFAULT_PORT
        }
    }
}

/// All three files, or none: with some of them the C daemon silently stays with the key.
fn certificates(env: &Environment, warnings: &mut Vec<String>) -> Option<CertificateFiles> {
    let get = |name: &str| env.get(name).or_else(|| env.raw(&format!("CIB_{name}"))).map(PathBuf::from);
    let names = ["cert_file", "ca_file", "key_file"];
    let revocations = get("crl_file");
    match names.map(get) {
        [Some(certificate), Some(authority), Some(key)] => {
            return Some(CertificateFiles { certificate, key, authority, revocations });
        }
        [None, None, None] if revocations.is_none() => {}
        found => {
            let missing = names.iter().zip(&found).filter(|(_, path)| path.is_none());
            let missing: Vec<String> = missing.map(|(name, _)| format!("PCMK_{name}")).collect();
            warnings.push(format!(
                "TLS certificates are not used, but the pre-shared key, as {} is not set: PCMK_cert_file, \
                 PCMK_ca_file and PCMK_key_file are needed together",
                missing.join(" and ")
            ));
        }
    }
    None
}

fn log_config(options: &Options, env: &Environment, warnings: &mut Vec<String>) -> LogConfig {
    use super::log::Level;
    let mut files = options.logfiles.clone();
    match env.get("logfile") {
        Some("none" | "/dev/null") => {}
        Some(path) => files.insert(0, path.into()),
        None => files.insert(0, DEFAULT_LOGFILE.into()),
    }
    let file_mode = match env.get("logfile_mode") {
        None => DEFAULT_LOGFILE_MODE,
        Some(text) => u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).unwrap_or_else(|| {
            warnings.push(format!("Ignoring PCMK_logfile_mode={text}: not an octal file mode"));
            DEFAULT_LOGFILE_MODE
        }),
    };
    let mut level = Level::Info;
    if options.verbose > 0 || applies(env.get("debug")) {
        level = Level::Debug;
    }
    if options.verbose > 1 {
        level = Level::Trace;
    }
    let syslog_level = match env.get("logpriority") {
        None => Level::Notice,
        Some(text) => Level::from_name(text).unwrap_or_else(|| {
            warnings.push(format!("Ignoring PCMK_logpriority={text}: not a syslog priority"));
            Level::Notice
        }),
    };
    LogConfig {
        files,
        file_mode,
        facility: Some(env.get("logfacility").unwrap_or("daemon"))
            .filter(|name| !matches!(*name, "none" | "/dev/null"))
            .map(str::to_owned),
        syslog_level,
        level,
        stderr: applies(env.get("stderr")),
        recording: applies(env.get("blackbox")),
    }
}

/// Whether a setting that is yes, no or a list of daemons speaks of this one.
fn applies(value: Option<&str>) -> bool {
    let Some(value) = value else { return false };
    matches!(value.to_ascii_lowercase().as_str(), "yes" | "y" | "true" | "on" | "1")
        || value.split(',').any(|name| name.trim() == SERVICE)
}

/// Agents inherit our environment, less what is between systemd and us, plus what their shell library
/// reads to log where we log.
fn agent_env(env: &Environment, log: &LogConfig) -> Vec<(OsString, OsString)> {
    let mut agent = env.0.clone();
    for ours in
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
    {
        agent.remove(OsStr::new(ours));
    }
    agent.insert("PCMK_service".into(), SERVICE.into());
    let mut export = |name: &str, value: &OsStr| {
        // Releases differ in which of these they set, agents in which they read.
        for prefix in ["HA_", "PCMK_"] {
            agent.insert(format!("{prefix}{name}").into(), value.into());
            agent.insert(format!("{prefix}{}", name.to_ascii_lowercase()).into(), value.into());
        }
    };
    if let Some(facility) = &log.facility {
        export("LOGFACILITY", OsStr::new(facility));
    }
    if let Some(file) = log.files.first() {
        export("LOGFILE", file.as_os_str());
        if log.level >= super::log::Level::Debug {
            export("DEBUGLOG", file.as_os_str());
        }
    }
    agent.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::log::Level;
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Environment {
        Environment(vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn parse(arguments: &[&str]) -> Result<CommandLine, UsageError> {
        parse_command_line(arguments.iter().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_that_of_the_c_daemon() {
        let run = |verbose, logfiles: &[&str], port: Option<&str>| {
            Ok(CommandLine::Run(Options {
                verbose,
                logfiles: logfiles.iter().map(PathBuf::from).collect(),
                port: port.map(Into::into),
            }))
        };
        assert_eq!(parse(&[]), run(0, &[], None));
        assert_eq!(parse(&["-VV", "--verbose", "-V"]), run(4, &[], None));
        assert_eq!(
            parse(&["-l", "a", "--logfile=b", "--logfile", "c", "-ld"]),
            run(0, &["a", "b", "c", "d"], None)
        );
        assert_eq!(parse(&["-p", "1", "--port=2", "-p3"]), run(0, &[], Some("3")));
        for help in ["-?", "--help"] {
            assert_eq!(parse(&[help]), Ok(CommandLine::Help));
        }
        for version in ["-$", "--version"] {
            assert_eq!(parse(&[version]), Ok(CommandLine::Version));
        }
        assert_eq!(parse(&["-x"]), Err(UsageError::UnknownOption("-x".into())));
        assert_eq!(parse(&["--frob=1"]), Err(UsageError::UnknownOption("--frob".into())));
        assert_eq!(parse(&["-p"]), Err(UsageError::MissingValue("--port".into())));
        assert_eq!(parse(&["file"]), Err(UsageError::UnexpectedArgument("file".into())));
    }

    #[test]
    fn local_ipc_is_as_it_is_told_within_bounds() {
        let read = |vars: &[(&str, &str)]| {
            let mut warnings = Vec::new();
            let options = ipc_options(&env(vars), &mut warnings);
            (options.transport, options.buffer, warnings.len())
        };
        let (shared, kib_128) = (Transport::SharedMemory, 131_072);
        assert_eq!(read(&[]), (shared, kib_128, 0));
        assert_eq!(
            read(&[("PCMK_ipc_type", "shared-mem"), ("HA_ipc_buffer", "20971520")]),
            (shared, 20 << 20, 0)
        );
        assert_eq!(read(&[("PCMK_ipc_type", "socket")]), (Transport::Socket, kib_128, 0));
        assert_eq!(read(&[("PCMK_ipc_type", "sysv"), ("PCMK_ipc_buffer", "20M")]), (shared, kib_128, 2));
        for nothing in ["0", "-1", ""] {
            assert_eq!(read(&[("PCMK_ipc_buffer", nothing)]).1, kib_128, "{nothing:?}");
        }
        for much in ["4294967296", "18446744073709551615"] {
            assert_eq!(read(&[("PCMK_ipc_buffer", much)]).1, IpcOptions::LARGEST_BUFFER);
        }
    }

    #[test]
    fn defaults_are_pacemakers() {
        let config = Config::new(&Options::default(), &env(&[]));
        assert_eq!(
            (config.port, config.address, config.credentials),
            (3121, None, CredentialSettings::default())
        );
        assert_eq!(config.log.files, [PathBuf::from(DEFAULT_LOGFILE)]);
        assert_eq!((config.log.file_mode, config.log.level), (0o660, Level::Info));
        assert_eq!(
            (config.log.facility.as_deref(), config.log.syslog_level),
            (Some("daemon"), Level::Notice)
        );
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    #[test]
    fn variables_are_looked_up_under_both_prefixes() {
        let both =
            env(&[("PCMK_remote_port", "4000"), ("HA_remote_port", "5000"), ("HA_remote_address", "::1")]);
        let config = Config::new(&Options::default(), &both);
        assert_eq!((config.port, config.address.as_deref()), (4000, Some("::1")));
        let option = Options { port: Some("6000".into()), ..Options::default() };
        assert_eq!(Config::new(&option, &both).port, 6000);
    }

    #[test]
    fn bad_values_are_warned_about_and_replaced() {
        let bad = env(&[
            ("PCMK_remote_port", "99999"),
            ("PCMK_logfile_mode", "rw"),
            ("PCMK_logpriority", "loud"),
            ("PCMK_node_start_state", "asleep"),
            ("PCMK_tls_priorities", "SECURE256"),
        ]);
        let config = Config::new(&Options::default(), &bad);
        assert_eq!((config.port, config.log.file_mode, config.node_start_state), (3121, 0o660, None));
        assert_eq!(config.warnings.len(), 5, "{:?}", config.warnings);
    }

    #[test]
    fn certificates_need_three_files_under_either_name() {
        let all = env(&[
            ("PCMK_cert_file", "/c"),
            ("CIB_cert_file", "/other"),
            ("CIB_key_file", "/k"),
            ("HA_ca_file", "/a"),
            ("PCMK_crl_file", "/l"),
        ]);
        let config = Config::new(&Options::default(), &all);
        let files = CertificateFiles {
            certificate: "/c".into(),
            key: "/k".into(),
            authority: "/a".into(),
            revocations: Some("/l".into()),
        };
        assert_eq!((config.credentials.certificates, config.warnings.len()), (Some(files), 0));

        for (some, missing) in [
            (&[("PCMK_cert_file", "/c")][..], "PCMK_ca_file and PCMK_key_file is not set"),
            (&[("PCMK_cert_file", "/c"), ("PCMK_key_file", "/k")], "as PCMK_ca_file is not set"),
            (&[("PCMK_cert_file", ""), ("PCMK_crl_file", "/l")], "PCMK_cert_file and PCMK_ca_file and"),
        ] {
            let config = Config::new(&Options::default(), &env(some));
            assert_eq!(config.credentials.certificates, None);
            let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
            assert!(warning.contains("but the pre-shared key") && warning.contains(missing), "{warning}");
        }
    }

    #[test]
    fn debug_and_stderr_may_name_daemons() {
        for (value, on) in
            [("yes", true), ("pacemakerd,pacemaker-remoted", true), ("pacemakerd", false), ("no", false)]
        {
            let config =
                Config::new(&Options::default(), &env(&[("PCMK_debug", value), ("PCMK_stderr", value)]));
            assert_eq!((config.log.level == Level::Debug, config.log.stderr), (on, on), "{value}");
        }
    }

    #[test]
    fn agents_get_our_environment_without_systemds_and_with_the_log_settings() {
        let ours =
            env(&[("NOTIFY_SOCKET", "/x"), ("PATH", "/bin"), ("PCMK_debug", "yes"), ("PCMK_logfile", "/l")]);
        let config = Config::new(&Options::default(), &ours);
        let agent: BTreeMap<_, _> = config.agent_env.into_iter().collect();
        let get = |name: &str| agent.get(OsStr::new(name)).and_then(|value| value.to_str());
        assert_eq!(get("NOTIFY_SOCKET"), None);
        assert_eq!((get("PATH"), get("PCMK_service")), (Some("/bin"), Some(SERVICE)));
        assert_eq!(
            (get("HA_LOGFILE"), get("HA_DEBUGLOG"), get("HA_LOGFACILITY")),
            (Some("/l"), Some("/l"), Some("daemon"))
        );
    }

    #[test]
    fn the_watchdog_timeout_bounds_unacknowledged_data() {
        let config = Config::new(&Options::default(), &env(&[("SBD_WATCHDOG_TIMEOUT", "10")]));
        assert_eq!(config.tcp_user_timeout(), Some(Duration::from_secs(5)));
    }
}

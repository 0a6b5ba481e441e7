//! Outcomes that are the same for every class: errors of the system, deaths by signal.

use pcmk_proto::types::{ExecStatus, OcfRc};

use super::{AgentCall, Outcome};

impl Outcome {
    /// An execution that ended with this code and said nothing.
    pub fn done(rc: OcfRc) -> Self {
        Self { rc, raw_rc: rc.0, status: ExecStatus::Done, exit_reason: None, output: None }
    }

    /// An execution that went wrong.
    pub fn failed(status: ExecStatus, rc: OcfRc, reason: impl Into<String>) -> Self {
        Self { rc, raw_rc: rc.0, status, exit_reason: Some(reason.into()), output: None }
    }

    /// An execution that was given up on request.
    pub fn cancelled() -> Self {
        Self { status: ExecStatus::Cancelled, ..Self::done(OcfRc::OK) }
    }

    /// `stat` or the like failed before the program could be run; `text` is the system's wording.
    pub fn not_runnable(name: &str, errno: i32, text: &str) -> Self {
        match errno {
            libc::ENOENT | libc::EISDIR | libc::ENOTDIR | libc::EINVAL | libc::ENOEXEC => {
                Self::failed(ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED, format!("{name}: {text}"))
            }
            libc::EACCES | libc::EPERM => {
                Self::failed(ExecStatus::Error, OcfRc::INSUFFICIENT_PRIV, format!("{name}: {text}"))
            }
            _ => Self::failed(ExecStatus::Error, OcfRc::UNKNOWN_ERROR, text),
        }
    }

    /// The program was there and could not be executed. Pacemaker notices only in the child, so that
    /// the cluster sees an exit code and not a failed execution.
    pub fn not_executable(name: &str, errno: i32, text: &str) -> Self {
        match errno {
            // Nothing of the file's: no process could be had.
            libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE => {
                Self::failed(ExecStatus::Error, OcfRc::UNKNOWN_ERROR, text)
            }
            _ => Self {
                status: ExecStatus::Done,
                exit_reason: Some(format!("{name}: {text}")),
                ..Self::not_runnable(name, errno, text)
            },
        }
    }

    /// The process died by a signal that it was not sent by us on purpose.
    pub fn killed_by(kind: &str, signal: i32) -> Self {
        Self::failed(
            ExecStatus::Error,
            OcfRc::UNKNOWN_ERROR,
            format!("{kind} interrupted by {} signal", signal_name(signal)),
        )
    }

    /// The reason, for logs.
    pub fn reason(&self) -> &str {
        self.exit_reason.as_deref().unwrap_or("no reason given")
    }

    /// The cluster left out what names the agent or the action.
    pub fn incomplete() -> Self {
        Self::failed(
            ExecStatus::ErrorFatal,
            OcfRc::UNKNOWN_ERROR,
            "Required agent or action information missing",
        )
    }
}

impl AgentCall {
    /// `<resource>_<action>_<interval>`, the name of an operation in logs.
    pub fn key(&self) -> String {
        format!("{}_{}_{}", self.id, self.action, self.interval_ms)
    }
}

/// What the C library calls a signal.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "Hangup",
        libc::SIGINT => "Interrupt",
        libc::SIGQUIT => "Quit",
        libc::SIGILL => "Illegal instruction",
        libc::SIGTRAP => "Trace/breakpoint trap",
        libc::SIGABRT => "Aborted",
        libc::SIGBUS => "Bus error",
        libc::SIGFPE => "Floating point exception",
        libc::SIGKILL => "Killed",
        libc::SIGUSR1 => "User defined signal 1",
        libc::SIGSEGV => "Segmentation fault",
        libc::SIGUSR2 => "User defined signal 2",
        libc::SIGPIPE => "Broken pipe",
        libc::SIGALRM => "Alarm clock",
        libc::SIGTERM => "Terminated",
        libc::SIGSTKFLT => "Stack fault",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "File size limit exceeded",
        libc::SIGVTALRM => "Virtual timer expired",
        libc::SIGPROF => "Profiling timer expired",
        libc::SIGIO => "I/O possible",
        libc::SIGPWR => "Power failure",
        libc::SIGSYS => "Bad system call",
        34..=64 => return format!("Real-time signal {}", signal - 34),
        _ => return format!("Unknown signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_become_pacemakers_codes() {
        for (errno, status, rc) in [
            (libc::ENOENT, ExecStatus::NotInstalled, 5),
            (libc::ENOTDIR, ExecStatus::NotInstalled, 5),
            (libc::EISDIR, ExecStatus::NotInstalled, 5),
            (libc::EINVAL, ExecStatus::NotInstalled, 5),
            (libc::ENOEXEC, ExecStatus::NotInstalled, 5),
            (libc::EACCES, ExecStatus::Error, 4),
            (libc::EPERM, ExecStatus::Error, 4),
            (libc::EIO, ExecStatus::Error, 1),
        ] {
            let outcome = Outcome::not_runnable("x", errno, "words");
            assert_eq!((outcome.status, outcome.rc), (status, OcfRc(rc)), "errno {errno}");
        }
        let missing = Outcome::not_runnable("Missing", libc::ENOENT, "No such file or directory");
        assert_eq!(missing.exit_reason.as_deref(), Some("Missing: No such file or directory"));
        let other = Outcome::not_runnable("x", libc::EIO, "Input/output error");
        assert_eq!(other.exit_reason.as_deref(), Some("Input/output error"));
    }

    #[test]
    fn what_exec_refuses_is_an_exit_code() {
        let denied = Outcome::not_executable("/a", libc::EACCES, "Permission denied");
        assert_eq!((denied.status, denied.rc), (ExecStatus::Done, OcfRc(4)));
        assert_eq!(denied.exit_reason.as_deref(), Some("/a: Permission denied"));
        let no_interpreter = Outcome::not_executable("/a", libc::ENOENT, "No such file or directory");
        assert_eq!((no_interpreter.status, no_interpreter.rc), (ExecStatus::Done, OcfRc(5)));
        let no_process = Outcome::not_executable("/a", libc::EAGAIN, "Resource temporarily unavailable");
        assert_eq!((no_process.status, no_process.rc), (ExecStatus::Error, OcfRc(1)));
    }

    #[test]
    fn signals_have_the_c_librarys_names() {
        let killed = Outcome::killed_by("Resource agent", 9);
        assert_eq!(killed.exit_reason.as_deref(), Some("Resource agent interrupted by Killed signal"));
        assert_eq!((killed.status, killed.rc), (ExecStatus::Error, OcfRc(1)));
        assert_eq!(signal_name(11), "Segmentation fault");
        assert_eq!(signal_name(36), "Real-time signal 2");
        assert_eq!(signal_name(99), "Unknown signal 99");
    }
}

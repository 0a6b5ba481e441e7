//! Class `systemd`: names of units, what their states mean, the drop-in that goes with a start.

use std::path::{Path, PathBuf};

use pcmk_proto::types::{ExecStatus, OcfRc};

use super::Outcome;

/// Reason when a unit stays between two states until the time is over.
pub const STUCK: &str =
    "Investigate reason for timeout, and adjust configured operation timeout if necessary";

/// Kinds of units that can be resources; others are taken for part of a service's name.
const EXTENSIONS: [&str; 5] = [".service", ".socket", ".mount", ".timer", ".path"];
const INSTANCE: &str = "pacemaker";

/// What to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Look at its state.
    Monitor,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Restart it.
    Restart,
    /// Describe it as an agent.
    Metadata,
}

impl Task {
    /// The task for an action's name, or the outcome of asking for something else.
    pub fn new(action: &str) -> Result<Self, Outcome> {
        match action {
            "start" => Ok(Self::Start),
            "stop" => Ok(Self::Stop),
            "restart" => Ok(Self::Restart),
            _ if action.eq_ignore_ascii_case("monitor") || action == "status" => Ok(Self::Monitor),
            _ if action.eq_ignore_ascii_case("meta-data") => Ok(Self::Metadata),
            _ => Err(Outcome::failed(
                ExecStatus::Error,
                OcfRc::UNIMPLEMENT_FEATURE,
                format!("Action {action} not implemented for systemd resources"),
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Metadata => "meta-data",
        }
    }
}

/// The unit's full name. With `with_instance` a template without instance gets one, which is good
/// enough to ask whether it exists.
pub fn unit_name(kind: &str, with_instance: bool) -> String {
    let Some((stem, extension)) =
        EXTENSIONS.iter().find_map(|extension| Some((kind.strip_suffix(extension)?, extension)))
    else {
        let instance = if with_instance && kind.ends_with('@') { INSTANCE } else { "" };
        return format!("{kind}{instance}.service");
    };
    let instance = if stem.ends_with('@') { INSTANCE } else { "" };
    format!("{stem}{instance}{extension}")
}

/// Where the drop-in of a unit is.
pub fn drop_in_path(dir: &Path, unit: &str) -> PathBuf {
    dir.join(format!("{unit}.d")).join("50-pacemaker.conf")
}

/// The drop-in's text. Its ordering makes a shutdown stop the daemon first, which then has the cluster
/// stop the resource; without it systemd would stop the unit behind the cluster's back.
pub fn drop_in(unit: &str) -> String {
    let mut text = format!(
        "[Unit]\nDescription=Cluster Controlled {unit}\nBefore=pacemaker.service pacemaker_remote.service\n"
    );
    if Path::new(unit).extension().is_some_and(|extension| extension == "service") {
        text.push_str("\n[Service]\nRestart=no\n");
    }
    text
}

/// What `ActiveState` says to a monitor; `None` while the unit is between two states.
pub fn monitored(active_state: &str) -> Option<Outcome> {
    match active_state {
        "active" | "reloading" | "refreshing" => Some(Outcome::done(OcfRc::OK)),
        "activating" | "deactivating" => None,
        _ => {
            Some(Outcome { exit_reason: Some(active_state.to_owned()), ..Outcome::done(OcfRc::NOT_RUNNING) })
        }
    }
}

/// What `ActiveState` says about a job that ended unseen; `None` while it does not say.
pub fn settled(task: Task, unit: &str, active_state: &str) -> Option<Outcome> {
    let running = monitored(active_state)?.rc == OcfRc::OK;
    if running == (task != Task::Stop) {
        return Some(Outcome::done(OcfRc::OK));
    }
    Some(Outcome::failed(
        ExecStatus::Error,
        OcfRc::UNKNOWN_ERROR,
        format!("systemd {} job for {unit} left it {active_state}", task.name()),
    ))
}

/// What the result of a job says.
pub fn job_removed(task: Task, unit: &str, result: &str) -> Outcome {
    let action = task.name();
    match result {
        "done" => Outcome::done(OcfRc::OK),
        "timeout" => Outcome::failed(
            ExecStatus::Timeout,
            OcfRc::UNKNOWN_ERROR,
            format!("systemd {action} job for {unit} timed out"),
        ),
        _ => Outcome::failed(
            ExecStatus::Error,
            OcfRc::UNKNOWN_ERROR,
            format!("systemd {action} job for {unit} failed with result '{result}'"),
        ),
    }
}

/// What an error reply of systemd says.
pub fn refused(task: Task, kind: &str, error: &str, message: &str) -> Outcome {
    let unknown = error
        .strip_prefix("org.freedesktop.systemd1.")
        .is_some_and(|name| ["InvalidName", "LoadFailed", "NoSuchUnit"].contains(&name));
    match (unknown, task) {
        // What does not exist does not run.
        (true, Task::Stop) => Outcome::done(OcfRc::OK),
        (true, _) => Outcome::failed(
            ExecStatus::NotInstalled,
            OcfRc::NOT_INSTALLED,
            format!("systemd unit {kind} not found"),
        ),
        (false, _) => Outcome::failed(
            ExecStatus::Error,
            OcfRc::UNKNOWN_ERROR,
            format!("Unable to invoke systemd DBus method: {message} ({error})"),
        ),
    }
}

/// Whether `LoadState` means that there is such a unit.
pub fn exists(load_state: &str) -> bool {
    matches!(load_state, "loaded" | "masked")
}

/// The unit described as a resource agent.
pub fn metadata(kind: &str, description: &str) -> String {
    let description = description.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut actions = String::new();
    for (name, rest) in [
        ("start", "timeout=\"100s\""),
        ("stop", "timeout=\"100s\""),
        ("status", "timeout=\"100s\""),
        ("monitor", "timeout=\"100s\" interval=\"60s\""),
        ("meta-data", "timeout=\"5s\""),
    ] {
        actions.push_str("    <action name=\"");
        actions.push_str(name);
        actions.push_str("\" ");
        actions.push_str(rest);
        actions.push_str(" />\n");
    }
    format!(
        "<?xml version=\"1.0\"?>\n\
         <resource-agent name=\"{kind}\" version=\"0.1\">\n\
         \x20 <version>1.1</version>\n\
         \x20 <longdesc lang=\"en\">\n\
         \x20   {description}\n\
         \x20 </longdesc>\n\
         \x20 <shortdesc lang=\"en\">systemd unit file for {kind}</shortdesc>\n\
         \x20 <parameters/>\n\
         \x20 <actions>\n{actions}\x20 </actions>\n\
         \x20 <special tag=\"systemd\"/>\n\
         </resource-agent>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units() {
        for (kind, for_action, for_existence) in [
            ("httpd", "httpd.service", "httpd.service"),
            ("httpd.service", "httpd.service", "httpd.service"),
            ("x.socket", "x.socket", "x.socket"),
            ("x.mount", "x.mount", "x.mount"),
            ("x.timer", "x.timer", "x.timer"),
            ("x.path", "x.path", "x.path"),
            ("org.example.x", "org.example.x.service", "org.example.x.service"),
            ("x.slice", "x.slice.service", "x.slice.service"),
            ("foo@", "foo@.service", "foo@pacemaker.service"),
            ("foo@.service", "foo@pacemaker.service", "foo@pacemaker.service"),
            ("foo@1", "foo@1.service", "foo@1.service"),
        ] {
            assert_eq!(unit_name(kind, false), for_action, "{kind}");
            assert_eq!(unit_name(kind, true), for_existence, "{kind}");
        }
    }

    #[test]
    fn drop_ins() {
        assert_eq!(
            drop_in_path(Path::new("/run/systemd/system"), "x.service"),
            PathBuf::from("/run/systemd/system/x.service.d/50-pacemaker.conf")
        );
        assert_eq!(
            drop_in("x.service"),
            "[Unit]\nDescription=Cluster Controlled x.service\n\
             Before=pacemaker.service pacemaker_remote.service\n\n[Service]\nRestart=no\n"
        );
        assert_eq!(
            drop_in("x.socket"),
            "[Unit]\nDescription=Cluster Controlled x.socket\n\
             Before=pacemaker.service pacemaker_remote.service\n"
        );
    }

    #[test]
    fn states() {
        let rc = |state| monitored(state).map(|outcome| (outcome.rc, outcome.exit_reason));
        assert_eq!(rc("active"), Some((OcfRc::OK, None)));
        assert_eq!(rc("reloading"), Some((OcfRc::OK, None)));
        assert_eq!(rc("activating"), None);
        assert_eq!(rc("deactivating"), None);
        for state in ["inactive", "failed", "maintenance", "new-word"] {
            assert_eq!(rc(state), Some((OcfRc::NOT_RUNNING, Some(state.to_owned()))));
        }
    }

    #[test]
    fn states_after_a_job() {
        let rc = |task, state| settled(task, "x.service", state).map(|outcome| (outcome.status, outcome.rc));
        let ok = Some((ExecStatus::Done, OcfRc::OK));
        let failed = Some((ExecStatus::Error, OcfRc::UNKNOWN_ERROR));
        assert_eq!(rc(Task::Start, "active"), ok);
        assert_eq!(rc(Task::Restart, "active"), ok);
        assert_eq!(rc(Task::Start, "failed"), failed);
        assert_eq!(rc(Task::Start, "activating"), None);
        assert_eq!(rc(Task::Stop, "inactive"), ok);
        assert_eq!(rc(Task::Stop, "failed"), ok);
        assert_eq!(rc(Task::Stop, "deactivating"), None);
        assert_eq!(rc(Task::Stop, "active"), failed);
    }

    #[test]
    fn results_of_jobs() {
        let outcome = |result| job_removed(Task::Start, "x.service", result);
        assert_eq!(outcome("done"), Outcome::done(OcfRc::OK));
        assert_eq!((outcome("timeout").status, outcome("timeout").rc), (ExecStatus::Timeout, OcfRc(1)));
        for result in ["failed", "canceled", "dependency", "skipped", "unheard-of"] {
            let outcome = outcome(result);
            assert_eq!((outcome.status, outcome.rc), (ExecStatus::Error, OcfRc(1)));
            assert_eq!(
                outcome.exit_reason,
                Some(format!("systemd start job for x.service failed with result '{result}'"))
            );
        }
    }

    #[test]
    fn error_replies() {
        for error in ["InvalidName", "LoadFailed", "NoSuchUnit"] {
            let error = format!("org.freedesktop.systemd1.{error}");
            assert_eq!(refused(Task::Stop, "x", &error, "m"), Outcome::done(OcfRc::OK));
            let start = refused(Task::Start, "x", &error, "m");
            assert_eq!((start.status, start.rc), (ExecStatus::NotInstalled, OcfRc(5)));
            assert_eq!(start.exit_reason.as_deref(), Some("systemd unit x not found"));
        }
        let other = refused(Task::Stop, "x", "org.freedesktop.DBus.Error.AccessDenied", "no");
        assert_eq!((other.status, other.rc), (ExecStatus::Error, OcfRc(1)));
    }

    #[test]
    fn actions() {
        assert_eq!(Task::new("monitor"), Ok(Task::Monitor));
        assert_eq!(Task::new("status"), Ok(Task::Monitor));
        assert_eq!(Task::new("meta-data"), Ok(Task::Metadata));
        let promote = Task::new("promote").expect_err("not for units");
        assert_eq!((promote.status, promote.rc), (ExecStatus::Error, OcfRc(3)));
        assert_eq!(
            promote.exit_reason.as_deref(),
            Some("Action promote not implemented for systemd resources")
        );
    }

    #[test]
    fn metadata_is_escaped() {
        let text = metadata("x", "a < b & c");
        assert!(text.contains("\n    a &lt; b &amp; c\n"));
        assert!(text.contains("    <action name=\"monitor\" timeout=\"100s\" interval=\"60s\" />\n"));
        assert!(text.contains("\n  <special tag=\"systemd\"/>\n</resource-agent>\n"));
    }
}

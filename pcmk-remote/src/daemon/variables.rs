//! Names of settings in the environment: those that mean something, and what was probably meant.

use std::ffi::OsStr;

use strsim::damerau_levenshtein;

/// Every `PCMK_` name that Pacemaker or this daemon reads, on remote or cluster nodes, in any release since
/// 2.1; one settings file is often used for all nodes.
const KNOWN: &[&str] = &[
    "authkey_location",
    "blackbox",
    "ca_file",
    "callgrind_enabled",
    "cert_file",
    "cluster_type",
    "crl_file",
    "debug",
    "dh_max_bits",
    "dh_min_bits",
    "fail_fast",
    "ipc_buffer",
    "ipc_type",
    "key_file",
    "logfacility",
    "logfile",
    "logfile_mode",
    "logpriority",
    "mcp",
    "node_action_limit",
    "node_start_state",
    "panic_action",
    "physical_host",
    "quorum_type",
    "remote_address",
    "remote_pid1",
    "remote_policy_file",
    "remote_port",
    "remote_schema_directory",
    "remote_status_socket",
    "respawned",
    "schema_directory",
    "service",
    "shutdown_delay",
    "stderr",
    "tls_priorities",
    "trace_blackbox",
    "trace_files",
    "trace_formats",
    "trace_functions",
    "trace_tags",
    "valgrind_enabled",
];

/// What this daemon, a Pacemaker daemon or its tests set for the processes that they start.
const FOR_CHILDREN: &[&str] = &["DEBUGLOG", "LOGFACILITY", "LOGFILE", "debuglog"];

/// Changes of one letter, at most, that still look like a slip.
const SLIPS: usize = 3;

/// A warning for each `PCMK_` name that means nothing, with the name that it resembles.
pub(super) fn unknown<'a>(names: impl IntoIterator<Item = &'a OsStr>) -> Vec<String> {
    let strange = names.into_iter().filter_map(|name| {
        let name = name.to_str()?.strip_prefix("PCMK_")?;
        (!KNOWN.contains(&name) && !FOR_CHILDREN.contains(&name)).then_some(name)
    });
    strange
        .map(|name| match nearest(name) {
            Some(known) => format!("Ignoring PCMK_{name}: no such setting; is PCMK_{known} meant?"),
            None => format!("Ignoring PCMK_{name}: no such setting"),
        })
        .collect()
}

fn nearest(name: &str) -> Option<&'static str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let wanted = plain(name);
    let slips = |known: &str| damerau_levenshtein(&wanted, known);
    KNOWN
        .iter()
        .copied()
        .map(|known| (slips(known), known))
        .min()
        .filter(|(n, _)| *n <= SLIPS)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(names: &[&str]) -> Vec<String> {
        unknown(names.iter().map(OsStr::new))
    }

    #[test]
    fn slips_are_named_with_what_was_probably_meant() {
        for (wrong, right) in [
            ("remote_prot", "remote_port"),
            ("REMOTE_PORT", "remote_port"),
            ("log-file", "logfile"),
            ("authkey_locaton", "authkey_location"),
        ] {
            let expected = format!("Ignoring PCMK_{wrong}: no such setting; is PCMK_{right} meant?");
            assert_eq!(warnings(&[&format!("PCMK_{wrong}")]), [expected]);
        }
        assert_eq!(warnings(&["PCMK_something_else"]), ["Ignoring PCMK_something_else: no such setting"]);
    }

    #[test]
    fn other_programs_settings_are_none_of_ours() {
        let fine =
            ["PATH", "HA_whatever", "CIB_file", "PCMK_ipc_buffer", "PCMK_LOGFILE", "OCF_ROOT", "pcmk_x"];
        assert_eq!(warnings(&fine), Vec::<String>::new());
    }

    #[test]
    fn everything_that_the_daemon_looks_up_is_known() {
        let source = include_str!("config.rs");
        let looked_up = source.split("env.get(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let unknown: Vec<&str> = looked_up.filter(|name| !KNOWN.contains(name)).collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }
}

//! Class `ocf`: where its agents are, their environment, what they say and what their codes mean.

use std::path::{Path, PathBuf};

use pcmk_proto::types::OcfRc;

use super::AgentCall;

/// What an agent writes to standard error in front of the reason for its failure.
pub const REASON_PREFIX: &str = "ocf-exit-reason:";

/// Where the agent may be, the first that exists counts.
pub fn candidates(call: &AgentCall, path: &[PathBuf]) -> Vec<PathBuf> {
    let provider = call.agent.provider.as_deref().unwrap_or_default();
    path.iter().map(|dir| dir.join(provider).join(&call.agent.kind)).collect()
}

/// What an agent finds in its environment beside the daemon's.
///
/// `params` are the call's, with secrets filled in. Names that no environment can hold are left out.
pub fn environment(call: &AgentCall, params: &[(String, String)], root: &Path) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = params
        .iter()
        .filter(|(name, value)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'))
        .map(|(name, value)| {
            let name = if name == "OCF_CHECK_LEVEL" { name.clone() } else { format!("OCF_RESKEY_{name}") };
            (name, value.clone())
        })
        .collect();
    let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
    set("OCF_RA_VERSION_MAJOR", "1");
    set("OCF_RA_VERSION_MINOR", "1");
    set("OCF_ROOT", &root.to_string_lossy());
    set("OCF_EXIT_REASON_PREFIX", REASON_PREFIX);
    set("OCF_RESOURCE_INSTANCE", call.id.as_str());
    set("OCF_RESOURCE_TYPE", &call.agent.kind);
    if let Some(provider) = &call.agent.provider {
        set("OCF_RESOURCE_PROVIDER", provider);
    }
    env
}

/// Codes outside the standard are generic errors.
pub fn rc(raw: i32) -> OcfRc {
    match raw {
        0..=9 => OcfRc(raw),
        _ if raw == OcfRc::DEGRADED.0 || raw == OcfRc::DEGRADED_PROMOTED.0 => OcfRc(raw),
        _ => OcfRc::UNKNOWN_ERROR,
    }
}

/// The last reason in what the agent wrote to standard error, up to the end of its line.
pub fn exit_reason(stderr: &str) -> Option<&str> {
    let (_, rest) = stderr.rsplit_once(REASON_PREFIX)?;
    let line = rest.split('\n').next().unwrap_or_default();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::call;
    use super::*;

    #[test]
    fn codes_outside_the_standard_are_generic_errors() {
        for raw in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 190, 191] {
            assert_eq!(rc(raw), OcfRc(raw));
        }
        for raw in [-1, 10, 126, 127, 189, 192, 193, 255] {
            assert_eq!(rc(raw), OcfRc(1), "raw {raw}");
        }
    }

    #[test]
    fn last_reason_counts_up_to_the_end_of_its_line() {
        assert_eq!(
            exit_reason("a\nocf-exit-reason:one\nb\nocf-exit-reason:two words\nc\n"),
            Some("two words")
        );
        assert_eq!(exit_reason("ocf-exit-reason:no newline"), Some("no newline"));
        assert_eq!(exit_reason("x ocf-exit-reason:in the middle\n"), Some("in the middle"));
        assert_eq!(exit_reason("ocf-exit-reason:first\nocf-exit-reason:\n"), None);
        assert_eq!(exit_reason("nothing"), None);
    }

    #[test]
    fn environment_has_prefixed_parameters_and_the_fixed_names() {
        let call = call("ocf", Some("heartbeat"), "Dummy", "start");
        let params: Vec<(String, String)> = [
            ("ip", "10.0.0.1"),
            ("CRM_meta_timeout", "20000"),
            ("OCF_CHECK_LEVEL", "10"),
            ("9num", "x"),
            ("bad=name", "x"),
            ("", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let env = environment(&call, &params, Path::new("/usr/lib/ocf"));
        let expected = [
            ("OCF_RESKEY_ip", "10.0.0.1"),
            ("OCF_RESKEY_CRM_meta_timeout", "20000"),
            ("OCF_CHECK_LEVEL", "10"),
            ("OCF_RESKEY_9num", "x"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "1"),
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:"),
            ("OCF_RESOURCE_INSTANCE", "rsc"),
            ("OCF_RESOURCE_TYPE", "Dummy"),
            ("OCF_RESOURCE_PROVIDER", "heartbeat"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(env, expected);
    }

    #[test]
    fn agents_are_searched_along_the_path() {
        let path = [PathBuf::from("/a"), PathBuf::from("/b")];
        let found = candidates(&call("ocf", Some("p"), "T", "start"), &path);
        assert_eq!(found, [PathBuf::from("/a/p/T"), PathBuf::from("/b/p/T")]);
    }
}

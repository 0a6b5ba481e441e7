//! The parameters of `fence_nova`: those of `fence_compute` and `fence_evacuate` under the same names, and its own.

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing as an option, yes or no on standard input.
    Flag,
    /// A text.
    Text,
    /// Whole seconds.
    Seconds,
    /// A whole number.
    Number,
    /// One of these, in any case of letters.
    One(&'static [&'static str]),
}

/// One parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    /// What it is called in the agent, and the old name of it on standard input.
    pub(super) key: &'static str,
    /// The long option; its name on standard input too, with underscores.
    pub(super) long: &'static str,
    /// The short option.
    pub(super) short: Option<char>,
    /// What it takes.
    pub(super) takes: Takes,
    /// What stands for its value in the usage.
    pub(super) value: &'static str,
    /// What holds without it.
    pub(super) default: Option<&'static str>,
    /// Whether the metadata call it required.
    pub(super) required: bool,
    /// What it is for.
    pub(super) about: &'static str,
}

impl Parameter {
    const fn text(key: &'static str, long: &'static str, value: &'static str, about: &'static str) -> Self {
        Self { key, long, short: None, takes: Takes::Text, value, default: None, required: false, about }
    }

    const fn flag(key: &'static str, long: &'static str, about: &'static str) -> Self {
        Self { takes: Takes::Flag, ..Self::text(key, long, "", about) }
    }

    const fn seconds(
        key: &'static str,
        long: &'static str,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Self { takes: Takes::Seconds, default: Some(default), ..Self::text(key, long, "[seconds]", about) }
    }

    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn one(self, of: &'static [&'static str]) -> Self {
        Self { takes: Takes::One(of), ..self }
    }

    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The name on standard input that metadata recommend.
    pub(super) fn name(&self) -> String {
        self.long.replace('-', "_")
    }
}

/// What `power` can be.
pub(super) const POWER: &[&str] = &["auto", "yes", "no"];
/// What `endpoint_type` can be: the names of Keystone v2, and what v3 and clouds.yaml call the same.
pub(super) const ENDPOINTS: &[&str] =
    &["internalURL", "publicURL", "adminURL", "internal", "public", "admin"];

/// All of them, as the metadata list them.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::text("action", "action", "[action]", "Fencing action").short('o').default("off").required(),
    Parameter::text("auth_url", "auth-url", "[url]", "Keystone's URL, unless a credentials file says it").short('k'),
    Parameter::text("endpoint_type", "endpoint-type", "[endpoint]", "Which of Nova's endpoints to use")
        .short('e')
        .default("internalURL")
        .one(ENDPOINTS),
    Parameter::text("login", "username", "[name]", "Keystone user, unless a credentials file says it").short('l'),
    Parameter::text(
        "passwd",
        "password",
        "[password]",
        "Keystone password. Everybody who can read the cluster's configuration can read it: prefer credentials",
    )
    .short('p'),
    Parameter::text("passwd_script", "password-script", "[script]", "Program that prints the Keystone password")
        .short('S'),
    Parameter::text("port", "plug", "[id]", "The host to fence: its name in Nova, or that of its node in the cluster")
        .short('n')
        .required(),
    Parameter::text("region_name", "region-name", "[region]", "Region of Nova in Keystone's catalog"),
    Parameter::text("tenant_name", "tenant-name", "[name]", "Keystone project, unless a credentials file says it")
        .short('t'),
    Parameter::text("user-domain", "user-domain", "[name]", "Keystone domain of the user").short('u').default("Default"),
    Parameter::text("project-domain", "project-domain", "[name]", "Keystone domain of the project")
        .short('P')
        .default("Default"),
    Parameter::flag("insecure", "insecure", "Accept any TLS certificate of Keystone and Nova. Not recommended"),
    Parameter::text("cacert", "cacert", "[file]", "CA bundle for Keystone and Nova, unless a credentials file says it"),
    Parameter::text("credentials", "credentials", "[file]", "File of mode 0600 with Keystone's credentials"),
    Parameter::text("cloud", "cloud", "[name]", "Which cloud of a clouds.yaml"),
    Parameter::text("config", "config", "[file]", "Configuration; default: /etc/pcmk-remote/nova-ha.toml if there is one"),
    Parameter::text("map", "map", "[file]", "File of mode 0600 with the power device of each host"),
    Parameter::text(
        "power",
        "power",
        "[auto|yes|no]",
        "Whether fence_nova switches the host's power itself: auto does if the map has the host",
    )
    .default("auto")
    .one(POWER),
    Parameter::text("domain", "domain", "[string]", "DNS domain of Nova's hosts, where the cluster uses short names")
        .short('d'),
    Parameter::flag(
        "instance_filtering",
        "instance-filtering",
        "Evacuate what the policy chooses; with no, nothing is evacuated",
    )
    .default("True"),
    Parameter::flag("no_shared_storage", "no-shared-storage", "The computes share no storage for ephemeral disks")
        .default("False"),
    Parameter::text(
        "record_only",
        "record-only",
        "",
        "An earlier device of the same fencing level switches the power: only mark the host and hand its evacuation \
         over; with disabled, not even that",
    )
    .short('r')
    .default("False"),
    Parameter::text("compute-domain", "compute-domain", "[string]", "Old name of domain"),
    Parameter::flag("quiet", "quiet", "No messages on standard error").short('q'),
    Parameter::flag("verbose", "verbose", "More messages").short('v'),
    Parameter::text("verbose_level", "verbose-level", "", "How many: 0 none more, 1 or higher what is done")
        .number(),
    Parameter::text("debug", "debug-file", "[debugfile]", "Write messages to this file too").short('D'),
    Parameter::flag("version", "version", "Print the version").short('V'),
    Parameter::flag("help", "help", "Print this").short('h'),
    Parameter::text("plug_separator", "plug-separator", "[char]", "Accepted for compatibility: one host at a time")
        .default(","),
    Parameter::text("separator", "separator", "[char]", "Between the columns of list").short('C').default(","),
    Parameter::seconds("delay", "delay", "0", "Wait before fencing"),
    Parameter::text("disable_timeout", "disable-timeout", "[true/false]", "Accepted for compatibility: limits always hold"),
    Parameter::seconds("login_timeout", "login-timeout", "5", "For Keystone to answer"),
    Parameter::seconds("power_timeout", "power-timeout", "20", "For the power to be read off or on"),
    Parameter::seconds("nova_timeout", "nova-timeout", "10", "For Nova to be told; after that the engine goes on"),
    Parameter::seconds("power_wait", "power-wait", "0", "Accepted for compatibility: power is read, not guessed"),
    Parameter::seconds("shell_timeout", "shell-timeout", "180", "Accepted for compatibility: see nova_timeout"),
    Parameter::seconds("stonith_status_sleep", "stonith-status-sleep", "1", "Accepted for compatibility"),
    Parameter::text("retry_on", "retry-on", "[attempts]", "How often to try again to power on").number().default("1"),
];

impl Parameter {
    const fn number(self) -> Self {
        Self { takes: Takes::Number, ..self }
    }
}

/// The parameter with this key.
pub(super) fn named(key: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.key == key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_letters_are_unique() {
        let keys: BTreeSet<_> = PARAMETERS.iter().map(|it| it.key).collect();
        let longs: BTreeSet<_> = PARAMETERS.iter().map(|it| it.long).collect();
        let shorts: Vec<_> = PARAMETERS.iter().filter_map(|it| it.short).collect();
        assert_eq!((keys.len(), longs.len()), (PARAMETERS.len(), PARAMETERS.len()));
        assert_eq!(shorts.iter().collect::<BTreeSet<_>>().len(), shorts.len());
    }

    /// Names and letters of both agents, read from their metadata (fence-agents 4.12 and 4.17).
    #[test]
    fn what_the_older_agents_take_is_taken() {
        for (key, long, short) in [
            ("action", "action", Some('o')),
            ("auth_url", "auth-url", Some('k')),
            ("endpoint_type", "endpoint-type", Some('e')),
            ("login", "username", Some('l')),
            ("passwd", "password", Some('p')),
            ("passwd_script", "password-script", Some('S')),
            ("port", "plug", Some('n')),
            ("region_name", "region-name", None),
            ("tenant_name", "tenant-name", Some('t')),
            ("insecure", "insecure", None),
            ("project-domain", "project-domain", Some('P')),
            ("user-domain", "user-domain", Some('u')),
            ("domain", "domain", Some('d')),
            ("instance_filtering", "instance-filtering", None),
            ("no_shared_storage", "no-shared-storage", None),
            ("record_only", "record-only", Some('r')),
            ("compute-domain", "compute-domain", None),
            ("quiet", "quiet", Some('q')),
            ("verbose", "verbose", Some('v')),
            ("verbose_level", "verbose-level", None),
            ("debug", "debug-file", Some('D')),
            ("version", "version", Some('V')),
            ("help", "help", Some('h')),
            ("plug_separator", "plug-separator", None),
            ("separator", "separator", Some('C')),
            ("delay", "delay", None),
            ("disable_timeout", "disable-timeout", None),
            ("login_timeout", "login-timeout", None),
            ("power_timeout", "power-timeout", None),
            ("power_wait", "power-wait", None),
            ("shell_timeout", "shell-timeout", None),
            ("stonith_status_sleep", "stonith-status-sleep", None),
            ("retry_on", "retry-on", None),
        ] {
            let parameter = named(key).unwrap_or_else(|| panic!("{key} is missing"));
            assert_eq!((parameter.long, parameter.short), (long, short), "{key}");
        }
    }
}

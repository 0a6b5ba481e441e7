//! The variables that OpenStack's own tools use.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::fields::Fields;
use super::{Settings, SettingsError, Source};

/// The environment, read once, so that nothing else looks into it.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Zeroizing<String>>);

/// Variables and our names of them; what is named later holds.
const NAMES: [(&str, &str); 33] = [
    ("OS_AUTH_TYPE", "auth_type"),
    ("OS_AUTH_URL", "auth_url"),
    ("OS_USERNAME", "username"),
    ("OS_USER_ID", "user_id"),
    ("OS_PASSWORD", "password"),
    ("OS_TENANT_ID", "tenant_id"),
    ("OS_TENANT_NAME", "tenant_name"),
    ("OS_PROJECT_ID", "project_id"),
    ("OS_PROJECT_NAME", "project_name"),
    ("OS_USER_DOMAIN_ID", "user_domain_id"),
    ("OS_USER_DOMAIN_NAME", "user_domain_name"),
    ("OS_PROJECT_DOMAIN_ID", "project_domain_id"),
    ("OS_PROJECT_DOMAIN_NAME", "project_domain_name"),
    ("OS_DEFAULT_DOMAIN", "default_domain"),
    ("OS_DEFAULT_DOMAIN_ID", "default_domain_id"),
    ("OS_DEFAULT_DOMAIN_NAME", "default_domain_name"),
    ("OS_SYSTEM_SCOPE", "system_scope"),
    ("OS_APPLICATION_CREDENTIAL_ID", "application_credential_id"),
    ("OS_APPLICATION_CREDENTIAL_NAME", "application_credential_name"),
    ("OS_APPLICATION_CREDENTIAL_SECRET", "application_credential_secret"),
    ("OS_REGION_NAME", "region_name"),
    ("OS_ENDPOINT_TYPE", "endpoint_type"),
    ("OS_INTERFACE", "interface"),
    ("OS_CACERT", "cafile"),
    ("OS_CERT", "certfile"),
    ("OS_KEY", "keyfile"),
    ("OS_INSECURE", "insecure"),
    ("OS_VERIFY", "verify"),
    ("OS_COMPUTE_API_VERSION", "compute_api_version"),
    ("OS_COMPUTE_ENDPOINT_OVERRIDE", "compute_endpoint"),
    ("OS_PLACEMENT_ENDPOINT_OVERRIDE", "placement_endpoint"),
    ("OS_IMAGE_ENDPOINT_OVERRIDE", "image_endpoint"),
    ("OS_PASSWORD_FILE", "password_file"),
];

impl Environment {
    /// That of this process.
    pub fn of_this_process() -> Self {
        let wanted = |name: &str| name.starts_with("OS_") || matches!(name, "HOME" | "XDG_CONFIG_HOME");
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| wanted(name))
            .collect()
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Settings out of the environment alone.
pub(super) fn read(environment: &Environment) -> Result<Settings, SettingsError> {
    let mut fields = Fields::new(Source::Environment.to_string(), spell);
    for (variable, name) in NAMES {
        if let Some(value) = environment.get(variable) {
            fields.set(name, value);
        }
    }
    fields.into_settings()
}

fn spell(name: &str) -> String {
    let variable = NAMES.iter().find(|(_, ours)| *ours == name).map(|(variable, _)| *variable);
    variable.map_or_else(|| format!("OS_{}", name.to_ascii_uppercase()), str::to_owned)
}

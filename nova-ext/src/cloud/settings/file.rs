//! Our own file: TOML, mode 0600, one table.

use std::path::Path;

use super::fields::Fields;
use super::{Settings, SettingsError};
use crate::secret::read_private;

/// Every name that the file may have.
const NAMES: [&str; 33] = [
    "auth_type",
    "auth_url",
    "username",
    "user_id",
    "password",
    "password_file",
    "project_id",
    "project_name",
    "user_domain_id",
    "user_domain_name",
    "project_domain_id",
    "project_domain_name",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
    "application_credential_secret_file",
    "region_name",
    "interface",
    "valid_interfaces",
    "cafile",
    "certfile",
    "keyfile",
    "insecure",
    "compute_api_version",
    "compute_endpoint",
    "placement_endpoint",
    "image_endpoint",
    "proxy",
    "connect_timeout",
    "request_timeout",
    "call_timeout",
    "list_timeout",
    "system_scope",
];

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Settings, SettingsError> {
    let text = read_private(path)?;
    let origin = path.display().to_string();
    let syntax = |why: String| SettingsError::Syntax { source_of: origin.clone(), why };
    // The parser's own message would show the line, and with it perhaps the password.
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| syntax(place(&text, &error)))?;
    let mut fields = Fields::new(origin.clone(), str::to_owned);
    for (name, value) in table {
        if !NAMES.contains(&name.as_str()) {
            let near = super::super::near(&name, NAMES).map(|near| format!(": did you mean {near}?"));
            return Err(syntax(format!("unknown option {name:?}{}", near.unwrap_or_default())));
        }
        match value {
            toml::Value::String(text) => fields.set(&name, &text),
            toml::Value::Boolean(flag) => fields.set(&name, if flag { "true" } else { "false" }),
            toml::Value::Integer(number) if name.ends_with("_timeout") => {
                fields.set(&name, &number.to_string());
            }
            toml::Value::Array(list) if name == "valid_interfaces" => {
                let list: Vec<&str> = list.iter().filter_map(toml::Value::as_str).collect();
                fields.set(&name, &list.join(","));
            }
            toml::Value::Float(_) if name == "compute_api_version" => {
                return Err(syntax(format!("{name}: write it as text, \"2.95\": 2.100 as a number is 2.1")));
            }
            _ => return Err(syntax(format!("{name}: not a text"))),
        }
    }
    fields.into_settings()
}

fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| format!(" in line {}", before.matches('\n').count() + 1));
    format!("not TOML{}", line.unwrap_or_default())
}

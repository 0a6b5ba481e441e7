//! Configuration files of OpenStack's services: `nova.conf` and its like.

use std::path::Path;

use ini::{Ini, ParseOption, Properties};
use zeroize::Zeroizing;

use super::fields::Fields;
use super::text::{self, Text};
use super::{Settings, SettingsError, Source};

/// The largest file that is read; a commented nova.conf has 250 KiB.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Options and our names of them.
const OPTIONS: [(&str, &str); 30] = [
    ("auth_plugin", "auth_type"),
    ("auth_type", "auth_type"),
    ("auth_url", "auth_url"),
    ("user_name", "username"),
    ("user-name", "username"),
    ("username", "username"),
    ("user_id", "user_id"),
    ("password", "password"),
    ("tenant_id", "tenant_id"),
    ("tenant_name", "tenant_name"),
    ("project_id", "project_id"),
    ("project_name", "project_name"),
    ("user_domain_id", "user_domain_id"),
    ("user_domain_name", "user_domain_name"),
    ("project_domain_id", "project_domain_id"),
    ("project_domain_name", "project_domain_name"),
    ("default_domain_id", "default_domain_id"),
    ("default_domain_name", "default_domain_name"),
    ("system_scope", "system_scope"),
    ("application_credential_id", "application_credential_id"),
    ("application_credential_name", "application_credential_name"),
    ("application_credential_secret", "application_credential_secret"),
    ("os_region_name", "region_name"),
    ("region_name", "region_name"),
    ("interface", "interface"),
    ("valid_interfaces", "valid_interfaces"),
    ("cafile", "cafile"),
    ("certfile", "certfile"),
    ("keyfile", "keyfile"),
    ("insecure", "insecure"),
];

/// Reads one section, and the one that it points to (`auth_section`).
pub(super) fn read(path: &Path, section: &str) -> Result<Settings, SettingsError> {
    let Text { content, public } = text::read(path, LARGEST)?;
    let origin = Source::Conf { file: path.to_owned(), section: section.to_owned() }.to_string();
    let syntax = |why: String| SettingsError::Syntax { source_of: origin.clone(), why };
    let values = values(&content, section).map_err(syntax)?;
    let mut fields = Fields::new(origin, str::to_owned);
    for (ours, value) in &values {
        fields.set(ours, value);
    }
    if fields.have_secret() && public {
        return Err(SettingsError::Public(path.to_owned()));
    }
    fields.into_settings()
}

/// The values of a section by our names of them.
fn values(text: &str, section: &str) -> Result<Vec<(&'static str, Zeroizing<String>)>, String> {
    // Backslashes and quotes inside a password are part of it.
    let how = ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
    let file = Ini::load_from_str_opt(text, how)
        .map_err(|error| format!("not a configuration file, at line {}", error.line))?;
    let named =
        |name: &str| file.section(Some(name)).ok_or_else(|| format!("the file has no section [{name}]"));
    let own = named(section)?;
    let auth = own.get("auth_section").map(|name| named(name.trim())).transpose()?;
    let defaults = file.section(Some("DEFAULT"));
    let mut values = Vec::new();
    // What it points to says who we are; where its own words differ, they hold.
    for part in [auth, Some(own)].into_iter().flatten() {
        for (option, ours) in OPTIONS {
            if let Some(raw) = part.get(option) {
                let value = substitute(unquote(raw.trim()), part, defaults)
                    .map_err(|unknown| format!("{option}: there is no option {unknown:?} to put in"))?;
                values.push((ours, value));
            }
        }
    }
    Ok(values)
}

fn unquote(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

/// Puts in `$option` and `${option}`, of the section or of `[DEFAULT]`; `$$` and `\$` are a dollar sign.
fn substitute(
    text: &str,
    section: &Properties,
    defaults: Option<&Properties>,
) -> Result<Zeroizing<String>, String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
        if let Some(before) = before.strip_suffix('\\') {
            out.push_str(before);
            out.push('$');
            rest = after;
            continue;
        }
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, behind) = match (after.strip_prefix('$'), braced) {
            (Some(behind), _) => ("", behind),
            (None, Some((name, behind))) => (name, behind),
            (None, None) => after.split_at(end),
        };
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            out.push('$');
            rest = if name.is_empty() { behind } else { after };
            continue;
        }
        let value = section.get(name).or_else(|| defaults.and_then(|defaults| defaults.get(name)));
        // Not into itself: one level is what is in use.
        out.push_str(unquote(value.ok_or_else(|| name.to_owned())?.trim()));
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

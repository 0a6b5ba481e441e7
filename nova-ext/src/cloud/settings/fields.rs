//! Named values of one source, and settings made of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use zeroize::Zeroizing;

use super::{Auth, Credential, Domain, Endpoints, Interface, Named, Settings, SettingsError, Tls};
use crate::secret::Secret;

/// Keystone's usual domain, which a source that names none means.
const DEFAULT_DOMAIN: &str = "default";

/// The values of one source by our names of them.
pub(super) struct Fields {
    /// Where they are from, for messages.
    origin: String,
    /// How this source writes a field's name.
    spell: fn(&str) -> String,
    values: BTreeMap<String, Zeroizing<String>>,
}

/// The fields that are secret.
pub(super) const SECRETS: [&str; 2] = ["password", "application_credential_secret"];

impl Fields {
    pub(super) fn new(origin: String, spell: fn(&str) -> String) -> Self {
        Self { origin, spell, values: BTreeMap::new() }
    }

    /// Sets a field; an empty value is none.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            self.values.remove(name);
        } else {
            self.values.insert(name.to_owned(), Zeroizing::new(value.to_owned()));
        }
    }

    /// Whether one of them is secret.
    pub(super) fn have_secret(&self) -> bool {
        SECRETS.iter().any(|name| self.get(name).is_some())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.as_str())
    }

    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name)).map(str::to_owned)
    }

    fn missing(&self, names: &[&str]) -> SettingsError {
        let what = names.iter().map(|name| (self.spell)(name)).collect::<Vec<_>>().join(" or ");
        SettingsError::Missing { source_of: self.origin.clone(), what }
    }

    fn bad(&self, name: &str, why: impl Into<String>) -> SettingsError {
        SettingsError::Bad { source_of: self.origin.clone(), what: (self.spell)(name), why: why.into() }
    }

    /// The settings that these make.
    pub(super) fn into_settings(self) -> Result<Settings, SettingsError> {
        let auth_url = self.url("auth_url")?.ok_or_else(|| self.missing(&["auth_url"]))?;
        let auth = self.auth()?;
        let mut settings = Settings::new(self.origin.clone(), auth_url, auth);
        settings.region = self.first(&["region_name", "region"]);
        if let Some(interfaces) = self.interfaces()? {
            settings.interfaces = interfaces;
        }
        settings.tls = self.tls()?;
        settings.endpoints = Endpoints {
            compute: self.url("compute_endpoint")?,
            placement: self.url("placement_endpoint")?,
            image: self.url("image_endpoint")?,
        };
        settings.proxy = self.flag("proxy")?.unwrap_or(false);
        if let Some(text) = self.get("compute_api_version").filter(|text| *text != "2") {
            let version =
                text.parse().map_err(|error| self.bad("compute_api_version", format!("{error}")))?;
            settings.microversion = Some(version);
        }
        let limits = &mut settings.limits;
        for (name, limit) in [
            ("connect_timeout", &mut limits.connect),
            ("request_timeout", &mut limits.request),
            ("call_timeout", &mut limits.call),
            ("list_timeout", &mut limits.list),
        ] {
            if let Some(span) = self.span(name)? {
                *limit = span;
            }
        }
        Ok(settings)
    }

    fn auth(&self) -> Result<Auth, SettingsError> {
        let kind = self.get("auth_type").unwrap_or_default();
        match kind {
            "" | "password" | "v3password" | "v3applicationcredential" => {}
            other => {
                let other: String = other.chars().take(32).collect();
                let why = format!(
                    "{other:?} cannot be renewed without a person: use password or v3applicationcredential"
                );
                return Err(self.bad("auth_type", why));
            }
        }
        let by_credential = kind == "v3applicationcredential"
            || (kind.is_empty()
                && (self.get("application_credential_id").is_some()
                    || self.get("application_credential_name").is_some()));
        if by_credential { self.application_credential() } else { self.password() }
    }

    fn application_credential(&self) -> Result<Auth, SettingsError> {
        let secret = self.secret("application_credential_secret")?;
        let credential =
            match (self.get("application_credential_id"), self.get("application_credential_name")) {
                (Some(id), _) => Credential::Id(id.to_owned()),
                (None, Some(name)) => Credential::Name { name: name.to_owned(), user: self.user()? },
                (None, None) => {
                    return Err(self.missing(&["application_credential_id", "application_credential_name"]));
                }
            };
        Ok(Auth::ApplicationCredential { credential, secret })
    }

    fn password(&self) -> Result<Auth, SettingsError> {
        let user = self.user()?;
        let password = self.secret("password")?;
        if self.get("system_scope").is_some() {
            let why = "a system scope cannot act on servers: give a project in which the user is admin";
            return Err(self.bad("system_scope", why));
        }
        let id = self.first(&["project_id", "tenant_id"]);
        let name = self.first(&["project_name", "tenant_name"]);
        let project = match (id, name) {
            (Some(id), _) => Named::Id(id),
            (None, Some(name)) => Named::Name { name, domain: self.domain("project") },
            (None, None) => return Err(self.missing(&["project_name", "project_id"])),
        };
        Ok(Auth::Password { user, password, project })
    }

    fn user(&self) -> Result<Named, SettingsError> {
        match (self.get("user_id"), self.get("username")) {
            (Some(id), _) => Ok(Named::Id(id.to_owned())),
            (None, Some(name)) => Ok(Named::Name { name: name.to_owned(), domain: self.domain("user") }),
            (None, None) => Err(self.missing(&["username", "user_id"])),
        }
    }

    /// The domain of a name: its own, the one for both, or Keystone's usual one.
    fn domain(&self, whose: &str) -> Domain {
        let own = |part: &str| self.get(&format!("{whose}_domain_{part}"));
        let id = own("id").or_else(|| self.get("domain_id").filter(|_| own("name").is_none()));
        if let Some(id) = id {
            return Domain::Id(id.to_owned());
        }
        if let Some(name) = own("name").or_else(|| self.get("domain_name")) {
            return Domain::Name(name.to_owned());
        }
        if let Some(name) = self.get("default_domain_name") {
            return Domain::Name(name.to_owned());
        }
        let usual = self.first(&["default_domain_id", "default_domain"]);
        Domain::Id(usual.unwrap_or_else(|| DEFAULT_DOMAIN.to_owned()))
    }

    fn secret(&self, name: &str) -> Result<Secret, SettingsError> {
        if let Some(value) = self.get(name) {
            return Ok(Secret::new(value.to_owned()));
        }
        if let Some(path) = self.get(&format!("{name}_file")) {
            return Ok(Secret::from_file(path.as_ref())?);
        }
        Err(self.missing(&[name]))
    }

    fn url(&self, name: &str) -> Result<Option<Url>, SettingsError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let url = Url::parse(text).map_err(|error| self.bad(name, format!("not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(self.bad(name, "not an http or https URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.bad(name, "a URL is no place for a password: leave out what is before the @"));
        }
        Ok(Some(url))
    }

    /// `valid_interfaces` (a list) or `interface`, the best first.
    fn interfaces(&self) -> Result<Option<Vec<Interface>>, SettingsError> {
        for name in ["valid_interfaces", "interface", "endpoint_type"] {
            if let Some(text) = self.get(name) {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let all: Result<Vec<Interface>, String> = parts.map(str::parse).collect();
                return match all {
                    Ok(all) if all.is_empty() => Err(self.bad(name, "it is empty")),
                    Ok(all) => Ok(Some(all)),
                    Err(why) => Err(self.bad(name, why)),
                };
            }
        }
        Ok(None)
    }

    fn tls(&self) -> Result<Tls, SettingsError> {
        let insecure = self.flag("insecure")?.unwrap_or(false) || self.flag("verify")? == Some(false);
        let path = |name: &str| self.get(name).map(PathBuf::from);
        let (certificate, key) = (path("certfile"), path("keyfile"));
        if key.is_some() && certificate.is_none() {
            return Err(self.missing(&["certfile"]));
        }
        Ok(Tls { ca: path("cafile"), certificate, key, insecure })
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, SettingsError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" | "t" | "y" => Ok(Some(true)),
            "0" | "false" | "no" | "off" | "f" | "n" => Ok(Some(false)),
            _ => Err(self.bad(name, "neither true nor false")),
        }
    }

    /// A time: `30`, `30s`, `2m`.
    fn span(&self, name: &str) -> Result<Option<Duration>, SettingsError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let text = text.trim();
        let span = match text.parse::<u32>() {
            Ok(seconds) => Some(Duration::from_secs(seconds.into())),
            Err(_) => humantime::parse_duration(text).ok(),
        };
        match span {
            Some(span) if !span.is_zero() && span <= Duration::from_secs(3600) => Ok(Some(span)),
            _ => Err(self.bad(name, "not a time from 1 s to 1 h, as 30s")),
        }
    }
}

//! The cloud as the parameters and the configuration describe it, and what fencing does there.

use std::time::Duration;

use reqwest::Url;

use super::keep::is_ours;
use super::told::{Endpoint, Login, Password, Told};
use crate::cloud::{
    Cloud, CloudError, Domain, Environment, Interface, Named, Service, ServiceChange, Settings,
    SettingsError, Source,
};
use crate::config::Config;
use crate::ids::HostName;
use crate::process::{ProcessError, Program};
use crate::secret::Secret;

/// The longest output of a password script.
const LONGEST_PASSWORD: usize = 4096;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSettings {
    /// What the files say.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The URL.
    #[error("auth_url is no URL of Keystone: {0}")]
    Url(String),
    /// The script.
    #[error("password_script: {0}")]
    Script(#[from] ProcessError),
    /// What it did.
    #[error("password_script: {0}")]
    NoPassword(String),
}

/// The settings: the parameters' login, else the credentials file they name, else the configuration's.
pub(super) async fn settings(told: &Told, config: &Config) -> Result<Settings, NoSettings> {
    let environment = Environment::of_this_process();
    let mut settings = match (&told.login, &told.credentials, &told.cloud) {
        (Some(login), _, _) => {
            let mut settings = by_login(login, told.login_timeout).await?;
            settings.interfaces = vec![Interface::Internal];
            settings
        }
        (None, Some(path), cloud) => {
            let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            let source = if yaml {
                Source::Clouds { file: Some(path.clone()), cloud: cloud.clone() }
            } else {
                Source::File(path.clone())
            };
            Settings::load(&source, &environment)?
        }
        (None, None, Some(cloud)) => {
            Settings::load(&Source::Clouds { file: None, cloud: Some(cloud.clone()) }, &environment)?
        }
        (None, None, None) => config.cloud_settings()?,
    };
    if let Some(endpoint) = told.endpoint {
        settings.interfaces = vec![match endpoint {
            Endpoint::Internal => Interface::Internal,
            Endpoint::Public => Interface::Public,
            Endpoint::Admin => Interface::Admin,
        }];
    }
    if told.region.is_some() {
        settings.region.clone_from(&told.region);
    }
    if told.cacert.is_some() {
        settings.tls.ca.clone_from(&told.cacert);
    }
    settings.tls.insecure |= told.insecure;
    let limits = &mut settings.limits;
    limits.connect = told.login_timeout.min(told.nova_timeout);
    // One answer that does not come is not to take all the time.
    limits.request = (told.nova_timeout / 2).max(Duration::from_secs(1));
    limits.call = told.nova_timeout;
    limits.list = told.nova_timeout;
    Ok(settings)
}

async fn by_login(login: &Login, within: Duration) -> Result<Settings, NoSettings> {
    let url = Url::parse(&login.auth_url).map_err(|error| NoSettings::Url(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(NoSettings::Url("it must begin with http:// or https://".into()));
    }
    let password = match &login.password {
        Password::Here(password) => password.clone(),
        Password::Script(path) => {
            // Through a shell, as the other fence agents run it.
            let mut script = Program::new("/bin/sh").with(["-c".as_ref(), path.as_os_str()]);
            script.kept = LONGEST_PASSWORD;
            let ended = script.run(within).await?;
            // What it prints may be the password even if it fails.
            if !ended.is_ok() {
                return Err(NoSettings::NoPassword(format!("exit code {:?}", ended.code)));
            }
            let text = ended.output.trim_end();
            if text.is_empty() || ended.cut {
                return Err(NoSettings::NoPassword("it prints no password".into()));
            }
            Secret::new(text.to_owned())
        }
    };
    let named = |name: &str, domain: &str| Named::Name {
        name: name.to_owned(),
        domain: Domain::Name(domain.to_owned()),
    };
    let user = named(&login.username, &login.user_domain);
    let project = named(&login.project, &login.project_domain);
    Ok(Settings::password(url, user, password, project))
}

/// What Nova was told.
#[derive(Debug, Clone)]
pub(crate) struct Marking {
    /// The service as it is now.
    pub(crate) service: Service,
    /// Whether nothing had to be changed.
    pub(crate) already: bool,
    /// Whether it was us who disabled it.
    pub(crate) disabled: bool,
}

/// Tells Nova that the host is down and, unless somebody has disabled it before, to schedule nothing there.
pub(crate) async fn mark(cloud: &Cloud, host: &HostName, reason: &str) -> Result<Marking, CloudError> {
    let service = cloud.compute_service(host).await?;
    match change(&service, reason) {
        None => Ok(Marking { service, already: true, disabled: false }),
        Some(change) => {
            let disabled = change.enabled == Some(false);
            let service = cloud.set_service(service.id, &change).await?;
            Ok(Marking { service, already: false, disabled })
        }
    }
}

/// What is to be changed: never the reason of somebody else.
fn change(service: &Service, reason: &str) -> Option<ServiceChange> {
    let down = (!service.forced_down).then_some(true);
    // A reason of ours of an earlier fencing gives way to this one's.
    let ours = service.disabled_reason.as_deref().is_some_and(|old| old != reason && is_ours(old));
    let disable = service.status_enabled || ours;
    (down.is_some() || disable).then(|| ServiceChange {
        forced_down: down,
        enabled: disable.then_some(false),
        disabled_reason: disable.then(|| reason.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(enabled: bool, forced_down: bool, reason: Option<&str>) -> Service {
        Service {
            id: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
            binary: "nova-compute".into(),
            host: "c1".parse().unwrap(),
            zone: None,
            status_enabled: enabled,
            disabled_reason: reason.map(str::to_owned),
            up: !forced_down,
            forced_down,
            updated_at: None,
        }
    }

    #[test]
    fn an_operators_reason_is_never_touched() {
        let change = |service: Service| change(&service, "nova-ha: b");
        let full = change(service(true, false, None)).unwrap();
        assert_eq!((full.forced_down, full.enabled), (Some(true), Some(false)));
        let down_only = change(service(false, false, Some("disk swap, ann"))).unwrap();
        assert_eq!(
            (down_only.forced_down, down_only.enabled, down_only.disabled_reason),
            (Some(true), None, None)
        );
        assert_eq!(change(service(false, true, Some("disk swap, ann"))), None);
        assert_eq!(change(service(false, true, Some("nova-ha: b"))), None);
        let renewed = change(service(false, true, Some("nova-ha: a"))).unwrap();
        assert_eq!((renewed.forced_down, renewed.disabled_reason.as_deref()), (None, Some("nova-ha: b")));
    }
}

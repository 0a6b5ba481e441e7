//! What these credentials and this cloud are good for, found out by looking alone: nothing is changed.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::catalog::{Service as Kind, below};
use super::error::CloudError;
use super::http::Answer;
use super::microversion::Microversion;
use super::migration::MigrationQuery;
use super::{Cloud, tls};
use crate::stamp::Stamp;

/// A clock that is wrong by this makes trouble with tokens and with times in reports.
const SKEW: Duration = Duration::from_secs(30);
/// A certificate that ends sooner is worth a word.
const ENDS_SOON: Duration = Duration::from_secs(30 * 86_400);

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// Recovery will not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good it is.
    pub level: Level,
    /// What was found, in one line.
    pub text: String,
}

impl Finding {
    fn ok(text: impl Into<String>) -> Self {
        Self { level: Level::Ok, text: text.into() }
    }

    fn warn(text: impl Into<String>) -> Self {
        Self { level: Level::Warn, text: text.into() }
    }

    fn fail(text: impl Into<String>) -> Self {
        Self { level: Level::Fail, text: text.into() }
    }
}

impl Cloud {
    /// Looks at everything that recovery needs of the cloud, and changes nothing.
    pub async fn check(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> =
            self.inner.settings.warnings().into_iter().map(Finding::warn).collect();
        findings.push(self.version());
        findings.extend(self.account().await);
        findings.extend(self.clocks_and_certificates().await);
        findings.extend(self.client_certificate());
        findings.extend(self.services_seen().await);
        findings.push(self.servers_seen().await);
        let query = MigrationQuery {
            kind: Some("evacuation".into()),
            since: Some(Stamp::now()),
            ..MigrationQuery::default()
        };
        let migrations = self.migrations(&query).await.map(|_| ());
        findings.push(seen("migrations", "os_compute_api:os-migrations:index", migrations));
        findings.push(seen(
            "aggregates",
            "os_compute_api:os-aggregates:index",
            self.aggregates().await.map(|_| ()),
        ));
        let hypervisors = self.hypervisors().await.map(|_| ());
        findings.push(seen("hypervisors", "os_compute_api:os-hypervisors:list-detail", hypervisors));
        findings.push(match self.resource_providers().await {
            Ok(providers) => Finding::ok(format!("Placement has {} resource providers", providers.len())),
            Err(error) => Finding::warn(format!("capacity cannot be told without Placement: {error}")),
        });
        findings.push(match self.endpoint(Kind::Image).await {
            Ok(_) => Finding::ok("Glance is in the catalog"),
            Err(error) => Finding::warn(format!("properties of images cannot be read: {error}")),
        });
        findings
    }

    fn version(&self) -> Finding {
        let (used, offered) = (self.microversion(), self.offered());
        let text = format!("Nova offers {} to {}, {used} is used", offered.min, offered.max);
        if used < Microversion::DOWN_CELLS {
            return Finding::warn(format!(
                "{text}: below 2.69 a cell that is down looks like one without servers"
            ));
        }
        if used < Microversion::EVACUATE_STOPPED {
            return Finding::ok(format!("{text}: evacuated servers run on by themselves, in no order"));
        }
        Finding::ok(format!("{text}: evacuated servers end stopped and are started in order"))
    }

    /// Who we are, and whether that is likely to be enough for what cannot be tried.
    async fn account(&self) -> Vec<Finding> {
        let token = match self.inner.session.token(None, self.until(self.limits().call)).await {
            Ok(token) => token,
            Err(error) => return vec![Finding::fail(error.to_string())],
        };
        let roles = token.roles.join(", ");
        let text = format!("logged in as {} with {roles}", token.user);
        if token.roles.iter().any(|role| role == "admin") {
            return vec![Finding::ok(text)];
        }
        vec![Finding::warn(format!(
            "{text}: without the role admin Nova's usual policy refuses to force a service down \
             (os_compute_api:os-services:update) and to evacuate (os_compute_api:os-evacuate)"
        ))]
    }

    async fn clocks_and_certificates(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let nova = self.get("/", &[]).await;
        findings.extend(nova.iter().flat_map(|answer| about_peer("Nova", answer)));
        if let Ok(base) = self.endpoint(Kind::Placement).await
            && let Ok(answer) = self.get_at(below(&base, ""), "GET placement", None).await
        {
            findings.extend(about_peer("Placement", &answer));
        }
        findings
    }

    fn client_certificate(&self) -> Option<Finding> {
        let path = self.inner.settings.tls.certificate.as_ref()?;
        let name = format!("our certificate {}", path.display());
        Some(match tls::certificates(path) {
            Ok(chain) => chain.first().map_or_else(
                || Finding::fail(format!("{name} is empty")),
                |first| expiry(&name, first, SystemTime::now()),
            ),
            Err(error) => Finding::fail(error.to_string()),
        })
    }

    async fn services_seen(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.services("nova-compute", None).await {
            Ok(services) => {
                let up = services.known.iter().filter(|service| service.up).count();
                let forced = services.known.iter().filter(|service| service.forced_down).count();
                let text =
                    format!("{} compute services, {up} up, {forced} forced down", services.known.len());
                findings.push(if services.known.is_empty() {
                    Finding::fail(text)
                } else {
                    Finding::ok(text)
                });
                if !services.unknown.is_empty() {
                    let count = services.unknown.len();
                    findings.push(Finding::fail(format!(
                        "a cell is down: nothing can be told of {count} hosts in it"
                    )));
                }
            }
            Err(error) => findings.push(seen("services", "os_compute_api:os-services:list", Err(error))),
        }
        match self.schedulers_alive().await {
            Ok(0) => findings.push(Finding::fail("no scheduler is up: no evacuation would ever begin")),
            Ok(count) => findings.push(Finding::ok(format!("{count} scheduler(s) up"))),
            Err(error) => findings.push(Finding::fail(error.to_string())),
        }
        findings
    }

    /// Whether the servers of all projects can be seen, with what decisions need.
    async fn servers_seen(&self) -> Finding {
        let query = [("all_tenants", "1"), ("limit", "1")];
        let policy = "os_compute_api:servers:detail:get_all_tenants";
        match self.one_server(&query).await {
            Ok(true) => Finding::ok("the servers of all projects can be seen, with host and extra specs"),
            Ok(false) => Finding::ok("the servers of all projects can be listed (there is none yet)"),
            Err(error) => seen("the servers of all projects", policy, Err(error)),
        }
    }
}

fn seen(what: &str, policy: &str, result: Result<(), CloudError>) -> Finding {
    match result {
        Ok(()) => Finding::ok(format!("{what} can be read")),
        Err(CloudError::Refused { status: 403, .. }) => Finding::fail(format!(
            "these credentials may not read {what}: Nova's policy {policy} has to allow it"
        )),
        Err(error) => Finding::fail(format!("{what} cannot be read: {error}")),
    }
}

fn about_peer(name: &str, answer: &Answer) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((theirs, ours)) = answer.clock {
        let skew = theirs.duration_since(ours).unwrap_or_else(|ahead| ahead.duration());
        let text = format!("the clocks of {name} and of this host are {} s apart", skew.as_secs());
        findings.push(if skew > SKEW { Finding::warn(text) } else { Finding::ok(text) });
    }
    if let Some(certificate) = &answer.certificate {
        findings.push(expiry(&format!("{name}'s certificate"), certificate, SystemTime::now()));
    }
    findings
}

/// When a certificate ends.
fn expiry(name: &str, der: &[u8], now: SystemTime) -> Finding {
    let Ok(certificate) = Certificate::from_der(der) else {
        return Finding::warn(format!("{name} cannot be read"));
    };
    let end = certificate.tbs_certificate().validity().not_after.to_system_time();
    let day = humantime::format_rfc3339_seconds(end);
    match end.duration_since(now) {
        Err(_) => Finding::fail(format!("{name} has ended on {day}")),
        Ok(left) if left < ENDS_SOON => {
            Finding::warn(format!("{name} ends on {day}, in {} days", left.as_secs() / 86_400))
        }
        Ok(_) => Finding::ok(format!("{name} is good until {day}")),
    }
}

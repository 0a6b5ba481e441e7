//! Migrations: what tells how an evacuation ended.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::error::CloudError;
use super::microversion::Microversion;
use super::pages::Link;
use super::{Cloud, Page, wire};
use crate::ids::{HostName, MigrationId, ServerId};
use crate::stamp::Stamp;

/// Migrations in one page.
const PAGE: &str = "1000";
/// The same if the latest are wanted.
const SHORT_PAGE: &str = "200";
/// Nova's hosts have clocks of their own, and its records whole seconds.
const TOLERANCE: Duration = Duration::from_secs(5);

/// How far a migration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationStatus {
    /// Asked for; nobody has begun.
    Accepted,
    /// The target has begun.
    PreMigrating,
    /// The server is on the target; the source has not cleaned up.
    Done,
    /// The server is on the target, and the source has cleaned up.
    Completed,
    /// It did not work.
    Failed,
    /// It did not work, and something went wrong while that was put right.
    Error,
    /// It was called off.
    Cancelled,
    /// Something else, of another type of migration.
    Other(String),
}

impl MigrationStatus {
    /// As Nova writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Accepted => "accepted",
            Self::PreMigrating => "pre-migrating",
            Self::Done => "done",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Other(text) => text,
        }
    }

    /// Whether it may still do something.
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Accepted | Self::PreMigrating | Self::Other(_))
    }

    /// Whether the server is on the target.
    pub fn has_moved(&self) -> bool {
        matches!(self, Self::Done | Self::Completed)
    }

    /// Whether it ended without the server on the target.
    pub fn has_failed(&self) -> bool {
        matches!(self, Self::Failed | Self::Error | Self::Cancelled)
    }
}

impl From<&str> for MigrationStatus {
    fn from(text: &str) -> Self {
        match text {
            "accepted" => Self::Accepted,
            "pre-migrating" => Self::PreMigrating,
            "done" => Self::Done,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "error" => Self::Error,
            "cancelled" => Self::Cancelled,
            other => Self::Other(super::http::plain(other)),
        }
    }
}

impl fmt::Display for MigrationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One move of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number: larger is later, in one cell.
    pub number: i64,
    /// Its UUID (2.59 and later).
    pub id: Option<MigrationId>,
    /// Which server.
    pub server: ServerId,
    /// `evacuation`, `live-migration`, …
    pub kind: String,
    /// How far it is.
    pub status: MigrationStatus,
    /// From where.
    pub source: Option<HostName>,
    /// To where; not known before the scheduler has chosen.
    pub target: Option<HostName>,
    /// When it was asked for.
    pub created: Option<Stamp>,
    /// When it last changed.
    pub updated: Option<Stamp>,
}

/// Which migrations; what is not said is not filtered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrationQuery {
    /// From this host.
    pub source: Option<HostName>,
    /// Of this server.
    pub server: Option<ServerId>,
    /// Of this type, as `evacuation`.
    pub kind: Option<String>,
    /// With this status.
    pub status: Option<MigrationStatus>,
    /// Made since then, by our clock; some made a few seconds earlier may be among them.
    pub since: Option<Stamp>,
    /// Changed since then, by Nova's clock. One that was made and never changed has no time of change and is left out,
    /// whenever it was made: ask for what is alive by its status.
    pub changed_since: Option<Stamp>,
}

impl MigrationQuery {
    /// Evacuations from a host.
    pub fn evacuations_from(host: &HostName) -> Self {
        Self { source: Some(host.clone()), kind: Some("evacuation".into()), ..Self::default() }
    }

    /// Evacuations of a server.
    pub fn evacuations_of(server: ServerId) -> Self {
        Self { server: Some(server), kind: Some("evacuation".into()), ..Self::default() }
    }

    /// Whatever the cloud's filters did: what was not asked for is left out. `since` is by Nova's clock.
    fn fits(&self, migration: &Migration, since: Option<Stamp>) -> bool {
        self.source.as_ref().is_none_or(|host| migration.source.as_ref() == Some(host))
            && self.server.is_none_or(|server| migration.server == server)
            && self.kind.as_ref().is_none_or(|kind| migration.kind == *kind)
            && self.status.as_ref().is_none_or(|status| migration.status == *status)
            && !is_older(migration.created, since)
            && self
                .changed_since
                .is_none_or(|since| migration.updated.is_some_and(|at| at.as_secs() >= since.as_secs()))
    }
}

fn is_older(created: Option<Stamp>, since: Option<Stamp>) -> bool {
    created.zip(since).is_some_and(|(created, since)| created < since)
}

#[derive(Deserialize)]
struct List {
    migrations: Vec<Raw>,
    #[serde(default)]
    migrations_links: Vec<Link>,
}

impl Page for List {
    type Item = Raw;

    fn split(self) -> (Vec<Raw>, Vec<Link>) {
        (self.migrations, self.migrations_links)
    }
}

#[derive(Deserialize)]
struct Raw {
    id: i64,
    uuid: Option<MigrationId>,
    instance_uuid: ServerId,
    #[serde(default, deserialize_with = "wire::text")]
    migration_type: Option<String>,
    status: String,
    source_compute: Option<HostName>,
    dest_compute: Option<HostName>,
    #[serde(default, deserialize_with = "wire::stamp")]
    created_at: Option<Stamp>,
    #[serde(default, deserialize_with = "wire::stamp")]
    updated_at: Option<Stamp>,
}

impl Raw {
    /// The migration, if the credentials can see all of it: a hidden source would make it one of no host.
    fn known(self) -> Result<Migration, CloudError> {
        let raw = self;
        if raw.source_compute.is_none() {
            let what = "they do not show from which host a migration is".into();
            return Err(CloudError::Role { what, policy: "os_compute_api:os-migrations:index:host" });
        }
        Ok(Migration {
            number: raw.id,
            id: raw.uuid,
            server: raw.instance_uuid,
            kind: raw.migration_type.unwrap_or_default(),
            status: MigrationStatus::from(raw.status.as_str()),
            source: raw.source_compute,
            target: raw.dest_compute,
            created: raw.created_at,
            updated: raw.updated_at,
        })
    }
}

impl Cloud {
    /// The migrations that fit, the latest first.
    ///
    /// A cell that does not answer is left out by Nova without a word: see [`Cloud::compute_service`], which
    /// notices.
    pub async fn migrations(&self, query: &MigrationQuery) -> Result<Vec<Migration>, CloudError> {
        let server = query.server.map(|server| server.to_string());
        let mut filters: Vec<(&str, &str)> = Vec::new();
        filters.extend(query.source.as_ref().map(|host| ("source_compute", host.as_str())));
        filters.extend(server.as_deref().map(|server| ("instance_uuid", server)));
        filters.extend(query.kind.as_deref().map(|kind| ("migration_type", kind)));
        filters.extend(query.status.as_ref().map(|status| ("status", status.as_str())));
        // Not with Nova's own filter `changes-since`, which leaves out what was made and not yet changed: of all
        // things an evacuation that has just been accepted. The latest come first, so that reading ends early.
        let since = query.since.map(|since| self.their_time(since, TOLERANCE));
        let paged = self.microversion() >= Microversion::MIGRATION_PAGES;
        let changed =
            query.changed_since.map(|since| humantime::format_rfc3339_seconds(since.into()).to_string());
        if paged {
            filters.extend(changed.as_deref().map(|changed| ("changes-since", changed)));
            filters.push(("limit", if since.is_some() { SHORT_PAGE } else { PAGE }));
        }
        let enough = |raw: &Raw| paged && is_older(raw.created_at, since);
        let raw = self.get_pages::<List>("/os-migrations", &filters, enough).await?;
        let all: Result<Vec<Migration>, CloudError> = raw.into_iter().map(Raw::known).collect();
        let mut all = all?;
        all.retain(|migration| query.fits(migration, since));
        all.sort_by_key(|migration| Reverse((migration.created, migration.number)));
        // Pages may overlap while migrations come in.
        all.dedup_by(|a, b| (a.number, a.id, a.server) == (b.number, b.id, b.server));
        Ok(all)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn read(body: &[u8]) -> Option<Vec<Migration>> {
        let (migrations, _) = serde_json::from_slice::<List>(body).ok()?.split();
        migrations.into_iter().map(|raw| raw.known().ok()).collect()
    }
}

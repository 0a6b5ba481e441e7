//! What the engine asks of Nova, and the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::warn;

use super::values::{ControlPlane, Fate, Look, PostFailed, Read, Row, ServiceView, Trouble, tried};
use crate::cloud::{self, Cloud, CloudError, Migration, MigrationQuery, MigrationStatus, Retry};
use crate::ids::{HostName, ServerId, ServiceId};
use crate::plan::{Flavor, Inventory, Power, Server, VmState};
use crate::proof::FenceProof;
use crate::stamp::Stamp;

/// From so many migrations on, only those that are alive or have changed are read.
const MANY: usize = 300;
/// Migrations that changed so long before the last reading are read again: computes' clocks differ.
const OVERLAP: Duration = Duration::from_secs(120);

/// What is known of a host's migrations, so that not all are read again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// How many there were.
    pub count: usize,
    /// When the last one changed, by Nova's clock.
    pub changed: Option<Stamp>,
}

/// What the engine asks of Nova.
pub trait Compute: Send + Sync + 'static {
    /// The host's service.
    fn service(&self, host: &HostName) -> impl Future<Output = Read<(ServiceView, Option<String>)>> + Send;
    /// Forces a service down and disables it.
    fn force_down(
        &self,
        service: ServiceId,
        reason: &str,
    ) -> impl Future<Output = Read<(ServiceView, Option<String>)>> + Send;
    /// Everything about a host: first its migrations, then its servers.
    fn inventory(&self, host: &HostName) -> impl Future<Output = Read<(Inventory, Vec<Row>, Seen)>> + Send;
    /// The evacuations from a host: all, or those that are alive or have changed.
    fn rows(&self, host: &HostName, seen: Seen) -> impl Future<Output = Read<(Vec<Row>, Seen)>> + Send;
    /// Asks for an evacuation, once.
    fn evacuate(
        &self,
        server: ServerId,
        proof: &FenceProof,
    ) -> impl Future<Output = Result<Option<String>, PostFailed>> + Send;
    /// Looks at a server; none if Nova does not know it. `history`: also whether its owner had stopped it.
    fn look(&self, server: ServerId, history: bool) -> impl Future<Output = Read<Option<Look>>> + Send;
    /// Resets a server's state to active.
    fn reset(&self, server: ServerId) -> impl Future<Output = Read<()>> + Send;
    /// Starts a server.
    fn start(&self, server: ServerId) -> impl Future<Output = Read<()>> + Send;
    /// Stops a server.
    fn stop(&self, server: ServerId) -> impl Future<Output = Read<()>> + Send;
    /// Who of the control plane is up, and how many computes there are.
    fn control(&self) -> impl Future<Output = Read<ControlPlane>> + Send;
}

impl From<CloudError> for Trouble {
    fn from(error: CloudError) -> Self {
        let overload = error
            .status()
            .map_or(error.fate() != cloud::Fate::Refused, |status| status == 429 || status >= 500);
        let hopeless = error.kind() == Retry::Never;
        Self { why: error.to_string(), hopeless, overload: overload && !hopeless }
    }
}

impl From<CloudError> for PostFailed {
    fn from(error: CloudError) -> Self {
        let fate = match error.fate() {
            cloud::Fate::NotSent => Fate::NotSent,
            cloud::Fate::Refused => Fate::Refused,
            cloud::Fate::Unheard => Fate::Unheard,
        };
        let request_id = error.request_id().map(ToString::to_string);
        Self { fate, status: error.status(), why: error.to_string(), request_id }
    }
}

impl Compute for Cloud {
    async fn service(&self, host: &HostName) -> Read<(ServiceView, Option<String>)> {
        Ok((view(&self.compute_service(host).await?), None))
    }

    async fn force_down(&self, service: ServiceId, reason: &str) -> Read<(ServiceView, Option<String>)> {
        let mut reason = reason.to_owned();
        while reason.len() > cloud::LONGEST_REASON {
            reason.pop();
        }
        // Whoever has disabled it before has a reason, and enables it again.
        let services = self.compute_services().await?;
        let theirs = services.iter().any(|one| {
            let ours = one.disabled_reason.as_deref().is_some_and(|reason| reason.starts_with(cloud::OURS));
            one.id == service && !one.status_enabled && !ours
        });
        let change = cloud::ServiceChange {
            forced_down: Some(true),
            enabled: (!theirs).then_some(false),
            disabled_reason: (!theirs).then_some(reason),
        };
        Ok((view(&self.set_service(service, &change).await?), None))
    }

    async fn inventory(&self, host: &HostName) -> Read<(Inventory, Vec<Row>, Seen)> {
        let (rows, seen) = self.rows(host, Seen::default()).await?;
        let servers = self.servers_on(host).await?;
        if let Some(unknown) = servers.iter().find(|server| server.unknown) {
            let why = format!("the cell of server {} does not answer: its host cannot be told", unknown.id);
            return Err(Trouble { why, hopeless: false, overload: false });
        }
        let aggregates = self.aggregates().await?;
        let aggregates =
            aggregates.into_iter().filter(|one| one.hosts.contains(host)).map(|one| one.metadata).collect();
        let images = images(self, &servers).await?;
        let servers = servers.into_iter().map(server).collect();
        let inventory = Inventory { host: host.clone(), servers, aggregates, images, tried: tried(&rows) };
        Ok((inventory, rows, seen))
    }

    async fn rows(&self, host: &HostName, seen: Seen) -> Read<(Vec<Row>, Seen)> {
        let all = MigrationQuery::evacuations_from(host);
        let found = match seen.changed {
            Some(changed) if seen.count >= MANY => {
                // A migration that was never changed has no time of change, so that Nova leaves it out of "changed
                // since": what is alive is asked for by its state. What ends in between shows up as changed.
                let alive = |status| MigrationQuery { status: Some(status), ..all.clone() };
                let mut found = self.migrations(&alive(MigrationStatus::Accepted)).await?;
                found.extend(self.migrations(&alive(MigrationStatus::PreMigrating)).await?);
                let since = Stamp::from(std::time::SystemTime::from(changed) - OVERLAP);
                found.extend(self.migrations(&MigrationQuery { changed_since: Some(since), ..all }).await?);
                latest(found)
            }
            _ => self.migrations(&all).await?,
        };
        let changed = found.iter().filter_map(|one| one.updated).max().max(seen.changed);
        let seen = Seen { count: seen.count.max(found.len()), changed };
        Ok((found.into_iter().map(row).collect(), seen))
    }

    async fn evacuate(&self, server: ServerId, proof: &FenceProof) -> Result<Option<String>, PostFailed> {
        let id = Cloud::evacuate(self, &server, proof.host(), proof, None).await?;
        Ok(Some(id.to_string()))
    }

    async fn look(&self, server: ServerId, history: bool) -> Read<Option<Look>> {
        let found = match self.server(&server).await {
            Ok(found) => found,
            Err(CloudError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if found.unknown {
            let why = format!("the cell of server {server} does not answer");
            return Err(Trouble { why, hopeless: false, overload: false });
        }
        let was_stopped = if history { Some(self.was_stopped(&server).await?) } else { None };
        Ok(Some(Look {
            host: found.host,
            vm_state: VmState::parse(found.vm_state.as_deref().unwrap_or_default()),
            task_state: found.task_state,
            fault: found.fault,
            was_stopped,
        }))
    }

    async fn reset(&self, server: ServerId) -> Read<()> {
        self.reset_state(&server, cloud::ResetTo::Active).await?;
        Ok(())
    }

    async fn start(&self, server: ServerId) -> Read<()> {
        self.start_server(&server).await?;
        Ok(())
    }

    async fn stop(&self, server: ServerId) -> Read<()> {
        self.stop_server(&server).await?;
        Ok(())
    }

    async fn control(&self) -> Read<ControlPlane> {
        let up = async |binary| {
            let services = self.services(binary, None).await?;
            Ok::<_, CloudError>(services.known.iter().filter(|service| service.up).count())
        };
        let (schedulers, conductors) = (up("nova-scheduler").await?, up("nova-conductor").await?);
        let computes = self.compute_services().await?.len();
        Ok(ControlPlane { schedulers, conductors, computes })
    }
}

fn view(service: &cloud::Service) -> ServiceView {
    ServiceView {
        id: service.id,
        forced_down: service.forced_down && !service.up,
        enabled: service.status_enabled,
    }
}

fn row(migration: Migration) -> Row {
    Row {
        number: migration.number,
        id: migration.id,
        server: migration.server,
        status: migration.status.to_string(),
        destination: migration.target,
    }
}

/// Of several readings of a migration, the one that changed last.
fn latest(found: Vec<Migration>) -> Vec<Migration> {
    let mut latest: BTreeMap<i64, Migration> = BTreeMap::new();
    for one in found {
        match latest.get(&one.number) {
            Some(known) if known.updated > one.updated => {}
            _ => drop(latest.insert(one.number, one)),
        }
    }
    latest.into_values().collect()
}

fn server(server: cloud::Server) -> Server {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Server {
        id: server.id,
        name: server.name,
        project: server.project,
        host: server.host,
        created: server.created,
        vm_state: VmState::parse(server.vm_state.as_deref().unwrap_or_default()),
        task_state: server.task_state,
        power: match server.power_state {
            cloud::PowerState::Running => Power::Running,
            cloud::PowerState::NoState => Power::Unknown,
            _ => Power::Off,
        },
        locked: server.locked,
        image: server.image,
        flavor: Flavor {
            ram_mb: number(server.flavor.ram_mb),
            ephemeral_gb: number(server.flavor.ephemeral_gb),
            extra_specs: server.flavor.extra_specs,
        },
        metadata: server.metadata,
        tags: server.tags,
    }
}

/// The properties of the servers' images. A cloud whose images cannot be read at all (no endpoint, no right to) is told
/// once and taken as one whose images say nothing; one that does not answer now is asked again.
async fn images(
    cloud: &Cloud,
    servers: &[cloud::Server],
) -> Read<BTreeMap<String, BTreeMap<String, String>>> {
    let mut images = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    for server in servers {
        match (&server.image, &server.image_properties) {
            (Some(image), Some(properties)) => drop(images.insert(image.clone(), properties.clone())),
            (Some(image), None) => drop(wanted.insert(image.clone())),
            (None, _) => {}
        }
    }
    for image in wanted.into_iter().filter(|image| !images.contains_key(image)).collect::<Vec<_>>() {
        match cloud.image_properties(&image).await {
            Ok(found) => {
                let mut found = found.unwrap_or_default();
                // What other tools look for as a tag of the image counts as a property that says yes.
                for tag in found.tags {
                    found.properties.entry(tag).or_insert_with(|| "true".to_owned());
                }
                images.insert(image, found.properties);
            }
            Err(error) if error.kind() == Retry::Never => {
                warn!("images cannot be read, so that their properties are not looked at: {error}");
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(images)
}

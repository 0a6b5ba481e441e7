//! `nova-ha capacity`: could any one host be lost, or any K? Reads, and changes nothing.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use tokio::task::JoinSet;

use super::{Exit, Failure, print, print_json};
use crate::client;
use crate::cloud::{Aggregate, Cloud, CloudError, Hypervisor, Microversion, Provider, Resources, Server};
use crate::config::Config;
use crate::ids::HostName;
use crate::plan::capacity::{Amount, Capacity, Load, Lost, Room, Verdict, capacity};

/// Hosts that are asked for at a time.
const AT_ONCE: usize = 8;
/// Losses that are told as text.
const MOST_LINES: usize = 100;
/// From here on Nova tells which zone a server was asked to be in.
const PINNED: Microversion = Microversion::new(2, 96);
/// Names of an aggregate's metadata that keep its hosts for projects begin so.
const KEPT_FOR: &str = "filter_tenant_id";

/// Arguments of `capacity`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// How many hosts are lost at once
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    any: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(options: &Options, config: &Config) -> Result<Exit, Failure> {
    let cloud = client::connect(config).await.map_err(Failure::failed)?;
    let rooms = rooms(&cloud).await?;
    if rooms.is_empty() {
        return Err(Failure::failed("Nova has no hypervisors"));
    }
    let any = usize::from(options.any);
    // For seconds at most, and nobody else is served here.
    let result = capacity(&rooms, any);
    if options.json {
        print_json(&result)?;
    } else {
        print(text(&result, &rooms).as_bytes())?;
    }
    Ok(if result.verdict == Verdict::Yes { Exit::Ok } else { Exit::Failed })
}

/// All hosts, with what is free there and with their servers.
async fn rooms(cloud: &Cloud) -> Result<Vec<Room>, Failure> {
    let hypervisors = cloud.hypervisors().await.map_err(Failure::failed)?;
    let aggregates = cloud.aggregates().await.map_err(Failure::failed)?;
    let services = cloud.compute_services().await.map_err(Failure::failed)?;
    let providers = cloud.resource_providers().await.map_err(Failure::failed)?;
    let pinned = cloud.microversion() >= PINNED;
    let mut waiting = hypervisors.into_iter();
    let mut asked = JoinSet::new();
    let mut rooms = Vec::new();
    loop {
        while asked.len() < AT_ONCE
            && let Some(hypervisor) = waiting.next()
        {
            let provider = providers.iter().find(|one| one.uuid == hypervisor.id).cloned();
            let provider = provider.ok_or_else(|| {
                Failure::failed(format!("Placement does not know the hypervisor {}", hypervisor.name))
            })?;
            asked.spawn(ask(cloud.clone(), hypervisor, provider));
        }
        let Some(answer) = asked.join_next().await else { break };
        let (hypervisor, resources, servers) = answer.map_err(Failure::failed)?.map_err(Failure::failed)?;
        if let Some(unknown) = servers.iter().find(|server| server.unknown) {
            let text =
                format!("the cell of server {} does not answer: what it needs cannot be told", unknown.id);
            return Err(Failure::failed(text));
        }
        let zone = services.iter().find(|one| one.host == hypervisor.host).and_then(|one| one.zone.clone());
        rooms.push(room(&hypervisor, &resources, &servers, &aggregates, zone, pinned));
    }
    rooms.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(rooms)
}

async fn ask(
    cloud: Cloud,
    hypervisor: Hypervisor,
    provider: Provider,
) -> Result<(Hypervisor, Resources, Vec<Server>), CloudError> {
    let resources = cloud.resources(&provider).await?;
    let mut servers = cloud.servers_on(&hypervisor.host).await?;
    // Bare metal: many hypervisors on one host.
    servers.retain(|server| server.node.as_ref().is_none_or(|node| *node == hypervisor.name));
    Ok((hypervisor, resources, servers))
}

fn room(
    hypervisor: &Hypervisor,
    resources: &Resources,
    servers: &[Server],
    aggregates: &[Aggregate],
    zone: Option<String>,
    pinned: bool,
) -> Room {
    let of = |class: &str| {
        resources.inventories.get(class).map(|one| {
            let used = resources.usages.get(class).copied().unwrap_or(0);
            (one.capacity().saturating_sub(used), one.max_unit)
        })
    };
    let (vcpus, memory) = (of("VCPU").unwrap_or_default(), of("MEMORY_MB").unwrap_or_default());
    // On shared storage it is another provider's, and no host runs out of it alone.
    let disk = of("DISK_GB").unwrap_or((u64::MAX, u64::MAX));
    Room {
        host: hypervisor.host.clone(),
        takes: hypervisor.up && hypervisor.enabled,
        free: Amount { vcpus: vcpus.0, memory_mb: memory.0, disk_gb: disk.0 },
        most: Amount { vcpus: vcpus.1, memory_mb: memory.1, disk_gb: disk.1 },
        projects: kept_for(&hypervisor.host, aggregates),
        servers: servers.iter().map(|server| load(server, zone.as_ref(), pinned)).collect(),
        zone,
    }
}

fn load(server: &Server, zone: Option<&String>, pinned: bool) -> Load {
    let flavor = &server.flavor;
    // The root disk of one that boots from a volume is no host's.
    let root = if server.image.is_some() { flavor.disk_gb } else { 0 };
    let disk = root.saturating_add(flavor.ephemeral_gb).saturating_add(flavor.swap_mb.div_ceil(1024));
    Load {
        server: server.id,
        needs: Amount { vcpus: flavor.vcpus, memory_mb: flavor.ram_mb, disk_gb: disk },
        project: server.project.clone(),
        // Where Nova does not tell, it may have been asked for.
        zone: if pinned { server.pinned_zone.clone() } else { zone.cloned() },
    }
}

/// As the filter AggregateMultiTenancyIsolation has it.
fn kept_for(host: &HostName, aggregates: &[Aggregate]) -> Option<BTreeSet<String>> {
    let mine = aggregates.iter().filter(|one| one.hosts.contains(host)).flat_map(|one| &one.metadata);
    let lists = mine.filter(|(name, _)| name.starts_with(KEPT_FOR)).map(|(_, value)| value);
    let projects: BTreeSet<String> = lists
        .flat_map(|list| list.split(','))
        .map(|id| id.trim().to_owned())
        .filter(|id| !id.is_empty())
        .collect();
    (!projects.is_empty()).then_some(projects)
}

fn text(result: &Capacity, rooms: &[Room]) -> String {
    let hosts = rooms.len();
    let takes = rooms.iter().filter(|room| room.takes).count();
    let what = if result.any == 1 { "any one host".to_owned() } else { format!("any {} hosts", result.any) };
    let says = match result.verdict {
        Verdict::Yes => format!("yes: {what} of {hosts} can be lost"),
        Verdict::No => format!("no: not {what} of {hosts} can be lost"),
        Verdict::Unknown => format!(
            "it cannot be told whether {what} of {hosts} can be lost: the worst {} losses that were tried fit",
            result.tried
        ),
    };
    let mut text = format!("{says} ({takes} take servers: enabled and up)\n");
    for lost in result.lost.iter().take(MOST_LINES) {
        // No errors: into a string.
        let _ = writeln!(text, "  {}", line(lost));
    }
    if result.lost.len() > MOST_LINES {
        let _ = writeln!(text, "  and {} more: --json has them", result.lost.len() - MOST_LINES);
    }
    text
}

fn line(lost: &Lost) -> String {
    let hosts: Vec<&str> = lost.hosts.iter().map(HostName::as_str).collect();
    let fits = match lost.unplaced.len() {
        0 => "fits".to_owned(),
        count if lost.short => format!("TOO MUCH: {count} servers have no place"),
        count => format!("TOO LARGE: {count} servers fit nowhere"),
    };
    let amount = |it: Amount| {
        let disk = if it.disk_gb == u64::MAX { "-".to_owned() } else { it.disk_gb.to_string() };
        format!("{} VCPU, {} MiB, {disk} GiB", it.vcpus, it.memory_mb)
    };
    format!(
        "{}: {} servers need {}; free elsewhere {}: {fits}",
        hosts.join(" + "),
        lost.servers,
        amount(lost.needs),
        amount(lost.free)
    )
}

//! Hosts in Nova: which one a name means, what would be done about its servers, down and up.

use serde::Serialize;

use super::{ClientError, connect, proof as proofs};
use crate::cloud::{Cloud, OURS, Service, ServiceChange};
use crate::config::{Config, NameError, Names, known_hosts};
use crate::engine::nova::Compute as _;
use crate::fence;
use crate::ids::{HostName, ServerId};
use crate::plan;
use crate::proof::FenceProof;
use crate::proof::signed::Signer;
use crate::serve;
use crate::stamp::Stamp;

/// The host of a name, without asking Nova.
pub fn known_here(name: &str, config: &Config) -> Result<HostName, ClientError> {
    let names = Names::new(&config.hosts)?;
    let known = known_hosts(&config.files.known_hosts());
    if known.is_empty() {
        return match names.configured(name) {
            Some(host) => Ok(host.clone()),
            None => Ok(name.parse()?),
        };
    }
    Ok(names.resolve(name, None, &known)?)
}

/// The host of a name, among those that Nova has now.
pub async fn in_nova(name: &str, config: &Config, cloud: &Cloud) -> Result<HostName, ClientError> {
    let names = Names::new(&config.hosts)?;
    let services = cloud.compute_services().await?;
    let known: Vec<HostName> = services.into_iter().map(|service| service.host).collect();
    match names.resolve(name, None, &known) {
        Ok(host) => Ok(host),
        Err(NameError::Unknown(unknown)) => {
            // The client knows names that are near, and cells that are down.
            let host: HostName = unknown.parse()?;
            Ok(cloud.compute_service(&host).await?.host)
        }
        Err(error) => Err(error.into()),
    }
}

/// The host of a name: by what is known here, else by Nova.
pub async fn find(name: &str, config: &Config) -> Result<HostName, ClientError> {
    let known = known_hosts(&config.files.known_hosts());
    let names = Names::new(&config.hosts)?;
    if names.resolve(name, None, &known).is_ok() || (known.is_empty() && names.configured(name).is_some()) {
        return known_here(name, config);
    }
    // A slip of the finger must not become a host that is proven off.
    in_nova(name, config, &connect(config).await?).await
}

/// What would be done about the servers of a host.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// The host.
    pub host: HostName,
    /// Servers that would be moved, in this order.
    pub moves: Vec<Moved>,
    /// Servers that would stay.
    pub left_out: Vec<Left>,
}

/// A server that would be moved.
#[derive(Debug, Serialize)]
pub struct Moved {
    /// Counted from 1.
    pub place: usize,
    /// The server.
    pub server: ServerId,
    /// Its name, for people.
    pub name: String,
    /// Higher goes first.
    pub priority: i32,
    /// Its group.
    pub group: Option<String>,
    /// Whether it runs, so that it must run again.
    pub runs: bool,
    /// What decided it.
    pub why: String,
}

/// A server that would stay.
#[derive(Debug, Serialize)]
pub struct Left {
    /// The server.
    pub server: ServerId,
    /// Its name, for people.
    pub name: String,
    /// Short name of the reason, for programs.
    pub reason: &'static str,
    /// The reason, for people.
    pub why: String,
}

impl Planned {
    /// A plan, said to others.
    pub fn new(host: HostName, plan: plan::Plan) -> Self {
        let to_move = |(place, one): (usize, plan::Move)| Moved {
            place: place.saturating_add(1),
            server: one.server,
            name: one.name,
            priority: one.priority,
            group: one.group,
            runs: one.ran,
            why: one.why,
        };
        let left = |one: plan::LeftOut| Left {
            server: one.server,
            name: one.name,
            reason: one.reason.code(),
            why: one.reason.to_string(),
        };
        let moves = plan.moves.into_iter().enumerate().map(to_move).collect();
        Self { host, moves, left_out: plan.left_out.into_iter().map(left).collect() }
    }
}

/// What the engine would do about a host. Reads, and changes nothing.
pub async fn plan(config: &Config, host: &str) -> Result<Planned, ClientError> {
    let policy = serve::policy(config)?;
    let cloud = connect(config).await?;
    let host = in_nova(host, config, &cloud).await?;
    let (inventory, ..) = cloud.inventory(&host).await.map_err(ClientError::Read)?;
    let plan = plan::plan(&inventory, &policy);
    Ok(Planned::new(host, plan))
}

/// The compute service of a host, as Nova has it now.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "as Nova says it")]
pub struct State {
    /// The host.
    pub host: HostName,
    /// Whether Nova holds it for alive.
    pub up: bool,
    /// Whether it is forced down.
    pub forced_down: bool,
    /// Whether servers may be put there.
    pub enabled: bool,
    /// Why not, in the words of who disabled it.
    pub disabled_reason: Option<String>,
    /// Whether nothing had to be changed.
    pub already: bool,
}

impl State {
    fn new(service: Service, already: bool) -> Self {
        Self {
            host: service.host,
            up: service.up,
            forced_down: service.forced_down,
            enabled: service.status_enabled,
            disabled_reason: service.disabled_reason,
            already,
        }
    }
}

/// Tells Nova that a host is down and, unless somebody has disabled it before, to schedule nothing there. The reason is
/// the signed proof.
pub async fn force_down(config: &Config, host: &str, proof: &FenceProof) -> Result<State, ClientError> {
    let cloud = connect(config).await?;
    let host = in_nova(host, config, &cloud).await?;
    if proof.host() != &host {
        return Err(ClientError::OtherHost { host, proven: proof.host().clone() });
    }
    let line = Signer::from_file(&config.files.key)?.sign(proof);
    let marked = fence::mark(&cloud, &host, &line).await?;
    Ok(State::new(marked.service, marked.already))
}

/// Tells Nova that a host is up again: only when its nova-compute has cleaned up after all evacuations. With `enable`,
/// lets servers go there again, unless somebody else has disabled it.
pub async fn force_up(config: &Config, host: &str, enable: bool) -> Result<State, ClientError> {
    let cloud = connect(config).await?;
    let host = in_nova(host, config, &cloud).await?;
    let mut service = cloud.compute_service(&host).await?;
    let mut already = true;
    let ours = service.disabled_reason.as_deref().is_some_and(|reason| reason.starts_with(OURS));
    let enables = enable && !service.status_enabled && ours;
    if service.forced_down || enables {
        let open = serve::open_evacuations(&cloud, &host).await.map_err(ClientError::Read)?;
        if open > 0 {
            return Err(ClientError::Open { host, open });
        }
        // Before: a host that may be on must not be proven off.
        proofs::end(&config.files.proofs(), &host, Stamp::now())?;
    }
    if service.forced_down {
        let change = ServiceChange { forced_down: Some(false), ..ServiceChange::default() };
        service = cloud.set_service(service.id, &change).await?;
        already = false;
    }
    if enables {
        let change = ServiceChange { enabled: Some(true), ..ServiceChange::default() };
        service = cloud.set_service(service.id, &change).await?;
        already = false;
    }
    Ok(State::new(service, already))
}

//! OpenStack for compute nodes: a machine with RabbitMQ, Placement and nova-conductor, and a real nova-compute (with
//! Nova's fake driver) on others.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;

use crate::daemon::Daemon;
use crate::error::{Context, Result, fail};
use crate::images::{self, Suite};
use crate::node::Node;
use crate::wait::{self, secs};
use crate::{Cluster, World};

/// The Debian release that Nova is installed for.
pub const SUITE: Suite = Suite::Bookworm;
/// nova-compute's unit.
pub const UNIT: &str = "nova-compute.service";

const CONF: &str = "/etc/nova/nova-compute.conf";
const DATABASE: &str = "/var/lib/nova/cell.sqlite";

/// What nova-compute does several things at once with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Threads of the system: Nova's default since 2026.1.
    Threading,
    /// eventlet: what Nova was before.
    Eventlet,
}

impl Backend {
    /// Its name in Nova's configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threading => "threading",
            Self::Eventlet => "eventlet",
        }
    }
}

/// The machine that compute nodes depend on.
pub struct Control {
    node: Arc<Node>,
}

impl Control {
    /// Starts it as machine number `n` (see [`Cluster::add_machine`]) and waits until it serves.
    pub fn start(world: &World, cluster: &Cluster, n: u8) -> Result<Self> {
        let layers = [images::nova_layer()?];
        let node = cluster.add_machine_with(world, "bus", n, Daemon::Theirs, SUITE, &layers)?;
        let control = Self { node };
        control.node.exec(&["systemctl", "start", "placement-api"])?;
        control.start_bus()?;
        control.node.exec(&["systemctl", "start", "nova-conductor"])?;
        wait::until(secs(30), "Placement", || control.listens(8778))?;
        Ok(control)
    }

    /// The machine.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Starts RabbitMQ and waits until it accepts connections.
    pub fn start_bus(&self) -> Result<()> {
        self.node.exec(&["systemctl", "start", "rabbitmq-server"])?;
        wait::until(secs(60), "RabbitMQ", || self.listens(5672))
    }

    /// Stops RabbitMQ in an orderly way: it closes all connections.
    pub fn stop_bus(&self) -> Result<()> {
        self.node.exec(&["systemctl", "stop", "rabbitmq-server"]).map(drop)
    }

    fn listens(&self, port: u16) -> Result<Option<()>> {
        listens(&self.node, port)
    }

    /// Writes the configuration of nova-compute on a compute node that is switched on.
    pub fn configure(&self, compute: &Node, backend: Backend) -> Result<()> {
        let (bus, own, host, backend) =
            (self.node.address(), compute.address(), compute.name(), backend.name());
        let mut conf = String::new();
        let _ = write!(
            conf,
            "[DEFAULT]\ntransport_url = rabbit://guest:guest@{bus}:5672/\nhost = {host}\nmy_ip = {own}\n\
             state_path = /var/lib/nova\ncompute_driver = fake.FakeDriverWithoutFakeNodes\n\
             concurrency_backend = {backend}\n\
             [oslo_concurrency]\nlock_path = /run/nova\n\
             [placement]\nauth_type = admin_token\ntoken = admin\nendpoint = http://{bus}:8778\n"
        );
        Ok(fs::write(compute.path(CONF)?, conf)?)
    }

    /// How often the nova-compute of a compute node has reported to Nova; never: none.
    pub fn reports(&self, compute: &Node) -> Result<Option<u64>> {
        let query = format!(
            "import sqlite3; print(*(row[0] for row in sqlite3.connect('{DATABASE}').execute(\
             \"select report_count from services where host = '{}' and binary = 'nova-compute'\")))",
            compute.name()
        );
        Ok(self.node.exec(&["python3", "-c", &query])?.trim().parse().ok())
    }

    /// Waits until the nova-compute of a compute node reports to Nova.
    pub fn wait_reports(&self, compute: &Node) -> Result<()> {
        let before = self.reports(compute)?;
        wait::until(secs(90), &format!("a report of nova-compute on {}", compute.name()), || {
            if self.reports(compute)? > before {
                return Ok(Some(()));
            }
            fail(journal(compute, UNIT)?)
        })
    }
}

/// Whether something listens on a port of a node.
pub(crate) fn listens(node: &Node, port: u16) -> Result<Option<()>> {
    let seen = node.exec(&["ss", "-Hltn", &format!("sport = :{port}")])?;
    Ok((!seen.trim().is_empty()).then_some(()))
}

/// The process of a unit on a node, as seen there.
pub fn main_pid(node: &Node, unit: &str) -> Result<u32> {
    let pid = node.exec(&["systemctl", "show", "-P", "MainPID", unit])?;
    match pid.trim().parse() {
        Ok(0) | Err(_) => fail(format!("{unit} has no process: {}", journal(node, unit)?)),
        Ok(pid) => Ok(pid),
    }
}

/// The last lines that a unit has logged.
pub fn journal(node: &Node, unit: &str) -> Result<String> {
    node.exec(&["journalctl", "-q", "-o", "cat", "-n", "4", "-u", unit]).context(unit)
}

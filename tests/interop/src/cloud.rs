//! A whole small cloud on one machine: RabbitMQ, `MariaDB`, Keystone, Placement, Nova's API, conductor and scheduler, and
//! a number of nova-computes with Nova's fake driver. Only the image and the network service are stand-ins.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

pub mod api;
pub mod boards;
pub mod calls;
pub mod computes;
pub mod credentials;
pub mod faults;
pub mod front;
pub mod http;
pub mod many;
pub mod more;
pub mod nodes;
pub mod ours;
pub mod race;
pub mod servers;
pub mod theirs;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Context, Result, fail};
use crate::images::{self, Suite};
use crate::node::{Kind, Node, Spec};
use crate::wait::{self, secs};
use crate::{World, nova};
use api::Api;

/// The Debian release that the cloud is installed for.
pub const SUITE: Suite = Suite::Bookworm;
/// The users and their passwords, as `tests/rig/cloud/prepare` makes them.
pub const ADMIN: (&str, &str) = ("admin", "for-admins");
/// The services' user, with the roles admin and service.
pub const SERVICE: (&str, &str) = ("nova", "for-services");
/// A user who may only read.
pub const READER: (&str, &str) = ("reader", "for-readers");

const KEYSTONE: u16 = 5000;
const NOVA: u16 = 8774;
const PLACEMENT: u16 = 8778;
const NAME: &str = "controller";
/// How long a service may take to come up, on a machine that has much else to do.
const START: Duration = secs(240);
/// What runs on the controller besides the bus, in the order of the start.
const SERVICES: &[&str] =
    &["cloud-stub", "cloud-keystone", "cloud-placement", "nova-conductor", "nova-scheduler", "cloud-nova"];

/// How a cloud differs from Nova's defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seconds without a report after which a service is down.
    pub service_down_time: u16,
    /// Seconds between two reports.
    pub report_interval: u16,
    /// The most entries in a list's page.
    pub max_limit: u16,
    /// Whether guests can be made slow or failing (see [`Cloud::guests`]).
    pub wilful_guests: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { service_down_time: 20, report_interval: 4, max_limit: 1000, wilful_guests: false }
    }
}

/// The cloud.
pub struct Cloud {
    node: Node,
    dir: PathBuf,
    computes: Vec<String>,
    /// Hosts that a test has added.
    more: Mutex<Vec<String>>,
    admin: Api,
    tenant: Api,
}

impl Cloud {
    /// Starts it with hosts compute1, compute2 … and waits until all their services are up.
    pub fn up(world: &World, computes: u8, options: &Options) -> Result<Self> {
        let switch = world.add_switch()?;
        let dir = world.dir().join("share").join(switch.to_string());
        fs::create_dir_all(&dir)?;
        let extra = vec![images::cloud_layer()?];
        let (name, kind, suite, octet) = (NAME, Kind::Remote, SUITE, 1);
        let node = Node::create(
            world,
            &Spec { name, kind, suite, switch, octet, share: &dir, key: b"none", extra },
        )?;
        let at = |port| format!("{}:{port}", node.address()).parse::<SocketAddr>().context("an address");
        let (keystone, nova) = (at(KEYSTONE)?, at(NOVA)?);
        let api = |project| Api::new(keystone, nova, ADMIN, project);
        let (admin, tenant) = (api("admin"), api("tenant"));
        let computes = (1..=computes).map(|n| format!("compute{n}")).collect();
        let cloud = Self { node, dir, computes, more: Mutex::default(), admin, tenant };
        cloud.configure(options)?;
        match cloud.start() {
            Ok(()) => Ok(cloud),
            Err(error) => fail(format!("{error}; {}", cloud.complaints())),
        }
    }

    fn configure(&self, options: &Options) -> Result<()> {
        let disk = self.node.disk();
        let nova = disk.join("etc/nova");
        fs::create_dir_all(&nova)?;
        // Nobody is to wait for a random time before its first periodic task.
        let mut own = format!(
            "[DEFAULT]\nperiodic_fuzzy_delay = 0\nservice_down_time = {}\nreport_interval = {}\n",
            options.service_down_time, options.report_interval
        );
        if options.wilful_guests {
            own.push_str("compute_driver = rig_driver.Driver\n");
        }
        let _ = write!(own, "[api]\nmax_limit = {}\n", options.max_limit);
        fs::write(nova.join("own.conf"), own)?;
        for host in &self.computes {
            computes::prepare(&disk, host)?;
        }
        Ok(())
    }

    fn start(&self) -> Result<()> {
        self.node.power_on()?;
        self.node.exec(&["systemctl", "start", "--no-block", "rabbitmq-server"])?;
        self.node.exec(&["systemctl", "start", "cloud-db"])?;
        wait::until(START, "the database", || self.sql("select 1").map(Some))?;
        // Clients outside know the controller by its address alone.
        self.set_public_endpoints(&self.url(KEYSTONE), &self.url(NOVA))?;
        let bus = || nova::listens(&self.node, 5672);
        wait::until(START, "RabbitMQ", bus)?;
        self.node.exec(&[&["systemctl", "start"][..], SERVICES].concat())?;
        wait::until(START, "Keystone", || self.answers(KEYSTONE, "/v3"))?;
        wait::until(START, "Placement", || self.answers(PLACEMENT, "/"))?;
        for host in &self.computes {
            self.start_compute(host)?;
        }
        wait::until(START, "Nova's API", || self.answers(NOVA, "/"))?;
        self.make_flavors()?;
        self.wait_up(&self.computes)?;
        self.wait_mapped(&self.computes)?;
        wait::until(START, "a scheduler", || {
            let services = self.admin.get("/os-services?binary=nova-scheduler")?;
            Ok((services["services"][0]["state"] == "up").then_some(()))
        })
    }

    /// What the services have complained about lately.
    pub fn complaints(&self) -> String {
        let filter = "journalctl -q -o cat | grep -E ' (ERROR|CRITICAL) |Error' | tail -n 12";
        self.node.sh(filter).unwrap_or_else(|error| error.to_string())
    }

    fn answers(&self, port: u16, path: &str) -> Result<Option<()>> {
        let to = format!("{}:{port}", self.node.address()).parse().context("an address")?;
        let request = http::Message::request("GET", path).with("Host", NAME);
        let reply = http::exchange(to, &request, secs(20))?;
        if reply.status()? < 500 { Ok(Some(())) } else { fail(reply.first) }
    }

    /// The machine that all of it runs on.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// A folder for what a test keeps; the controller sees it as `/rig`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The hosts' names.
    pub fn computes(&self) -> &[String] {
        &self.computes
    }

    /// Plain calls as the administrator.
    pub fn admin(&self) -> &Api {
        &self.admin
    }

    /// Plain calls as the administrator in the project that the servers are of.
    pub fn tenant(&self) -> &Api {
        &self.tenant
    }

    fn url(&self, port: u16) -> String {
        format!("http://{}:{port}", self.node.address())
    }

    /// Where Keystone is asked.
    pub fn keystone(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), KEYSTONE)
    }

    /// Where Nova is asked.
    pub fn nova(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), NOVA)
    }

    fn ip(&self) -> std::net::IpAddr {
        self.node.address().parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into())
    }

    /// A proxy in front of Nova's API, and from now on the catalog's public address of it.
    pub fn proxy(&self) -> Result<faults::Proxy> {
        let proxy = faults::Proxy::start(self.outside(0)?, self.nova())?;
        self.set_public_endpoints(&self.url(KEYSTONE), &format!("http://{}", proxy.address()))?;
        Ok(proxy)
    }

    /// A proxy in front of Keystone. The catalog does not name it: it is for credentials.
    pub fn keystone_proxy(&self) -> Result<faults::Proxy> {
        faults::Proxy::start(self.outside(0)?, self.keystone())
    }

    /// The catalog names no proxy any more.
    pub fn unproxy(&self) -> Result<()> {
        self.set_public_endpoints(&self.url(KEYSTONE), &self.url(NOVA))
    }

    /// This process's address on the cloud's network.
    fn gateway(&self) -> Result<std::net::IpAddr> {
        let address = self.node.address();
        let network = address.rsplit_once('.').context("an address")?.0;
        format!("{network}.254").parse().context("an address")
    }

    /// This process's address on the cloud's network, at a port.
    pub(crate) fn outside(&self, port: u16) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.gateway()?, port))
    }

    fn set_public_endpoints(&self, keystone: &str, nova: &str) -> Result<()> {
        let placement = self.url(PLACEMENT);
        let (image, network) = (self.url(9292), self.url(9696));
        let urls = [
            ("identity", format!("{keystone}/v3")),
            ("compute", format!("{nova}/v2.1")),
            ("placement", placement),
            ("image", image),
            ("network", network),
        ];
        let mut change = String::new();
        for (kind, url) in urls {
            let _ = write!(
                change,
                "update keystone.endpoint e join keystone.service s on s.id = e.service_id set e.url = '{url}' \
                 where s.type = '{kind}' and e.interface <> 'internal';"
            );
        }
        self.sql(&change).map(drop)
    }

    /// Asks or changes the database behind everybody's back.
    pub fn sql(&self, statement: &str) -> Result<String> {
        self.node.exec(&[
            "mariadb",
            "--no-defaults",
            "-uroot",
            "-S/run/cloud/db.sock",
            "-N",
            "-B",
            "-e",
            statement,
        ])
    }

    /// The calls of Nova's API so far, or since a mark.
    pub fn calls(&self, since: &Mark) -> Result<Vec<calls::Call>> {
        let log = fs::read(self.node.path("/var/log/cloud/nova.calls")?)?;
        let new = log.get(since.0..).unwrap_or_default();
        // The last line may be in the writing.
        let end = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        calls::parse(&String::from_utf8_lossy(new.get(..end).unwrap_or_default()))
    }

    /// This moment in the log of the calls.
    pub fn mark(&self) -> Result<Mark> {
        let length = fs::metadata(self.node.path("/var/log/cloud/nova.calls")?)?.len();
        Ok(Mark(usize::try_from(length).context("a length")?, Instant::now()))
    }

    /// Writes a file for a test that nobody else may read, and gives its path.
    pub fn private_file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&path, text).context(path.display())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// A service of the controller is started or ended: `nova-scheduler`, `cloud-nova`, `rabbitmq-server` …
    pub fn service(&self, verb: &str, unit: &str) -> Result<()> {
        self.node.exec(&["systemctl", verb, unit]).map(drop)
    }

    /// Ends a service of the controller at once.
    pub fn kill_service(&self, unit: &str) -> Result<()> {
        self.node.exec(&["systemctl", "kill", "--signal=KILL", unit])?;
        wait::until(secs(20), &format!("{unit} to be gone"), || {
            let state = self.node.run(&["systemctl", "is-active", unit])?.stdout;
            Ok((state.trim() != "active").then_some(()))
        })
    }

    /// Waits until Nova's API answers.
    pub fn wait_api(&self) -> Result<()> {
        wait::until(secs(60), "Nova's API", || self.answers(NOVA, "/"))
    }

    /// The flavors of the tests, by their ids.
    fn make_flavors(&self) -> Result<()> {
        for servers::Flavor { id, ram, extra } in servers::FLAVORS {
            let flavor =
                serde_json::json!({"flavor": {"id": id, "name": id, "ram": ram, "vcpus": 1, "disk": 1}});
            self.admin.nova("POST", "/flavors", &flavor, "2.1")?.ok().context(id)?;
            if !extra.is_empty() {
                let pairs = extra.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
                let body = serde_json::json!({"extra_specs": pairs.collect::<serde_json::Map<_, _>>()});
                self.admin
                    .nova("POST", &format!("/flavors/{id}/os-extra_specs"), &body, "2.1")?
                    .ok()
                    .context(id)?;
            }
        }
        Ok(())
    }
}

/// A moment in the log of the calls.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize, Instant);

impl Mark {
    /// When it was set.
    pub fn at(&self) -> Instant {
        self.1
    }
}

//! The cloud's servers.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Cloud;
use crate::error::{Context, Result, fail};
use crate::wait::{self, secs};

/// So long after a deletion was asked for, it is asked for again.
const AGAIN: Duration = Duration::from_secs(15);

/// What a server is made with.
pub(super) struct Flavor {
    /// Id and name.
    pub(super) id: &'static str,
    /// Memory in MB.
    pub(super) ram: u32,
    /// Extra specs.
    pub(super) extra: &'static [(&'static str, &'static str)],
}

pub(super) const FLAVORS: &[Flavor] = &[
    Flavor { id: "tiny", ram: 64, extra: &[] },
    Flavor { id: "marked", ram: 64, extra: &[("evacuable", "true")] },
    // Only one fits on a host.
    Flavor { id: "huge", ram: 500_000, extra: &[] },
];

/// What a server is to be like.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// The name; with a number behind it if there are several.
    pub name: &'a str,
    /// Where.
    pub host: &'a str,
    /// How many.
    pub count: usize,
    /// One of the flavors `tiny`, `marked` (extra spec `evacuable`), `huge` (one fits on a host).
    pub flavor: &'a str,
    /// One of the images, by its last figure: see `tests/rig/cloud/images.json`.
    pub image: u8,
    /// Metadata.
    pub metadata: Vec<(&'a str, &'a str)>,
    /// Tags.
    pub tags: Vec<&'a str>,
}

impl<'a> Wish<'a> {
    /// So many plain servers on this host.
    pub fn new(name: &'a str, host: &'a str, count: usize) -> Self {
        Self { name, host, count, flavor: "tiny", image: 1, metadata: Vec::new(), tags: Vec::new() }
    }
}

/// A server, as much of it as trials look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `ACTIVE`, `SHUTOFF`, `ERROR`, `REBUILD` …
    pub status: String,
    /// Where it is.
    pub host: String,
    /// What is being done to it.
    pub task: Option<String>,
}

impl Server {
    fn of(value: &Value) -> Result<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Ok(Self {
            id: text("id").context("a server without an id")?,
            name: text("name").unwrap_or_default(),
            status: text("status").unwrap_or_default(),
            host: text("OS-EXT-SRV-ATTR:host").unwrap_or_default(),
            task: text("OS-EXT-STS:task_state"),
        })
    }
}

/// An evacuation, as Nova lists it.
#[derive(Clone, Debug)]
pub struct Evacuation {
    /// The server.
    pub server: String,
    /// `accepted`, `pre-migrating`, `done`, `completed`, `failed`, `error`.
    pub status: String,
    /// From where.
    pub source: String,
    /// To where, once it is known.
    pub destination: Option<String>,
}

impl Cloud {
    /// Makes servers, waits until they are ACTIVE, and gives their ids.
    pub fn boot(&self, wish: &Wish<'_>) -> Result<Vec<String>> {
        self.boot_all(std::slice::from_ref(wish))
    }

    /// Makes servers on several hosts at the same time, waits until they are ACTIVE, and gives their ids.
    pub fn boot_all(&self, wishes: &[Wish<'_>]) -> Result<Vec<String>> {
        let known = self.servers()?;
        for wish in wishes {
            self.ask_for(wish)?;
        }
        let count = wishes.iter().map(|wish| wish.count).sum::<usize>();
        let within = secs(120) + Duration::from_secs(6) * u32::try_from(count).unwrap_or(u32::MAX);
        let hosts: Vec<_> = wishes.iter().map(|wish| wish.host).collect();
        wait::until(within, &format!("{count} new servers on {}", hosts.join(", ")), || {
            let mut new = self.servers()?;
            new.retain(|server| !known.iter().any(|old| old.id == server.id));
            if let Some(lost) = new.iter().find(|server| server.status == "ERROR") {
                let why = self.admin.get(&format!("/servers/{}", lost.id))?;
                return Ok(Some(fail(format!("{lost:?}: {}", why["server"]["fault"]["message"]))));
            }
            let ready =
                new.iter().filter(|server| server.status == "ACTIVE" && hosts.contains(&&*server.host));
            let ids: Vec<_> = ready.map(|server| server.id.clone()).collect();
            if ids.len() == count { Ok(Some(Ok(ids))) } else { fail(format!("{} are there", ids.len())) }
        })?
    }

    fn ask_for(&self, wish: &Wish<'_>) -> Result<()> {
        let image = format!("0c10d000-0000-4000-8000-{:012}", wish.image);
        let metadata: BTreeMap<_, _> = wish.metadata.iter().copied().collect();
        let mut server = json!({
            "name": wish.name, "flavorRef": wish.flavor, "imageRef": image, "networks": "none",
            "availability_zone": format!("nova:{}", wish.host), "metadata": metadata,
            "min_count": wish.count, "max_count": wish.count,
        });
        if !wish.tags.is_empty() {
            server["tags"] = json!(wish.tags);
        }
        let asked = self.tenant.nova("POST", "/servers", &json!({"server": server}), "2.52")?;
        asked.ok().context("booting").map(drop)
    }

    /// All servers.
    pub fn servers(&self) -> Result<Vec<Server>> {
        let mut all: Vec<Server> = Vec::new();
        loop {
            let marker = all.last().map(|last| format!("&marker={}", last.id)).unwrap_or_default();
            // By creation, so that a page's end is the same at the next call.
            let path = format!("/servers/detail?all_tenants=1&sort_key=created_at&sort_dir=asc{marker}");
            let page = self.admin.get(&path)?;
            let page = page["servers"].as_array().cloned().unwrap_or_default();
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page.iter().map(Server::of).collect::<Result<Vec<_>>>()?);
        }
    }

    /// The servers on a host.
    pub fn servers_on(&self, host: &str) -> Result<Vec<Server>> {
        let mut servers = self.servers()?;
        servers.retain(|server| server.host == host);
        Ok(servers)
    }

    /// A server.
    pub fn server(&self, id: &str) -> Result<Server> {
        Server::of(&self.admin.get(&format!("/servers/{id}"))?["server"])
    }

    /// Has Nova do something to a server. Any answer is fine.
    pub fn act(&self, id: &str, action: &Value, version: &str) -> Result<super::api::Reply> {
        self.admin.nova("POST", &format!("/servers/{id}/action"), action, version)
    }

    /// Asks once for the evacuation of a server. Any answer is fine.
    pub fn evacuate(&self, id: &str, version: &str) -> Result<super::api::Reply> {
        self.act(id, &json!({"evacuate": {}}), version)
    }

    /// All evacuations from a host, oldest first.
    pub fn evacuations(&self, host: &str) -> Result<Vec<Evacuation>> {
        // From the database: what has been deleted counts too, and pages are of no interest here.
        let rows = self.sql(&format!(
            "select instance_uuid, status, source_compute, ifnull(dest_compute, '') from nova_cell1.migrations \
             where migration_type = 'evacuation' and source_compute = '{host}' order by id"
        ))?;
        let row = |line: &str| {
            let mut fields = line.split('\t').map(str::to_owned);
            let mut next = || fields.next().context(format!("a short row: {line}"));
            let (server, status, source, destination) = (next()?, next()?, next()?, next()?);
            let destination = Some(destination).filter(|destination| !destination.is_empty());
            Ok(Evacuation { server, status, source, destination })
        };
        rows.lines().map(row).collect()
    }

    /// Deletes all servers and waits until they are gone.
    pub fn delete_servers(&self) -> Result<()> {
        // What is stuck in a task cannot be deleted.
        self.sql(
            "update nova_cell1.instances set task_state = null where deleted = 0 and task_state is not null",
        )?;
        let mut asked = None;
        wait::until(secs(300), "all servers to be gone", || {
            let left = self.servers()?;
            if left.is_empty() {
                return Ok(Some(()));
            }
            // A host that came up too late for a request does not delete.
            if asked.is_none_or(|when: Instant| when.elapsed() > AGAIN) {
                for server in left.iter().filter(|server| server.task.is_none()) {
                    // What is refused or gets no answer is asked for again.
                    let _ =
                        self.admin.nova("DELETE", &format!("/servers/{}", server.id), &Value::Null, "2.1");
                }
                asked = Some(Instant::now());
            }
            fail(format!("{} are left", left.len()))
        })
    }
}

//! A small cloud: Keystone, and a Nova with one empty compute. It refuses what Nova refuses.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ID: &str = "69fdce77-581d-44b8-813d-3e451870fb45";

const PROVIDER: &str = "69fdce77-581d-44b8-813d-3e451870fb47";

/// A server of one VCPU on the compute.
pub(crate) fn server(id: &str, name: &str) -> Value {
    json!({
        "id": id, "name": name, "status": "ACTIVE", "tenant_id": "p", "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:power_state": 1, "OS-EXT-SRV-ATTR:host": "c1", "OS-EXT-SRV-ATTR:hypervisor_hostname": "c1",
        "flavor": {"original_name": "m1", "vcpus": 1, "ram": 512, "disk": 1, "ephemeral": 0, "swap": 0, "extra_specs": {}},
        "image": "", "metadata": {}, "tags": [], "locked": false, "created": "2026-11-01T00:00:00Z",
    })
}

/// What Nova knows of the compute.
#[derive(Debug, Default)]
pub(crate) struct Service {
    pub(crate) forced_down: bool,
    pub(crate) disabled: Option<String>,
    /// nova-compute runs and reports.
    pub(crate) reports: bool,
    ticks: u32,
    /// Changes that were asked for.
    pub(crate) changes: Vec<Value>,
    pub(crate) unknown: Vec<String>,
    /// Servers on the compute.
    pub(crate) servers: Vec<Value>,
}

#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) service: Arc<Mutex<Service>>,
    base: String,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let cloud = Self { service: Arc::default(), base };
        let serving = cloud.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let cloud = serving.clone();
                tokio::spawn(async move { cloud.answer(stream).await });
            }
        });
        cloud
    }

    pub(crate) fn auth_url(&self) -> String {
        format!("{}/v3", self.base)
    }

    /// One request, one answer.
    async fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut data = Vec::new();
        let head = loop {
            let mut part = [0; 4096];
            let length = stream.read(&mut part).await.ok().filter(|length| *length > 0)?;
            data.extend_from_slice(&part[..length]);
            if let Some(end) = data.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&data[..head]).into_owned();
        let header = |name: &str| {
            text.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix(name).map(|value| value.trim().to_owned())
            })
        };
        let length: usize = header("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        while data.len() < head + length {
            let mut part = [0; 4096];
            let length = stream.read(&mut part).await.ok().filter(|length| *length > 0)?;
            data.extend_from_slice(&part[..length]);
        }
        let mut words = text.split_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let body = serde_json::from_slice(&data[head..]).unwrap_or(Value::Null);
        let (status, value) = self.route(method, target, &body);
        let body = value.to_string();
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nx-subject-token: token\r\nx-openstack-request-id: req-1\r\n\
             openstack-api-version: compute 2.96\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()
    }

    fn route(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut service = self.service.lock().unwrap();
        match (method, path) {
            ("POST", "/v3/auth/tokens") => (201, self.token()),
            ("GET", "/compute/v2.1" | "/compute/v2.1/") => (
                200,
                json!({"version": {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1", "links": []}}),
            ),
            ("GET", "/compute/v2.1/os-services") => {
                let all = [("nova-compute", "c1"), ("nova-scheduler", "ctl"), ("nova-conductor", "ctl")];
                let wanted =
                    all.iter().filter(|(binary, _)| !query.contains("binary=") || query.contains(binary));
                let list: Vec<Value> =
                    wanted.map(|(binary, host)| show(&mut service, binary, host)).collect();
                (200, json!({ "services": list }))
            }
            ("PUT", path) if path.ends_with(ID) => {
                service.changes.push(body.clone());
                if let Some(down) = body["forced_down"].as_bool() {
                    service.forced_down = down;
                }
                match body["status"].as_str() {
                    Some("disabled") => {
                        service.disabled = Some(body["disabled_reason"].as_str().unwrap_or("").into());
                    }
                    Some("enabled") => service.disabled = None,
                    _ => {}
                }
                (200, json!({ "service": show(&mut service, "nova-compute", "c1") }))
            }
            ("GET", "/compute/v2.1/os-migrations") => (200, json!({"migrations": []})),
            ("GET", "/compute/v2.1/servers/detail") => (200, json!({"servers": service.servers})),
            ("GET", "/compute/v2.1/os-hypervisors/detail") => (
                200,
                json!({"hypervisors": [{
                    "id": PROVIDER, "hypervisor_hostname": "c1", "service": {"host": "c1", "id": ID},
                    "hypervisor_type": "QEMU", "state": "up", "status": "enabled",
                }]}),
            ),
            ("GET", "/placement/resource_providers") => {
                (200, json!({"resource_providers": [{"uuid": PROVIDER, "name": "c1", "generation": 1}]}))
            }
            ("GET", path) if path.ends_with("/inventories") => {
                let of = |total: u64| json!({"total": total, "reserved": 0, "max_unit": total, "allocation_ratio": 1.0});
                (200, json!({"inventories": {"VCPU": of(8), "MEMORY_MB": of(16384), "DISK_GB": of(100)}}))
            }
            ("GET", path) if path.ends_with("/usages") => {
                (200, json!({"usages": {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}}))
            }
            ("GET", "/compute/v2.1/os-aggregates") => (200, json!({"aggregates": []})),
            _ => {
                service.unknown.push(format!("{method} {target}"));
                (404, json!({"itemNotFound": {"code": 404, "message": "no such thing"}}))
            }
        }
    }

    fn token(&self) -> Value {
        let endpoint = |path: &str| json!([{"id": "e", "interface": "internal", "region": "R", "region_id": "R", "url": format!("{}{path}", self.base)}]);
        json!({"token": {
            "methods": ["password"], "issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2099-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "admin", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p", "name": "service", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "r", "name": "admin"}],
            "catalog": [{"id": "c", "type": "compute", "name": "nova", "endpoints": endpoint("/compute/v2.1")},
                {"id": "d", "type": "placement", "name": "placement", "endpoints": endpoint("/placement")}],
        }})
    }
}

fn show(service: &mut Service, binary: &str, host: &str) -> Value {
    let compute = binary == "nova-compute";
    if compute && service.reports {
        service.ticks += 1;
    }
    let up = !compute || (service.reports && !service.forced_down);
    let disabled = service.disabled.as_ref().filter(|_| compute);
    json!({
        "id": if compute { ID } else { "69fdce77-581d-44b8-813d-3e451870fb46" },
        "binary": binary, "host": host, "zone": "nova",
        "status": if disabled.is_some() { "disabled" } else { "enabled" },
        "disabled_reason": disabled,
        "state": if up { "up" } else { "down" },
        "forced_down": compute && service.forced_down,
        "updated_at": format!("2020-11-30T10:{:02}:{:02}.000000", service.ticks / 60 % 60, service.ticks % 60),
    })
}

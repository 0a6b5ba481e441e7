"""A Keystone and a Nova that know one thing: to evacuate. What runs against them is the real engine, in a process of its
own; what Nova really does is seen by the trials in a real cloud."""

from __future__ import annotations

import datetime
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

PASSWORD = "for-tests"


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")


class Cloud:
    """Hosts c1 to c3, and servers on c1."""

    def __init__(self, servers: int = 2) -> None:
        self.lock = threading.RLock()
        self.services = {
            host: {"id": str(uuid.uuid4()), "forced_down": False, "status": "enabled", "disabled_reason": None}
            for host in ("c1", "c2", "c3")
        }
        self.servers = {str(uuid.uuid4()): {"host": "c1", "vm_state": "active", "power": 1} for _ in range(servers)}
        self.migrations: list[dict[str, Any]] = []
        #: What evacuations were asked for with.
        self.proofs: list[Optional[str]] = []
        #: Until it is set, nothing that was asked for goes on.
        self.goes_on = threading.Event()
        self.goes_on.set()
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                url = urlsplit(self.path)
                with cloud.lock:
                    status, body = cloud.handle(
                        self.command,
                        url.path,
                        {name: values[0] for name, values in parse_qs(url.query).items()},
                        json.loads(raw) if raw else {},
                        self.headers,
                    )
                text = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                if url.path == "/v3/auth/tokens":
                    self.send_header("X-Subject-Token", "token")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.goes_on.set()
        self.server.shutdown()
        self.server.server_close()

    def settings(self, password_file: str) -> str:
        return (
            f'auth_url = "{self.url}/v3"\nusername = "nova-ha"\npassword_file = "{password_file}"\nproject_name = "service"\n'
            'user_domain_name = "Default"\nproject_domain_name = "Default"\n'
        )

    def handle(self, method: str, path: str, query: dict[str, str], body: Any, headers: Any) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        if path == "/v3/auth/tokens":
            return 201, self.token()
        if path in ("/compute", "/compute/"):
            return 200, {"version": {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1", "links": []}}
        if path.startswith("/image/v2/images"):
            return 200, {"images": [{"id": "i1", "name": "cirros", "status": "active", "evacuable": "sure", "tags": []}]}
        if parts[0] != "compute":
            return 404, {"itemNotFound": {"code": 404, "message": path}}
        what = (method, *parts[1:])
        if what == ("GET", "os-services"):
            return 200, {"services": self.services_of(query)}
        if what[:2] == ("PUT", "os-services"):
            return 200, {"service": self.change(what[2], body)}
        if what == ("GET", "servers", "detail"):
            on = query.get("host")
            some = [one for one, server in self.servers.items() if on in (None, server["host"])]
            return 200, {"servers": [self.shown(one) for one in some]}
        if what[:2] == ("POST", "servers") and what[-1] == "action":
            return self.act(what[2], body, headers)
        if what[:2] == ("GET", "servers") and what[2] in self.servers:
            return 200, {"server": self.shown(what[2])}
        if what == ("GET", "flavors", "detail"):
            # Set with a microversion below 2.86, which takes anything.
            return 200, {"flavors": [{"id": "f1", "name": "m1", "extra_specs": {"instance_ha:evacuat": "yes"}}]}
        if what == ("GET", "os-migrations"):
            return 200, {"migrations": [dict(one) for one in reversed(self.migrations)]}
        if what == ("GET", "os-aggregates"):
            return 200, {"aggregates": []}
        if what == ("GET", "os-hypervisors", "detail"):
            return 200, {"hypervisors": []}
        return 404, {"itemNotFound": {"code": 404, "message": path}}

    def token(self) -> Any:
        later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        services = {"compute": "/compute", "placement": "/placement", "image": "/image"}
        return {
            "token": {
                "expires_at": later.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "issued_at": now() + "Z",
                "user": {"name": "nova-ha", "id": "u"},
                "project": {"id": "p", "name": "service"},
                "roles": [{"name": "admin"}],
                "catalog": [
                    {
                        "type": kind,
                        "name": kind,
                        "endpoints": [{"interface": "public", "region": "r", "region_id": "r", "url": self.url + where}],
                    }
                    for kind, where in services.items()
                ],
            }
        }

    def services_of(self, query: dict[str, str]) -> list[Any]:
        binary = query.get("binary", "nova-compute")
        if binary != "nova-compute":
            return [
                self.service(
                    "ctl1",
                    {"id": str(uuid.UUID(int=1)), "forced_down": False, "status": "enabled", "disabled_reason": None},
                    binary,
                )
            ]
        return [self.service(host, one, binary) for host, one in self.services.items() if query.get("host", host) == host]

    @staticmethod
    def service(host: str, one: dict[str, Any], binary: str = "nova-compute") -> Any:
        state = "down" if one["forced_down"] else "up"
        return {**one, "host": host, "binary": binary, "zone": "nova", "state": state, "updated_at": now()}

    def change(self, which: str, body: dict[str, Any]) -> Any:
        host, one = next((host, one) for host, one in self.services.items() if one["id"] == which)
        one.update({name: body[name] for name in ("forced_down", "status", "disabled_reason") if name in body})
        if one["status"] == "enabled":
            one["disabled_reason"] = None
        return self.service(host, one)

    def shown(self, which: str) -> Any:
        server = self.servers[which]
        return {
            "id": which,
            "name": f"server-{which[:4]}",
            "tenant_id": "t",
            "status": {"active": "ACTIVE", "stopped": "SHUTOFF"}[server["vm_state"]],
            "OS-EXT-STS:vm_state": server["vm_state"],
            "OS-EXT-STS:task_state": None,
            "OS-EXT-STS:power_state": server["power"],
            "OS-EXT-SRV-ATTR:host": server["host"],
            "OS-EXT-SRV-ATTR:hypervisor_hostname": server["host"],
            "flavor": {
                "original_name": "m1",
                "vcpus": 1,
                "ram": 64,
                "disk": 0,
                "ephemeral": 0,
                "swap": 0,
                "extra_specs": {"instance_ha:evacuate": "yes"},
            },
            "image": "",
            "metadata": {},
            "tags": [],
            "os-extended-volumes:volumes_attached": [{"id": "v", "delete_on_termination": False}],
            "locked": False,
            "created": "2026-01-01T00:00:00Z",
            "updated": "2026-01-01T00:00:00Z",
        }

    def act(self, which: str, body: dict[str, Any], headers: Any) -> tuple[int, Any]:
        server = self.servers[which]
        if "os-start" in body:
            server.update(vm_state="active", power=1)
            return 202, None
        if "evacuate" not in body:
            return 400, {"badRequest": {"code": 400, "message": str(body)}}
        if not self.services[server["host"]]["forced_down"]:
            return 400, {"badRequest": {"code": 400, "message": "Compute service is still in use."}}
        self.proofs.append(headers.get("X-Instance-HA-Proof"))
        row = {
            "id": len(self.migrations) + 1,
            "uuid": str(uuid.uuid4()),
            "instance_uuid": which,
            "migration_type": "evacuation",
            "status": "accepted",
            "source_compute": server["host"],
            "dest_compute": None,
            "created_at": now(),
            "updated_at": None,
        }
        self.migrations.append(row)
        threading.Thread(target=self.move, args=(server, row), daemon=True).start()
        return 200, None

    def move(self, server: dict[str, Any], row: dict[str, Any]) -> None:
        self.goes_on.wait(60)
        with self.lock:
            row.update(status="done", dest_compute="c2", updated_at=now())
            server.update(host="c2", vm_state="stopped", power=4)

    def nova_compute_starts(self) -> None:
        """It cleans up after evacuations."""
        with self.lock:
            for row in self.migrations:
                row["status"] = "completed"

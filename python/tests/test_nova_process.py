"""nova-api as a process of its own that begins with a spoilt package: it starts, and serves."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest
from test_survival import PACKAGE, cut, garbage, other

#: As uWSGI loads it; of its start, the note in Nova's database that it has started is left out.
START = """
import inspect, io, sys
sys.argv = ["nova-api"]
from nova.api.openstack import wsgi_app
wsgi_app._setup_service = lambda host, name: None
# Nova 29 wants the first alone.
names = ("osapi_compute", "nova-api-os-compute")[:len(inspect.signature(wsgi_app.init_application).parameters)]
application = wsgi_app.init_application(*names)

def get(path):
    seen = []
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "x",
               "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr,
               "wsgi.url_scheme": "http", "wsgi.version": (1, 0), "wsgi.multithread": True, "wsgi.multiprocess": False,
               "wsgi.run_once": False, "HTTP_HOST": "x"}
    list(application(environ, lambda status, headers, *_: seen.append(status)))
    return seen[0].split()[0]

from nova.api.validation.extra_specs import validators
checks = sorted(name for name in validators.VALIDATORS if name.startswith("instance_ha:"))
print(get("/"), get("/v2.1/servers"), *checks)
"""
CONF = """
[DEFAULT]
transport_url = fake://
[api_database]
connection = sqlite://
[database]
connection = sqlite://
[keystone_authtoken]
auth_url = http://127.0.0.1:1
auth_type = password
username = nova
password = x
project_name = service
user_domain_id = default
project_domain_id = default
[oslo_messaging_notifications]
driver = instance_ha
[instance_ha]
guard = enforce
"""


#: Of each kind of setting one that nobody can use.
CORRUPT = """
guard = perhaps
guard_failure = ajar
headroom = plenty
proof_lifetime = 5
spread_weight_multiplier = much
spread_host = -1
spread_domain = nan
spread_busy =
events_waiting = 1e3
engines = http://ctl1
"""


def spare(library: pathlib.Path) -> None:
    """Nothing is wrong with it."""


def corrupt(library: pathlib.Path) -> None:
    """Nothing is wrong with it, but with nova.conf."""


@pytest.mark.parametrize(
    "spoil",
    [spare, corrupt, pathlib.Path.unlink, cut, garbage, other],
    ids=["well", "corrupt", "missing", "cut", "garbage", "other"],
)
def test_it_starts_and_serves(tmp_path: pathlib.Path, spoil: Any) -> None:
    import nova_cloud

    shutil.copytree(PACKAGE, tmp_path / "nova_ext", ignore=shutil.ignore_patterns("__pycache__"))
    (library,) = (tmp_path / "nova_ext").glob("_native*.so")
    spoil(library)
    paste = nova_cloud.PASTE.read_text()
    for behind in ("osapi", "legacy"):
        paste = paste.replace(f"keystonecontext {behind}", f"keystonecontext instance_ha_guard {behind}")
    (tmp_path / "api-paste.ini").write_text(paste + nova_cloud.GUARD)
    (tmp_path / "nova.conf").write_text(CONF + (CORRUPT if spoil is corrupt else ""))
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "OS_NOVA_CONFIG_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    root, servers, *checks = ran.stdout.splitlines()[-1].split()
    assert (root, servers) == ("200", "401"), ran.stdout
    assert checks == ["instance_ha:evacuate", "instance_ha:group", "instance_ha:priority"]
    complaint = "the guard cannot judge anything: the native part cannot be loaded"
    said = ran.stdout + ran.stderr
    assert (complaint in said) == (spoil not in (spare, corrupt)), said[-3000:]
    if spoil is corrupt:
        for name in CORRUPT.split("=")[:-1]:
            name = name.split()[-1]
            wanted = "no events for the engine" if name == "engines" else f"instance_ha: {name} = "
            assert said.count(wanted) >= 1, (name, said[-3000:])

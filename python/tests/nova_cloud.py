"""A whole Nova in this process: API, scheduler, conductor, computes, Placement and databases. Keystone and the hypervisors
are made up; all else is Nova's own, of which a release brings what its own tests use."""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import warnings
from typing import Any, Optional

# First of all of Nova: it decides between threads and eventlet.
from nova.tests.functional import integrated_helpers  # isort: skip

import nova.conf
from nova import context as nova_context
from nova import objects

from nova_ext import _scheduling

CONF = nova.conf.CONF
KEY = "0123456789abcdef0123456789abcdef"
#: As in Nova's package, of which pip puts it here.
PASTE = pathlib.Path(sys.prefix) / "etc/nova/api-paste.ini"
GUARD = """
[filter:instance_ha_guard]
paste.filter_factory = nova_ext.guard:filter_factory
"""


class Cloud(integrated_helpers.ProviderUsageBaseTestCase):
    """A Nova with our parts enabled as the manual says."""

    compute_driver = "fake.MediumFakeDriver"
    #: Of the first lines of enabled_filters; that of Nova follow.
    filters = ["nova_ext.filters.InstanceHAFilter"]
    weighers = ["nova.scheduler.weights.all_weighers", "nova_ext.weighers.InstanceHAWeigher"]
    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.key = self.folder / "key"
        self.key.write_text(KEY)
        self.key.chmod(0o600)
        from nova_ext import options

        options.register(CONF)
        text = PASTE.read_text()
        assert text.count("keystonecontext osapi_compute_app_v21") == 1
        text = text.replace("keystonecontext osapi", "keystonecontext instance_ha_guard osapi")
        text = text.replace("keystonecontext legacy", "keystonecontext instance_ha_guard legacy")
        paste = self.folder / "api-paste.ini"
        paste.write_text(text + GUARD)
        self.flags(api_paste_config=str(paste), group="wsgi")
        self.flags(
            available_filters=["nova.scheduler.filters.all_filters", *self.filters],
            enabled_filters=[
                *(name.rsplit(".", 1)[1] for name in self.filters),
                "ComputeFilter",
                "ImagePropertiesFilter",
            ],
            weight_classes=self.weighers,
            group="filter_scheduler",
        )
        for name, value in {
            "key_file": str(self.key),
            "policy_file": str(self.folder / "none"),
            **self.settings,
        }.items():
            self.flags(group="instance_ha", **{name: value})
        self.flags(instances=-1, cores=-1, ram=-1, group="quota")
        # Of this test alone.
        _scheduling._shared = None
        super().setUp()
        # Nova's tests take warnings of newer libraries than theirs for errors.
        warnings.simplefilter("ignore")

    def __delattr__(self, name: str) -> None:
        """Nova's tests forget everything at their end, also what pytest takes away again."""
        self.__dict__.pop(name, None)

    def hosts(self, *names: str) -> None:
        """Begins computes."""
        self.computes = {**getattr(self, "computes", {}), **{name: self._start_compute(name) for name in names}}

    def aggregate(self, name: str, hosts: list[str], **metadata: str) -> None:
        made = self.api.post_aggregate({"aggregate": {"name": name}})
        for host in hosts:
            self.api.add_host_to_aggregate(made["id"], host)
        words = {f"instance_ha:{key}": value for key, value in metadata.items()}
        self.api.post_aggregate_action(made["id"], {"set_metadata": {"metadata": words}})

    def service(self, host: str) -> dict[str, Any]:
        (found,) = self.api.get_services(binary="nova-compute", host=host)
        return found

    def boot(self, host: Optional[str] = None, state: str = "ACTIVE", flavor: Optional[str] = None) -> dict[str, Any]:
        """A server, on a host."""
        server: dict[str, Any] = self._create_server(networks="none", host=host, expected_state=state, flavor_id=flavor)
        return server

    def lose(self, host: str, reason: Optional[str] = None) -> None:
        """A host fails, and is fenced: its service is forced down."""
        self.computes[host].stop()
        body: dict[str, Any] = {"forced_down": True}
        if reason is not None:
            body.update(status="disabled", disabled_reason=reason)
        self.api.put_service(self.service(host)["id"], body)

    def proof(self, host: str) -> str:
        """A signed proof."""
        folder = self.folder / "site"
        folder.mkdir(exist_ok=True)
        config = folder / "nova-ha.toml"
        power = folder / "power.toml"
        agent = folder / "fence_off"
        agent.write_text("#!/bin/sh\ncat >/dev/null\nexit 2\n")
        agent.chmod(0o755)
        power.write_text(f'[host."{host}"]\ndriver = "agent"\nagent = "{agent}"\naddress = "{host}"\n')
        power.chmod(0o600)
        config.write_text(f'[files]\nmap = "{power}"\nkey = "{self.key}"\nstate = "{folder}/state"\n')
        from nova_ext import power as powers

        return powers.off(host, config=config).sign(config)

    def where(self, server: dict[str, Any]) -> str:
        host: str = self.api.get_server(server["id"])["OS-EXT-SRV-ATTR:host"]
        return host


def admin() -> Any:
    return nova_context.get_admin_context()


def set_last_seen(host: str, at: Any) -> None:
    """When its nova-compute has reported last."""
    from nova_ext import _lookup

    with _lookup.in_cell(admin(), host) as cell:
        service = objects.Service.get_by_compute_host(cell, host)
        service.last_seen_up = at
        service.save()


# As a unit may have it. Under eventlet, whoever walks the stack at a panic ends the process.
os.environ["RUST_BACKTRACE"] = "1"

"""Filter and weigher in a real scheduler."""

from __future__ import annotations

import collections
import logging
import threading
import time
from typing import Any

import pytest

from nova_cloud import CONF, Cloud  # isort: skip

from nova.scheduler import filters as nova_filters
from oslo_config import cfg

from nova_ext import _scheduling, options


class Seen(nova_filters.BaseHostFilter):  # type: ignore[misc]
    """Writes down what requests are for."""

    errands: list[tuple[str, Any]] = []

    def filter_all(self, filter_obj_list: Any, spec_obj: Any) -> list[Any]:
        Seen.errands.append(_scheduling.shared(CONF).errand(spec_obj))
        return list(filter_obj_list)


class Errands(Cloud):
    """What a request is for: told apart by what Nova itself sends."""

    filters = ["test_nova_scheduler.Seen"]

    def setUp(self) -> None:
        super().setUp()
        Seen.errands = []
        self.hosts("c1", "c2")

    def last(self) -> tuple[str, Any]:
        return Seen.errands[-1]

    def test_boot(self) -> None:
        self.boot()
        assert Seen.errands == [("boot", None)]

    def test_evacuation(self) -> None:
        server = self.boot("c1")
        self.lose("c1")
        self._evacuate_server(server, expected_host="c2")
        assert self.last() == ("evacuation", "c1")

    def test_evacuation_to_a_host(self) -> None:
        server = self.boot("c1")
        self.lose("c1")
        self._evacuate_server(server, {"host": "c2"}, expected_host="c2")
        assert self.last() == ("evacuation", "c1")

    def test_evacuation_of_a_host_that_is_down_by_itself(self) -> None:
        server = self.boot("c1")
        self.computes["c1"].stop()
        # Not heard from for longer than service_down_time.
        import datetime

        from nova_cloud import set_last_seen

        set_last_seen("c1", datetime.datetime(2020, 1, 1))
        with pytest.MonkeyPatch.context() as patch:
            from nova.servicegroup.drivers import db

            patch.setattr(db.DbDriver, "is_up", lambda self, service: service["host"] != "c1")
            self._evacuate_server(server, expected_host="c2")
        assert self.last() == ("evacuation", "c1")

    def test_resize(self) -> None:
        server = self.boot("c1")
        self._resize_server(server, self.api.get_flavors()[1]["id"])
        assert self.last() == ("move", "c1")

    def test_resize_that_may_stay(self) -> None:
        # No host is left out: it looks like a boot, or like what is unshelved.
        self.flags(allow_resize_to_same_host=True)
        server = self.boot("c1")
        self._resize_server(server, self.api.get_flavors()[1]["id"])
        assert self.last() == ("move", None)

    def test_resize_that_may_stay_and_is_told_where_to_go(self) -> None:
        self.flags(allow_resize_to_same_host=True)
        server = self.boot("c1")
        self.api.microversion = "2.56"
        self.api.post_server_action(server["id"], {"migrate": {"host": "c2"}})
        self._wait_for_state_change(server, "VERIFY_RESIZE")
        assert self.last()[0] == "move"

    def test_cold_migration(self) -> None:
        server = self.boot("c1")
        self._migrate_server(server)
        assert self.last() == ("move", "c1")

    def test_live_migration(self) -> None:
        server = self.boot("c1")
        self._live_migrate(server)
        assert self.last() == ("move", "c1")

    def test_unshelve(self) -> None:
        server = self.boot("c1")
        self._shelve_server(server)
        self._unshelve_server(server)
        assert self.last() == ("boot", None)

    def test_where_the_server_is_cannot_be_told(self) -> None:
        self.flags(allow_resize_to_same_host=True)
        server = self.boot("c1")
        from nova_ext import _lookup

        def broken(*_: Any) -> Any:
            raise RuntimeError("no database")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_lookup, "server", broken)
            with self.assertLogs("nova_ext", logging.ERROR) as logs:
                self._resize_server(server, self.api.get_flavors()[1]["id"])
        assert "is taken for a boot" in logs.output[0] and self.last() == ("boot", None)

    def test_rebuild_with_another_image(self) -> None:
        server = self.boot("c1")
        images = [image["id"] for image in self.glance.detail(None)]
        other = next(image for image in images if image != server["image"]["id"])
        self._rebuild_server(server, other)
        assert self.last()[0] == "rebuild"


class Filtered(Cloud):
    """Where servers may go."""

    def test_nothing_goes_to_what_is_fenced_returning_or_reserved(self) -> None:
        self.hosts("c1", "c2", "c3", "c4", "c5", "c6")
        self.aggregate("spare", ["c3"], reserved="yes")
        self.aggregate("nobody", ["c4"], reserved="nobody")
        # Both would pass ComputeFilter, were they not disabled; here that one is not asked.
        self.api.put_service(self.service("c5")["id"], {"status": "disabled", "disabled_reason": "nova-ha: off …"})
        server = self.boot("c1")
        booted = collections.Counter(self.where(self.boot()) for _ in range(8))
        assert set(booted) <= {"c1", "c2", "c6"}, booted
        for host in ("c3", "c4", "c5"):
            self._refuses(host)
        self.lose("c1")
        self.lose("c2")
        self.lose("c6")
        # The reserved host alone is left, and takes evacuated servers alone.
        self.boot(state="ERROR")
        self._evacuate_server(server, expected_host="c3")

    def _refuses(self, host: str) -> None:
        server = self.api.post_server({"server": {**self._build_server(networks="none"), "host": host}})
        self._wait_for_state_change(server, "ERROR")


class Headroom(Cloud):
    """Room for the servers of any one host."""

    settings = {"headroom": "enforce"}

    def setUp(self) -> None:
        self.flags(reserved_host_memory_mb=0)
        super().setUp()
        self.hosts("c1", "c2", "c3")
        self.flavor = self._create_flavor(vcpu=1, memory_mb=2048, disk=1, ephemeral=0)

    def test_a_new_server_is_refused_at_the_limit_and_an_evacuation_let_through(self) -> None:
        # Three hosts of 8 GiB of which one must be spare: eight servers of 2 GiB fit, and no ninth.
        placed = [self.boot(flavor=self.flavor) for _ in range(8)]
        self.boot(flavor=self.flavor, state="ERROR")
        hosts = collections.Counter(self.where(server) for server in placed)
        failed = max(hosts, key=lambda host: hosts[host])
        self.lose(failed)
        for server in placed:
            if self.where(server) == failed:
                self._evacuate_server(server)
                assert self.where(server) != failed

    def test_warn_lets_through(self) -> None:
        self.flags(headroom="warn", group="instance_ha")
        _scheduling._shared = None
        with self.assertLogs("nova_ext.filters", logging.WARNING) as logs:
            for _ in range(9):
                self.boot(flavor=self.flavor)
        assert "it is let through (headroom = warn)" in logs.output[0]


class Spread(Cloud):
    """The servers of a failed host."""

    HOSTS = ("c2", "c3", "c4", "c5")

    def evacuated(self) -> collections.Counter[str]:
        self.hosts("c1")
        flavor = self._create_flavor(vcpu=1, memory_mb=64, disk=1, ephemeral=0)
        servers = [self.boot("c1", flavor=flavor) for _ in range(8)]
        self.hosts(*self.HOSTS)
        self.lose("c1")
        return collections.Counter(self.where(self._evacuate_server(server)) for server in servers)

    def test_they_are_spread(self) -> None:
        assert dict(self.evacuated()) == {host: 2 for host in self.HOSTS}


class Broken(Cloud):
    """What fails in our part stops nothing."""

    def test_a_bug_lets_everything_through(self) -> None:
        from nova_ext import _native

        self.hosts("c1")
        self.addCleanup(_native.inject_panic, None)
        for name in ("Scheduler.filter", "Scheduler.weigh", "Scheduler.errand", "Scheduler"):
            _scheduling._shared = None
            _native.inject_panic(name)
            with self.assertLogs("nova_ext", logging.ERROR) if name != "Scheduler.weigh" else _nothing():
                self.boot()

    def test_settings_that_cannot_be_used(self) -> None:
        from nova_ext import filters, guard, weighers

        wrong = self.folder / "wrong.conf"
        wrong.write_text("[instance_ha]\nheadroom = plenty\nspread_weight_multiplier = much\nguard = perhaps\n")
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[str(wrong)])
        options._said.clear()
        settings = options.register(conf)
        self.hosts("c1", "c2")
        _scheduling._shared = None
        with pytest.MonkeyPatch.context() as patch:
            for module in (filters, weighers):
                patch.setattr(module, "CONF", conf)
            with self.assertLogs("nova_ext", logging.ERROR) as logs:
                self.boot()
                # Each is said once.
                self.boot()
                patch.setattr("nova.conf.CONF", conf)
                assert guard.filter_factory({})(None).mode == "warn"  # type: ignore[arg-type]
                made = guard.filter_factory({}, guard="sure", proof_lifetime="long")(None)  # type: ignore[arg-type]
                assert made.mode == "warn"
        assert [record.getMessage() for record in logs.records] == [
            "instance_ha: headroom = plenty cannot be used (it is none of off, warn, enforce): warn counts",
            "instance_ha: spread_weight_multiplier = much cannot be used (it is no number): 10.0 counts",
            "instance_ha: guard = perhaps cannot be used (it is none of off, warn, enforce): warn counts",
            "instance_ha: guard = sure cannot be used (it is none of off, warn, enforce): warn counts",
            "instance_ha: proof_lifetime = long cannot be used (it is no whole number): 86400 counts",
        ]
        assert settings.headroom == "warn" and filters.shared(conf).headroom == "warn"
        # All that Nova does when it starts.
        conf.log_opt_values(logging.getLogger("test"), logging.DEBUG)

    def test_without_the_native_part(self) -> None:
        from nova_ext import _load

        self.hosts("c1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_load, "_why", "ImportError: no such file")
            self.boot()


def test_two_threads_watch_one_host_once() -> None:
    class Host:
        pass

    watched: list[Any] = []

    def slow(_: Any, host: Any) -> None:
        time.sleep(0.1)
        watched.append(host)
        setattr(host, _scheduling.WATCHED, True)

    host = Host()
    threads = [threading.Thread(target=_scheduling.watch, args=(None, [host])) for _ in range(4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scheduling, "_watch", slow)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert watched == [host]


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: Any) -> None: ...

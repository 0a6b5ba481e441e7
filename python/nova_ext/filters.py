"""Nova's scheduler filter: keeps servers off hosts that are fenced, returning or reserved, and keeps room free.

    [filter_scheduler]
    available_filters = nova.scheduler.filters.all_filters
    available_filters = nova_ext.filters.InstanceHAFilter
    enabled_filters = InstanceHAFilter,ComputeFilter,…

It stands first, so that it sees all hosts: what it keeps free is reckoned over them. Decisions are made in the native
part, for all hosts of a request at once; if that fails, everything passes and the log says so.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

import nova.conf
from nova.scheduler import filters

from nova_ext import _load, options
from nova_ext._scheduling import shared, watch

LOG = logging.getLogger(__name__)
CONF = nova.conf.CONF
options.register(CONF)


class InstanceHAFilter(filters.BaseHostFilter):  # type: ignore[misc]
    """Decides over all hosts of a request at once."""

    RUN_ON_REBUILD = False

    def __init__(self) -> None:
        super().__init__()
        why = _load.missing()
        if why is not None:
            LOG.error("instance_ha: the filter is off, every host passes: the native part cannot be loaded: %s", why)

    def filter_all(self, filter_obj_list: Iterable[Any], spec_obj: Any) -> list[Any]:
        """The hosts that pass."""
        hosts = list(filter_obj_list)
        if _load.missing() is not None or not hosts:
            return hosts
        try:
            return self._passing(hosts, spec_obj)
        except Exception:
            LOG.exception("instance_ha: the filter has failed, every host passes")
            return hosts

    def host_passes(self, host_state: Any, spec_obj: Any) -> bool:
        """The same for one host, for callers that ask so."""
        return bool(self.filter_all([host_state], spec_obj))

    def _passing(self, hosts: list[Any], spec: Any) -> list[Any]:
        state = shared(CONF)
        watch(CONF, hosts)
        errand, left = state.errand(spec)
        flavor = spec.flavor
        disk = flavor.root_gb + flavor.ephemeral_gb if not spec.is_bfv else flavor.ephemeral_gb
        refused, warned = state.native.filter(errand, left, flavor.vcpus, flavor.memory_mb, disk, hosts)
        if warned:
            LOG.warning(
                "instance_ha: on %d of %d hosts the server would take room that is kept for the servers of a lost host; "
                "it is let through (headroom = warn)",
                warned,
                len(hosts),
            )
        why = Counter(reason for reason in refused if reason is not None)
        if why:
            said = ", ".join(f"{reason} {number}" for reason, number in sorted(why.items()))
            level = logging.INFO if why["headroom"] else logging.DEBUG
            LOG.log(level, "instance_ha: %s: %d of %d hosts refused: %s", errand, sum(why.values()), len(hosts), said)
        return [host for host, reason in zip(hosts, refused) if reason is None]

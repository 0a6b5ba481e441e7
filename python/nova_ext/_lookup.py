"""What Nova's database says of hosts, for the shims in Nova's own processes."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple, Optional

#: An evacuation that has not ended, in Nova's words.
ALIVE = ("accepted", "pre-migrating", "queued", "preparing", "running", "migrating", "post-migrating")
#: One that the host's own nova-compute has not cleaned up after.
DONE = "done"
#: For so long a service that was down is taken for down: requests of one failure come in dozens.
DOWN_FOR = 5.0


def in_cell(context: Any, host: str) -> Any:
    """The context of the host's cell."""
    from nova import context as nova_context
    from nova import objects

    mapping = objects.HostMapping.get_by_host(context, host)
    return nova_context.target_cell(context, mapping.cell_mapping)


def service_of(context: Any, host: str) -> Any:
    """The compute service of a host."""
    from nova import objects

    with in_cell(context, host) as cell:
        return objects.Service.get_by_compute_host(cell, host)


class Found(NamedTuple):
    """A server."""

    #: Where it is; none: nowhere, as one that is shelved.
    host: Optional[str]
    #: Whose it is.
    project_id: Optional[str]
    user_id: Optional[str]


def server(context: Any, which: str) -> Optional[Found]:
    """A server, by its id; none if it has no cell yet."""
    from nova import context as nova_context
    from nova import objects

    mapping = objects.InstanceMapping.get_by_instance_uuid(context, which)
    if mapping.cell_mapping is None:
        return None
    with nova_context.target_cell(context, mapping.cell_mapping) as cell:
        instance = objects.Instance.get_by_uuid(cell, which, expected_attrs=[])
        return Found(instance.host, instance.project_id, instance.user_id)


def open_evacuations(context: Any, host: str) -> tuple[int, int]:
    """Evacuations from a host: how many are alive, and how many done and not cleaned up after."""
    from nova import objects

    filters = {"source_compute": host, "migration_type": "evacuation", "status": [*ALIVE, DONE]}
    with in_cell(context, host) as cell:
        rows = objects.MigrationList.get_by_filters(cell, filters)
        done = sum(1 for row in rows if row.status == DONE)
        return len(rows) - done, done


class Down:
    """Whether the service of a host is down: asked once for each request, and not again soon if it was."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._up: Any = None

    def __call__(self, context: Any, host: str) -> Optional[bool]:
        """None: it cannot be told."""
        now = time.monotonic()
        with self._lock:
            if self._until.get(host, 0.0) > now:
                return True
        down = self._ask(context, host)
        if down:
            with self._lock:
                self._until = {name: at for name, at in self._until.items() if at > now}
                self._until[host] = now + DOWN_FOR
        return down

    def _ask(self, context: Any, host: str) -> Optional[bool]:
        from nova import exception, servicegroup

        if self._up is None:
            self._up = servicegroup.API()
        try:
            service = service_of(context, host)
        except exception.NotFound:
            return None
        return bool(service.forced_down) or not self._up.service_is_up(service)

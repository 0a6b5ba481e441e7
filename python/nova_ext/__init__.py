"""Recovery of failed OpenStack computes, for the controllers' fence logic and for site scripts.

    import nova_ext
    from nova_ext import power

    proof = power.off("compute-1")                      # switches it off, and proves it
    nova_ext.force_down("compute-1", proof)             # Nova knows it
    done = nova_ext.evacuate("compute-1", proof, on_event=lambda event: print(event.said))

The same for asyncio is in `nova_ext.aio`. Errors are in `nova_ext.errors`. Files and credentials are those of `nova-ha`:
/etc/pcmk-remote/nova-ha.toml, or the file that `config` names.

What Nova loads is beside it: `filters`, `weighers`, `extra_specs`, `guard`, `notify`. All of it can be imported without
the native part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nova_ext import _load, errors
from nova_ext._hosts import check_cloud, evacuate, force_down, force_up, health, incidents, plan, report
from nova_ext._rules import Policy, opted_in
from nova_ext.values import Decision, Device, Evacuation, Event, Incident, Left, Moved, Plan, Service

if TYPE_CHECKING:
    from nova_ext._native import FenceProof
else:
    from nova_ext._proof import FenceProof

__all__ = [
    "Decision",
    "Device",
    "Evacuation",
    "Event",
    "FenceProof",
    "Incident",
    "Left",
    "Moved",
    "Plan",
    "Policy",
    "Service",
    "check_cloud",
    "errors",
    "evacuate",
    "force_down",
    "force_up",
    "health",
    "incidents",
    "native_missing",
    "opted_in",
    "plan",
    "report",
]


def native_missing() -> str | None:
    """Why the native part is not there; none if it is."""
    return _load.missing()

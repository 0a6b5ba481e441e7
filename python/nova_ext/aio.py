"""The same calls for asyncio. A task that is cancelled ends the call where it waits; what was asked for goes on in Nova.

from nova_ext import aio

proof = await aio.power_off("compute-1")
await aio.force_down("compute-1", proof)
done = await aio.evacuate("compute-1", proof, on_event=print)
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Callable, Optional

from nova_ext import _hosts, _load, power
from nova_ext._hosts import OnEvent
from nova_ext._types import Path
from nova_ext.values import Device, Evacuation, Event, Incident, Plan, Service

if TYPE_CHECKING:
    from nova_ext._native import FenceProof


async def force_down(host: str, proof: FenceProof, *, config: Path = None) -> Service:
    """See nova_ext.force_down."""
    _load.require()
    from nova_ext import _native

    return Service.from_json(await _native.force_down(host, proof, config, True))


async def force_up(host: str, *, enable: bool = True, config: Path = None) -> Service:
    """See nova_ext.force_up."""
    _load.require()
    from nova_ext import _native

    return Service.from_json(await _native.force_up(host, enable, config, True))


async def evacuate(
    host: str,
    proof: FenceProof,
    *,
    on_event: Optional[OnEvent] = None,
    wait: bool = True,
    timeout: float = 3600.0,
    config: Path = None,
) -> Evacuation:
    """See nova_ext.evacuate. `on_event` is called in the loop."""
    _load.require()
    from nova_ext import _native

    tell: Optional[Callable[[str], object]] = None
    if on_event is not None:
        event_loop, wanted = asyncio.get_running_loop(), on_event

        def tell(line: str) -> object:
            return event_loop.call_soon_threadsafe(wanted, Event.from_json(line))

    patience = timeout if wait else None
    incident, outcome = await _native.evacuate(host, proof, tell, patience, config, True)
    return Evacuation(incident, outcome)


async def plan(host: str, *, config: Path = None) -> Plan:
    """See nova_ext.plan."""
    _load.require()
    from nova_ext import _native

    return Plan.from_json(await _native.plan(host, config, True))


async def health(*, config: Path = None) -> dict[str, Any]:
    """See nova_ext.health."""
    _load.require()
    from nova_ext import _native

    document: dict[str, Any] = json.loads(await _native.health(config, True))
    return document


async def incidents(*, config: Path = None) -> list[Incident]:
    """See nova_ext.incidents. Files of this controller are read, in a thread."""
    return await asyncio.to_thread(_hosts.incidents, config=config)


async def report(incident: Optional[str] = None, *, format: str = "text", config: Path = None) -> str:
    """See nova_ext.report. Files of this controller are read, in a thread."""
    return await asyncio.to_thread(_hosts.report, incident, format=format, config=config)


async def check_cloud(*, config: Path = None) -> list[tuple[str, str]]:
    """See nova_ext.check_cloud."""
    _load.require()
    from nova_ext import _native

    return [(one["level"], one["text"]) for one in json.loads(await _native.check_cloud(config, True))]


async def confirm(host: str, name: str, *, config: Path = None) -> FenceProof:
    """See FenceProof.confirm: somebody vouches by name that a host is off."""
    _load.require()
    from nova_ext import _native

    return await _native.FenceProof.confirm(host, name, config, True)


async def power_status(host: str, *, timeout: float = 20.0, config: Path = None) -> str:
    """See nova_ext.power.status."""
    _load.require()
    from nova_ext import _native

    return await _native.power_status(host, timeout, config, True)


async def power_off(host: str, *, timeout: float = 60.0, config: Path = None) -> FenceProof:
    """See nova_ext.power.off."""
    _load.require()
    from nova_ext import _native

    return await _native.power_off(host, timeout, config, True)


async def power_on(host: str, *, timeout: float = 60.0, force: bool = False, config: Path = None) -> str:
    """See nova_ext.power.on."""
    _load.require()
    from nova_ext import _native

    return await _native.power_on(host, timeout, force, config, True)


async def power_cycle(host: str, *, timeout: float = 120.0, force: bool = False, config: Path = None) -> str:
    """See nova_ext.power.cycle."""
    _load.require()
    from nova_ext import _native

    return await _native.power_cycle(host, timeout, force, config, True)


async def power_hosts(*, config: Path = None) -> list[Device]:
    """See nova_ext.power.hosts. Files of this controller are read, in a thread."""
    return await asyncio.to_thread(power.hosts, config=config)

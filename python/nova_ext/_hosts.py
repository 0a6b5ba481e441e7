"""Hosts in Nova, and the engine of this controller. Each call waits; `aio` has the same for asyncio."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable, Optional

from nova_ext import _load
from nova_ext._types import Path
from nova_ext.values import Evacuation, Event, Incident, Plan, Service

if TYPE_CHECKING:
    from nova_ext._native import FenceProof

OnEvent = Callable[[Event], object]


def telling(on_event: Optional[OnEvent]) -> Optional[Callable[[str], object]]:
    """What the native part calls with each line of the journal."""
    if on_event is None:
        return None
    tell = on_event
    return lambda line: tell(Event.from_json(line))


def force_down(host: str, proof: FenceProof, *, config: Path = None) -> Service:
    """Tells Nova that a host is down, and lets no server go there; the reason that operators see is the signed proof.

    Repeating it is harmless. A host that somebody else has disabled keeps their reason. Raises CloudError; ConfigError if
    the proof is about another host or there is no key to sign it with.
    """
    _load.require()
    from nova_ext import _native

    return Service.from_json(_native.force_down(host, proof, config, False))


def force_up(host: str, *, enable: bool = True, config: Path = None) -> Service:
    """Tells Nova that a host is up again, and lets servers go there again unless somebody else has disabled it.

    Raises OutOfOrder (`retryable`) until the host's nova-compute, started while it is forced down, has cleaned up after
    all evacuations: otherwise servers would run twice.
    """
    _load.require()
    from nova_ext import _native

    return Service.from_json(_native.force_up(host, enable, config, False))


def evacuate(
    host: str,
    proof: FenceProof,
    *,
    on_event: Optional[OnEvent] = None,
    wait: bool = True,
    timeout: float = 3600.0,
    config: Path = None,
) -> Evacuation:
    """Has the engine move the servers of a host that is proven off, and follows it to its end.

    The engine (`nova-ha engine`, kept by the cluster) does it, whatever becomes of this process: with `wait=False`, and
    after TimedOut, it goes on. `on_event` is called with each line of its journal. Raises NotProven if the host's power
    device says that it is on, or it was powered on after the proof.
    """
    _load.require()
    from nova_ext import _native

    patience = timeout if wait else None
    incident, outcome = _native.evacuate(host, proof, telling(on_event), patience, config, False)
    return Evacuation(incident, outcome)


def plan(host: str, *, config: Path = None) -> Plan:
    """What the engine would do about the servers of a host. Changes nothing."""
    _load.require()
    from nova_ext import _native

    return Plan.from_json(_native.plan(host, config, False))


def incidents(*, config: Path = None) -> list[Incident]:
    """The incidents in the journal of this controller's engine, the oldest first."""
    _load.require()
    from nova_ext import _native

    return [Incident(**one) for one in json.loads(_native.incidents(config))]


def report(incident: Optional[str] = None, *, format: str = "text", config: Path = None) -> str:
    """One incident as "text", "json" or "html"; without an id the last one. Raises EngineError if there is none."""
    _load.require()
    from nova_ext import _native

    return _native.report(incident, format, config)


def health(*, config: Path = None) -> dict[str, Any]:
    """How the engine of this controller is. Raises EngineError (`retryable`) if none runs here."""
    _load.require()
    from nova_ext import _native

    document: dict[str, Any] = json.loads(_native.health(config, False))
    return document


def check_cloud(*, config: Path = None) -> list[tuple[str, str]]:
    """What the credentials and the cloud are good for: pairs of "ok", "warn" or "fail" and a sentence."""
    _load.require()
    from nova_ext import _native

    return [(one["level"], one["text"]) for one in json.loads(_native.check_cloud(config, False))]

"""The power of hosts, by the devices in /etc/pcmk-remote/power.toml.

A device is believed when it reads a state twice in a row; what it answers to an order counts for nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nova_ext import _load
from nova_ext._types import Path
from nova_ext.values import Device

if TYPE_CHECKING:
    from nova_ext._native import FenceProof


def status(host: str, *, timeout: float = 20.0, config: Path = None) -> str:
    """What the device reads: "on", "off" or "changing"."""
    _load.require()
    from nova_ext import _native

    return _native.power_status(host, timeout, config, False)


def off(host: str, *, timeout: float = 60.0, config: Path = None) -> FenceProof:
    """Switches a host off, unless it is off, and proves it: the device has read off twice in a row.

    The proof is kept where the engine looks for it, and holds until the host is powered on.
    """
    _load.require()
    from nova_ext import _native

    return _native.power_off(host, timeout, config, False)


def on(host: str, *, timeout: float = 60.0, force: bool = False, config: Path = None) -> str:
    """Switches a host on. Before that, no proof of it holds any more, on any controller.

    Refused while it is being evacuated, because it is off; with `force` nobody asks.
    """
    _load.require()
    from nova_ext import _native

    return _native.power_on(host, timeout, force, config, False)


def cycle(host: str, *, timeout: float = 120.0, force: bool = False, config: Path = None) -> str:
    """Off until that is read, then on; refused as `on` is."""
    _load.require()
    from nova_ext import _native

    return _native.power_cycle(host, timeout, force, config, False)


def hosts(*, config: Path = None) -> list[Device]:
    """The hosts that have a device, and what is wrong with it. No device is asked."""
    _load.require()
    from nova_ext import _native

    return [Device(**one) for one in json.loads(_native.power_hosts(config))]

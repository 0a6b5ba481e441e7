"""Notification driver: tells the engine what happens in Nova, so that it need not wait for its next look.

    [oslo_messaging_notifications]
    driver = instance_ha
    [notifications]
    notification_format = both

Runs in every service of Nova. It puts an event into a bounded queue and returns; a thread outside of Python sends it. So
an engine that is gone, slow or not believed costs Nova nothing, under eventlet as with threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Optional

from nova_ext import _load, options

LOG = logging.getLogger(__name__)
#: What the engine can use.
KINDS = frozenset(
    name
    for kind in ("evacuate", "rebuild_scheduled", "rebuild.start", "rebuild.end", "rebuild.error")
    for name in (f"instance.{kind}", f"compute.instance.{kind}")
) | {"service.update"}
#: Between two complaints.
QUIET = 60.0


class Driver:
    """What oslo.messaging calls. It is no subclass: oslo.messaging asks for none."""

    def __init__(self, conf: Any, topics: Any = None, transport: Any = None) -> None:
        self._signal: Any = None
        self._lost = 0
        self._quiet_until = 0.0
        self._lock = threading.Lock()
        why = _load.missing()
        if why is not None:
            LOG.error("instance_ha: no events for the engine: the native part cannot be loaded: %s", why)
            return
        try:
            from nova_ext import _native

            settings = options.register(conf)
            self._signal = _native.Signal(
                list(settings.engines),
                settings.engine_ca,
                settings.engine_certificate,
                settings.engine_key,
                settings.events_waiting,
            )
        except Exception as error:
            LOG.error("instance_ha: no events for the engine: %s", error)

    def notify(self, ctxt: Any, msg: Mapping[str, Any], priority: str, retry: Any) -> None:
        """Takes an event. Never waits, never fails."""
        try:
            if self._signal is not None and msg.get("event_type") in KINDS:
                self._offer(msg)
        except Exception:
            LOG.exception("instance_ha: an event is lost")

    def _offer(self, msg: Mapping[str, Any]) -> None:
        payload = msg.get("payload") or {}
        data: Mapping[str, Any] = payload.get("nova_object.data", payload)
        host, server = data.get("host"), data.get("uuid") or data.get("instance_id")
        kind = str(msg["event_type"])
        if kind == "service.update":
            if data.get("binary") != "nova-compute":
                return
            server = None
        self._signal.offer(kind, str(msg.get("publisher_id", "")), _text(host), _text(server), data.get("forced_down"))
        self._complain()

    def _complain(self) -> None:
        """Says now and then that events are lost, and why."""
        now = time.monotonic()
        if now < self._quiet_until:
            return
        sent, lost, peer, trouble = self._signal.stats()
        with self._lock:
            if lost == self._lost or now < self._quiet_until:
                return
            more, self._lost, self._quiet_until = lost - self._lost, lost, now + QUIET
        LOG.warning(
            "instance_ha: %d events did not reach an engine (%d did): %s; the engine looks by itself",
            more,
            sent,
            trouble,
        )

    def stats(self) -> Optional[tuple[int, int, Optional[str], Optional[str]]]:
        """Sent, lost, who takes them now, and why nobody did last; none without the native part."""
        stats: Optional[tuple[int, int, Optional[str], Optional[str]]] = (
            None if self._signal is None else self._signal.stats()
        )
        return stats


def _text(value: Any) -> Optional[str]:
    return value if isinstance(value, str) else None

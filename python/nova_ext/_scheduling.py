"""What filter and weigher share: the native scheduler of this process, and what a request is for."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Optional

from nova_ext import _load, _lookup, options

if TYPE_CHECKING:
    from nova_ext import _native

LOG = logging.getLogger(__name__)
#: Between looks at the policy.
POLICY = 30.0
#: When there is no policy to be read: who says yes is protected.
OPT_IN = 'mode = "opt-in"\n'
#: Under this name a request remembers what it is for.
MARK = "_instance_ha_errand"

#: By this a host's state shows that it is watched.
WATCHED = "_instance_ha_watched"

_lock = threading.Lock()
_watching = threading.Lock()
_shared: Optional[Shared] = None


class Shared:
    """One for a process."""

    def __init__(self, conf: Any) -> None:
        from nova_ext import _native

        settings = options.register(conf)
        self.pid = os.getpid()
        self.native = _native.Scheduler(settings.headroom, settings.spread_host, settings.spread_domain, settings.spread_busy)
        self.headroom: str = settings.headroom
        self.down = _lookup.Down()
        self._policy_file: str = settings.policy_file
        self._policy: Optional[_native.Policy] = None
        self._policy_seen: Optional[tuple[float, Optional[float]]] = None

    def errand(self, spec: Any) -> tuple[str, Optional[str]]:
        """What a request is for, and the host that the server leaves. Looked up once for each request."""
        known = getattr(spec, MARK, None)
        if known is not None:
            errand, left = known
            return errand, left
        check, left = _check(spec), _left(spec)
        source = self.native.source(check, left)
        down, there = None, False
        if source is not None:
            try:
                down = self.down(_admin(spec), source)
            except Exception:
                LOG.exception("instance_ha: it cannot be told whether %s is down; the request is taken for a move", source)
        elif check != "rebuild" and _is_old(spec):
            there = self._is_there(spec)
        errand = self.native.errand(check, left, down, there)
        setattr(spec, MARK, (errand, left))
        return errand, left

    @staticmethod
    def _is_there(spec: Any) -> bool:
        """Whether a server that was made before is on a host: else it is unshelved."""
        try:
            found = _lookup.server(_admin(spec), spec.instance_uuid)
        except Exception:
            LOG.exception("instance_ha: it cannot be told where the server is; the request is taken for a boot")
            return False
        return found is not None and found.host is not None

    def is_protected(self, spec: Any) -> bool:
        """Whether a server is evacuated when its host fails, as far as its flavor, image and project say."""
        flavor = spec.flavor.extra_specs if "extra_specs" in spec.flavor else {}
        decision = self._rules().decide(
            {str(key): str(value) for key, value in (flavor or {}).items()},
            _image(spec),
            {},
            [],
            [],
            spec.project_id or "",
        )
        return bool(decision[0])

    def _rules(self) -> _native.Policy:
        now = time.monotonic()
        if self._policy is not None and self._policy_seen is not None and now - self._policy_seen[0] < POLICY:
            return self._policy
        from nova_ext import _native

        try:
            changed: Optional[float] = os.stat(self._policy_file).st_mtime
        except OSError:
            changed = None
        if self._policy is None or self._policy_seen is None or self._policy_seen[1] != changed:
            text = OPT_IN
            if changed is not None:
                try:
                    with open(self._policy_file, encoding="utf-8") as file:
                        text = file.read(300_000)
                    _native.Policy.parse(text)
                except Exception as error:
                    LOG.error("instance_ha: %s cannot be used, who says yes is protected: %s", self._policy_file, error)
                    text = OPT_IN
            self._policy = _native.Policy.parse(text)
        self._policy_seen = (now, changed)
        return self._policy


def shared(conf: Any) -> Shared:
    """That of this process."""
    global _shared
    if _shared is not None and _shared.pid == os.getpid():
        return _shared
    with _lock:
        if _shared is None or _shared.pid != os.getpid():
            _load.require()
            _shared = Shared(conf)
    return _shared


def watch(conf: Any, hosts: list[Any]) -> None:
    """Has the choice of a host noted: Nova tells it to the host's state alone, which is kept from request to request."""
    for host in hosts:
        if WATCHED not in host.__dict__:
            # Two threads that wrapped it would both count the server.
            with _watching:
                if WATCHED not in host.__dict__:
                    _watch(conf, host)


def _watch(conf: Any, host: Any) -> None:
    consume = host.consume_from_request

    def noted(spec: Any) -> None:
        consume(spec)
        try:
            shared(conf).native.arrived(host)
        except Exception:
            LOG.exception("instance_ha: a server on %s does not count for filter and weigher", host.host)

    host.consume_from_request = noted
    setattr(host, WATCHED, True)


def _check(spec: Any) -> Optional[str]:
    hints = spec.scheduler_hints if "scheduler_hints" in spec else None
    check = (hints or {}).get("_nova_check_type")
    # Nova's own hint is a list, a user's may be a text.
    first = check[0] if isinstance(check, list) and check else check
    return first if isinstance(first, str) else None


def _left(spec: Any) -> Optional[str]:
    hosts = spec.ignore_hosts if "ignore_hosts" in spec else None
    return hosts[0] if hosts else None


def _is_old(spec: Any) -> bool:
    """Whether the server was made before: Nova then says in which cell it is. (What else a destination has, as
    `allow_cross_cell_move`, is there as soon as somebody has looked at it.)"""
    destination = spec.requested_destination if "requested_destination" in spec else None
    return destination is not None and "cell" in destination and "instance_uuid" in spec


def _admin(spec: Any) -> Any:
    from nova import context as nova_context

    context = getattr(spec, "_context", None)
    return context.elevated() if context is not None else nova_context.get_admin_context()


def _image(spec: Any) -> dict[str, str]:
    """Properties that Nova does not know itself are not in the request: those that are, as text."""
    image = spec.image if "image" in spec else None
    if image is None or "properties" not in image or image.properties is None:
        return {}
    properties = image.properties
    words = {}
    for name in properties.fields:
        if properties.obj_attr_is_set(name):
            words[name] = str(getattr(properties, name))
    return words

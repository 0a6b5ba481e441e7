"""Site code around a recovery, as Python: entry points of the group `nova_ext.hooks`.

    [project.entry-points."nova_ext.hooks"]
    pager = "our_site.ha:on_recovery"

An entry point is a function that is called with each Occasion, or an object with methods named by points
(`before_force_down`, `after_force_down`, `server_done`, `server_failed`, `end`, `return_`), of which it needs not have
all. The engine runs them where its hooks are:

    ln -s "$(command -v nova-ext-hook)" /etc/pcmk-remote/nova-ha.d/end/50-python

One that raises is reported and stops nothing, unless the link's name ends with `.must`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Callable, Optional

GROUP = "nova_ext.hooks"
POINTS = ("before-force-down", "after-force-down", "server-done", "server-failed", "end", "return")


@dataclass(frozen=True)
class Occasion:
    """What a hook is told."""

    #: One of POINTS.
    point: str
    #: The incident, as in reports.
    incident: str
    #: The host, as Nova calls it.
    host: str
    #: Its node in the cluster, if it is known.
    node: Optional[str] = None
    #: The server, at its end.
    server: Optional[str] = None
    #: How the incident ended.
    outcome: Optional[str] = None
    #: Where the server is now.
    destination: Optional[str] = None

    @classmethod
    def from_json(cls, text: str) -> Occasion:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise ValueError("it is no object")
        known: dict[str, Any] = {name: raw.get(name) for name in cls.__dataclass_fields__}
        if known["point"] not in POINTS:
            raise ValueError(f"{known['point']!r} is no point of a recovery")
        return cls(**known)


def _entry_points() -> list[Any]:
    found: Any = metadata.entry_points()
    # Until Python 3.9 it is a plain dictionary.
    some = found.select(group=GROUP) if hasattr(found, "select") else found.get(GROUP, [])
    return sorted(some, key=lambda entry: str(entry.name))


def _called_at(hook: Any, point: str) -> Optional[Callable[[Occasion], object]]:
    name = point.replace("-", "_")
    method = getattr(hook, "return_" if name == "return" else name, None)
    if callable(method):
        return method  # type: ignore[no-any-return]
    return hook if callable(hook) and not isinstance(hook, type) else None


def run(occasion: Occasion, entry_points: Optional[list[Any]] = None) -> list[str]:
    """Calls the hooks of an occasion, in the order of their names: what went wrong, one line each."""
    wrong = []
    for entry in _entry_points() if entry_points is None else entry_points:
        try:
            called = _called_at(entry.load(), occasion.point)
            if called is not None:
                called(occasion)
        except Exception as error:
            wrong.append(f"{entry.name}: {type(error).__name__}: {error}")
    return wrong


def main() -> int:
    """For the engine: the occasion on standard input."""
    try:
        occasion = Occasion.from_json(sys.stdin.read())
    except ValueError as error:
        print(f"nova-ext-hook: this is no occasion: {error}", file=sys.stderr)
        return 64
    wrong = run(occasion)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

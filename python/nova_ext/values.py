"""What functions return: plain values, compared by what they hold."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Optional


@dataclass(frozen=True)
class Decision:
    """What the rules make of a server."""

    #: Whether it is evacuated when its host fails.
    evacuate: bool
    #: Higher goes first, from -1000 to 1000.
    priority: int
    #: Its group.
    group: Optional[str]
    #: What decided it, for people: "flavor extra spec instance_ha:evacuate", "nobody says anything".
    rule: str
    #: What was said and could not be understood.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moved:
    """A server that would be moved."""

    #: Counted from 1.
    place: int
    server: str
    name: str
    priority: int
    group: Optional[str]
    #: Whether it runs, so that it must run again.
    runs: bool
    why: str


@dataclass(frozen=True)
class Left:
    """A server that would stay."""

    server: str
    name: str
    #: Short name of the reason, for programs.
    reason: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What would be done about the servers of a host."""

    host: str
    moves: tuple[Moved, ...]
    left_out: tuple[Left, ...]

    @classmethod
    def from_json(cls, text: str) -> Plan:
        raw = json.loads(text)
        return cls(
            host=raw["host"],
            moves=tuple(Moved(**one) for one in raw["moves"]),
            left_out=tuple(Left(**one) for one in raw["left_out"]),
        )


@dataclass(frozen=True)
class Service:
    """The nova-compute of a host, as Nova has it."""

    host: str
    #: Whether Nova holds it for alive.
    up: bool
    forced_down: bool
    #: Whether servers may be put there.
    enabled: bool
    disabled_reason: Optional[str]
    #: Whether nothing had to be changed.
    already: bool

    @classmethod
    def from_json(cls, text: str) -> Service:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Event:
    """A line of the engine's journal."""

    at: str
    incident: str
    #: Which kind of event: "posted", "moved", "done", "ended", …
    kind: str
    #: What happened, for people.
    said: str
    #: Everything that the journal has of it.
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Event:
        raw = json.loads(text)
        event = raw["event"]
        return cls(at=raw["at"], incident=raw["incident"], kind=event["kind"], said=raw["said"], details=event)


@dataclass(frozen=True)
class Evacuation:
    """What came of asking for an evacuation."""

    #: Its name in the journal.
    incident: str
    #: "complete", "partial", "refused" or "came-back"; none if it was not followed to its end.
    outcome: Optional[str]


@dataclass(frozen=True)
class Incident:
    """One failure of one host."""

    incident: str
    host: Optional[str]
    began: str
    last: str
    #: How it ended; none while it has not.
    outcome: Optional[str]
    moved: int
    failed: int
    left_out: int
    open: int


@dataclass(frozen=True)
class Device:
    """The power device of a host, and what is wrong with it."""

    host: str
    device: str
    #: "ok", "warning" or "error".
    severity: str
    text: str

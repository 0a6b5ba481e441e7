"""What settings may be, and what counts in place of one that cannot be used.

Nova reads all settings when its services start, and a value that oslo.config refuses keeps them from starting. So none
is refused here: it is said in the log and by `nova-ext doctor`, and something else counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional, Union

Value = Union[str, int, float]


@dataclass(frozen=True)
class Choice:
    """One of some words, and what each is for."""

    words: dict[str, str]
    default: str
    #: In place of a word that is none of these.
    instead: str

    def read(self, raw: Any) -> tuple[str, Optional[str]]:
        word = str(raw).strip().lower()
        return (word, None) if word in self.words else (self.instead, f"it is none of {', '.join(self.words)}")


@dataclass(frozen=True)
class Amount:
    """A number within bounds."""

    default: Union[int, float]
    least: Optional[float] = None
    most: Optional[float] = None

    @property
    def instead(self) -> Union[int, float]:
        """In place of what is no such number."""
        return self.default

    def read(self, raw: Any) -> tuple[Union[int, float], Optional[str]]:
        try:
            number = type(self.default)(str(raw).strip())
            if not math.isfinite(number):
                return self.default, "it is no number"
        # An integer may be too large to be told finite.
        except (ValueError, OverflowError):
            return self.default, "it is no number" if isinstance(self.default, float) else "it is no whole number"
        if self.least is not None and number < self.least:
            return self.default, f"it is less than {self.least:g}"
        if self.most is not None and number > self.most:
            return self.default, f"it is more than {self.most:g}"
        return number, None


RULES: dict[str, Union[Choice, Amount]] = {
    # Both refuse something: a slip must not have them refuse, nor be silent.
    "headroom": Choice(
        {
            "off": "It is not looked at.",
            "warn": "A new server that takes the room is let through, and said in the log.",
            "enforce": "A new server that takes the room is refused.",
        },
        default="off",
        instead="warn",
    ),
    "guard": Choice(
        {
            "off": "Everything is let through.",
            "warn": "What would be refused is let through, and said in the log.",
            "enforce": "It is refused.",
        },
        default="off",
        instead="warn",
    ),
    "guard_failure": Choice(
        {"open": "It is let through, and said in the log.", "closed": "It is refused with 503."},
        default="open",
        instead="open",
    ),
    "proof_lifetime": Amount(86400, least=60, most=31_536_000),
    "spread_weight_multiplier": Amount(10.0),
    "spread_host": Amount(1.0, least=0.0),
    "spread_domain": Amount(2.0, least=0.0),
    "spread_busy": Amount(0.5, least=0.0),
    "events_waiting": Amount(1000, least=1, most=100_000),
}


def read(name: str, raw: Any) -> tuple[Value, Optional[str]]:
    """The value that counts, and what is wrong with what was set; none if nothing is."""
    return RULES[name].read(raw)


def wrong(name: str, raw: Any) -> Optional[str]:
    """What is wrong with a setting, for people; none if nothing is."""
    value, why = read(name, raw)
    return None if why is None else f"{name} = {raw} cannot be used ({why}): {value} counts"

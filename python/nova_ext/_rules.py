"""Who is evacuated: the operator's rules, the same that the engine has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional

from nova_ext import _load
from nova_ext._types import Aggregates, Path, Words
from nova_ext.values import Decision

if TYPE_CHECKING:
    from nova_ext import _native


class Policy:
    """The operator's rules: which servers are evacuated, in which order."""

    def __init__(self, native: _native.Policy) -> None:
        self._native = native

    @classmethod
    def parse(cls, text: str) -> Policy:
        """From TOML; `mode` must be stated.

        >>> Policy.parse('mode = "opt-out"').opted_in().evacuate
        True
        """
        _load.require()
        from nova_ext import _native

        return cls(_native.Policy.parse(text))

    @classmethod
    def load(cls, config: Path = None) -> Policy:
        """The one that the configuration names (/etc/pcmk-remote/nova-policy.toml)."""
        _load.require()
        from nova_ext import _native

        return cls(_native.Policy.load(config))

    def opted_in(
        self,
        *,
        flavor: Optional[Words] = None,
        image: Optional[Words] = None,
        metadata: Optional[Words] = None,
        tags: Sequence[str] = (),
        aggregate: Optional[Aggregates] = None,
        project: str = "",
    ) -> Decision:
        """What the rules make of a server: of its flavor's extra specs, its image's properties, its own metadata and
        tags, the metadata of the aggregates that its host is in, and its project's id.

        >>> rules = Policy.parse('mode = "opt-in"')
        >>> rules.opted_in(flavor={"instance_ha:evacuate": "yes", "instance_ha:priority": "7"})
        Decision(evacuate=True, priority=7, group=None, rule='flavor extra spec instance_ha:evacuate', notes=())
        """
        if aggregate is None:
            aggregates: Sequence[Words] = ()
        elif isinstance(aggregate, Mapping):
            aggregates = (aggregate,)
        else:
            aggregates = aggregate
        evacuate, priority, group, rule, notes = self._native.decide(
            _texts(flavor),
            _texts(image),
            _texts(metadata),
            [str(tag) for tag in tags],
            [_texts(one) for one in aggregates],
            project,
        )
        return Decision(evacuate, priority, group, rule, tuple(notes))


def _texts(words: Optional[Words]) -> dict[str, str]:
    return {str(key): str(value) for key, value in (words or {}).items()}


def opted_in(
    *,
    flavor: Optional[Words] = None,
    image: Optional[Words] = None,
    metadata: Optional[Words] = None,
    tags: Sequence[str] = (),
    aggregate: Optional[Aggregates] = None,
    project: str = "",
    policy: Optional[Policy] = None,
    config: Path = None,
) -> Decision:
    """Whether the rules have a server evacuated, and what decided it: by `policy`, else by the configured one.

    Programs that ask about many servers load the policy once: `Policy.load().opted_in(…)`.
    """
    rules = policy if policy is not None else Policy.load(config)
    return rules.opted_in(flavor=flavor, image=image, metadata=metadata, tags=tags, aggregate=aggregate, project=project)

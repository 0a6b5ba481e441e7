"""Settings of nova.conf, section [instance_ha]. `oslo-config-generator --namespace nova_ext` lists them."""

from __future__ import annotations

import logging
from typing import Any

from oslo_config import cfg, types

from nova_ext import _settings

LOG = logging.getLogger(__name__)
GROUP = "instance_ha"
_said: set[str] = set()


def understood(name: str, raw: Any) -> Any:
    """The value that counts; what is wrong with the one that was set is said once."""
    value, _ = _settings.read(name, raw)
    wrong = _settings.wrong(name, raw)
    if wrong is not None and wrong not in _said:
        _said.add(wrong)
        LOG.error("instance_ha: %s", wrong)
    return value


class Choice(types.String):  # type: ignore[misc]
    """One of some words. Never raises: Nova's services would not start."""

    def __init__(self, name: str, rule: _settings.Choice) -> None:
        super().__init__(choices=list(rule.words.items()))
        self._name = name

    def __call__(self, value: Any) -> str:
        word: str = understood(self._name, value)
        return word


class Amount(types.Number):  # type: ignore[misc]
    """A number within bounds. Never raises."""

    def __init__(self, name: str, rule: _settings.Amount) -> None:
        kind = type(rule.default)
        name_of_kind = "floating point value" if kind is float else "integer value"
        super().__init__(kind, name_of_kind, min=rule.least, max=rule.most)
        self._name = name

    def __call__(self, value: Any) -> Any:
        return understood(self._name, value)


def _opt(name: str, help: str) -> Any:
    rule = _settings.RULES[name]
    kind = Choice(name, rule) if isinstance(rule, _settings.Choice) else Amount(name, rule)
    if rule.instead != rule.default:
        help += f"What is none of the words below is taken for ``{rule.instead}``, and said in the log.\n"
    return cfg.Opt(name, type=kind, default=rule.default, help=help)


SCHEDULER = [
    _opt(
        "headroom",
        """
Whether room is kept free for the servers of any one host, so that it can be lost: within each group of hosts that have
the same ``instance_ha:failover`` in the metadata of an aggregate, else within each availability zone. Evacuations and
migrations are let through always. For InstanceHAFilter.
""",
    ),
    _opt(
        "spread_weight_multiplier",
        """
How much InstanceHAWeigher counts beside the other weighers, for evacuated servers and, of others, for those that are
evacuated when their host fails. The others have 1.0 if nobody says otherwise. The metadata of an aggregate can have a
value of its own, by the same name.
""",
    ),
    _opt("spread_host", "How much arrivals on a host itself count against it."),
    _opt(
        "spread_domain",
        """
How much arrivals in a host's failure domain, for each of its hosts, count against it. The domain is
``instance_ha:domain`` in the metadata of an aggregate: a rack, a power feed.
""",
    ),
    _opt("spread_busy", "How much each build, move or rebuild under way counts against a host."),
    cfg.StrOpt(
        "policy_file",
        default="/etc/pcmk-remote/nova-policy.toml",
        help="""
The rules by which InstanceHAWeigher knows servers that are evacuated when their host fails: the file of nova-ha, or a
copy. Without it, those count that say yes in their flavor. The scheduler knows a server's flavor and project, and of
its image only the properties that Nova itself has a name for: what says ``instance_ha:evacuate`` in the image, in the
server's metadata or in its tags is evacuated all the same, and does not count here.
""",
    ),
]

GUARD = [
    _opt(
        "guard",
        """
Whether the middleware nova_ext.guard refuses evacuations of hosts that are not proven off, and steps of a host's return
in the wrong order, whoever asks.
""",
    ),
    _opt("guard_failure", "What becomes of a guarded call of which it cannot be told whether it may be made."),
    cfg.StrOpt(
        "key_file",
        help="""
The key by which fence proofs are signed: a copy of nova-ha.key that the user of nova-api owns, mode 0600. Without it
no proof can be checked, and none is valid.
""",
    ),
    _opt("proof_lifetime", "Seconds after which a fence proof is too old to evacuate by."),
]

EVENTS = [
    cfg.ListOpt(
        "engines",
        default=["unix:/run/pcmk-remote/nova-events.sock"],
        help="""
Where an engine of nova-ha takes events: ``unix:/PATH`` on this machine, ``tls:HOST:PORT`` on another one. The first that
answers gets them.
""",
    ),
    cfg.StrOpt("engine_ca", help="The authority of the engines' certificates, for tls:."),
    cfg.StrOpt("engine_certificate", help="The certificate that is shown to engines, for tls:."),
    cfg.StrOpt("engine_key", help="Its key."),
    _opt("events_waiting", "So many events may wait; what comes then is lost."),
]

ALL = SCHEDULER + GUARD + EVENTS


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo-config-generator."""
    return [(GROUP, list(ALL))]


def register(conf: Any) -> Any:
    """The settings of a configuration; registering twice is harmless."""
    conf.register_opts(ALL, group=GROUP)
    return conf[GROUP]

"""Settings of nova.conf, section [instance_ha]. `oslo-config-generator --namespace nova_ext` lists them."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

GROUP = "instance_ha"

SCHEDULER = [
    cfg.StrOpt(
        "headroom",
        default="off",
        choices=[
            ("off", "It is not looked at."),
            ("warn", "A new server that takes the room is let through, and said in the log."),
            ("enforce", "A new server that takes the room is refused."),
        ],
        help="""
Whether room is kept free for the servers of any one host, so that it can be lost: within each group of hosts that have
the same ``instance_ha:failover`` in the metadata of an aggregate, else within each availability zone. Evacuations and
migrations are let through always. For InstanceHAFilter.
""",
    ),
    cfg.FloatOpt(
        "spread_weight_multiplier",
        default=10.0,
        help="""
How much InstanceHAWeigher counts beside the other weighers, for evacuated servers and, of others, for those that are
evacuated when their host fails. The others have 1.0 if nobody says otherwise. The metadata of an aggregate can have a
value of its own, by the same name.
""",
    ),
    cfg.FloatOpt("spread_host", default=1.0, min=0.0, help="How much arrivals on a host itself count against it."),
    cfg.FloatOpt(
        "spread_domain",
        default=2.0,
        min=0.0,
        help="""
How much arrivals in a host's failure domain, for each of its hosts, count against it. The domain is
``instance_ha:domain`` in the metadata of an aggregate: a rack, a power feed.
""",
    ),
    cfg.FloatOpt(
        "spread_busy",
        default=0.5,
        min=0.0,
        help="How much each build, move or rebuild under way counts against a host.",
    ),
    cfg.StrOpt(
        "policy_file",
        default="/etc/pcmk-remote/nova-policy.toml",
        help="""
The rules by which InstanceHAWeigher knows servers that are evacuated when their host fails: the file of nova-ha, or a
copy. Without it, those count that say yes in their flavor or image.
""",
    ),
]

GUARD = [
    cfg.StrOpt(
        "guard",
        default="off",
        choices=[
            ("off", "Everything is let through."),
            ("warn", "What would be refused is let through, and said in the log."),
            ("enforce", "It is refused."),
        ],
        help="""
Whether the middleware nova_ext.guard refuses evacuations of hosts that are not proven off, and steps of a host's return
in the wrong order, whoever asks.
""",
    ),
    cfg.StrOpt(
        "guard_failure",
        default="open",
        choices=[
            ("open", "It is let through, and said in the log."),
            ("closed", "It is refused with 503."),
        ],
        help="What becomes of a guarded call of which it cannot be told whether it may be made.",
    ),
    cfg.StrOpt(
        "key_file",
        help="""
The key by which fence proofs are signed: a copy of nova-ha.key that the user of nova-api owns, mode 0600. Without it
no proof can be checked, and none is valid.
""",
    ),
    cfg.IntOpt("proof_lifetime", default=86400, min=60, help="Seconds after which a fence proof is too old to evacuate by."),
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
    cfg.IntOpt("events_waiting", default=1000, min=1, max=100000, help="So many events may wait; what comes then is lost."),
]

ALL = SCHEDULER + GUARD + EVENTS


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo-config-generator."""
    return [(GROUP, list(ALL))]


def register(conf: Any) -> Any:
    """The settings of a configuration; registering twice is harmless."""
    conf.register_opts(ALL, group=GROUP)
    return conf[GROUP]

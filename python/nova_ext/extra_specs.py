"""Nova's check of the extra specs `instance_ha:…`: entry point of the group nova.api.extra_spec_validators.

Nova asks from microversion 2.86 on, and of flavors alone: `nova-ha lint` finds what was set otherwise. A failure to import
this would end nova-api, so nothing here can fail; without the native part Nova's own, coarser checks are left.
"""

from __future__ import annotations

import logging
from typing import Any, Optional

from nova_ext import _load

LOG = logging.getLogger(__name__)
NAMESPACE = "instance_ha"
#: What flavors may say, for when the native part cannot be asked.
FLAVOR_KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "evacuate": ({"type": bool}, "Whether the server is evacuated when its host fails"),
    "priority": ({"type": int, "min": -1000, "max": 1000}, "Servers with a higher priority are evacuated first"),
    "group": ({"type": str, "pattern": r".{1,64}"}, "Servers that belong together"),
}


def wrong(name: str, value: str) -> Optional[str]:
    """What is wrong with an extra spec; none if nothing is, or it cannot be told."""
    if _load.missing() is not None:
        return None
    from nova_ext import _native

    return _native.check_key(name, value, False)


def register() -> list[Any]:
    """The validators, for Nova. If they cannot be made, none: Nova takes what it does not know."""
    try:
        return _validators()
    except Exception:
        LOG.exception("instance_ha: extra specs are not checked")
        return []


def _validators() -> list[Any]:
    from nova import exception
    from nova.api.validation.extra_specs import base

    class Validator(base.ExtraSpecValidator):  # type: ignore[misc]
        """Nova's own check, and then the rules that the engine has."""

        def validate(self, name: str, value: str) -> None:
            if _load.missing() is not None:
                super().validate(name, value)
                return
            try:
                said = wrong(name, value)
            except Exception:  # A bug of ours is no reason to refuse a flavor.
                super().validate(name, value)
                return
            if said is not None:
                raise exception.ValidationError(f"Validation failed; {said}.")

    validators = [
        Validator(name=f"{NAMESPACE}:{key}", description=f"{about}.", value={**value, "description": about})
        for key, (value, about) in FLAVOR_KEYS.items()
    ]
    if _load.missing() is None:
        # Everything else in the namespace, and what was meant to be in it: to say what was probably meant.
        validators.append(
            Validator(
                name="{namespace}:{key}",
                description="A key that does not exist.",
                value={"type": str, "description": "Whatever was written."},
                parameters=[
                    {"name": "namespace", "pattern": r"[Ii]nstance[-_]?[Hh][Aa]"},
                    {"name": "key", "pattern": r".+"},
                ],
            )
        )
    return validators

"""Nova's scheduler weigher: spreads evacuated and protected servers over hosts and over what fails together.

    [filter_scheduler]
    weight_classes = nova.scheduler.weights.all_weighers,nova_ext.weighers.InstanceHAWeigher

`weight_classes` is one list: without `all_weighers` in it, this is the only weigher.
"""

from __future__ import annotations

import logging
from typing import Any

import nova.conf
from nova.scheduler import utils, weights

from nova_ext import _load, options
from nova_ext._scheduling import shared, watch

LOG = logging.getLogger(__name__)
CONF = nova.conf.CONF
options.register(CONF)


class InstanceHAWeigher(weights.BaseHostWeigher):  # type: ignore[misc]
    """Weighs all hosts of a request at once; if that fails, all weigh the same and the log says so."""

    def __init__(self) -> None:
        super().__init__()
        why = _load.missing()
        if why is not None:
            LOG.error("instance_ha: the weigher is off: the native part cannot be loaded: %s", why)

    def weight_multiplier(self, host_state: Any) -> float:
        """How much it counts beside the others."""
        configured = CONF.instance_ha.spread_weight_multiplier
        value: float = utils.get_weight_multiplier(host_state, "spread_weight_multiplier", configured)
        return value

    def weigh_objects(self, weighed_obj_list: list[Any], weight_properties: Any) -> list[float]:
        """The weights, in the order of the hosts."""
        if _load.missing() is not None:
            return [0.0] * len(weighed_obj_list)
        try:
            return self._weights([weighed.obj for weighed in weighed_obj_list], weight_properties)
        except Exception:
            LOG.exception("instance_ha: the weigher has failed, all hosts weigh the same")
            return [0.0] * len(weighed_obj_list)

    def _weigh_object(self, host_state: Any, weight_properties: Any) -> float:
        """For callers that ask for one host."""
        return self.weigh_objects([_Weighed(host_state)], weight_properties)[0]

    def _weights(self, hosts: list[Any], spec: Any) -> list[float]:
        state = shared(CONF)
        watch(CONF, hosts)
        errand, _ = state.errand(spec)
        protected = errand != "evacuation" and state.is_protected(spec)
        return state.native.weigh(errand, protected, hosts)


class _Weighed:
    def __init__(self, obj: Any) -> None:
        self.obj = obj

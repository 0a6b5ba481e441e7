"""What would be done about a host's servers, and what the rules say of a flavor. Changes nothing.

python3 what_would_be_done.py HOST [CONFIG]
"""

from __future__ import annotations

import sys

import nova_ext


def main(host: str, config: str | None = None) -> int:
    plan = nova_ext.plan(host, config=config)
    for move in plan.moves:
        print(f"{move.place}. {move.name}, priority {move.priority}: {move.why}")
    for left in plan.left_out:
        print(f"stays: {left.name}: {left.why}")
    decision = nova_ext.opted_in(flavor={"instance_ha:evacuate": "yes"}, metadata={"HA_Enabled": "False"}, config=config)
    print(f"such a server would {'be evacuated' if decision.evacuate else 'stay'}: {decision.rule}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""What a fence agent and an engine do, as a program: switch a host off, tell Nova, have its servers moved.

python3 fence_and_evacuate.py HOST [CONFIG]
"""

from __future__ import annotations

import sys

import nova_ext
from nova_ext import errors, power


def main(host: str, config: str | None = None) -> int:
    try:
        proof = power.off(host, config=config)
        print(proof)
        service = nova_ext.force_down(host, proof, config=config)
        print(f"Nova: forced down {service.forced_down}, enabled {service.enabled}")
        done = nova_ext.evacuate(host, proof, on_event=lambda event: print(event.at, event.said), config=config)
    except errors.Error as error:
        print(f"{type(error).__name__}: {error}" + (" (try again)" if error.retryable else ""), file=sys.stderr)
        return 1
    print(f"incident {done.incident}: {done.outcome}")
    return 0 if done.outcome == "complete" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Lets a host return: power on, then Nova, in the order in which no server runs twice.

python3 let_return.py HOST [CONFIG]
"""

from __future__ import annotations

import sys
import time

import nova_ext
from nova_ext import errors, power

PATIENCE = 600.0


def main(host: str, config: str | None = None) -> int:
    print(f"power: {power.on(host, config=config)}")
    # Its nova-compute, started while it is forced down, cleans up after the evacuations.
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            service = nova_ext.force_up(host, config=config)
        except errors.Error as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            print(error)
            time.sleep(0.5)
            continue
        print(f"Nova: forced down {service.forced_down}, enabled {service.enabled}")
        return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

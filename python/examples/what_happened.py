"""What the engine of this controller has done, and how it is.

python3 what_happened.py [CONFIG]
"""

from __future__ import annotations

import sys

import nova_ext
from nova_ext import errors


def main(config: str | None = None) -> int:
    try:
        health = nova_ext.health(config=config)
        print(f"engine: process {health['pid']}, in flight {health['status']['in_flight']}")
    except errors.EngineError as error:
        print(error)
    for incident in nova_ext.incidents(config=config):
        print(f"{incident.began} {incident.host}: {incident.outcome or 'under way'}, moved {incident.moved}")
    try:
        print(nova_ext.report(config=config))
    except errors.EngineError as error:
        print(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

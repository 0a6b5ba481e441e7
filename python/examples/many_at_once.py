"""The power of all hosts of the map at once, with asyncio.

python3 many_at_once.py [CONFIG]
"""

from __future__ import annotations

import asyncio
import sys

from nova_ext import aio, errors, power


async def state(host: str, config: str | None) -> str:
    try:
        return await aio.power_status(host, timeout=10, config=config)
    except errors.PowerError as error:
        return f"unknown: {error}"


async def main(config: str | None = None) -> int:
    hosts = [device.host for device in power.hosts(config=config)]
    states = await asyncio.gather(*(state(host, config) for host in hosts))
    for host, said in zip(hosts, states):
        print(f"{host}: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))

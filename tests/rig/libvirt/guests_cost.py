#!/usr/bin/env python3
"""guests_cost ROUNDS COMMAND...

What a command costs, with all processes that it starts and waits for, and what it costs libvirtd; as JSON.
Small on purpose: the memory of what it starts cannot be told below its own.
"""

import json
import os
import resource
import subprocess
import sys
import time


def main(rounds, words):
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (usage.ru_utime + usage.ru_stime) * 1e6

    walls, cpu, daemon = [], used(), daemon_cpu_us()
    for _ in range(rounds):
        began = time.perf_counter()
        code = subprocess.call(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        walls.append((time.perf_counter() - began) * 1e6)
        if code != 0:
            sys.exit(f"{words} ended with {code}")
    # Of the largest of the processes.
    told(walls, (used() - cpu) / rounds, daemon, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def told(walls, cpu, daemon, rss):
    daemon = (daemon_cpu_us() - daemon) / len(walls)
    print(json.dumps({"wall_us": walls, "cpu_us": cpu, "daemon_cpu_us": daemon, "rss_kb": rss}))


def daemon_cpu_us():
    """What libvirtd has computed so far; the kernel's usual clock ticks too seldom for this."""
    with open("/run/libvirtd.pid") as file:
        return cpu_us(int(file.read()))


def cpu_us(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1000


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

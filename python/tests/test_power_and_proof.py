"""Power devices that are programs, and proofs that cannot be made up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import nova_ext
from nova_ext import FenceProof, aio, errors, power


def test_off_is_read_and_proven(site: Any) -> None:
    assert power.status("c1", config=site.config) == "on"
    assert FenceProof.current("c1", site.config) is None
    proof = power.off("c1", config=site.config)
    assert (site.power, proof.host, proof.kind) == ("off", "c1", "power-off")
    assert FenceProof.current("c1", site.config) == proof
    # On again: it proves nothing any more.
    assert power.on("c1", config=site.config) == "on"
    assert FenceProof.current("c1", site.config) is None


def test_hosts_and_what_is_wrong(site: Any) -> None:
    (device,) = power.hosts(config=site.config)
    assert (device.host, device.severity) == ("c1", "ok")
    with pytest.raises(errors.ConfigError, match="has no host c2"):
        power.status("c2", config=site.config)
    with pytest.raises(errors.ConfigError, match="cannot be waited for"):
        power.status("c1", timeout=-1, config=site.config)


def test_a_proof_cannot_be_made_up(site: Any) -> None:
    with pytest.raises(TypeError):
        FenceProof()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        type("Mine", (FenceProof,), {})
    with pytest.raises(AttributeError):
        power.off("c1", config=site.config).host = "c2"  # type: ignore[misc]
    with pytest.raises(TypeError):
        nova_ext.evacuate("c1", "off", config=site.config)  # type: ignore[arg-type]


def test_a_signed_line_is_for_its_host_alone(site: Any) -> None:
    proof = power.off("c1", config=site.config)
    line = proof.sign(site.config)
    again = FenceProof.verify("c1", line, site.config)
    assert (again.id, again.host, again.at) == (proof.id, "c1", proof.at)
    for host, text in (("c2", line), ("c1", line.replace("power-off", "operator")), ("c1", "new disks")):
        with pytest.raises(errors.NotProven):
            FenceProof.verify(host, text, site.config)
    site.key.chmod(0o644)
    with pytest.raises(errors.ConfigError, match="chmod 600"):
        proof.sign(site.config)


def test_a_device_that_fails_says_whether_to_try_again(site: Any) -> None:
    (site.folder / "fence_file").write_text("#!/bin/sh\necho 'no route' >&2\nexit 1\n")
    with pytest.raises(errors.PowerError) as caught:
        power.off("c1", timeout=1.0, config=site.config)
    assert caught.value.retryable


def test_no_word_counts_against_the_device(site: Any) -> None:
    with pytest.raises(errors.NotProven, match="says that it is on"):
        FenceProof.confirm("c1", "Ann", site.config)


def test_a_task_that_is_cancelled_ends_the_call(site: Any) -> None:
    (site.folder / "fence_file").write_text("#!/bin/sh\nexec sleep 1000\n")

    async def run() -> float:
        task = asyncio.ensure_future(aio.power_off("c1", timeout=60, config=site.config))
        done, _ = await asyncio.wait([task], timeout=0.3)
        assert not done
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    assert asyncio.run(run()) < 5


def test_the_same_with_asyncio(site: Any) -> None:
    async def run() -> None:
        proof = await aio.power_off("c1", config=site.config)
        assert proof == FenceProof.current("c1", site.config)
        # Several at once, and others go on meanwhile.
        states = await asyncio.gather(*(aio.power_status("c1", config=site.config) for _ in range(4)))
        assert states == ["off"] * 4
        with pytest.raises(errors.ConfigError, match="has no host c2"):
            await aio.power_status("c2", config=site.config)
        with pytest.raises(errors.ConfigError):
            await aio.force_down("c1", proof, config=site.config)

    asyncio.run(run())


def test_what_is_written_down_for_asyncio(site: Any) -> None:
    async def run() -> None:
        (device,) = await aio.power_hosts(config=site.config)
        assert (device.host, device.severity) == ("c1", "ok")
        assert await aio.incidents(config=site.config) == []
        with pytest.raises(errors.EngineError, match="has no incident"):
            await aio.report(config=site.config)
        with pytest.raises(errors.ConfigError):
            await aio.check_cloud(config=site.config)

    asyncio.run(run())


def test_asyncio_has_it_all() -> None:
    import inspect

    def calls(module: Any) -> set[str]:
        return {name for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ != "typing"}

    own = {name for name in nova_ext.__all__ if inspect.isfunction(getattr(nova_ext, name))}
    # These do not wait for anything.
    own -= {"native_missing", "opted_in"}
    assert own | {f"power_{name}" for name in calls(power)} <= calls(aio)


def test_other_threads_go_on_while_a_call_waits(site: Any) -> None:
    import threading

    (site.folder / "fence_file").write_text("#!/bin/sh\nexec sleep 1000\n")
    ended = threading.Event()

    def call() -> None:
        with pytest.raises(errors.PowerError):
            power.status("c1", timeout=1.5, config=site.config)
        ended.set()

    thread = threading.Thread(target=call)
    thread.start()
    longest, last = 0.0, time.monotonic()
    while not ended.is_set():
        ended.wait(0.01)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    thread.join()
    assert longest < 0.8

"""The examples, run as their users run them: with the real engine, and a cloud that knows how to evacuate."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import nova_ext
from nova_ext import FenceProof, errors, power

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, code: int = 0) -> str:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout


def test_every_example_is_run() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    here = pathlib.Path(__file__).read_text()
    assert names == {name for name in names if f'"{name}"' in here}


def test_fence_evacuate_and_return(controller: Any) -> None:
    config = str(controller.config)
    controller.begin()
    said = run("fence_and_evacuate", "c1", config)
    assert "Nova: forced down True, enabled False" in said
    assert re.search(r"incident [0-9a-f-]{36}: complete", said), said
    assert {server["host"] for server in controller.cloud.servers.values()} == {"c2"}
    assert {server["vm_state"] for server in controller.cloud.servers.values()} == {"active"}
    # What a guard in front of Nova would believe.
    for line in controller.cloud.proofs:
        assert FenceProof.verify("c1", line, config).host == "c1"
    reason = controller.cloud.services["c1"]["disabled_reason"]
    assert FenceProof.verify("c1", reason, config).kind == "power-off"
    said = run("what_happened", config)
    assert re.search(r"c1: complete, moved 2", said), said
    # Its nova-compute has not cleaned up: out of order, until it does.
    with pytest.raises(errors.OutOfOrder, match="2 evacuations from it have not ended") as caught:
        nova_ext.force_up("c1", config=config)
    assert caught.value.retryable
    timer = threading.Timer(1.0, controller.cloud.nova_compute_starts)
    timer.start()
    # Who lets it return, the engine or we, is the same to Nova.
    said = run("let_return", "c1", config)
    assert "power: on" in said and "Nova: forced down False" in said, said
    assert FenceProof.current("c1", config) is None


def test_without_proof_nothing_is_begun(controller: Any) -> None:
    proof = power.off("c1", config=controller.config)
    power.on("c1", config=controller.config)
    with pytest.raises(errors.NotProven):
        nova_ext.evacuate("c1", proof, wait=False, config=controller.config)
    assert nova_ext.incidents(config=controller.config) == []
    with pytest.raises(errors.ConfigError, match="the proof is about c1, and this is c2"):
        nova_ext.force_down("c2", proof, config=controller.config)


def test_an_evacuation_that_takes_long_goes_on(controller: Any) -> None:
    controller.begin()
    controller.cloud.goes_on.clear()
    proof = power.off("c1", config=controller.config)
    with pytest.raises(errors.TimedOut) as caught:
        nova_ext.evacuate("c1", proof, timeout=1.0, config=controller.config)
    assert caught.value.retryable
    controller.cloud.goes_on.set()
    events: list[nova_ext.Event] = []
    done = nova_ext.evacuate("c1", proof, on_event=events.append, timeout=60, config=controller.config)
    assert done.outcome == "complete"
    (ended,) = [event for event in events if event.kind == "ended"]
    assert ended.details["moved"] == 2 and ended.incident == done.incident


def test_a_callback_that_fails_stops_nothing(controller: Any, capfd: Any) -> None:
    controller.begin()
    proof = power.off("c1", config=controller.config)

    def broken(event: nova_ext.Event) -> None:
        raise RuntimeError("pager is down")

    unraisable: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        done = nova_ext.evacuate("c1", proof, on_event=broken, timeout=60, config=controller.config)
    finally:
        sys.unraisablehook = before
    assert done.outcome == "complete"
    assert {type(one.exc_value) for one in unraisable} == {RuntimeError}


def test_a_callback_may_call_us_again(controller: Any) -> None:
    controller.begin()
    proof = power.off("c1", config=controller.config)
    seen: list[Any] = []

    def look(event: nova_ext.Event) -> None:
        try:
            seen.append(power.status("c1", config=controller.config))
            seen.append(nova_ext.health(config=controller.config)["beat_ms"] is not None)
        except Exception as error:
            seen.append(error)

    done = nova_ext.evacuate("c1", proof, on_event=look, timeout=60, config=controller.config)
    assert done.outcome == "complete"
    assert seen and set(seen) == {"off", True}, seen


def test_a_host_that_is_up_is_not_enabled_out_of_order(controller: Any) -> None:
    controller.begin()
    proof = power.off("c1", config=controller.config)
    nova_ext.force_down("c1", proof, config=controller.config)
    nova_ext.evacuate("c1", proof, timeout=60, config=controller.config)
    # Somebody has forced it up, past everybody; what we have disabled is still disabled.
    controller.cloud.services["c1"]["forced_down"] = False
    with pytest.raises(errors.OutOfOrder, match="2 evacuations from it have not ended"):
        nova_ext.force_up("c1", config=controller.config)
    assert controller.cloud.services["c1"]["status"] == "disabled"
    # Not to be enabled is no reason.
    assert nova_ext.force_up("c1", enable=False, config=controller.config).already
    controller.cloud.nova_compute_starts()
    assert nova_ext.force_up("c1", config=controller.config).enabled


def test_what_would_be_done(controller: Any) -> None:
    said = run("what_would_be_done", "c1", str(controller.config))
    assert re.search(r"^1\. server-\w+, priority 0: flavor extra spec instance_ha:evacuate$", said, re.M), said
    assert "such a server would stay: server metadata HA_Enabled" in said
    with pytest.raises(errors.CloudError, match="no compute service on host") as caught:
        nova_ext.plan("c9", config=controller.config)
    assert not caught.value.retryable


def test_a_cloud_that_is_away(controller: Any) -> None:
    controller.cloud.server.server_close()
    (controller.folder / "cloud.toml").write_text((controller.folder / "cloud.toml").read_text() + 'call_timeout = "2s"\n')
    controller.cloud.server.shutdown()
    with pytest.raises(errors.CloudError) as caught:
        nova_ext.plan("c1", config=controller.config)
    assert caught.value.retryable and caught.value.status is None


def test_proofs(controller: Any) -> None:
    config = str(controller.config)
    assert "says that it is on" in run("proofs", "c1", "Ann Lee", config, code=1)
    power.off("c1", config=config)
    said = run("proofs", "c1", "Ann Lee", config)
    assert "read off 2 times" in said and "for others: nova-ha: off" in said


def test_many_at_once(site: Any) -> None:
    assert run("many_at_once", str(site.config)) == "c1: on\n"


def test_what_happened_without_an_engine(site: Any) -> None:
    said = run("what_happened", str(site.config))
    assert "no engine answers on this controller" in said and "has no incident" in said


def test_hook(tmp_path: pathlib.Path) -> None:
    sys.path.insert(0, str(EXAMPLES))
    try:
        assert run("hook") == ""
        from hook import Site  # type: ignore[import-not-found]

        from nova_ext.hooks import Occasion

        Site.end(Occasion("end", "i", "c1", outcome="complete"))
    finally:
        sys.path.remove(str(EXAMPLES))


def test_the_engine_looks_sooner_when_nova_says_so(controller: Any) -> None:
    """From the event to the journal: without it, the engine looks every half second."""
    from nova_ext import _native

    controller.begin()
    signal = _native.Signal([f"unix:{controller.folder}/events.sock"], None, None, None, 10)
    proof = power.off("c1", config=controller.config)
    nova_ext.evacuate("c1", proof, wait=False, config=controller.config)
    deadline = time.monotonic() + 60
    while True:
        for server in list(controller.cloud.servers):
            assert signal.offer("instance.rebuild.end", "nova-compute:c2", "c2", server, None)
        heard = nova_ext.health(config=controller.config)["events"]
        incidents = nova_ext.incidents(config=controller.config)
        if incidents and incidents[-1].outcome:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert incidents[-1].outcome == "complete"
    assert heard["events"] > 0 and heard["connected"] == 1
    assert heard["last"]["kind"] == "instance.rebuild.end"
    assert heard["last"]["after_ms"] < 100, heard
    print(json.dumps(heard))

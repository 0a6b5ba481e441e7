"""Events from another machine: certificates of both sides, and what happens without."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import time
from typing import Any, Callable, Optional

import nova_ext

PKI = pathlib.Path(__file__).parents[2] / "tests/rig/pki"


def pki(folder: pathlib.Path, *words: str) -> None:
    ran = subprocess.run([str(PKI), str(folder), *words], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, f"apt install openssl? {ran.stderr}"


def until(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_certificates_of_both_sides(controller: Any, native: Any) -> None:
    at = controller.folder
    pki(at, "authority", "ca")
    pki(at, "issue", "ca", "engine", "subjectAltName=DNS:localhost")
    pki(at, "issue", "ca", "compute")
    pki(at, "authority", "other")
    pki(at, "issue", "other", "stranger")
    with socket.create_server(("127.0.0.1", 0)) as some:
        port = some.getsockname()[1]
    text = controller.config.read_text()
    more = f'listen = "127.0.0.1:{port}"\ncertificate = "{at}/engine.pem"\nkey = "{at}/engine.key"\nca = "{at}/ca.pem"\n'
    controller.config.write_text(text.replace("[events]\n", f"[events]\n{more}"))
    controller.begin()

    def signal(ca: str, own: Optional[str]) -> Any:
        pem, key = (f"{at}/{own}.pem", f"{at}/{own}.key") if own else (None, None)
        return native.Signal([f"tls:localhost:{port}"], f"{at}/{ca}.pem", pem, key, 10)

    def heard() -> Any:
        return nova_ext.health(config=controller.config)["events"]

    def offer(some: Any) -> None:
        assert some.offer("instance.rebuild.end", "nova-compute:c2", "c2", None, None)

    ours = signal("ca", "compute")
    offer(ours)
    until("the event", lambda: bool(heard()["events"] == 1))
    assert ours.stats() == (1, 0, f"tls:localhost:{port}", None)
    for wrong, why in (
        (signal("other", "compute"), "authority that is not trusted here"),
        (signal("ca", "stranger"), None),
        (signal("ca", None), None),
    ):
        offer(wrong)
        until("the refusal", lambda some=wrong: bool(some.stats()[1] == 1))  # type: ignore[misc]
        trouble = wrong.stats()[3]
        assert trouble and (why is None or why in trouble), trouble
    assert heard()["events"] == 1
    # And ours still gets through.
    offer(ours)
    until("the event", lambda: bool(heard()["events"] == 2))


def test_nothing_is_lost_when_the_engine_is_restarted(controller: Any, native: Any) -> None:
    at = controller.folder
    pki(at, "authority", "ca")
    pki(at, "issue", "ca", "engine", "subjectAltName=DNS:localhost")
    pki(at, "issue", "ca", "compute")
    with socket.create_server(("127.0.0.1", 0)) as some:
        port = some.getsockname()[1]
    text = controller.config.read_text()
    more = f'listen = "127.0.0.1:{port}"\ncertificate = "{at}/engine.pem"\nkey = "{at}/engine.key"\nca = "{at}/ca.pem"\n'
    controller.config.write_text(text.replace("[events]\n", f"[events]\n{more}"))

    def heard() -> Any:
        return nova_ext.health(config=controller.config)["events"]

    controller.begin()
    ours = native.Signal([f"tls:localhost:{port}"], f"{at}/ca.pem", f"{at}/compute.pem", f"{at}/compute.key", 10)
    for restart in range(3):
        assert ours.offer("instance.rebuild.end", "nova-compute:c2", "c2", None, None)
        until("the event", lambda: bool(heard()["events"] == 1))
        assert ours.stats()[:2] == (restart + 1, 0), ours.stats()
        # An orderly end, and a sudden one.
        controller.engine.kill() if restart else controller.engine.terminate()
        controller.engine.wait(20)
        controller.begin()


def test_whoever_may_not_connect_is_not_heard(controller: Any, native: Any) -> None:
    text = controller.config.read_text()
    controller.config.write_text(text.replace("[events]\n", '[events]\nlisten = "127.0.0.1:1"\n'))
    import os

    import conftest

    ran = subprocess.run(
        [conftest.nova_ha(), "--config", str(controller.config), "status"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ},
    )
    assert "listen needs certificate, key and ca: anybody could connect" in ran.stderr

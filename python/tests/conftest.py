"""What all tests share: a configuration in a folder of their own, with devices that are programs."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import stat
import subprocess
import textwrap
import time
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from fake_cloud import PASSWORD, Cloud

HAS_NOVA = importlib.util.find_spec("nova") is not None


#: Both kinds are run by `make test-python`, each in its environment.
collect_ignore_glob = [] if HAS_NOVA else ["test_nova_*.py", "nova_cloud.py"]


#: A fence agent for one host: its power is a file.
AGENT = """\
#!/bin/sh
action=status
while read -r line; do
    case $line in action=*) action=${line#action=} ;; esac
done
power=@FOLDER@/power
case $action in
metadata) echo '<resource-agent name="fence_file"/>' ;;
on | off) echo $action >$power ;;
status | monitor) [ "$(cat $power)" = on ] && exit 0 || exit 2 ;;
esac
"""


class Site:
    """A controller's files."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.config = folder / "nova-ha.toml"
        self.key = folder / "key"
        self.state = folder / "state"
        agent = folder / "fence_file"
        self._write(agent, AGENT.replace("@FOLDER@", str(folder)), 0o755)
        self._write(folder / "power", "on\n", 0o600)
        self._write(self.key, "0123456789abcdef0123456789abcdef\n", 0o600)
        self._write(folder / "policy.toml", 'mode = "opt-in"\n', 0o644)
        self._write(
            folder / "power.toml",
            f"""\
            [host.c1]
            driver = "agent"
            agent = "{agent}"
            address = "192.0.2.1"
            """,
            0o600,
        )
        self._write(
            self.config,
            f"""\
            [files]
            map = "{folder}/power.toml"
            policy = "{folder}/policy.toml"
            key = "{self.key}"
            state = "{self.state}"
            [events]
            socket = "{folder}/events.sock"
            [cloud]
            file = "{folder}/cloud.toml"
            [[host]]
            nova = "c1"
            node = "c1"
            """,
            0o644,
        )

    @staticmethod
    def _write(path: pathlib.Path, text: str, mode: int) -> None:
        path.write_text(textwrap.dedent(text))
        path.chmod(stat.S_IFREG | mode)

    @property
    def power(self) -> str:
        return (self.folder / "power").read_text().strip()

    @power.setter
    def power(self, state: str) -> None:
        (self.folder / "power").write_text(f"{state}\n")


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Site:
    return Site(tmp_path)


class Controller(Site):
    """A controller with a cloud, and the engine of it: the real one."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self.cloud = Cloud()
        self._write(folder / "password", PASSWORD, 0o600)
        self._write(folder / "cloud.toml", self.cloud.settings(f"{folder}/password"), 0o600)
        self.engine: Optional[subprocess.Popen[bytes]] = None

    def begin(self) -> None:
        """The engine, until the end of the test."""
        log = (self.folder / "engine.log").open("wb")
        self.engine = subprocess.Popen(
            [nova_ha(), "--config", str(self.config), "engine"], stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin"}
        )
        from nova_ext import errors, health

        deadline = time.monotonic() + 30
        while True:
            try:
                if health(config=self.config)["beat_ms"] is not None:
                    return
            except errors.EngineError:
                pass
            said = (self.folder / "engine.log").read_text()
            assert self.engine.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.02)

    def end(self) -> None:
        if self.engine is not None:
            self.engine.terminate()
            self.engine.wait(20)
        self.cloud.close()


def nova_ha() -> str:
    """The program of this source: `make test-python` builds it and says where it is."""
    return os.environ.get("NOVA_HA", str(pathlib.Path(__file__).parents[2] / "target/daemon/nova-ha"))


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Iterator[Controller]:
    made = Controller(tmp_path)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def native() -> Any:
    from nova_ext import _native

    yield _native
    _native.inject_panic(None)

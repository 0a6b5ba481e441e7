"""What all tests share: a configuration in a folder of their own, with devices that are programs."""

from __future__ import annotations

import importlib.util
import pathlib
import stat
import textwrap
from typing import Any

import pytest

HAS_NOVA = importlib.util.find_spec("nova") is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Both kinds are run by `make test-python`, each in its environment."""
    if not HAS_NOVA:
        items[:] = [item for item in items if item.get_closest_marker("nova") is None]


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


@pytest.fixture
def native() -> Any:
    from nova_ext import _native

    yield _native
    _native.inject_panic(None)

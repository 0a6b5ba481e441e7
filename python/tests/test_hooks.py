"""Site code around a recovery."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

from nova_ext import hooks

OCCASION = {
    "point": "server-done",
    "incident": "3f0c8f5e-0000-4000-8000-000000000000",
    "host": "c1",
    "node": "c1",
    "server": "6f70656e-7374-6163-6b20-342065766572",
    "outcome": None,
    "destination": "c2",
    "of_a_later_version": 1,
}


class Entry:
    def __init__(self, name: str, target: Any) -> None:
        self.name = name
        self.target = target

    def load(self) -> Any:
        if isinstance(self.target, Exception):
            raise self.target
        return self.target


def test_functions_and_methods_are_called() -> None:
    called: list[tuple[str, str]] = []

    class Site:
        def server_done(self, occasion: hooks.Occasion) -> None:
            called.append(("method", occasion.destination or ""))

        def end(self, occasion: hooks.Occasion) -> None:
            called.append(("end", ""))

    def every(occasion: hooks.Occasion) -> None:
        called.append(("function", occasion.point))

    def broken(occasion: hooks.Occasion) -> None:
        raise RuntimeError("pager is down")

    occasion = hooks.Occasion.from_json(json.dumps(OCCASION))
    wrong = hooks.run(
        occasion,
        [Entry("a", Site()), Entry("b", every), Entry("c", broken), Entry("d", ImportError("no module"))],
    )
    assert called == [("method", "c2"), ("function", "server-done")]
    assert wrong == ["c: RuntimeError: pager is down", "d: ImportError: no module"]


def run_installed(folder: pathlib.Path, body: str) -> subprocess.CompletedProcess[str]:
    """The program, as the engine runs it, with a site package that is installed."""
    (folder / "our_site.py").write_text(f"def hook(occasion):\n    {body}\n")
    about = folder / "our_site-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: our-site\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[nova_ext.hooks]\nsite = our_site:hook\n")
    root = pathlib.Path(hooks.__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-m", "nova_ext.hooks"],
        env={"PYTHONPATH": f"{folder}:{root}", "PATH": "/usr/bin:/bin"},
        input=json.dumps(OCCASION),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_engine_runs_what_is_installed(tmp_path: pathlib.Path) -> None:
    ran = run_installed(tmp_path, "print(occasion.host, occasion.server)")
    assert (ran.returncode, ran.stdout) == (0, f"c1 {OCCASION['server']}\n")


def test_what_fails_is_said(tmp_path: pathlib.Path) -> None:
    ran = run_installed(tmp_path, "raise OSError('no')")
    assert (ran.returncode, ran.stderr) == (1, "site: OSError: no\n")


def test_what_is_no_occasion_is_refused() -> None:
    root = pathlib.Path(hooks.__file__).parent.parent
    for text in ("", "{}", '{"point": "lunch"}', "[]"):
        ran = subprocess.run(
            [sys.executable, "-m", "nova_ext.hooks"],
            env={"PYTHONPATH": str(root)},
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 64, (text, ran.stderr)

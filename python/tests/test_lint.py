"""`nova-ha lint` over a whole cloud: what Nova has taken without a word is found."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import conftest


def lint(controller: Any, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [conftest.nova_ha(), "--config", str(controller.config), "lint", *more],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_was_set_with_an_old_microversion_is_found(controller: Any) -> None:
    ran = lint(controller)
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.splitlines() == [
        'WRONG  flavor m1 (f1): there is no key "instance_ha:evacuat": did you mean instance_ha:evacuate?',
        'WRONG  image cirros (i1): evacuable = "sure" is neither yes nor no: it is ignored',
        "2 findings in 1 flavors, 1 images, 2 servers, 0 aggregates",
    ]
    found = json.loads(lint(controller, "--json", "--no-servers").stdout)
    assert [one["at"]["kind"] for one in found] == ["flavor", "image"]

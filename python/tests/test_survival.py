"""What must not end a service of Nova: no native part, a wrong one, a bug in it, a fork."""

from __future__ import annotations

import inspect
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Any

import pytest

import nova_ext
import nova_ext.power
from nova_ext import errors

PACKAGE = pathlib.Path(nova_ext.__file__).parent
#: What Nova's services import, where Nova is not needed for it.
IMPORTED = ("nova_ext", "nova_ext.extra_specs", "nova_ext.notify", "nova_ext.guard", "nova_ext.hooks", "nova_ext.aio")


def in_a_copy(folder: pathlib.Path, spoil: Any, code: str) -> str:
    """Runs code with a copy of the package of which something was spoilt."""
    shutil.copytree(PACKAGE, folder / "nova_ext", ignore=shutil.ignore_patterns("__pycache__"))
    (library,) = (folder / "nova_ext").glob("_native*.so")
    spoil(library)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def cut(library: pathlib.Path) -> None:
    """As after an upgrade on a full disk: to load it would end the process."""
    library.write_bytes(library.read_bytes()[: library.stat().st_size // 2])


def garbage(library: pathlib.Path) -> None:
    library.write_bytes(b"#!/bin/sh\n")


def other(library: pathlib.Path) -> None:
    """A library, and not this one."""
    library.unlink()
    source = next(pathlib.Path(path) for path in sys.path if list(pathlib.Path(path).glob("_json*.so")))
    shutil.copy(next(source.glob("_json*.so")), library)


@pytest.mark.parametrize("spoil", [pathlib.Path.unlink, cut, garbage, other], ids=["missing", "cut", "garbage", "other"])
def test_without_the_native_part_everything_is_imported(tmp_path: pathlib.Path, spoil: Any) -> None:
    code = f"""
import importlib
for name in {IMPORTED!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name.split(".")[0] in ("nova", "oslo_config"), error
import nova_ext
import nova_ext.power
from nova_ext import errors, power
print(nova_ext.native_missing())
for call in (
    lambda: power.status("c1"),
    lambda: nova_ext.FenceProof.current("c1"),
    lambda: nova_ext.FenceProof(),
    lambda: nova_ext.opted_in(),
    lambda: nova_ext.plan("c1"),
):
    try:
        call()
    except errors.NativeMissing as error:
        assert not error.retryable
    else:
        raise AssertionError("no error")
"""
    assert in_a_copy(tmp_path, spoil, code).strip() != "None"


def guarded(native: Any) -> list[str]:
    """The names of all functions, methods and constructors."""
    names = []
    for name, value in vars(native).items():
        if inspect.isclass(value):
            names += [
                name if method == "__new__" else f"{name}.{method}"
                for method, function in vars(value).items()
                if not method.startswith("_") and callable(getattr(value, method)) or method == "__new__"
                if name not in ("FenceProof", "Policy") or method != "__new__"
            ]
        elif callable(value) and not name.startswith("_"):
            names.append(name)
    return sorted(set(names) - {"inject_panic", "optimised"})


#: Enough for each to be called.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "FenceProof.confirm": ("c1", "Ann", None, False),
    "FenceProof.current": ("c1", None),
    "FenceProof.verify": ("c1", "line", None),
    "Gate": (None, 60),
    "Gate.judge": ("enable", "c1", False, False, None, None, 0, 0, None),
    "Policy.decide": ({}, {}, {}, [], [], ""),
    "Policy.load": (None,),
    "Policy.parse": ("",),
    "Scheduler": ("off", 1.0, 1.0, 1.0),
    "Scheduler.arrived": (None,),
    "Scheduler.errand": (None, None, None, False),
    "Scheduler.filter": ("boot", None, 1, 1, 1, []),
    "Scheduler.source": (None, None),
    "Scheduler.weigh": ("boot", False, []),
    "Signal": ([], None, None, None, 1),
    "Signal.offer": ("kind", "publisher", None, None, None),
    "Signal.stats": (),
    "check_cloud": (None, False),
    "check_key": ("key", "value", False),
    "force_up": ("c1", False, None, False),
    "health": (None, False),
    "incidents": (None,),
    "keys": (),
    "plan": ("c1", None, False),
    "power_cycle": ("c1", 1.0, False, None, False),
    "power_hosts": (None,),
    "power_off": ("c1", 1.0, None, False),
    "power_on": ("c1", 1.0, False, None, False),
    "power_status": ("c1", 1.0, None, False),
    "report": (None, "text", None),
}


def test_a_bug_is_an_exception_that_can_be_caught(native: Any, site: Any) -> None:
    proof = nova_ext.power.off("c1", config=site.config)
    arguments = {
        **ARGUMENTS,
        "FenceProof.sign": (site.config,),
        "evacuate": ("c1", proof, None, None, None, False),
        "force_down": ("c1", proof, None, False),
    }
    assert sorted(arguments) == guarded(native)
    objects = {
        "FenceProof": proof,
        "Gate": native.Gate(None, 60),
        "Policy": native.Policy.parse('mode = "all"'),
        "Scheduler": native.Scheduler("off", 1.0, 1.0, 1.0),
        "Signal": native.Signal([], None, None, None, 1),
    }
    for name, some in arguments.items():
        native.inject_panic(name)
        owner, _, method = name.partition(".")
        called = getattr(objects[owner], method) if method else getattr(native, name)
        with pytest.raises(errors.NativePanic, match=f"{name} failed by a bug of nova_ext: .*a test wants it") as caught:
            called(*some)
        assert isinstance(caught.value, Exception) and not caught.value.retryable


def test_a_child_has_threads_of_its_own(site: Any) -> None:
    assert nova_ext.power.status("c1", config=site.config) == "on"
    child = os.fork()
    if child == 0:
        try:
            state = nova_ext.power.status("c1", config=site.config)
            os._exit(0 if state == "on" else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 20
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 0
    # And the parent goes on.
    assert nova_ext.power.status("c1", config=site.config) == "on"


def test_control_c_ends_a_call(site: Any) -> None:
    import signal
    import threading

    (site.folder / "fence_file").write_text("#!/bin/sh\nexec sleep 1000\n")
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        nova_ext.power.status("c1", timeout=60, config=site.config)
    assert time.monotonic() - began < 10

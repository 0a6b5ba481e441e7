"""What `nova-ext doctor` says of a controller."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pytest

from nova_ext import cli, doctor

MANUAL = pathlib.Path(__file__).parents[2] / "docs/nova-module.md"
PIPELINE = "cors compute_req_id faultwrap sizelimit authtoken keystonecontext"
PASTE = f"""
[composite:openstack_compute_api_v21]
use = call:nova.api.auth:pipeline_factory_v21
keystone = {PIPELINE} osapi_compute_app_v21
"""


def levels(found: Any, about: str) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in found if one.about == about]


def conf(folder: pathlib.Path, text: str) -> doctor.Conf:
    path = folder / "nova.conf"
    path.write_text(text)
    return doctor.Conf([path])


def blocks(language: str) -> str:
    """The settings in the manual, as they are pasted."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", MANUAL.read_text(), re.S))


def test_what_the_manual_says_is_well(tmp_path: pathlib.Path) -> None:
    text = blocks("ini")
    paste = tmp_path / "api-paste.ini"
    paste.write_text(text[text.index("# api-paste.ini") : text.index("# nova.conf")])
    key = tmp_path / "key"
    key.write_text("k" * 40)
    key.chmod(0o600)
    read = conf(tmp_path, text.replace("/etc/nova/nova-ha.key", str(key)))
    found = [*doctor.settings(read), *doctor.scheduler(read), *doctor.api(read, paste), *doctor.events(read)]
    assert [one for one in found if one.level == "fail"] == []
    # It begins with a warning guard and two pieces of weight_classes and filters.
    assert [one.text for one in found if one.level == "warn"] == ["it is in the pipeline, guard = warn"]


def test_quotes_are_read_as_oslo_config_reads_them(tmp_path: pathlib.Path) -> None:
    text = """
[instance_ha]
guard = "enforce"
headroom = 'warn'
key_file = "/etc/x'
policy_file = ""/etc/y""
empty = ""
one = "
lines = "a"
  "b"
"""
    read = conf(tmp_path, text)
    for name, value in {
        "guard": "enforce",
        "headroom": "warn",
        "key_file": "\"/etc/x'",
        "policy_file": '"/etc/y"',
        "empty": "",
        "one": "",
        "lines": 'a\n"b"',
    }.items():
        assert read.last("instance_ha", name, "none") == value, name
    assert list(doctor.settings(read)) == []


def test_nothing_is_enabled(tmp_path: pathlib.Path) -> None:
    paste = tmp_path / "api-paste.ini"
    paste.write_text(PASTE)
    read = conf(tmp_path, "[DEFAULT]\nmy_ip = 1.2.3.4\n")
    found = [*doctor.scheduler(read), *doctor.api(read, paste), *doctor.events(read)]
    assert {one.level for one in found if one.about in ("filter", "weigher", "guard", "events")} == {"warn"}
    assert "Nova evacuates on anybody's word" in levels(found, "guard")[0][1]


def test_traps_are_named(tmp_path: pathlib.Path) -> None:
    read = conf(
        tmp_path,
        "[filter_scheduler]\nenabled_filters = ComputeFilter,\n  InstanceHAFilter\n"
        "weight_classes = nova.scheduler.weights.all_weighers\n"
        "weight_classes = nova_ext.weighers.InstanceHAWeigher\n"
        "[instance_ha]\nguard = enforce\n[oslo_messaging_notifications]\ndriver = messagingv2\ndriver = instance_ha\n",
    )
    found = list(doctor.scheduler(read))
    assert (
        "fail",
        f"it is enabled and not available: available_filters = {doctor.FILTER}, in a line of its own",
    ) in levels(found, "filter")
    said = levels(found, "weigher")
    assert said[0][1].startswith("it is the only one") and "is there twice" in said[1][1]
    assert levels(doctor.events(read), "events")[0][0] == "ok"
    paste = tmp_path / "api-paste.ini"
    guard = "[filter:x]\npaste.filter_factory = nova_ext.guard:filter_factory\n"
    for line, why in (
        (f"x {PIPELINE}", "it stands before keystonecontext"),
        (PIPELINE, "it is in no pipeline"),
        (f"{PIPELINE} x", "there is no key_file"),
    ):
        paste.write_text(f"{guard}[composite:a]\nkeystone = {line} app\n")
        fails = [text for level, text in levels(doctor.api(read, paste), "guard") if level == "fail"]
        assert any(why in text for text in fails), (line, fails)
    paste.write_text(f"{guard}[composite:a]\nkeystone = {PIPELINE} x app\n[composite:b]\nkeystone = {PIPELINE} app\n")
    fails = [text for level, text in levels(doctor.api(read, paste), "guard") if level == "fail"]
    assert any("whoever calls that way passes by it" in text for text in fails)


def test_what_stands_in_the_pipeline_counts(tmp_path: pathlib.Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 40)
    key.chmod(0o600)
    paste = tmp_path / "api-paste.ini"
    filters = "[filter:x]\npaste.filter_factory = nova_ext.guard:filter_factory\n"
    pipeline = f"[composite:a]\nkeystone = {PIPELINE} x app\n"
    read = conf(tmp_path, f"[instance_ha]\nguard = enforce\nkey_file = {key}\n")

    def said(own: str) -> list[tuple[str, str]]:
        paste.write_text(f"[DEFAULT]\nguard = off\n{filters}{own}{pipeline}")
        return levels(doctor.api(read, paste), "guard")

    # What stands in [DEFAULT] is not for the filter.
    assert said("") == [("ok", "it is in the pipeline, guard = enforce"), ("ok", f"key_file {key}")]
    as_it_has = f", as [filter:x] of {paste} has it"
    assert said("guard = off\n")[0] == ("warn", f"it is in the pipeline, guard = off{as_it_has}")
    assert said("guard = perhaps\n")[:2] == [
        ("fail", f"[filter:x] of {paste}: guard = perhaps cannot be used (it is none of off, warn, enforce): warn counts"),
        ("warn", f"it is in the pipeline, guard = warn{as_it_has}"),
    ]
    assert said(f"key_file = {key}.gone\n")[1] == ("fail", f"{key}.gone is missing: no proof can be checked")


def test_values_that_cannot_be_used(tmp_path: pathlib.Path) -> None:
    read = conf(tmp_path, "[instance_ha]\nheadroom = enforced\nspread_host = x\nguard = Enforce\nevents_waiting = 0\n")
    assert levels(doctor.settings(read), "nova.conf") == [
        ("fail", "headroom = enforced cannot be used (it is none of off, warn, enforce): warn counts"),
        ("fail", "spread_host = x cannot be used (it is no number): 1.0 counts"),
        ("fail", "events_waiting = 0 cannot be used (it is less than 1): 1000 counts"),
    ]
    assert levels(doctor.scheduler(read), "head-room") == [("warn", "headroom = warn")]


def test_whoever_may_not_read_it_hears_so(tmp_path: pathlib.Path, monkeypatch: Any, site: Any) -> None:
    """A program of root does not fail here, so that the refusal is made up."""
    denied = tmp_path / "etc/nova"
    stat, open_ = pathlib.Path.stat, pathlib.Path.open

    def refuse(path: pathlib.Path) -> None:
        if denied in path.parents:
            raise PermissionError(13, "Permission denied", str(path))

    def no_stat(path: pathlib.Path, **more: Any) -> Any:
        refuse(path)
        return stat(path, **more)

    def no_open(path: pathlib.Path, *words: Any, **more: Any) -> Any:
        refuse(path)
        return open_(path, *words, **more)

    monkeypatch.setattr(pathlib.Path, "stat", no_stat)
    monkeypatch.setattr(pathlib.Path, "open", no_open)
    found = doctor.examine([denied / "nova.conf"], None, site.config)
    assert levels(found, "nova.conf") == [("fail", f"{denied}/nova.conf cannot be read (Permission denied): run it as root")]
    # The file alone, and the key in a folder that is closed.
    text = f"[instance_ha]\nguard = enforce\nkey_file = {denied}/key\n"
    paste = tmp_path / "api-paste.ini"
    guard = "[filter:x]\npaste.filter_factory = nova_ext.guard:filter_factory\n"
    paste.write_text(f"{guard}[composite:a]\nkeystone = {PIPELINE} x app\n")
    said = levels(doctor.api(conf(tmp_path, text), paste), "guard")
    assert said[1] == ("warn", f"key_file {denied}/key cannot be looked at (Permission denied): run it as root")
    (only,) = doctor.api(conf(tmp_path, text), denied / "api-paste.ini")
    assert only.level == "warn" and "cannot be read" in only.text


def test_processes_are_looked_at(tmp_path: pathlib.Path) -> None:
    for pid, command, maps in (
        (
            10,
            "/usr/bin/python3\0/usr/bin/nova-scheduler\0",
            "7f /usr/lib/python3/dist-packages/nova_ext/_native.abi3.so\n",
        ),
        (11, "/usr/bin/python3\0/usr/bin/nova-conductor\0", "7f /usr/lib/x86_64-linux-gnu/libc.so.6\n"),
        (12, "nova-api\0", "7f /usr/lib/python3/dist-packages/nova_ext/_native.abi3.so (deleted)\n"),
        (13, "bash\0", ""),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_text(command)
        (tmp_path / str(pid) / "maps").write_text(maps)
    found = list(doctor.processes(tmp_path))
    assert [(one.level, one.text) for one in found] == [
        ("warn", "nova-api (12) runs with an older version: restart it"),
        ("ok", "loaded in nova-scheduler (10), nova-api (12), an older version"),
        ("warn", "not loaded in nova-conductor (11)"),
    ]


def test_the_program(controller: Any, capsys: Any, tmp_path: pathlib.Path) -> None:
    controller.begin()
    (tmp_path / "api-paste.ini").write_text(PASTE)
    (tmp_path / "nova.conf").write_text("[DEFAULT]\n")
    arguments = ["doctor", "--nova-conf", f"{tmp_path}/nova.conf", "--config", str(controller.config)]
    assert cli.main([*arguments, "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert {one["about"] for one in found} >= {
        "package",
        "filter",
        "weigher",
        "guard",
        "events",
        "processes",
        "cloud",
        "policy",
        "engine",
    }
    engine = next(one for one in found if one["about"] == "engine")
    assert engine["text"] == "0 services are connected, 0 events, 0 lost"
    assert any("logged in as nova-ha with admin" in one["text"] for one in found)
    cli.main(arguments)
    assert "\nok    policy     the policy can be used\n" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["doctor", "--nonsense"]])
def test_a_command_line_that_makes_no_sense(arguments: list[str], capsys: Any) -> None:
    assert cli.main(arguments) == 64

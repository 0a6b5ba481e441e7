"""`nova-ext doctor`: run on a controller, says whether Nova has enabled what it should, and whether it works.

Looks, and changes nothing: the package, nova.conf and api-paste.ini, the processes of Nova that run here, credentials and
roles, and whether an engine hears the events.
"""

from __future__ import annotations

import configparser
import json
import pathlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Optional

import nova_ext
from nova_ext import _load, _settings, errors
from nova_ext._types import Path

FILTER = "nova_ext.filters.InstanceHAFilter"
WEIGHER = "nova_ext.weighers.InstanceHAWeigher"
ALL_FILTERS = "nova.scheduler.filters.all_filters"
ALL_WEIGHERS = "nova.scheduler.weights.all_weighers"
DRIVER = "instance_ha"
#: In which of Nova's processes something of ours is to be found.
SERVICES = ("nova-api", "nova-scheduler", "nova-conductor", "nova-compute", "uwsgi", "apache2", "httpd")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    #: What it is about.
    about: str
    #: "ok", "warn" or "fail".
    level: str
    text: str


class Conf:
    """nova.conf, as far as options of several lines go: oslo.config keeps all, and a list option the last."""

    def __init__(self, paths: list[pathlib.Path]) -> None:
        self.values: dict[tuple[str, str], list[str]] = {}
        for path in paths:
            self._read(path)

    def _read(self, path: pathlib.Path) -> None:
        section, name = "DEFAULT", ""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            text = line.strip()
            if not text or text[0] in "#;":
                continue
            if line[0].isspace() and name:
                self.values[section, name][-1] += "\n" + text
            elif text.startswith("[") and text.endswith("]"):
                section, name = text[1:-1].strip(), ""
            elif "=" in text:
                name, value = (part.strip() for part in text.split("=", 1))
                # oslo.config takes one pair of quotes off, of the first line alone.
                if value and value[0] in "\"'" and value[0] == value[-1]:
                    value = value[1:-1]
                self.values.setdefault((section, name), []).append(value)

    def all(self, section: str, name: str) -> list[str]:
        return self.values.get((section, name), [])

    def last(self, section: str, name: str, default: str = "") -> str:
        values = self.all(section, name)
        return values[-1] if values else default

    def items(self, section: str, name: str) -> list[str]:
        return [item.strip() for item in self.last(section, name).replace("\n", ",").split(",") if item.strip()]


def package() -> Iterator[Finding]:
    """The package itself."""
    why = nova_ext.native_missing()
    try:
        version = metadata.version("pcmk-nova-ext")
    except metadata.PackageNotFoundError:
        version = "of a folder"
        yield Finding("package", "warn", "it is not installed: Nova finds neither extra specs nor events (entry points)")
    if why is not None:
        yield Finding("package", "fail", f"the native part cannot be loaded: {why}")
        return
    from nova_ext import _native

    level = "ok" if version in (_native.__version__, "of a folder") else "warn"
    yield Finding("package", level, f"nova_ext {version}, native part {_native.__version__}, Python {sys.version.split()[0]}")


def scheduler(conf: Conf) -> Iterator[Finding]:
    """Filter and weigher."""
    available = conf.all("filter_scheduler", "available_filters")
    enabled = conf.items("filter_scheduler", "enabled_filters")
    on = "InstanceHAFilter" in enabled
    if on and FILTER not in available:
        yield Finding(
            "filter", "fail", f"it is enabled and not available: available_filters = {FILTER}, in a line of its own"
        )
    elif not on:
        yield Finding("filter", "warn", "it is off: reserved and returning hosts take any server")
    else:
        yield Finding("filter", "ok", "it is enabled")
        if enabled[0] != "InstanceHAFilter":
            yield Finding("filter", "warn", "it is not the first of enabled_filters: it does not see all hosts")
    if available and ALL_FILTERS not in available:
        yield Finding("filter", "fail", f"Nova's own filters are not available: available_filters = {ALL_FILTERS}")
    lines = conf.all("filter_scheduler", "weight_classes")
    classes = conf.items("filter_scheduler", "weight_classes")
    if WEIGHER not in classes:
        yield Finding("weigher", "warn", "it is off: evacuated servers are placed as if they were new")
    elif ALL_WEIGHERS not in classes:
        yield Finding("weigher", "warn", f"it is the only one: weight_classes = {ALL_WEIGHERS},{WEIGHER}")
    else:
        yield Finding("weigher", "ok", "it is enabled")
    if len(lines) > 1:
        yield Finding("weigher", "warn", "weight_classes is there twice: the last line counts, and no other")
    room = understood("headroom", conf.last("instance_ha", "headroom", "off"))
    yield Finding("head-room", "ok" if on or room == "off" else "warn", f"headroom = {room}")


def understood(name: str, raw: str) -> str:
    """The value that counts."""
    return str(_settings.read(name, raw)[0])


def settings(conf: Conf) -> Iterator[Finding]:
    """Values that cannot be used: Nova's services start, and something else counts."""
    for name in _settings.RULES:
        raw = conf.all("instance_ha", name)
        wrong = _settings.wrong(name, raw[-1]) if raw else None
        if wrong is not None:
            yield Finding("nova.conf", "fail", wrong)


def api(conf: Conf, paste: pathlib.Path) -> Iterator[Finding]:
    """The guard."""
    try:
        # Paste keeps what is in [DEFAULT] apart from what a filter is told.
        parser = configparser.RawConfigParser(strict=False, default_section="")
        parser.read_string(paste.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, configparser.Error) as error:
        yield Finding("guard", "warn", f"{paste} cannot be read: {error}")
        return
    ours = {
        section.split(":", 1)[1]: dict(parser.items(section))
        for section in parser.sections()
        if section.startswith("filter:") and "nova_ext.guard" in parser.get(section, "paste.filter_factory", fallback="")
    }
    pipelines = [
        value.split()
        for section in parser.sections()
        if section.startswith(("composite:", "pipeline:"))
        for name, value in parser.items(section)
        if "keystonecontext" in value.split()
    ]
    placed = [name for name in ours if any(name in line for line in pipelines)]
    if not placed:
        mode = understood("guard", conf.last("instance_ha", "guard", "off"))
        level = "warn" if mode == "off" else "fail"
        yield Finding(
            "guard", level, f"guard = {mode}, and it is in no pipeline of {paste}: Nova evacuates on anybody's word"
        )
        return
    for line in pipelines:
        name = next((name for name in placed if name in line), None)
        if name is None:
            yield Finding("guard", "fail", f"it is not in the pipeline {' '.join(line)}: whoever calls that way passes by it")
        elif line.index(name) < line.index("keystonecontext"):
            yield Finding("guard", "fail", "it stands before keystonecontext: nobody knows there who calls")
    for name in placed:
        yield from _filter(conf, paste, name, ours[name])


def _filter(conf: Conf, paste: pathlib.Path, name: str, own: dict[str, str]) -> Iterator[Finding]:
    """The guard as one filter of api-paste.ini has it, which counts more than nova.conf."""
    for setting in ("guard", "guard_failure", "proof_lifetime"):
        wrong = _settings.wrong(setting, own[setting]) if setting in own else None
        if wrong is not None:
            yield Finding("guard", "fail", f"[filter:{name}] of {paste}: {wrong}")
    mode = understood("guard", own.get("guard", conf.last("instance_ha", "guard", "off")))
    where = f", as [filter:{name}] of {paste} has it" if "guard" in own else ""
    yield Finding("guard", "ok" if mode == "enforce" else "warn", f"it is in the pipeline, guard = {mode}{where}")
    key = own.get("key_file", conf.last("instance_ha", "key_file"))
    if not key:
        yield Finding("guard", "fail" if mode == "enforce" else "warn", "there is no key_file: no proof can be checked")
        return
    try:
        others = pathlib.Path(key).stat().st_mode & 0o077
    except FileNotFoundError:
        yield Finding("guard", "fail", f"{key} is missing: no proof can be checked")
    except OSError as error:
        yield Finding("guard", "warn", f"key_file {key} cannot be looked at ({error.strerror}): run it as root")
    else:
        said = ": others can read it, chmod 600" if others else ""
        yield Finding("guard", "fail" if others else "ok", f"key_file {key}{said}")


def events(conf: Conf) -> Iterator[Finding]:
    """The notification driver."""
    drivers = [item for line in conf.all("oslo_messaging_notifications", "driver") for item in line.split(",")]
    if DRIVER not in [driver.strip() for driver in drivers]:
        yield Finding(
            "events", "warn", f"the engine hears nothing from here: [oslo_messaging_notifications] driver = {DRIVER}"
        )
        return
    versions = conf.last("notifications", "notification_format", "unversioned")
    yield Finding("events", "ok", f"the driver is enabled, notification_format = {versions}")
    if versions == "unversioned":
        yield Finding(
            "events", "warn", "service.update is told as a versioned notification alone: notification_format = both"
        )


def processes(proc: pathlib.Path = pathlib.Path("/proc")) -> Iterator[Finding]:
    """Where the native part is loaded."""
    loaded, without, hidden = [], [], 0
    for entry in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            name = next((name for name in SERVICES if name in command), None)
            if name is None:
                continue
            maps = (entry / "maps").read_text(errors="replace")
        except PermissionError:
            hidden += 1
            continue
        except OSError:
            continue
        if "nova_ext/_native" in maps:
            gone = any("nova_ext/_native" in line and "(deleted)" in line for line in maps.splitlines())
            loaded.append(f"{name} ({entry.name})" + (", an older version" if gone else ""))
            if gone:
                yield Finding("processes", "warn", f"{name} ({entry.name}) runs with an older version: restart it")
        elif name.startswith("nova-"):
            without.append(f"{name} ({entry.name})")
    if loaded:
        yield Finding("processes", "ok", "loaded in " + ", ".join(loaded))
    if without:
        yield Finding("processes", "warn", "not loaded in " + ", ".join(without))
    if hidden:
        yield Finding("processes", "warn", f"{hidden} processes of others cannot be looked at: run it as root")
    if not (loaded or without or hidden):
        yield Finding("processes", "warn", "no service of Nova runs here")


def cloud(config: Path) -> Iterator[Finding]:
    """Credentials, policy and roles."""
    try:
        for level, text in nova_ext.check_cloud(config=config):
            yield Finding("cloud", level, text)
    except errors.Error as error:
        yield Finding("cloud", "fail", str(error))
    try:
        nova_ext.Policy.load(config)
        yield Finding("policy", "ok", "the policy can be used")
    except errors.Error as error:
        yield Finding("policy", "fail", str(error))


def engine(config: Path) -> Iterator[Finding]:
    """Whether an engine runs here, and what it hears."""
    try:
        health = nova_ext.health(config=config)
    except errors.Error as error:
        yield Finding("engine", "warn", f"{error}: the cluster may keep it on another controller")
        return
    heard = health.get("events")
    if heard is None:
        yield Finding("engine", "warn", "it runs and listens for no events: [events] in nova-ha.toml")
        return
    text = f"{heard['connected']} services are connected, {heard['events']} events, {heard['lost']} lost"
    last = heard.get("last")
    if last is not None:
        text += f", the last {last['kind']} from {last['publisher']} at {last['at']} after {last['after_ms']} ms"
    yield Finding("engine", "ok" if heard["connected"] else "warn", text)


def examine(conf: list[pathlib.Path], paste: Optional[pathlib.Path], config: Path) -> list[Finding]:
    """Everything."""
    found = list(package())
    there, missing = [], []
    for path in conf:
        try:
            path.read_bytes()
            there.append(path)
        except FileNotFoundError:
            missing.append(path)
        except OSError as error:
            # What it says is not known, and nothing is said of it.
            level = "fail" if isinstance(error, PermissionError) else "warn"
            found.append(Finding("nova.conf", level, f"{path} cannot be read ({error.strerror}): run it as root"))
    if there:
        read = Conf(there)
        named = read.last("wsgi", "api_paste_config", "api-paste.ini")
        if paste is None:
            paste = there[0].parent / named
        found += [*settings(read), *scheduler(read), *api(read, paste), *events(read)]
    elif missing:
        found.append(Finding("nova.conf", "warn", f"{', '.join(map(str, missing))} is missing: is this a controller?"))
    found += processes()
    if _load.missing() is None:
        found += [*cloud(config), *engine(config)]
    return found


def show(found: list[Finding], as_json: bool) -> int:
    """Prints it: the exit code."""
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        for one in found:
            level = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}[one.level]
            print(f"{level}  {one.about:<9}  {one.text}")
    return 1 if any(one.level == "fail" for one in found) else 0

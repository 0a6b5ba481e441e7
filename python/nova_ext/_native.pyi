# The native half. Not for use by itself: the modules beside this one have what programs use.

from asyncio import Future
from os import PathLike
from typing import Any, Callable, Literal, Optional, Union, final, overload

_Path = Optional[Union[str, PathLike[str]]]

__all__ = [
    "FenceProof",
    "Gate",
    "Policy",
    "Scheduler",
    "Signal",
    "__version__",
    "check_cloud",
    "check_key",
    "evacuate",
    "force_down",
    "force_up",
    "health",
    "incidents",
    "inject_panic",
    "keys",
    "optimised",
    "plan",
    "power_cycle",
    "power_hosts",
    "power_off",
    "power_on",
    "power_status",
    "report",
]

__version__: str

@final
class FenceProof:
    """Proof that a host is off. Made by evidence alone; it ends when the host is powered on."""

    @property
    def id(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def at(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def evidence(self) -> str: ...
    @staticmethod
    def current(host: str, config: _Path = None) -> Optional[FenceProof]: ...
    @staticmethod
    def verify(host: str, line: str, config: _Path = None) -> FenceProof: ...
    @overload
    @staticmethod
    def confirm(host: str, name: str, config: _Path = None, aio: Literal[False] = False) -> FenceProof: ...
    @overload
    @staticmethod
    def confirm(host: str, name: str, config: _Path, aio: Literal[True]) -> Future[FenceProof]: ...
    def sign(self, config: _Path = None) -> str: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Policy:
    @staticmethod
    def parse(text: str) -> Policy: ...
    @staticmethod
    def load(config: _Path) -> Policy: ...
    def decide(
        self,
        flavor: dict[str, str],
        image: dict[str, str],
        metadata: dict[str, str],
        tags: list[str],
        aggregates: list[dict[str, str]],
        project: str,
    ) -> tuple[bool, int, Optional[str], str, list[str]]: ...

@final
class Scheduler:
    def __new__(cls, headroom: str, host: float, domain: float, busy: float) -> Scheduler: ...
    @staticmethod
    def errand(check: Optional[str], left: Optional[str], down: Optional[bool], there: bool) -> str: ...
    @staticmethod
    def source(check: Optional[str], left: Optional[str]) -> Optional[str]: ...
    def filter(
        self,
        errand: str,
        left: Optional[str],
        vcpus: int,
        memory_mb: int,
        disk_gb: int,
        hosts: list[Any],
    ) -> tuple[list[Optional[str]], int]: ...
    def arrived(self, host: Any) -> None: ...
    def weigh(self, errand: str, protected: bool, hosts: list[Any]) -> list[float]: ...

@final
class Gate:
    def __new__(cls, key: _Path, longest: int) -> Gate: ...
    def judge(
        self,
        ask: str,
        host: str,
        forced_down: bool,
        disabled: bool,
        reason: Optional[str],
        last_seen: Optional[str],
        alive: int,
        done: int,
        line: Optional[str],
    ) -> tuple[bool, str]: ...

@final
class Signal:
    def __new__(cls, addresses: list[str], ca: _Path, certificate: _Path, key: _Path, room: int) -> Signal: ...
    def offer(
        self,
        kind: str,
        publisher: str,
        host: Optional[str],
        server: Optional[str],
        forced_down: Optional[bool],
    ) -> bool: ...
    def stats(self) -> tuple[int, int, Optional[str], Optional[str]]: ...

def optimised() -> bool: ...
def inject_panic(name: Optional[str]) -> None: ...
def check_key(key: str, value: str, on_hosts: bool) -> Optional[str]: ...
def keys() -> list[tuple[str, str, bool, str]]: ...
@overload
def force_down(host: str, proof: FenceProof, config: _Path, aio: Literal[False]) -> str: ...
@overload
def force_down(host: str, proof: FenceProof, config: _Path, aio: Literal[True]) -> Future[str]: ...
@overload
def force_up(host: str, enable: bool, config: _Path, aio: Literal[False]) -> str: ...
@overload
def force_up(host: str, enable: bool, config: _Path, aio: Literal[True]) -> Future[str]: ...
@overload
def plan(host: str, config: _Path, aio: Literal[False]) -> str: ...
@overload
def plan(host: str, config: _Path, aio: Literal[True]) -> Future[str]: ...
@overload
def check_cloud(config: _Path, aio: Literal[False]) -> str: ...
@overload
def check_cloud(config: _Path, aio: Literal[True]) -> Future[str]: ...
@overload
def evacuate(
    host: str,
    proof: FenceProof,
    on_event: Optional[Callable[[str], object]],
    timeout: Optional[float],
    config: _Path,
    aio: Literal[False],
) -> tuple[str, Optional[str]]: ...
@overload
def evacuate(
    host: str,
    proof: FenceProof,
    on_event: Optional[Callable[[str], object]],
    timeout: Optional[float],
    config: _Path,
    aio: Literal[True],
) -> Future[tuple[str, Optional[str]]]: ...
@overload
def health(config: _Path, aio: Literal[False]) -> str: ...
@overload
def health(config: _Path, aio: Literal[True]) -> Future[str]: ...
def incidents(config: _Path) -> str: ...
def report(incident: Optional[str], format: str, config: _Path) -> str: ...
@overload
def power_status(host: str, timeout: float, config: _Path, aio: Literal[False]) -> str: ...
@overload
def power_status(host: str, timeout: float, config: _Path, aio: Literal[True]) -> Future[str]: ...
@overload
def power_off(host: str, timeout: float, config: _Path, aio: Literal[False]) -> FenceProof: ...
@overload
def power_off(host: str, timeout: float, config: _Path, aio: Literal[True]) -> Future[FenceProof]: ...
@overload
def power_on(host: str, timeout: float, force: bool, config: _Path, aio: Literal[False]) -> str: ...
@overload
def power_on(host: str, timeout: float, force: bool, config: _Path, aio: Literal[True]) -> Future[str]: ...
@overload
def power_cycle(host: str, timeout: float, force: bool, config: _Path, aio: Literal[False]) -> str: ...
@overload
def power_cycle(host: str, timeout: float, force: bool, config: _Path, aio: Literal[True]) -> Future[str]: ...
def power_hosts(config: _Path) -> str: ...

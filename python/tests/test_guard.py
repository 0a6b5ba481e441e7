"""What the guard does to calls that are none of its business: nothing, and fast."""

from __future__ import annotations

import importlib.util
import io
import time
from typing import Any

import pytest

from nova_ext import guard


class Settings:
    guard = "enforce"
    guard_failure = "open"
    key_file = None
    proof_lifetime = 3600


ANSWER = [b'{"servers": []}']


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return ANSWER


def environ(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SCRIPT_NAME": "/v2.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "nova.context": None,
    }


OTHERS = [
    ("GET", "/servers/detail", b""),
    ("GET", "/os-services/1", b""),
    ("POST", "/servers", b'{"server": {}}'),
    ("DELETE", "/servers/1", b""),
    ("PUT", "/servers/1", b'{"server": {}}'),
    ("POST", "/os-aggregates/1/action", b'{"set_metadata": {}}'),
    ("POST", "/servers/1/action", b'{"os-stop": null}'),
    ("POST", "/servers/1/action", b"no json"),
    ("POST", "/servers/1/action", b'["evacuate"]'),
    ("PUT", "/os-services/1", b'{"status": "disabled"}'),
    ("PUT", "/os-services/disable", b'{"host": "c1", "binary": "nova-compute"}'),
]
if importlib.util.find_spec("oslo_utils"):
    # What a flag means is asked of Nova's own library.
    OTHERS.append(("PUT", "/os-services/force-down", b'{"host": "c1", "binary": "nova-compute", "forced_down": true}'))


@pytest.mark.parametrize(("method", "path", "body"), OTHERS)
def test_other_calls_are_passed_on_as_they_are(method: str, path: str, body: bytes) -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((environ["wsgi.input"].read(), environ["CONTENT_LENGTH"], environ["PATH_INFO"]))
        return application(environ, start_response)

    started: list[Any] = []
    asked = environ(method, path, body)
    answer = guard.Guard(app, Settings())(asked, lambda *args: started.append(args))
    assert answer is ANSWER
    assert started == [("200 OK", [("Content-Type", "application/json")])]
    assert seen == [(body, str(len(body)), path)]


def test_a_body_without_a_length_is_read_as_the_application_would() -> None:
    asked = environ("POST", "/servers/1/action", b'{"evacuate": {}}')
    del asked["CONTENT_LENGTH"]
    assert guard._body(dict(asked)) is None  # Nothing that the application would read.
    assert guard._body({**asked, "HTTP_TRANSFER_ENCODING": "chunked"}) == {"evacuate": {}}


def test_a_body_that_is_long_is_judged_as_a_short_one(monkeypatch: Any) -> None:
    judged: list[Any] = []
    monkeypatch.setattr(guard, "_asks", lambda _context, _method, _which, body: judged.append(body) or [])
    padded = b'{"evacuate": {}' + b" " * 1_000_000 + b"}"
    for asked in (
        environ("POST", "/servers/1/action", padded),
        {**environ("POST", "/servers/1/action", padded), "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"},
    ):
        assert guard.Guard(application, Settings())(asked, lambda *_: None) is ANSWER
        assert asked["wsgi.input"].read() == padded
    assert judged == [{"evacuate": {}}] * 2


def test_what_it_costs() -> None:
    """Under 0.2 ms for what is not guarded; the best of some rounds, so that a busy machine does not count."""
    wrapped = guard.Guard(application, Settings())

    def cost(app: Any, method: str, path: str, body: bytes) -> float:
        best = 1.0
        for _ in range(20):
            some = [environ(method, path, body) for _ in range(200)]
            began = time.perf_counter()
            for asked in some:
                app(asked, lambda *_: None)
            best = min(best, (time.perf_counter() - began) / len(some))
        return best

    for method, path, body in OTHERS[:7]:
        more = cost(wrapped, method, path, body) - cost(application, method, path, body)
        assert more < 0.0002, (method, path, more)


def test_off_is_off() -> None:
    class Off(Settings):
        guard = "off"

    asked = environ("POST", "/servers/1/action", b'{"evacuate": {}}')
    assert guard.Guard(application, Off())(asked, lambda *_: None) is ANSWER
    assert asked["wsgi.input"].tell() == 0

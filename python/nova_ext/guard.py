"""A guard in front of Nova's API: no evacuation without proof that the host is off, and a host's return in order.

api-paste.ini, behind keystonecontext:

    [filter:instance_ha_guard]
    paste.filter_factory = nova_ext.guard:filter_factory

An administrator can pass by it with the header `X-Instance-HA-Override: REASON`, which is logged. Whoever has a signed
proof that is not in the service's record sends it as `X-Instance-HA-Proof`.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable, Optional

from nova_ext import _load, _lookup

if TYPE_CHECKING:
    from nova_ext import _native

LOG = logging.getLogger(__name__)

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

OVERRIDE = "HTTP_X_INSTANCE_HA_OVERRIDE"
PROOF = "HTTP_X_INSTANCE_HA_PROOF"
_ACTION = re.compile(r"/servers/([^/]+)/action/?$")
_SERVICE = re.compile(r"/os-services/([^/]+)/?$")
_EVACUATE = "os_compute_api:os-evacuate"
_UPDATE = "os_compute_api:os-services:update"


class Ask:
    """What is asked of Nova, and about which host."""

    def __init__(self, what: str, host: str, forced_down: Optional[bool] = None) -> None:
        self.what = what
        self.host = host
        #: What the same call makes of it before.
        self.forced_down = forced_down


class Guard:
    """The middleware."""

    def __init__(self, app: Application, settings: Any) -> None:
        self.app = app
        self.mode: str = settings.guard
        self.closed: bool = settings.guard_failure == "closed"
        self._settings = settings
        self._gate: Optional[_native.Gate] = None
        why = _load.missing()
        if self.mode != "off" and why is not None:
            LOG.error("instance_ha: the guard cannot judge anything: the native part cannot be loaded: %s", why)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if self.mode == "off" or not (
            method == "POST"
            and "/action" in environ["PATH_INFO"]
            or method == "PUT"
            and "/os-services/" in environ["PATH_INFO"]
        ):
            return self.app(environ, start_response)
        refusal = self._check(environ)
        if refusal is None:
            return self.app(environ, start_response)
        return _refuse(environ, start_response, *refusal)

    def _check(self, environ: Environ) -> Optional[tuple[int, str]]:
        """The status and the reason of a refusal; none if it is let through."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        match = (_ACTION if method == "POST" else _SERVICE).search(path)
        if match is None:
            return None
        body = _body(environ)
        if body is None:
            return None
        try:
            asks = _asks(environ["nova.context"], method, match.group(1), body)
            if not asks:
                return None
            for ask in asks:
                allowed, said = self._judge(environ, ask)
                if not allowed:
                    return self._refused(environ, ask, said)
                if said:
                    LOG.info("instance_ha: %s of %s is let through: %s", ask.what, ask.host, said)
            return None
        except Exception:
            LOG.exception(
                "instance_ha: %s %s cannot be judged, and is %s",
                method,
                path,
                "refused" if self.closed and self.mode == "enforce" else "let through",
            )
            if self.closed and self.mode == "enforce":
                return 503, "It cannot be told whether this may be done now: see the log of nova-api (instance_ha)."
            return None

    def _refused(self, environ: Environ, ask: Ask, said: str) -> Optional[tuple[int, str]]:
        context = environ["nova.context"]
        user = f"user {context.user_id} of project {context.project_id}"
        reason = environ.get(OVERRIDE, "").strip()
        if reason and context.is_admin:
            LOG.warning(
                "instance_ha: %s overrides the guard for %s of %s (%r), although %s",
                user,
                ask.what,
                ask.host,
                reason[:200],
                said,
            )
            return None
        if self.mode == "warn":
            LOG.warning("instance_ha: %s of %s by %s would be refused: %s", ask.what, ask.host, user, said)
            return None
        LOG.warning("instance_ha: %s of %s by %s is refused: %s", ask.what, ask.host, user, said)
        return (403 if ask.what == "evacuate" else 409), said

    def _judge(self, environ: Environ, ask: Ask) -> tuple[bool, str]:
        context = environ["nova.context"].elevated()
        service = _lookup.service_of(context, ask.host)
        alive, done = (0, 0) if ask.what == "evacuate" else _lookup.open_evacuations(context, ask.host)
        forced_down = bool(service.forced_down) if ask.forced_down is None else ask.forced_down
        seen = service.last_seen_up
        return self._judges().judge(
            ask.what,
            ask.host,
            forced_down,
            bool(service.disabled),
            service.disabled_reason,
            seen.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if seen is not None else None,
            alive,
            done,
            environ.get(PROOF),
        )

    def _judges(self) -> _native.Gate:
        if self._gate is None:
            _load.require()
            from nova_ext import _native as native

            self._gate = native.Gate(self._settings.key_file, self._settings.proof_lifetime)
        return self._gate


def _asks(context: Any, method: str, which: str, body: dict[str, Any]) -> list[Ask]:
    """What is asked of which host: of a server (POST) or of a service (PUT)."""
    if method == "PUT":
        return _service_asks(context, which, body)
    if "evacuate" not in body:
        return []
    found = _server(context, which)
    if found is None or found.host is None:
        return []
    # As Nova asks: the rule may be about whose server it is. Whoever may not evacuate it hears so from Nova, and nothing of
    # hosts from us.
    if not _may(context, _EVACUATE, {"user_id": found.user_id, "project_id": found.project_id}):
        return []
    return [Ask("evacuate", found.host)]


def _service_asks(context: Any, which: str, body: dict[str, Any]) -> list[Ask]:
    """What a change of a service asks for: by its id (2.53), or as before."""
    asks: list[Ask] = []
    if which == "force-down":
        up = "forced_down" in body and not _truth(body["forced_down"])
        enable = False
    elif which == "enable":
        up, enable = False, True
    elif which in ("disable", "disable-log-reason"):
        return []
    else:
        up = "forced_down" in body and not _truth(body["forced_down"])
        enable = body.get("status") == "enabled"
    if not (up or enable) or not _may(context, _UPDATE, {}):
        return []
    host = _service_host(context, which, body)
    if host is None:
        return []
    if up:
        asks.append(Ask("force-up", host))
    if enable:
        asks.append(Ask("enable", host, forced_down=False if up else None))
    return asks


def _service_host(context: Any, which: str, body: dict[str, Any]) -> Optional[str]:
    if which in ("force-down", "enable"):
        host = body.get("host")
        return host if isinstance(host, str) and body.get("binary") == "nova-compute" else None
    from nova import exception
    from nova.compute import api

    try:
        service = api.HostAPI().service_get_by_id(context.elevated(), which)
    except exception.NovaException:
        return None  # Nova says what is wrong with it.
    return service.host if service.binary == "nova-compute" else None


def _server(context: Any, which: str) -> Optional[_lookup.Found]:
    from nova import exception

    try:
        return _lookup.server(context.elevated(), which)
    except exception.NotFound:
        return None  # Nova says so, too.


def _may(context: Any, rule: str, target: dict[str, Any]) -> bool:
    return bool(context.can(rule, target=target, fatal=False))


def _truth(value: Any) -> bool:
    """As Nova reads it."""
    from oslo_utils import strutils

    return bool(strutils.bool_from_string(value))


def _body(environ: Environ) -> Optional[dict[str, Any]]:
    """What was sent, if it is a JSON object; it can be read once more afterwards.

    All of it, as Nova reads it: how long it may be is for the one in front of us to say (`sizelimit`).
    """
    source = environ["wsgi.input"]
    try:
        length = int(environ.get("CONTENT_LENGTH") or -1)
    except ValueError:
        return None
    if length < 0:
        # In chunks, or nothing at all: what cannot be told from the header.
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked" and not environ.get("wsgi.input_terminated"):
            return None
        raw = source.read()
    else:
        raw = source.read(length)
    environ["wsgi.input"] = io.BytesIO(raw)
    environ["CONTENT_LENGTH"] = str(len(raw))
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _refuse(environ: Environ, start_response: Callable[..., Any], status: int, said: str) -> Iterable[bytes]:
    """As Nova's own errors are: its JSON, its version headers; the request id comes from in front of us."""
    import webob.exc
    from nova.api.openstack import wsgi

    request = wsgi.Request(environ)
    try:
        request.set_api_version_request()
    except Exception:
        LOG.debug("instance_ha: no microversion for the refusal", exc_info=True)
    kind = {
        403: webob.exc.HTTPForbidden,
        409: webob.exc.HTTPConflict,
        503: webob.exc.HTTPServiceUnavailable,
    }[status]
    answer: Iterable[bytes] = wsgi.Fault(kind(explanation=said))(environ, start_response)
    return answer


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[Application], Guard]:
    """For api-paste.ini. What stands there (`guard = warn`) counts more than nova.conf."""
    import nova.conf

    from nova_ext import options

    try:
        settings: Any = _Settings(options.register(nova.conf.CONF), local_conf)
    except Exception as error:  # nova-api has to start.
        LOG.error("instance_ha: the guard is off, its settings cannot be used: %s", error)
        settings = _Off()
    return lambda app: Guard(app, settings)


class _Off:
    guard = "off"
    guard_failure = "open"
    key_file = None
    proof_lifetime = 0


class _Settings:
    """What stands in api-paste.ini, else in nova.conf. Understood as in nova.conf: nothing that stands there is an error."""

    def __init__(self, registered: Any, own: dict[str, str]) -> None:
        from nova_ext import options

        def get(name: str) -> Any:
            return options.understood(name, own[name]) if name in own else getattr(registered, name)

        self.guard: str = get("guard")
        self.guard_failure: str = get("guard_failure")
        self.key_file: Optional[str] = own.get("key_file", registered.key_file)
        self.proof_lifetime: int = get("proof_lifetime")

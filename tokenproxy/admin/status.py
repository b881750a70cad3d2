"""What `/api/status` says: all that the status page shows, and never a token."""

from typing import Any
from urllib.parse import urlsplit

from tokenproxy.admin.figures import RouteFigures
from tokenproxy.admin.parts import Count, Parts
from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.redaction import redact
from tokenproxy.tokens.oauth2.code import CodeFlow
from tokenproxy.tokens.oauth2.device import DeviceFlow
from tokenproxy.tokens.slot import State
from tokenproxy.tokens.source import SignIn
from tokenproxy.tokens.status import Status

CHANGES_BY_ITSELF = frozenset({"now", "uptime"})


def status(parts: Parts, count: Count) -> dict[str, Any]:
    """All of it; times are seconds since the epoch."""
    now, ready = parts.clock.now(), parts.readiness()
    return {
        "version": parts.version,
        "uptime": now.steady - parts.began.steady,
        "now": now.wall,
        "ready": ready.ready,
        "reasons": ready.reasons,
        "warnings": ready.warnings,
        "config": {
            "path": parts.config.path,
            "loaded_at": parts.config.loaded_at,
            "reloads": parts.config.reloads,
            "error": parts.config.error,
        },
        "workers": [
            {"index": each.index, "pid": each.pid, "connections": each.connections}
            for each in count.workers
        ],
        "routes": {route.name: _route(route, parts, count) for route in parts.served.routes},
        "credentials": {name: credential(name, parts, count) for name in parts.served.keepers},
        "events": parts.happenings.recent(),
    }


def _route(route: CompiledRoute, parts: Parts, count: Count) -> dict[str, Any]:
    settings = route.settings
    figures = count.figures.routes.get(route.name) or RouteFigures()
    return {
        "path": settings.path,
        "host": settings.host,
        "upstream": shown_upstream(settings.upstream),
        "credential": settings.credential,
        "requests": figures.requests,
        "errors": figures.errors,
        "replays": figures.replayed,
        "in_flight": figures.in_flight,
        "history": parts.history.of(route.name),
    }


def shown_upstream(upstream: str) -> str:
    """The upstream without what may be secret in a URL: user name, password, query."""
    url = urlsplit(upstream)
    if not url.netloc:
        return upstream.partition("?")[0]
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def credential(name: str, parts: Parts, count: Count) -> dict[str, Any]:
    """How one credential stands."""
    found, keeper = parts.status(name), parts.served.keepers[name]
    failed = parts.sign_ins.failures.of(keeper)
    return {
        "type": parts.served.credentials[name].type,
        "state": found.state.value,
        "not_persisted": found.not_persisted,
        "issued_at": found.issued_at,
        "expires_at": found.expires_at,
        "renews_at": found.renews_at,
        "last_renewal": found.last_renewal,
        "renewed_by": parts.whereabouts.renewed_by(name, found.token),
        "renewals": count.figures.renewals[name, "ok"],
        "last_error": None if found.last_error is None else redact(found.last_error),
        "advice": advice(name, found, keeper.sign_in) if failed is None else _again(name),
        "retry_at": found.retry_at,
        "sign_in": _sign_in(keeper.sign_in),
        "token": found.token,
    }


def _sign_in(flow: SignIn | None) -> str | None:
    match flow:
        case CodeFlow():
            return "authorization_code"
        case DeviceFlow():
            return "device_code"
        case None:
            return None


def _again(name: str) -> str:
    return f"Sign in again here, or run 'tokenproxy login {name}'."


def advice(name: str, found: Status, sign_in: SignIn | None) -> str | None:
    """What a person is to do, if anything."""
    match found.state:
        case State.LOGIN_REQUIRED if sign_in is not None:
            return f"Sign in here, or run 'tokenproxy login {name}'."
        case State.LOGIN_REQUIRED:
            return "Mend this credential in the config, or what it names, and reload."
        case State.UNAVAILABLE:
            return "Wait: it is tried again. If it goes on, see whether the issuer can be reached."
        case _ if not found.is_readable:
            return "Mend the store: it cannot be read."
        case _ if found.not_persisted:
            return "Mend the store, or make room in it: the token would not outlive a restart."
        case _:
            return None

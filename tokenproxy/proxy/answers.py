"""Answers of the proxy's own: problem+json (RFC 9457), Proxy-Status (RFC 9209), contract 3.4.

Every `detail` is a sentence written in this program. The text of an exception may hold what an
issuer or an upstream said, and never gets here.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self

from tokenproxy.errors import (
    Overloaded,
    SourceRefused,
    SourceUnavailable,
    StoreError,
    UpstreamError,
    UpstreamFault,
)
from tokenproxy.proxy.headers import Header

# What `Allow` says where the proxy itself refuses a method: all that a route may take.
METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

# Browsers know Basic, and show a window for it; RFC 6750 3 for the rest.
_CHALLENGE = (b"WWW-Authenticate", b'Basic realm="tokenproxy", Bearer realm="tokenproxy"')

# A browser that shows an answer asks for nothing else by itself: an icon that it wants for one
# would be fetched from the upstream, as of the same origin.
_SHOWN_ALONE = (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'")

_SHORTEST_WAIT = 1  # seconds; Retry-After is whole (RFC 9110 10.2.3), and 0 would ask for a spin
_LONGEST_WAIT = 300  # seconds; what an issuer asks beyond that is not for callers to sit out

BROKE_OFF = "The request's body broke off, or is framed badly."
CALLER_LEFT = 499  # logged where the caller went before there was an answer (nginx's number)


class ErrorCode(Enum):
    """Contract 3.4: its value is the code; `proxy_error` is RFC 9209's word for it (2.3).

    `proxy_internal_response` is its word for an answer given without asking the upstream. It
    has none for what the parser cannot do (501, 505).
    """

    _value_: str
    status: int
    title: str
    proxy_error: str | None

    def __new__(cls, code: str, status: int, title: str, proxy_error: str | None) -> Self:
        """A member whose value is its code alone."""
        member = object.__new__(cls)
        member._value_ = code
        member.status = status
        member.title = title
        member.proxy_error = proxy_error
        return member

    # fmt: off
    BAD_REQUEST = "bad_request", 400, "Bad request", "http_request_error"
    CLIENT_KEY_REQUIRED = (
        "client_key_required", 401, "Client key required", "http_request_denied")
    ORIGIN_NOT_ALLOWED = "origin_not_allowed", 403, "Origin not allowed", "http_request_denied"
    PATH_NOT_ALLOWED = "path_not_allowed", 403, "Path not allowed", "http_request_denied"
    CLIENT_AUTHORIZATION_REJECTED = (
        "client_authorization_rejected", 403, "Authorization not accepted", "http_request_denied")
    NO_ROUTE = "no_route", 404, "No route", "destination_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "Method not allowed", "http_request_error"
    REQUEST_TIMEOUT = "request_timeout", 408, "Request timeout", "http_request_error"
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported_media_type", 415, "Unsupported media type", "http_request_denied")
    HOST_NOT_ALLOWED = "host_not_allowed", 421, "Host not allowed", "http_request_denied"
    HEAD_TOO_LARGE = "head_too_large", 431, "Request head too large", "http_request_error"
    INTERNAL_ERROR = "internal_error", 500, "Internal error", "proxy_internal_error"
    NOT_IMPLEMENTED = "not_implemented", 501, "Not implemented", None
    LOGIN_REQUIRED = "login_required", 502, "Login required", "proxy_internal_response"
    UPSTREAM_UNREACHABLE = (
        "upstream_unreachable", 502, "Upstream unreachable", "destination_unavailable")
    UPSTREAM_PROTOCOL_ERROR = (
        "upstream_protocol_error", 502, "Upstream protocol error", "http_protocol_error")
    UPSTREAM_TLS_ERROR = "upstream_tls_error", 502, "Upstream TLS error", "tls_protocol_error"
    TOKEN_UNAVAILABLE = "token_unavailable", 503, "Token unavailable", "proxy_internal_response"
    OVERLOADED = "overloaded", 503, "Overloaded", "connection_limit_reached"
    UPSTREAM_TIMEOUT = "upstream_timeout", 504, "Upstream timeout", "http_response_timeout"
    VERSION_NOT_SUPPORTED = "version_not_supported", 505, "HTTP version not supported", None
    # fmt: on


# Contract 3.4: these two always say when to come back; in seconds, where nobody named a time.
_DEFAULT_WAIT = {ErrorCode.TOKEN_UNAVAILABLE: 5.0, ErrorCode.OVERLOADED: 1.0}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, ready to be sent; to a HEAD request without its body, the headers as they are.

    `code` is None where nothing is wrong. `close`: the connection ends after it.
    """

    status: int
    headers: list[Header]
    body: bytes
    code: ErrorCode | None = None
    close: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong, as far as callers are told. `retry_after` is in seconds.

    `proxy_error` is a better word of RFC 9209 than the code's own, where there is one.
    """

    code: ErrorCode
    detail: str
    retry_after: float | None = None
    proxy_error: str | None = None


def answer(
    code: ErrorCode,
    *,
    detail: str,
    route: str | None = None,
    retry_after: float | None = None,
    allow: bytes | None = None,
    close: bool = False,
    proxy_error: str | None = None,
) -> Answer:
    """The answer for a code.

    `detail` is one of our own sentences, `route` the route's name (None before one is chosen),
    `retry_after` in seconds, `allow` the value of an Allow field.
    """
    body = _problem(code, detail, route)
    headers = [
        (b"Content-Type", b"application/problem+json"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        _SHOWN_ALONE,
    ]
    word = proxy_error or code.proxy_error
    if word is not None:
        headers.append((b"Proxy-Status", f"tokenproxy; error={word}".encode()))
    if code is ErrorCode.CLIENT_KEY_REQUIRED:
        headers.append(_CHALLENGE)
    if allow is not None:
        headers.append((b"Allow", allow))
    wait = _DEFAULT_WAIT.get(code) if retry_after is None else retry_after
    if wait is not None:
        headers.append((b"Retry-After", b"%d" % _whole_seconds(wait)))
    return Answer(code.status, headers, body, code, close)


def options_answer() -> Answer:
    """The answer to `OPTIONS *`, which asks about the proxy itself (RFC 9110 9.3.7)."""
    return Answer(204, [(b"Allow", METHODS)], b"")


def preflight_answer(fields: Sequence[Header]) -> Answer:
    """The answer to a preflight (WHATWG Fetch 4.8)."""
    return Answer(204, list(fields), b"")


def error_answer(error: Exception, route: str | None) -> Answer:
    """What a caller is told of an error that their request to a route has met."""
    fault = for_error(error)
    return answer(
        fault.code,
        detail=fault.detail,
        route=route,
        retry_after=fault.retry_after,
        proxy_error=fault.proxy_error,
    )


def for_error(error: Exception) -> Fault:
    """The one table from errors to codes."""
    match error:
        case SourceRefused():
            return _REFUSED
        case SourceUnavailable():
            return Fault(ErrorCode.TOKEN_UNAVAILABLE, _NO_TOKEN, error.retry_after)
        case StoreError():
            return Fault(ErrorCode.TOKEN_UNAVAILABLE, _NO_TOKEN)
        case UpstreamError():
            return _upstream(error.kind)
        case Overloaded():
            return _FULL
        case _:
            return _INTERNAL


_NO_TOKEN = "There is no usable token at the moment; the proxy goes on trying to get one."  # noqa: S105 - a sentence
_REFUSED = Fault(
    ErrorCode.LOGIN_REQUIRED,
    "The issuer refuses this route's credential: a person must sign in again or mend the config.",
)
_FULL = Fault(ErrorCode.OVERLOADED, "All connections that this route may have are in use.")
_INTERNAL = Fault(
    ErrorCode.INTERNAL_ERROR, "The proxy has failed on this request; its log tells more."
)


def _upstream(fault: UpstreamFault) -> Fault:
    match fault:
        case UpstreamFault.UNREACHABLE:
            return Fault(ErrorCode.UPSTREAM_UNREACHABLE, "The upstream cannot be reached.")
        case UpstreamFault.BROKE_OFF:
            detail = "The upstream closed the connection before it answered."
            return Fault(
                ErrorCode.UPSTREAM_UNREACHABLE, detail, proxy_error="connection_terminated"
            )
        case UpstreamFault.PROTOCOL:
            detail = "The upstream's answer breaks the rules of HTTP."
            return Fault(ErrorCode.UPSTREAM_PROTOCOL_ERROR, detail)
        case UpstreamFault.TLS:
            detail = "No TLS connection to the upstream could be made."
            return Fault(ErrorCode.UPSTREAM_TLS_ERROR, detail)
        case UpstreamFault.CONNECT_TIMEOUT:
            detail = "No connection to the upstream could be made in time."
            return Fault(ErrorCode.UPSTREAM_TIMEOUT, detail, proxy_error="connection_timeout")
        case UpstreamFault.RESPONSE_TIMEOUT:
            return Fault(ErrorCode.UPSTREAM_TIMEOUT, "The upstream did not answer in time.")


def _problem(code: ErrorCode, detail: str, route: str | None) -> bytes:
    problem = {
        "type": f"urn:tokenproxy:error:{code.value}",
        "title": code.title,
        "status": code.status,
        "detail": detail,
        "code": code.value,
        "route": route,
    }
    return json.dumps(problem).encode()


def _whole_seconds(wait: float) -> int:
    return math.ceil(min(max(_SHORTEST_WAIT, wait), _LONGEST_WAIT))

"""Answers of the admin listener: JSON, problem+json (RFC 9457), and the fields that all bear."""

import json
from http import HTTPStatus
from typing import Any

from aiohttp import web

from tokenproxy.proxy.head import message_head

# The page has its own script and style, talks to this listener only, and is framed by nobody. With
# trusted types no text becomes markup there, whoever wrote it.
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "tokenproxy",
}

# Inert also where somebody puts it into a page: no tag begins in it, and no entity.
_INERT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def dumped(content: Any) -> str:
    """JSON, in ASCII."""
    return json.dumps(content, allow_nan=False).translate(_INERT)


def as_json(content: Any, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return answer(dumped(content).encode(), "application/json", status)


def answer(body: bytes, content_type: str, status: int = 200) -> web.Response:
    """An answer with that body."""
    headers = {**SECURITY, "Content-Type": content_type}
    return web.Response(body=body, status=status, headers=headers)


def problem(
    status: int,
    code: str,
    detail: str,
    allow: str | None = None,
    *,
    retry_after: float | None = None,
) -> web.Response:
    """An error, in our own words; `allow` is the value of an Allow field."""
    content = {
        "type": f"urn:tokenproxy:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    response = answer(dumped(content).encode(), "application/problem+json", status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after)))
    if allow is not None:
        response.headers["Allow"] = allow
    return response


def in_bytes(response: web.Response) -> bytes:
    """An answer as it is sent where no request is read: the connection closes after it."""
    body = bytes(response.body) if isinstance(response.body, bytes) else b""
    told = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    fields = [(name.encode(), value.encode()) for name, value in told.items()]
    start_line = f"HTTP/1.1 {response.status} {response.reason}".encode()
    return message_head(start_line, fields) + body


def unknown_credential() -> web.Response:
    """What is said to a name that the config does not hold."""
    return problem(404, "no_credential", "The config has no credential of that name.")

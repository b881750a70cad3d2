"""What a route can be told (contract 1, `routes`)."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, field_validator, model_validator

from tokenproxy.settings.access import EVERYBODY, Cors, Requests, may_be_below
from tokenproxy.settings.base import (
    ConfigPath,
    CredentialName,
    NonEmpty,
    Positive,
    PositiveDuration,
    Settings,
    Size,
    is_loopback,
    one_is_a_list_of_one,
    refuse,
)
from tokenproxy.settings.headers import RequestHeaders, ResponseHeaders, merged
from tokenproxy.settings.injection import (
    BasicInjection,
    CookieInjection,
    HeaderInjection,
    Injection,
    QueryInjection,
)
from tokenproxy.settings.matchers import RefreshOn
from tokenproxy.settings.tls import Tls
from tokenproxy.settings.upgrade import Upgrade
from tokenproxy.settings.upstream import EgressProxy, Upstream, is_authority, unix_path

_PLAIN_PATH = re.compile(r"[!$-$&->@-\[\]-~]+")
# What `forwarded: set` fills.
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
_HOST = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


def _prefix(path: str) -> str:
    """A path that starts with a slash and has neither query, escapes nor dot segments."""
    if not path.startswith("/"):
        raise ValueError("must start with '/'")
    if not _PLAIN_PATH.fullmatch(path):
        raise ValueError("must be plain: no spaces, no '?', '#', '%' or '\\'")
    if "//" in path or any(segment in {".", ".."} for segment in path.split("/")):
        raise ValueError("must not hold '//', '.' or '..' segments")
    return path


def _host(host: str) -> str:
    if not (_HOST.fullmatch(host.lower()) and is_authority(host)):
        raise ValueError("must be a host name such as shop.localhost, without a port")
    return host.lower()


def _writable_folder(path: Path) -> Path:
    if not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
        raise ValueError("is no folder that can be written")
    return path


def _filled(place: Injection) -> tuple[str, str]:
    """What it fills: two that fill the same would write over each other.

    A header is as servers see it that do not tell `_` from `-`.
    """
    match place:
        case QueryInjection(query=name):
            return "query parameter", name
        case CookieInjection(cookie=name):
            return "cookie", name
        case BasicInjection():
            return "header", "authorization"
        case HeaderInjection(header=name):
            return "header", merged(name)


class Replay(Settings):
    """How much of a body is kept for one replay: in memory, then in an unlinked file in `dir`."""

    memory: Size = 1 << 20
    max_body: Size = 10 << 20
    dir: Annotated[ConfigPath, AfterValidator(_writable_folder)] | None = None


class RouteTimeouts(Settings):
    """Towards the upstream, in seconds; `response_head: null` is for long polls."""

    connect: PositiveDuration = 5.0
    response_head: PositiveDuration | None = 60.0
    idle: PositiveDuration = 300.0


class Route(Settings):
    """Contract 1, one of `routes`."""

    name: NonEmpty | None = None
    path: Annotated[str, AfterValidator(_prefix)] = "/"
    host: Annotated[str, AfterValidator(_host)] | None = None
    upstream: Upstream
    upstream_host: Annotated[str, AfterValidator(_host)] | None = None
    strip_path: bool = True
    credential: CredentialName | None = None
    inject: tuple[Injection, ...] = (HeaderInjection(),)
    client_authorization: Literal["overwrite", "keep", "reject"] = "overwrite"
    refresh_on: RefreshOn = (401,)
    replay: Replay = Replay()
    allow: Requests = Requests()
    deny: Requests = Requests()
    cors: Cors = Cors()
    headers: RequestHeaders = RequestHeaders()
    response_headers: ResponseHeaders = ResponseHeaders()
    preserve_host: bool = False
    forwarded: Literal["drop", "keep", "set"] = "drop"
    via: bool = True
    rewrite_location: bool = True
    rewrite_cookies: bool = True
    allow_insecure: bool = False
    timeouts: RouteTimeouts = RouteTimeouts()
    max_connections: Positive = 256
    upgrade: Upgrade = ("websocket",)
    tls: Tls = Tls()
    egress_proxy: EgressProxy = None

    @field_validator("inject", mode="before")
    @classmethod
    def _places(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(  # noqa: TRY004 - pydantic reports ValueErrors
                "must say where the token goes: {header: NAME}, {query: NAME}, {cookie: NAME} "
                "or {basic: {username: NAME}}"
            )
        return one_is_a_list_of_one(value)

    @field_validator("inject")
    @classmethod
    def _each_place_once(cls, value: tuple[Injection, ...]) -> tuple[Injection, ...]:
        if not value:
            raise ValueError("must name at least one place (or leave the key out)")
        filled = [_filled(place) for place in value]
        for kind in ("header", "query parameter", "cookie"):
            names = [name for its, name in filled if its == kind]
            if len(set(names)) < len(names):
                raise ValueError(f"names the same {kind} twice: each can hold one credential")
        if ("header", "cookie") in filled and any(kind == "cookie" for kind, _ in filled):
            raise ValueError(
                "fills the Cookie header twice: name a 'cookie', or the 'header', not both"
            )
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        refuse(
            [
                *self._token_needs_tls(),
                *self._socket_is_named_apart(),
                *self._fills_each_header_once(),
                *self._globs_can_match(),
                *self._answers_pages_by_one_hand(),
            ]
        )
        return self

    def _token_needs_tls(self) -> Iterator[str]:
        parts = urlsplit(self.upstream)
        if self.credential is None or self.allow_insecure or parts.scheme in {"https", "unix"}:
            return
        if not is_loopback(parts.hostname or ""):
            yield (
                "would send its token unencrypted: use an https 'upstream', or say "
                "'allow_insecure: true'"
            )

    def _socket_is_named_apart(self) -> Iterator[str]:
        is_unix = unix_path(self.upstream) is not None
        if self.upstream_host is not None and not is_unix:
            yield (
                "has an 'upstream_host', which is for a unix socket: the URL in 'upstream' has "
                "a host already"
            )
        if self.egress_proxy is not None and is_unix:
            yield "has an 'egress_proxy', which cannot reach a unix socket: leave it out"

    def _fills_each_header_once(self) -> Iterator[str]:
        """The `headers` that are set are not those that something else fills."""
        written = self.headers.names
        if self.credential is not None:
            injected = {name for kind, name in map(_filled, self.inject) if kind == "header"}
            for name in sorted(injected & written.keys()):
                yield f"changes '{written[name]}' in 'headers', which 'inject' fills: leave it out"
        if self.forwarded == "set":
            for name in sorted(_FORWARDED & written.keys()):
                yield (
                    f"changes '{written[name]}' in 'headers', which 'forwarded: set' fills: "
                    "leave it out, or say 'forwarded: drop'"
                )

    def _globs_can_match(self) -> Iterator[str]:
        """One that cannot is likely written as the upstream has its paths: it denies nothing."""
        for key, requests in (("allow", self.allow), ("deny", self.deny)):
            for glob in requests.paths:
                if not may_be_below(self.path, glob):
                    yield (
                        f"names '{glob}' in '{key}', which no path below '{self.path}' can match: "
                        "write it as callers do, with the route's 'path' before it"
                    )

    def _answers_pages_by_one_hand(self) -> Iterator[str]:
        if not self.cors.origins:
            return
        for name, written in sorted(self.response_headers.names.items()):
            if name.startswith("access-control-"):
                yield (
                    f"changes '{written}' in 'response_headers', which 'cors' fills: leave it out"
                )
        if EVERYBODY in self.cors.origins and self.credential is not None:
            yield (
                "would let every page in the world use its token: name the pages in 'cors.origins' "
                "instead of '*'"
            )

"""From a URL of contract 1 to a Redis client, and to words that name its place without secrets.

| URL                                                | what is meant                              |
|----------------------------------------------------|--------------------------------------------|
| `redis://[user:password@]host[:6379][/db]`         | one Redis                                  |
| `rediss://…?ssl_ca_certs=/ca.pem`                  | the same over TLS                          |
| `unix:///path[?db=0]`, `unix://user:password@/path`| one on this machine                        |
| `sentinel://[user:password@]host[:26379],…/primary`| the primary that those sentinels name      |

The query is redis-py's, whose names are its arguments (`socket_timeout=5`, `ssl_certfile=…`).
With `sentinel` there are also `ssl=true`, for TLS to all of them, and `sentinel_username` and
`sentinel_password` for sentinels that ask for one: the user in front of the hosts is Redis's.
"""

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from tokenproxy.errors import ConfigError, Problem

CONNECT_TIMEOUT = 2.0
ANSWER_TIMEOUT = 2.0
SENTINEL_TIMEOUT = 1.0  # one that hangs must leave time to ask the next
SENTINEL_PORT = 26379
ONCE_MORE = 1  # a connection that died unnoticed is found out by the command that fails on it
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}  # seconds, seconds, probes
NO_URL = (
    "is not the URL of a Redis: its ports and database must be numbers, its query may only hold "
    "settings of redis-py, and '/', '?', '#' and '@' in a password must be percent-encoded"
)

Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Server:
    """A client that connects when it is first used; `place` may be shown to anybody."""

    place: str
    client: Redis
    closings: tuple[Callable[[], Awaitable[None]], ...]

    async def close(self) -> None:
        """Close all connections, in order or not."""
        for close in self.closings:
            with suppress(RedisError, OSError):
                await close()


def open_server(url: str) -> Server:
    """The Redis of that URL, not connected yet.

    Raises:
        ConfigError: no Redis can be behind it.
    """
    try:
        parts = urlsplit(url)
        _refuse_strays(parts)
        return _behind_sentinels(parts) if parts.scheme == "sentinel" else _direct(url, parts)
    except (TypeError, ValueError, RedisError):
        # Its text may quote the part of a password that was taken for a port or a setting.
        raise ConfigError([Problem("store.url", NO_URL)]) from None


def _refuse_strays(parts: SplitResult) -> None:
    """A password with a bare '/' in it makes a path of its end, and a host of its beginning."""
    behind = parts.path + parts.query + parts.fragment
    if parts.scheme != "unix" and "@" in behind:
        raise ValueError("a user or password that is not percent-encoded")
    if parts.scheme in {"redis", "rediss"} and parts.path.strip("/"):
        int(parts.path.strip("/"))


def _direct(url: str, parts: SplitResult) -> Server:
    options: Options = {**_defaults(), **parse_url(url), **_OURS}
    if parts.scheme != "unix":
        options = {**_keepalive(), **options}
    pool = ConnectionPool(**options)
    _check(pool)
    return Server(_place(parts), Redis(connection_pool=pool), (pool.aclose,))


def _behind_sentinels(parts: SplitResult) -> Server:
    user, _, hosts = parts.netloc.rpartition("@")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    tls = query.get("ssl", "").lower() in {"1", "true", "yes"}
    options = _options_of_primary(parts, user)
    of_sentinels: Options = {
        name: value for name, value in options.items() if name.startswith("ssl_")
    }
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [_host(host) for host in hosts.split(",")],
        sentinel_kwargs={
            **of_sentinels,
            **_keepalive(),
            **_defaults(),
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
            "username": query.get("sentinel_username"),
            "password": query.get("sentinel_password"),
            "ssl": tls,
        },
    )
    name = unquote(parts.path.strip("/"))
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        name, sentinels, ssl=tls, **options
    )
    _check(pool)
    closings = (pool.aclose, *(each.aclose for each in sentinels.sentinels))
    return Server(f"sentinel://{hosts}/{name}", Redis(connection_pool=pool), closings)


def _options_of_primary(parts: SplitResult, user: str) -> Options:
    """What redis-py makes of the user and the query; host and port are the sentinels' to tell."""
    options: Options = dict(parse_url(f"redis://{user}@primary?{parts.query}"))
    for ours in ("host", "ssl", "sentinel_username", "sentinel_password"):
        options.pop(ours, None)
    return {**_keepalive(), **_defaults(), **options, **_OURS}


def _defaults() -> Options:
    """What the URL's query may say otherwise.

    Trying once more is safe: our scripts do the same when they are run twice.
    """
    return {
        "socket_timeout": ANSWER_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry": Retry(NoBackoff(), ONCE_MORE, (RedisConnectionError,)),
        "retry_on_error": [RedisConnectionError],  # redis-py 5 wants to be told twice
        "protocol": 2,  # what every server and every proxy before one understands
    }


_OURS: Options = {"decode_responses": False}  # records are bytes, whatever the query says


def _keepalive() -> Options:
    """Firewalls forget a connection that is silent, and tell neither end."""
    options = {
        getattr(socket, name): value for name, value in KEEPALIVE.items() if hasattr(socket, name)
    }
    return {"socket_keepalive": True, "socket_keepalive_options": options}


def _check(pool: ConnectionPool) -> None:
    """Whether a connection can be made of those options, without making it."""
    pool.make_connection()  # type: ignore[no-untyped-call]


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path:
        raise ValueError("no host")
    return parts.hostname, parts.port or SENTINEL_PORT


def _place(parts: SplitResult) -> str:
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host = parts.hostname or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{parts.port or 6379}{parts.path.rstrip('/')}"

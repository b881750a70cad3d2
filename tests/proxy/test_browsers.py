"""What a browser may send for a page, and what it may not: every combination of what decides it.

The rules of contract 3.2 stand here once more, as a table of what the parts of a request are.
Host is looked at first; then who asks, which Origin and Sec-Fetch-Site tell together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import pytest

from tests.conftest import STATIC, Proxy, Serving
from tests.wire import Message, Peer, Upstream, answer
from tokenproxy.proxy.guard import Guard
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.hosts import Listener
from tokenproxy.proxy.request import Denied, OptionsAsked, Preflight, Request
from tokenproxy.proxy.route import Matched, RouteTable
from tokenproxy.settings.route import Route

PAGE = "https://app.example"
SAFE = {"GET", "HEAD"}
PREFLIGHT = "preflight"

# What a Host is, for the proxy at `{port}`.
HOSTS: dict[tuple[str, ...], str] = {
    ("127.0.0.1:{port}",): "ours",
    ("localhost:{port}",): "ours",
    ("LocalHost:{port}",): "ours",
    ("[::1]:{port}",): "ours",
    ("shop.localhost:{port}",): "ours",
    ("named.example",): "ours",  # by `allowed_hosts`
    ("named.example:1",): "ours",
    ("evil.example",): "foreign",
    ("evil.example:{port}",): "foreign",
    ("localhost",): "foreign",
    ("localhost:1",): "foreign",
    ("127.0.0.1",): "foreign",
    ("127.0.0.1.evil.example:{port}",): "foreign",
    ("evil.localhost.example:{port}",): "foreign",
    (): "none",
    ("",): "none",
    ("localhost:{port}", "localhost:{port}"): "none",
}

# Who an Origin says that asks, of a request whose Host is `{host}` in lower case.
ORIGINS: dict[tuple[str, ...], str] = {
    (): "nobody",
    ("{scheme}://{host}",): "own",
    ("{scheme}://{host}0",): "foreign",
    ("{other_scheme}://{host}",): "foreign",
    ("{scheme}://{upper_host}",): "foreign",  # no browser writes one so
    ("{scheme}://{host}.evil.example",): "foreign",
    ("{scheme}://other.{host}",): "foreign",
    ("https://evil.example",): "foreign",
    ("null",): "foreign",
    ("",): "foreign",
    (PAGE,): "listed",
    (PAGE + ":443",): "listed",
    (PAGE + ":8443",): "foreign",
    ("http://app.example",): "foreign",
    ("HTTPS://app.example",): "foreign",
    ("{scheme}://{host}", "{scheme}://{host}"): "foreign",
    (PAGE, "https://evil.example"): "foreign",
    (f"{PAGE} https://evil.example",): "foreign",
}

# What Sec-Fetch-Site adds.
SITES: dict[tuple[str, ...], str] = {
    (): "nothing",
    ("same-origin",): "nothing",
    ("from-the-future",): "nothing",
    ("none",): "typed in",
    ("same-site",): "elsewhere",
    ("cross-site",): "elsewhere",
}

# Whether it passes: by GET and HEAD, and by any other method.
RULES = {
    ("nobody", "nothing"): (True, True),
    ("nobody", "typed in"): (True, False),
    ("nobody", "elsewhere"): (False, False),
    ("own", "nothing"): (True, True),
    ("own", "typed in"): (True, False),
    ("own", "elsewhere"): (True, True),
    ("listed", "nothing"): (True, True),
    ("listed", "typed in"): (True, False),
    ("listed", "elsewhere"): (True, True),
    ("foreign", "nothing"): (False, False),
    ("foreign", "typed in"): (False, False),
    ("foreign", "elsewhere"): (False, False),
}

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", PREFLIGHT]
ASKS: Header = (b"Access-Control-Request-Method", b"PUT")
SWITCH: list[Header] = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]


@dataclass(frozen=True)
class Row:
    """One combination; `method` may also be a preflight."""

    host: tuple[str, ...]
    origin: tuple[str, ...]
    site: tuple[str, ...]
    method: str
    upgrade: bool

    def expected(self, *, listing: bool) -> str:
        """What the proxy makes of it, on a route that lists PAGE or none."""
        if HOSTS[self.host] != "ours":
            return "bad_request" if HOSTS[self.host] == "none" else "host_not_allowed"
        asks = ORIGINS[self.origin]
        if asks == "listed" and not listing:
            asks = "foreign"
        safe, unsafe = RULES[asks, SITES[self.site]]
        if not (safe if self.method in SAFE else unsafe):
            return "origin_not_allowed"
        return "preflight" if (self.method, asks) == (PREFLIGHT, "listed") else "passes"

    def request(self, port: int, scheme: str) -> Request:
        hosts = [host.format(port=port) for host in self.host]
        host = hosts[0] if hosts else "localhost"
        words = {
            "scheme": scheme,
            "other_scheme": "https" if scheme == "http" else "http",
            "host": host.lower(),
            "upper_host": host.upper() if host.upper() != host.lower() else f"X{host}",
        }
        origins = [origin.format(**words) for origin in self.origin]
        named = (("Host", hosts), ("Origin", origins), ("Sec-Fetch-Site", self.site))
        fields = [(name.encode(), value.encode()) for name, values in named for value in values]
        fields += [ASKS] * (self.method == PREFLIGHT) + SWITCH * self.upgrade
        method = "OPTIONS" if self.method == PREFLIGHT else self.method
        return Request(method.encode(), b"/x", fields, "1.1", has_body=False)


def rows(hosts: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    for values in product(hosts, ORIGINS, SITES, METHODS, (False, True)):
        yield Row(*values)


def outcome(guard: Guard, request: Request) -> str:
    match guard.judge(request):
        case Matched():
            return "passes"
        case OptionsAsked() | Preflight():
            return "preflight"
        case Denied(code):
            return str(code.value)


@pytest.mark.parametrize("host", HOSTS, ids=" and ".join)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("listing", [False, True], ids=["no page", "a page"])
def test_the_guard_judges_every_combination_by_the_table(
    host: tuple[str, ...], scheme: str, listing: bool
) -> None:
    cors = {"origins": [PAGE] if listing else []}
    route = Route.model_validate({"upstream": "http://localhost:9", "name": "c", "cors": cors})
    listener = Listener((("127.0.0.1", 8080),), scheme)
    guard = Guard(RouteTable([route]), listener, ("named.example",))

    wrong = []
    for row in rows([host]):
        request = row.request(8080, scheme)
        found, expected = outcome(guard, request), row.expected(listing=listing)
        if found != expected or (expected != "passes" and is_admitted(guard, request)):
            wrong.append((row, expected, found))

    assert wrong == []


def is_admitted(guard: Guard, request: Request) -> bool:
    """By the shorter way, which requests take whose fields have come before."""
    admission = guard.admission(request.headers)
    if admission is None:
        return False
    return guard.admit(admission, request.method, request.target) is not None


# -- over sockets ------------------------------------------------------------------------------

STATUSES = {
    "bad_request": 400,
    "host_not_allowed": 421,
    "origin_not_allowed": 403,
    "passes": 200,
    "preflight": 204,
}
STEP = 101  # every so many rows: a prime, so that each value of each column comes


async def test_nothing_that_is_refused_reaches_the_upstream(
    serving: Serving, upstream: Upstream
) -> None:
    route = {"upstream": upstream.url, "credential": "c", "cors": {"origins": [PAGE]}}
    upstream.act = answers
    proxy = await serving(
        {"credentials": {"c": STATIC}, "routes": [route], "allowed_hosts": ["named.example"]}
    )
    sample = list(rows(list(HOSTS)))[::STEP]
    assert {row.expected(listing=True) for row in sample} == set(STATUSES)

    wrong, passed = [], 0
    for row in sample:
        expected = row.expected(listing=True)
        passed += expected == "passes"
        answered = await sent(proxy, row.request(proxy.port, "http"))
        if answered.status != STATUSES[expected] or len(upstream.requests) != passed:
            wrong.append((row, expected, answered.status))
            passed = len(upstream.requests)

    assert wrong == []


async def answers(peer: Peer, request: Message) -> None:
    """200 to anything, with no body: HEAD may have none."""
    await peer.send(answer())


async def sent(proxy: Proxy, request: Request) -> Message:
    """The answer to it on a connection of its own."""
    lines = [b"%b %b HTTP/1.1" % (request.method, request.target)]
    lines += [b"%b: %b" % field for field in request.headers]
    async with await proxy.connect() as peer:
        await peer.send(b"\r\n".join(lines) + b"\r\n\r\n")
        return await peer.answer(to_head=request.method == b"HEAD")

"""Which route a request takes, and the target that its upstream gets (contract 1, 3.2).

The raw target chooses, and its normal form must choose the same: where the two differ,
the upstream would see another path than the one that was judged here. The target that goes
on is the upstream's base path and what follows the prefix, put together byte for byte and
never by URL resolution: `//evil/` stays a path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tokenproxy.errors import ConfigError
from tokenproxy.proxy.answer_headers import AnswerRules
from tokenproxy.proxy.cors import Cors
from tokenproxy.proxy.headers import Header, RequestRules
from tokenproxy.proxy.inject import Injector
from tokenproxy.proxy.limits import Limits
from tokenproxy.proxy.location import Home, Locations
from tokenproxy.proxy.matching import RefreshRules
from tokenproxy.proxy.target import climbs, fault, is_plain, normal_form, split_port
from tokenproxy.settings.access import DEFAULT_PORTS, Requests
from tokenproxy.settings.route import Route
from tokenproxy.settings.upstream import unix_path

LOCALHOST = "localhost"
_AT_ONCE = 1 << 16  # bytes of a body that are kept in memory as they came


class CompiledRoute:
    """A route with all worked out that is the same for every request.

    `prefix` and `base` (the upstream's path) are without a trailing slash, so `/` is empty;
    `host` is in lower case and without port; `authority` is the upstream's own Host. An upstream
    on a unix socket has a `unix_path`; it speaks http, and its name is a word for its Host alone.
    `limits` and `cors` are None where the route has none; one that `is_open` refuses no request
    that it has matched, but for the client key's sake.
    """

    __slots__ = (
        "_strips",
        "_whole",
        "answers",
        "authority",
        "base",
        "cors",
        "headers",
        "host",
        "injector",
        "is_open",
        "keeps_own",
        "limits",
        "name",
        "origin",
        "overwrites_authorization",
        "prefix",
        "refresh",
        "rejects_own",
        "scheme",
        "settings",
        "takes_whole",
        "unix_path",
        "upstream_host",
        "upstream_port",
    )

    def __init__(self, name: str, settings: Route) -> None:
        self.unix_path = unix_path(settings.upstream)
        upstream = urlsplit(_url(settings))
        self.name = name
        self.settings = settings
        self.prefix = settings.path.encode().removesuffix(b"/")
        self.host = None if settings.host is None else _host_name(settings.host)
        self.scheme = upstream.scheme
        self.upstream_host = upstream.hostname or ""
        self.upstream_port = upstream.port or DEFAULT_PORTS[upstream.scheme]
        self.authority = _authority(self.scheme, self.upstream_host, self.upstream_port)
        self.origin = f"{self.scheme}://{self.authority.decode('ascii')}"
        self._strips = settings.strip_path
        self._whole = upstream.path.encode() or b"/"  # for the prefix itself, nothing after it
        self.base = upstream.path.encode().removesuffix(b"/")
        is_limited = (settings.allow, settings.deny) != (Requests(), Requests())
        self.limits = Limits(settings.allow, settings.deny) if is_limited else None
        self.headers = RequestRules(
            authority=self.authority,
            forwarded=settings.forwarded,
            via=settings.via,
            preserve_host=settings.preserve_host,
            changes=settings.headers,
            drops=self.limits.bypasses if self.limits is not None else (),
        )
        self.injector = Injector(settings.inject if settings.credential is not None else ())
        self.keeps_own = settings.client_authorization == "keep"
        self.rejects_own = settings.client_authorization == "reject"
        self.overwrites_authorization = (
            settings.client_authorization == "overwrite"
            and b"authorization" in self.injector.header_names
        )
        self.cors = Cors(settings.cors) if settings.cors.origins else None
        self.is_open = self.limits is None and not self.rejects_own
        self.answers = self._answers()
        self.refresh = RefreshRules(settings.refresh_on)
        replay = settings.replay
        self.takes_whole = min(replay.memory, replay.max_body, _AT_ONCE)

    def _answers(self) -> AnswerRules:
        home = Home(base=self.base, prefix=self.prefix, strips=self._strips)
        locations = Locations(
            home,
            scheme=self.scheme.encode(),
            authority=self.authority,
            # A caller that has brought its own parameter needs it in the next request, too.
            without_token=bytes if self.keeps_own else self.injector.strip_query,
        )
        return AnswerRules(self.settings, home, locations)

    def rest(self, path: bytes) -> bytes:
        """What follows the prefix in a path of this route: empty, or it begins with a slash."""
        return path[len(self.prefix) :]

    def join(self, path: bytes) -> bytes:
        """The path that the upstream gets."""
        if not self._strips:
            return self.base + path
        rest = self.rest(path)
        return self.base + rest if rest else self._whole

    def leaves(self, path: bytes) -> bool:
        """Whether dot segments lead out of the prefix or the base; above `/` there is nothing."""
        return bool(self.prefix or self.base) and climbs(self.rest(path))

    def __repr__(self) -> str:
        return f"CompiledRoute({self.name!r})"


@dataclass(slots=True)
class Matched:
    """The route that a request takes, and the raw target for its upstream.

    `shared` is what the answer tells a page of another site that has asked.

    Not frozen, like all that is made for every request: a frozen one takes twice as long.
    """

    route: CompiledRoute
    target: bytes
    shared: Sequence[Header] = ()


@dataclass(frozen=True, slots=True)
class NoRoute:
    """No route has such a path and host."""


@dataclass(frozen=True, slots=True)
class Bad:
    """The target may not be sent anywhere; `detail` is a sentence for the caller."""

    detail: str


class RouteTable:
    """All routes: one with a host wins over one without, then the longest prefix does.

    Raises:
        ConfigError: two routes have the same host and path.
    """

    __slots__ = ("_any_host", "_by_host", "routes")

    def __init__(self, settings: Sequence[Route]) -> None:
        named = zip(route_names(settings), settings, strict=True)
        self.routes = tuple(CompiledRoute(name, route) for name, route in named)
        hosts = {route.host for route in self.routes if route.host is not None}
        self._by_host = {
            host: _Prefixes([route for route in self.routes if route.host == host])
            for host in hosts
        }
        self._any_host = _Prefixes([route for route in self.routes if route.host is None])

    def match(self, host: bytes | None, raw_target: bytes) -> Matched | NoRoute | Bad:
        """The way of an origin-form target; `host` is the request's Host, as it came."""
        detail = fault(raw_target)
        if detail is not None:
            return Bad(detail)
        path, mark, query = raw_target.partition(b"?")
        route = self._select(host, path)
        if not is_plain(path):
            detail = self._ambiguity(host, path, route)
            if detail is not None:
                return Bad(detail)
        return NoRoute() if route is None else Matched(route, route.join(path) + mark + query)

    def _select(self, host: bytes | None, path: bytes) -> CompiledRoute | None:
        if self._by_host and host is not None:
            prefixes = self._by_host.get(split_port(host)[0].lower())
            route = prefixes.find(path) if prefixes is not None else None
            if route is not None:
                return route
        return self._any_host.find(path)

    def _ambiguity(
        self, host: bytes | None, path: bytes, route: CompiledRoute | None
    ) -> str | None:
        if self._select(host, normal_form(path)) is not route:
            return "The path would take another route when decoded."
        if route is not None and route.leaves(path):
            return "The path holds dot segments that lead out of its route."
        if route is not None and route.limits is not None and route.limits.is_ambiguous(path):
            return "The path would be judged otherwise when decoded."
        return None


class _Prefixes:
    """Routes by prefix, found from the longest to the shortest that can fit."""

    __slots__ = ("_longest", "_routes")

    def __init__(self, routes: Sequence[CompiledRoute]) -> None:
        self._routes: dict[bytes, CompiledRoute] = {}
        for route in routes:
            if route.prefix in self._routes:
                other = self._routes[route.prefix].name
                raise ConfigError(
                    f"routes '{other}' and '{route.name}' have the same host and path"
                )
            self._routes[route.prefix] = route
        self._longest = max(map(len, self._routes), default=0)

    def find(self, path: bytes) -> CompiledRoute | None:
        # One byte more than the longest prefix tells whether that prefix ends a segment here,
        # and bounds the work for a path of nothing but slashes.
        path = path[: self._longest + 1]
        while path and path not in self._routes:
            path = path[: path.rfind(b"/")]
        return self._routes.get(path)


def route_names(routes: Sequence[Route]) -> list[str]:
    """A name for each: its own, else its credential's or `route`, made unique (`shop-2`)."""
    taken = {route.name for route in routes}
    names: list[str] = []
    for route in routes:
        name = route.name or _free_name(route.credential or "route", taken)
        taken.add(name)
        names.append(name)
    return names


def _free_name(wanted: str, taken: set[str | None]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def _url(settings: Route) -> str:
    """The upstream's URL; for one on a socket, as it is asked by its name."""
    if unix_path(settings.upstream) is None:
        return settings.upstream
    return f"http://{settings.upstream_host or LOCALHOST}"


def _host_name(host: str) -> bytes:
    return split_port(host.lower().encode())[0]


def _authority(scheme: str, host: str, port: int) -> bytes:
    """RFC 9110 7.2: the port is left out where it is the scheme's own."""
    name = f"[{host}]" if ":" in host else host
    return (name if port == DEFAULT_PORTS[scheme] else f"{name}:{port}").encode()

"""Who may call: the checks of contract 3.2 that come before the token, in its order.

| station             | refuses                                              | answer            |
|---------------------|------------------------------------------------------|-------------------|
| framing             | a body on a request that wants to switch protocols   | 400, close        |
| method              | CONNECT, TRACE, TRACK, PRI                           | 405, close        |
| Host                | none or several; one that is malformed               | 400               |
|                     | one that is not ours (DNS rebinding)                 | 421               |
| target              | `*` for all but OPTIONS; what `target.fault` tells   | 400               |
| route               | a path that none has                                 | 404               |
| preflight           | nothing: answered where the page may ask             | 204               |
| Origin              | what a browser sends from another site, unless the   | 403               |
|                     | route's `cors` lets it in                            |                   |
| client key          | a request without it, where there is one             | 401               |
| method              | what the route's `allow` and `deny` let nobody do    | 405               |
| path                | where they let nobody go                             | 403               |
| own credential      | one of the caller's, where the route says `reject`   | 403               |

A station is a function that gives a `Denied`, or None to let the request pass. Stations that
a route's own settings call for come last, since they need the route. From the Origin on, a page
that may ask is told why it is refused.

**Origin.** "This proxy" is the request's own Host under the listener's scheme, not any name
that the proxy has: to a browser http://other.localhost:8080 is another site than
http://localhost:8080, and a page that some route serves under the one has no business with
the other. Host has been checked by then, so a rebound name cannot vouch for itself.
"""

from collections.abc import Sequence
from dataclasses import replace

from tokenproxy.proxy.answers import METHODS, ErrorCode
from tokenproxy.proxy.client_key import ClientKey, Presented
from tokenproxy.proxy.cors import Cors, is_preflight, preflight_fields
from tokenproxy.proxy.headers import Header, NameTable, nominated
from tokenproxy.proxy.hosts import FOREIGN_HOST, Hosts, Listener
from tokenproxy.proxy.limits import Limits
from tokenproxy.proxy.request import Denied, OptionsAsked, Preflight, Request, Verdict
from tokenproxy.proxy.route import Bad, CompiledRoute, Matched, NoRoute, RouteTable
from tokenproxy.proxy.target import Absolute, absolute, split
from tokenproxy.secret import Secret
from tokenproxy.settings.access import Requests

_USUAL_METHODS = frozenset(METHODS.split(b", "))
_REFUSED_METHODS = frozenset({b"CONNECT", b"PRI", b"TRACE", b"TRACK"})
_SAFE_METHODS = frozenset({b"GET", b"HEAD"})
_ELSEWHERE = frozenset({b"cross-site", b"same-site"})

WATCHED = frozenset({b"connection", b"host", b"origin", b"sec-fetch-site", b"upgrade"})

Watched = dict[bytes, list[bytes]]


class Admission:
    """What the fields of a request say about it: its Host, and what a browser may ask with them.

    `key` is where they present the client key, None where there is none to be presented.
    """

    __slots__ = ("host", "key", "safe", "unsafe")

    def __init__(self, host: bytes, *, safe: bool, unsafe: bool, key: Presented | None) -> None:
        self.host = host
        self.safe = safe
        self.unsafe = unsafe
        self.key = key


class Guard:
    """The checks for one listener, compiled; `scheme` is what callers speak there."""

    __slots__ = ("_hosts", "_key", "_origin_prefix", "_table", "scheme")

    def __init__(
        self,
        table: RouteTable,
        listener: Listener,
        allowed_hosts: Sequence[str] = (),
        client_key: Secret | None = None,
    ) -> None:
        named = [host.lower().encode() for host in allowed_hosts]
        named += [route.host for route in table.routes if route.host is not None]
        self._table = table
        self.scheme = listener.scheme
        self._key = None if client_key is None else ClientKey(client_key)
        self._hosts = Hosts(listener, named)
        self._origin_prefix = listener.scheme.encode() + b"://"

    def judge(self, request: Request) -> Verdict:
        """The request's route, or what it is answered instead."""
        seen = _watched(request.headers)
        denied = _framing(request, seen) or _method(request.method)
        if denied is not None:
            return denied
        target, hosts = request.target, seen.get(b"host")
        form = None if target[:1] == b"/" else absolute(target)
        denied = self._host(hosts, request.version) or self._authority(form)
        if denied is not None:
            return denied
        if target == b"*" and request.method == b"OPTIONS":
            return OptionsAsked()
        host = hosts[0] if hosts else None
        if form is not None:  # RFC 9112 3.2.2: its authority counts instead of Host
            host, target = form.authority, form.target
            request = replace(request, target=target)
        way = self._table.match(host, target)
        return self._judge(way, request, seen, host) if isinstance(way, Matched) else _refusal(way)

    def _judge(self, way: Matched, request: Request, seen: Watched, host: bytes | None) -> Verdict:
        """What the route that it takes says of it."""
        shared = self._page(request.method, seen, host, way.route.cors)
        if shared is None:
            return Denied(ErrorCode.ORIGIN_NOT_ALLOWED, _FOREIGN_PAGE, route=way.route.name)
        if shared:
            way.shared = shared
            if is_preflight(request.method, request.headers):
                return _preflight(way, request.headers)
        if self._key is None and way.route.is_open:
            return way
        return self._key_refusal(way, request.headers) or _refused_by_route(way, request) or way

    def host_refusal(self, request: Request) -> Denied | None:
        """What its framing, method, Host and authority say, whoever is to answer it."""
        seen = _watched(request.headers)
        form = None if request.target[:1] == b"/" else absolute(request.target)
        return (
            _framing(request, seen)
            or _method(request.method)
            or self._host(seen.get(b"host"), request.version)
            or self._authority(form)
        )

    def page_refusal(self, request: Request) -> Denied | None:
        """What a browser says against a request that only our own pages may send."""
        seen = _watched(request.headers)
        hosts = seen.get(b"host")
        if self._page(request.method, seen, hosts[0] if hosts else None, None) is None:
            return FOREIGN_PAGE
        return None

    def admission(self, headers: Sequence[Header]) -> Admission | None:
        """What these fields let any request in HTTP/1.1 do that comes with them and no body.

        None where there is more to know of such a request than its method and its target.
        """
        seen = _watched(headers)
        hosts = seen.get(b"host")
        if b"upgrade" in seen or hosts is None or self._host(hosts, "1.1") is not None:
            return None
        host = hosts[0]
        return Admission(
            host,
            safe=self._page(b"GET", seen, host, None) is not None,
            unsafe=self._page(b"POST", seen, host, None) is not None,
            key=None if self._key is None else self._key.presented(headers),
        )

    def admit(self, admission: Admission, method: bytes, target: bytes) -> Matched | None:
        """The way of a request in origin-form; None where `judge` has to look at it."""
        if not (admission.safe if method in _SAFE_METHODS else admission.unsafe):
            return None
        if target[:1] != b"/" or method not in _USUAL_METHODS:
            return None
        way = self._table.match(admission.host, target)
        if not isinstance(way, Matched):
            return None
        route, key = way.route, admission.key
        if key is not None and not key.suffices(overwrites=route.overwrites_authorization):
            return None
        if route.is_open:
            return way
        return way if not route.rejects_own and _is_within(route, method, target) else None

    def _host(self, hosts: list[bytes] | None, version: str) -> Denied | None:
        if hosts is None:
            # RFC 9112 3.2. A browser always sends Host, so an HTTP/1.0 caller without is none.
            return None if version == "1.0" else _NO_HOST
        if len(hosts) > 1:
            return _SEVERAL_HOSTS
        return self._hosts.refusal(hosts[0])

    def _authority(self, form: Absolute | None) -> Denied | None:
        if form is None:
            return None
        if form.scheme + b"://" != self._origin_prefix:
            return FOREIGN_HOST
        return self._hosts.refusal(form.authority)

    def _page(
        self, method: bytes, seen: Watched, host: bytes | None, cors: Cors | None
    ) -> Sequence[Header] | None:
        """What the answer tells the page of another site that asks; None where it may not.

        Nothing, where this comes from no browser at all, from our own page, or from the address
        bar. A preflight is judged like any other request.
        """
        origins, sites = seen.get(b"origin"), seen.get(b"sec-fetch-site", ())
        if b"none" in sites and method not in _SAFE_METHODS:
            return None
        if origins is None:
            return () if _ELSEWHERE.isdisjoint(sites) else None
        if self._is_own(origins, host):
            return ()
        return cors.shared_with(origins[0]) if cors is not None and len(origins) == 1 else None

    def _key_refusal(self, way: Matched, headers: Sequence[Header]) -> Denied | None:
        if self._key is None:
            return None
        presented = self._key.presented(headers)
        if presented.suffices(overwrites=way.route.overwrites_authorization):
            return None
        code = ErrorCode.CLIENT_KEY_REQUIRED
        return Denied(code, _NO_KEY, route=way.route.name, shared=way.shared)

    def _is_own(self, origins: list[bytes], host: bytes | None) -> bool:
        if len(origins) > 1 or host is None:
            return False
        own = self._origin_prefix + host.lower()
        return origins[0] == own or origins[0] == own.removesuffix(self._hosts.default_port)


def _watched_name(name: bytes) -> bytes | None:
    return name if name in WATCHED else None


_WATCHED_NAMES = NameTable(_watched_name)


def _watched(headers: Sequence[Header]) -> Watched:
    """The values of the fields that decide here, by lower-case name, in their order."""
    seen: Watched = {}
    for field in headers:
        name = _WATCHED_NAMES[field[0]]
        if name is not None:
            if name in seen:
                seen[name].append(field[1])
            else:
                seen[name] = [field[1]]
    return seen


def _framing(request: Request, seen: Watched) -> Denied | None:
    if not request.has_body or b"upgrade" not in seen:
        return None
    switches = b"upgrade" in nominated(seen.get(b"connection", ()))
    return UPGRADE_WITH_BODY if switches else None


def _method(method: bytes) -> Denied | None:
    """In any case: a method's case counts (RFC 9110 9.1), but not to every server."""
    if method in _USUAL_METHODS or method.upper() not in _REFUSED_METHODS:
        return None
    return REFUSED_METHOD


def _preflight(way: Matched, headers: Sequence[Header]) -> Preflight:
    limits = way.route.limits or _NO_LIMITS
    fields = preflight_fields(
        way.shared,
        headers,
        methods=limits.methods,
        may_have=lambda method: _method(method) is None and limits.has_method(method),
    )
    return Preflight(fields, way.route.name)


def _refused_by_route(way: Matched, request: Request) -> Denied | None:
    """What the route's own settings say of a request in origin-form."""
    return _limits(way, request.method, request.target) or _client_authorization(
        way, request.headers
    )


def _limits(way: Matched, method: bytes, target: bytes) -> Denied | None:
    limits, name, shared = way.route.limits, way.route.name, way.shared
    if limits is None:
        return None
    if not limits.has_method(method):
        allow = b", ".join(limits.methods)
        code = ErrorCode.METHOD_NOT_ALLOWED
        return Denied(code, _ROUTES_METHOD, allow=allow, route=name, shared=shared)
    if not limits.has_path(split(target)[0]):
        return Denied(ErrorCode.PATH_NOT_ALLOWED, _ROUTES_PATH, route=name, shared=shared)
    return None


def _is_within(route: CompiledRoute, method: bytes, target: bytes) -> bool:
    limits = route.limits
    return limits is None or (limits.has_method(method) and limits.has_path(split(target)[0]))


def _client_authorization(way: Matched, headers: Sequence[Header]) -> Denied | None:
    route = way.route
    if route.rejects_own and route.injector.finds_own(headers, way.target):
        code = ErrorCode.CLIENT_AUTHORIZATION_REJECTED
        return Denied(code, _OWN_CREDENTIAL, route=route.name, shared=way.shared)
    return None


def _refusal(way: NoRoute | Bad) -> Denied:
    match way:
        case NoRoute():
            return _NO_ROUTE
        case Bad(detail):
            return Denied(ErrorCode.BAD_REQUEST, detail)


UPGRADE_WITH_BODY = Denied(
    ErrorCode.BAD_REQUEST, "A request to switch protocols may not have a body.", close=True
)
REFUSED_METHOD = Denied(
    ErrorCode.METHOD_NOT_ALLOWED,
    "This method is not for a proxy of this kind.",
    close=True,
    allow=METHODS,
)
_NO_HOST = Denied(ErrorCode.BAD_REQUEST, "The request has no Host.", close=True)
_SEVERAL_HOSTS = Denied(ErrorCode.BAD_REQUEST, "The request has more than one Host.", close=True)
_NO_ROUTE = Denied(ErrorCode.NO_ROUTE, "No route has this host and path.")
_NO_LIMITS = Limits(Requests(), Requests())
_ROUTES_METHOD = "The route lets no request with this method through."
_ROUTES_PATH = "The route lets no request for this path through."
_NO_KEY = (
    "The request needs the proxy's client key: send it as X-Tokenproxy-Key, or where this route "
    "sets its own Authorization, in that of the request."
)
_FOREIGN_PAGE = "A page of another site may not use this proxy."
FOREIGN_PAGE = Denied(ErrorCode.ORIGIN_NOT_ALLOWED, _FOREIGN_PAGE)
_OWN_CREDENTIAL = (
    "The request holds a credential where this route puts its own: send it without one."
)

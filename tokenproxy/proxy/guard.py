"""Who may call: the checks of contract 3.2 that come before the token, in its order.

| station             | refuses                                              | answer            |
|---------------------|------------------------------------------------------|-------------------|
| framing             | a body on a request that wants to switch protocols   | 400, close        |
| method              | CONNECT, TRACE, TRACK, PRI                           | 405, close        |
| Host                | none or several; one that is malformed               | 400               |
|                     | one that is not ours (DNS rebinding)                 | 421               |
| target              | `*` for all but OPTIONS; what `target.fault` tells   | 400               |
| route               | a path that none has                                 | 404               |
| Origin              | what a browser sends from another site               | 403               |
| own credential      | one of the caller's, where the route says `reject`   | 403               |

A station is a function that gives a `Denied`, or None to let the request pass. Stations that
a route's own settings call for come last, since they need the route.

**Host.** Compared exactly and in full; only case does not count. No trailing dot, no
userinfo, no other spelling of an address. The names that the operator has listed (a route's
`host`, `allowed_hosts`) are good on every port unless they name one, since a port may be mapped
on the way here. The names that everybody has (`localhost`, the addresses) need the port too.

**Origin.** "This proxy" is the request's own Host under the listener's scheme, not any name
that the proxy has: to a browser http://other.localhost:8080 is another site than
http://localhost:8080, and a page that some route serves under the one has no business with
the other. Host has been checked by then, so a rebound name cannot vouch for itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenproxy.proxy.answers import METHODS, ErrorCode
from tokenproxy.proxy.headers import Header, NameTable, nominated
from tokenproxy.proxy.route import DEFAULT_PORTS, Bad, Matched, NoRoute, RouteTable
from tokenproxy.proxy.target import Absolute, absolute, split_port

_USUAL_METHODS = frozenset(METHODS.split(b", "))
_REFUSED_METHODS = frozenset({b"CONNECT", b"PRI", b"TRACE", b"TRACK"})
_SAFE_METHODS = frozenset({b"GET", b"HEAD"})
_ELSEWHERE = frozenset({b"cross-site", b"same-site"})

# RFC 3986 3.2.2 and 3.2.3: all that a host and port are made of. `@` is not: RFC 9110 4.2.4
# has userinfo treated as an error.
_HOST_CHARS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+,;=:[]"
_LABEL_CHARS = b"abcdefghijklmnopqrstuvwxyz0123456789-_."

_WATCHED = frozenset({b"connection", b"host", b"origin", b"sec-fetch-site", b"upgrade"})

Watched = dict[bytes, list[bytes]]


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a request came in: host (an address without brackets, or a name) and port.

    A listener without addresses is a unix socket.
    """

    addresses: tuple[tuple[str, int], ...]
    scheme: str = "http"

    @property
    def is_unix(self) -> bool:
        """Whether callers come by a file, where no Host can be wrong."""
        return not self.addresses


@dataclass(slots=True)
class Request:
    """A request's head, as it came. `version` is "1.0" or "1.1"."""

    method: bytes
    target: bytes
    headers: Sequence[Header]
    version: str
    has_body: bool


@dataclass(frozen=True, slots=True)
class Denied:
    """The request goes nowhere. `close`: neither does another one on its connection.

    `allow` is the value of an Allow field; `route` is a name, once one has been chosen.
    """

    code: ErrorCode
    detail: str
    close: bool = False
    allow: bytes | None = None
    route: str | None = None


@dataclass(frozen=True, slots=True)
class OptionsAsked:
    """`OPTIONS *`, which is answered here."""


class Admission:
    """What the fields of a request say about it: its Host, and what a browser may ask with them."""

    __slots__ = ("host", "safe", "unsafe")

    def __init__(self, host: bytes, safe: bool, unsafe: bool) -> None:  # noqa: FBT001 - two of a kind
        self.host = host
        self.safe = safe
        self.unsafe = unsafe


class Guard:
    """The checks for one listener, compiled."""

    __slots__ = ("_hosts", "_origin_prefix", "_table")

    def __init__(
        self, table: RouteTable, listener: Listener, allowed_hosts: Sequence[str] = ()
    ) -> None:
        named = [host.lower().encode() for host in allowed_hosts]
        named += [route.host for route in table.routes if route.host is not None]
        self._table = table
        self._hosts = _Hosts(listener, named)
        self._origin_prefix = listener.scheme.encode() + b"://"

    def judge(self, request: Request) -> Matched | Denied | OptionsAsked:
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
        way = self._table.match(host, target)
        if not isinstance(way, Matched):
            return _refusal(way)
        if not self._may_ask(request.method, seen, host):
            return Denied(ErrorCode.ORIGIN_NOT_ALLOWED, _FOREIGN_PAGE, route=way.route.name)
        return _client_authorization(way, request.headers) or way

    def admission(self, headers: Sequence[Header]) -> "Admission | None":
        """What these fields let any request in HTTP/1.1 do that comes with them and no body.

        None where there is more to know of such a request than its method and its target.
        """
        seen = _watched(headers)
        hosts = seen.get(b"host")
        if b"upgrade" in seen or hosts is None or self._host(hosts, "1.1") is not None:
            return None
        host = hosts[0]
        return Admission(
            host, self._may_ask(b"GET", seen, host), self._may_ask(b"POST", seen, host)
        )

    def admit(self, admission: "Admission", method: bytes, target: bytes) -> Matched | None:
        """The way of a request in origin-form; None where `judge` has to look at it."""
        if not (admission.safe if method in _SAFE_METHODS else admission.unsafe):
            return None
        if target[:1] != b"/" or method not in _USUAL_METHODS:
            return None
        way = self._table.match(admission.host, target)
        return way if isinstance(way, Matched) and not way.route.rejects_own else None

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
            return _FOREIGN_HOST
        return self._hosts.refusal(form.authority)

    def _may_ask(self, method: bytes, seen: Watched, host: bytes | None) -> bool:
        """Whether this comes from no browser at all, from our own page, or from the address bar.

        A preflight is judged like any other request: from another site it ends here.
        """
        origins, sites = seen.get(b"origin"), seen.get(b"sec-fetch-site", ())
        if origins is not None and not self._is_own(origins, host):
            return False
        if b"none" in sites and method not in _SAFE_METHODS:
            return False
        return origins is not None or _ELSEWHERE.isdisjoint(sites)

    def _is_own(self, origins: list[bytes], host: bytes | None) -> bool:
        if len(origins) > 1 or host is None:
            return False
        own = self._origin_prefix + host.lower()
        return origins[0] == own or origins[0] == own.removesuffix(self._hosts.default_port)


class _Hosts:
    """Which Host values are ours."""

    __slots__ = ("_any", "_exact", "_named", "_ports", "_unchecked", "default_port")

    def __init__(self, listener: Listener, named: Iterable[bytes]) -> None:
        default = DEFAULT_PORTS[listener.scheme]
        ports = {port for _, port in listener.addresses}
        names = {b"localhost", b"127.0.0.1", b"[::1]"}
        names |= {_bracketed(host) for host, _ in listener.addresses}
        self.default_port = b":%d" % default
        self._named = frozenset(named)
        self._any = b"*" in self._named
        self._unchecked = listener.is_unix
        self._ports = {b"%d" % port for port in ports}
        self._exact = {b"%b:%b" % (name, port) for name in names for port in self._ports}
        if default in ports:
            self._exact |= names

    def refusal(self, host: bytes) -> Denied | None:
        """None for a Host value that is ours, in any case (RFC 9110 4.2.3)."""
        if host in self._exact or self._unchecked:
            return None
        if not host or host.translate(None, _HOST_CHARS):
            return _MALFORMED_HOST
        host = host.lower()
        if self._any or host in self._exact or host in self._named:
            return None
        name, port = split_port(host)
        if name in self._named or self._is_localhost(name, port):
            return None
        return _FOREIGN_HOST

    def _is_localhost(self, name: bytes, port: bytes | None) -> bool:
        labels = name.removesuffix(b".localhost")
        return (
            labels != name
            and not labels.translate(None, _LABEL_CHARS)
            and all(labels.split(b"."))
            and (port or self.default_port[1:]) in self._ports
        )


def _bracketed(host: str) -> bytes:
    return (f"[{host}]" if ":" in host else host).lower().encode()


def _watched_name(name: bytes) -> bytes | None:
    return name if name in _WATCHED else None


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
    return _REFUSED_METHOD


def _client_authorization(way: Matched, headers: Sequence[Header]) -> Denied | None:
    route = way.route
    if route.rejects_own and route.injector.finds_own(headers, way.target):
        code = ErrorCode.CLIENT_AUTHORIZATION_REJECTED
        return Denied(code, _OWN_CREDENTIAL, route=route.name)
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
_REFUSED_METHOD = Denied(
    ErrorCode.METHOD_NOT_ALLOWED,
    "This method is not for a proxy of this kind.",
    close=True,
    allow=METHODS,
)
_NO_HOST = Denied(ErrorCode.BAD_REQUEST, "The request has no Host.", close=True)
_SEVERAL_HOSTS = Denied(ErrorCode.BAD_REQUEST, "The request has more than one Host.", close=True)
_MALFORMED_HOST = Denied(ErrorCode.BAD_REQUEST, "The request's Host is malformed.", close=True)
_FOREIGN_HOST = Denied(
    ErrorCode.HOST_NOT_ALLOWED,
    "The proxy does not answer to this Host: use its own address, or name it in 'allowed_hosts'.",
)
_NO_ROUTE = Denied(ErrorCode.NO_ROUTE, "No route has this host and path.")
_FOREIGN_PAGE = "A page of another site may not use this proxy."
_OWN_CREDENTIAL = (
    "The request holds a credential where this route puts its own: send it without one."
)

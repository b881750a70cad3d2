"""Which Host a request may bear: against rebound names (contract 3.2).

Compared exactly and in full; only case does not count. No trailing dot, no
userinfo, no other spelling of an address. The names that the operator has listed (a route's
`host`, `allowed_hosts`) are good on every port unless they name one, since a port may be mapped
on the way here. The names that everybody has (`localhost`, the addresses) need the port too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.proxy.request import Denied
from tokenproxy.proxy.target import split_port
from tokenproxy.settings.access import DEFAULT_PORTS

# RFC 3986 3.2.2 and 3.2.3: all that a host and port are made of. `@` is not: RFC 9110 4.2.4
# has userinfo treated as an error.
_HOST_CHARS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+,;=:[]"
_LABEL_CHARS = b"abcdefghijklmnopqrstuvwxyz0123456789-_."


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


class Hosts:
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
        return FOREIGN_HOST

    def _is_localhost(self, name: bytes, port: bytes | None) -> bool:
        labels = name.removesuffix(b".localhost")
        return (
            labels != name
            and not labels.translate(None, _LABEL_CHARS)
            and all(labels.split(b"."))
            and (port or self.default_port[1:]) in self._ports
        )


def _bracketed(host: str) -> bytes:
    """As it stands in a Host; a zone (RFC 4007) is no business of the other side's."""
    host = host.partition("%")[0]
    return (f"[{host}]" if ":" in host else host).lower().encode()


_MALFORMED_HOST = Denied(ErrorCode.BAD_REQUEST, "The request's Host is malformed.", close=True)
FOREIGN_HOST = Denied(
    ErrorCode.HOST_NOT_ALLOWED,
    "The proxy does not answer to this Host: use its own address, or name it in 'allowed_hosts'.",
)

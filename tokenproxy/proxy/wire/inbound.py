"""A request as the parser gives it, and what is wrong with its framing (RFC 9112).

httptools parses strictly; what it lets through and this program does not is refused here:

| it takes                                         | here                               |
|--------------------------------------------------|------------------------------------|
| HTTP/2.0 and HTTP/0.9                            | 505                                |
| RTSP for HTTP                                    | 400                                |
| two spaces between method and target             | 400                                |
| `Transfer-Encoding: gzip, chunked`               | 501                                |
| Transfer-Encoding in HTTP/1.0                    | 400                                |
| a body on a request that switches protocols,     | 400: it would be read as the next  |
| which it leaves unread                           | request                            |
| Proxy-Connection for Connection                  | nothing; the same with a body      |
| a head of any size                               | 431                                |
| extensions of chunks and trailers of any size    | 400 where they have no end         |
| a bare CR or LF before a request line            | nothing: it is dropped             |
"""

from collections.abc import Sequence

from tokenproxy.proxy import framing
from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.proxy.guard import UPGRADE_WITH_BODY
from tokenproxy.proxy.headers import Header, NameTable, nominated
from tokenproxy.proxy.request import Denied, Request
from tokenproxy.proxy.target import named

MAX_FIELDS = 128
MAX_LINE = 16 << 10  # a request line or a field
SUPPORTED = frozenset({"1.1", "1.0"})

FRAMING = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"te"})


def _framing_name(name: bytes) -> bytes | None:
    return name if name in FRAMING else None


_FRAMING_NAMES = NameTable(_framing_name)

_NONE: Sequence[bytes] = ()


class Head:
    """A request's head, and how its body is framed.

    `length` is the body's size in bytes, None where it comes in chunks; `has_body` is False
    where there is none. `upgrades` are the protocols that the caller would switch to, if it
    `may_switch`. `is_last` says that it sends no other request after it, and `may_half_close` that
    it may close its own side and still wants its answer (contract 3.1).
    """

    __slots__ = (
        "codings",
        "expects",
        "has_body",
        "is_last",
        "length",
        "may_half_close",
        "request",
        "takes_trailers",
        "told",
        "upgrades",
    )

    told: tuple[str, str] | None  # method and path, once `tell` has been asked

    @classmethod
    def plain(cls, request: Request, length: int) -> "Head":
        """The head of a request with a body of so many bytes, and with nothing special about it."""
        head = cls.__new__(cls)
        head.request = request
        head.length = length
        head.has_body = length > 0
        head.is_last = head.may_half_close = False
        head.expects = head.takes_trailers = False
        head.codings = _NONE
        head.upgrades = _NONE
        head.told = None
        return head

    def tell(self) -> tuple[str, str]:
        """Method and path as a log names them; `told` from then on."""
        request = self.request
        method = request.method.decode("ascii", "backslashreplace")
        path = named(request.target)
        told = self.told = method, path
        return told

    @property
    def is_plain(self) -> bool:
        """Whether `plain` would say the same of it."""
        return self.request.version == "1.1" and not (
            self.is_last or self.expects or self.takes_trailers or self.codings or self.upgrades
        )

    def __init__(self, request: Request, *, is_last: bool, may_switch: bool = False) -> None:
        self.request = request
        self.is_last = is_last
        self.may_half_close = is_last or request.version == "1.0"
        self.length: int | None = 0
        self.has_body = False
        self.expects = False
        self.takes_trailers = False
        self.codings: Sequence[bytes] = ()
        self.upgrades: Sequence[bytes] = _NONE
        self.told = None
        for field in request.headers:
            name = _FRAMING_NAMES[field[0]]
            if name is not None:
                self._note(name, field[1])
        if self.upgrades and (
            is_last
            or not may_switch
            or request.version == "1.0"
            or not _is_nominated(b"upgrade", request.headers)
        ):
            self.upgrades = _NONE  # RFC 9110 7.8: they are to be ignored

    def _note(self, name: bytes, value: bytes) -> None:
        match name:
            case b"content-length":
                self.length = int(value)  # of digits: the parser has seen to it
                self.has_body = self.request.has_body = self.length > 0
            case b"transfer-encoding":
                self.codings = [*self.codings, value]
                self.length = None
                self.has_body = self.request.has_body = True
            case b"expect":
                self.expects = value.lower() == b"100-continue" and self.request.version == "1.1"
            case b"te":
                self.takes_trailers = b"trailers" in value.lower()
            case _:
                protocols = (each.strip(b" \t") for each in value.split(b","))
                self.upgrades = [*self.upgrades, *protocols]


def _is_nominated(name: bytes, headers: Sequence[Header]) -> bool:
    return name in nominated(value for key, value in headers if key.lower() == b"connection")


def refusal(head: Head, size: int, *, stops: bool) -> Denied | None:
    """What is wrong with a head; `size` is how many bytes of it may have come, at most.

    `stops`: the parser takes no body, whatever the head says of one.
    """
    request = head.request
    if request.version not in SUPPORTED:
        return VERSION
    if head.codings and (denied := _coding_refusal(request.version, head.codings)) is not None:
        return denied
    if stops and head.has_body and request.method != b"CONNECT":  # which goes nowhere anyway
        return UPGRADE_WITH_BODY
    if size > MAX_LINE or len(request.headers) > MAX_FIELDS:
        return _oversize(request.target, request.headers)
    return None


def _coding_refusal(version: str, codings: Sequence[bytes]) -> Denied | None:
    number = (1, 0) if version == "1.0" else (1, 1)
    return framing.refusal(number, [coding.decode("latin-1") for coding in codings])


def _oversize(target: bytes, headers: Sequence[Header]) -> Denied | None:
    lines = (len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_FIELDS or max(lines, default=0) > MAX_LINE or len(target) > MAX_LINE:
        return HEAD_TOO_LARGE
    return framing.oversize(target, headers)


VERSION = Denied(ErrorCode.VERSION_NOT_SUPPORTED, "The proxy speaks HTTP/1.1.", close=True)
HEAD_TOO_LARGE = Denied(ErrorCode.HEAD_TOO_LARGE, "The request's head is too large.", close=True)
MALFORMED = Denied(ErrorCode.BAD_REQUEST, "The request is not well-formed HTTP.", close=True)
UNKNOWN_METHOD = Denied(ErrorCode.NOT_IMPLEMENTED, "The request's method is not known.", close=True)
TOO_SLOW = Denied(ErrorCode.REQUEST_TIMEOUT, "The request did not come in time.", close=True)
FAILED = Denied(
    ErrorCode.INTERNAL_ERROR,
    "The proxy has failed on this request; its log tells more.",
    close=True,
)
OVERLOADED = Denied(
    ErrorCode.OVERLOADED, "The proxy has as many connections as it may have.", close=True
)

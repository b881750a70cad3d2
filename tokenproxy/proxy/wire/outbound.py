"""An answer as the parser gives it: how its body ends, and what is wrong with it (RFC 9112 6.3)."""

from collections.abc import Sequence
from enum import Enum, auto

from tokenproxy.proxy.head import is_clean
from tokenproxy.proxy.headers import Header, NameTable

FIRST_FINAL = 200
SWITCHING = 101
_BODILESS = frozenset({204, 304})
_CONTINUE = 100


class End(Enum):
    """How the end of a body is known."""

    NONE = auto()  # there is no body
    LENGTH = auto()
    CHUNKS = auto()
    CLOSE = auto()


class AnswerHead:
    """The head of an answer. `version` is "1.0" or "1.1"; `end` tells how its body is framed.

    `length` is its Content-Length. `out` is the head that went to a caller in HTTP/1.1 whose
    connection stays open, where it is the same for all of them; `is_accepted` says that no token
    is rejected by it.
    """

    __slots__ = (
        "end",
        "headers",
        "is_accepted",
        "length",
        "out",
        "reason",
        "status",
        "upgrades",
        "version",
    )

    def __init__(self, status: int, reason: bytes, headers: Sequence[Header], version: str) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.version = version
        self.end = End.CLOSE
        self.length = 0
        self.upgrades: Sequence[bytes] = ()
        self.out: bytes | None = None
        self.is_accepted = False

    @property
    def is_final(self) -> bool:
        """Whether it is the answer proper, and none that comes before it (RFC 9110 15.2)."""
        return self.status >= FIRST_FINAL


def _framing_name(name: bytes) -> bytes | None:
    return name if name in _FRAMING else None


_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"upgrade"})
_FRAMING_NAMES = NameTable(_framing_name)
_CHUNKED = b"chunked"
_SUPPORTED = frozenset({"1.1", "1.0"})


def understood(head: AnswerHead, method: bytes) -> bool:
    """Work out how the body of an answer to `method` ends; False where nobody can know."""
    if head.version not in _SUPPORTED or head.status < _CONTINUE:
        return False
    if not is_clean(head.reason, head.headers):
        return False
    codings = []
    for field in head.headers:
        name = _FRAMING_NAMES[field[0]]
        if name is None:
            continue
        if name == b"content-length":
            head.end, head.length = End.LENGTH, int(field[1])
        elif name == b"upgrade":
            head.upgrades = (*head.upgrades, field[1])
        else:
            codings.append(field[1])
    if codings:
        # RFC 9112 6.1: its end, or its bytes, would be taken for something else.
        if head.version == "1.0" or len(codings) > 1 or codings[0].lower() != _CHUNKED:
            return False
        head.end = End.CHUNKS
    if method == b"HEAD" or head.status in _BODILESS or not head.is_final:
        head.end = End.NONE
    # RFC 9110 15.2: one that is not final has no body; what says so would be read as the answer's.
    return head.is_final or not (codings or head.length)

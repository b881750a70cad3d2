"""What of a request's framing and size aiohttp's parser lets through and this program does not.

RFC 9112 6.1 and 6.3: whoever reads a body's end in another place than the upstream does lets a
caller put a request of its own before the next one's.
"""

from collections.abc import Sequence
from itertools import chain

from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.request import Denied

MAX_HEAD = 64 << 10  # a request line and all fields; browsers and clients stay far below

Version = tuple[int, int]


def refusal(version: Version, transfer_encodings: Sequence[str]) -> Denied | None:
    """Why a request's body cannot be told from what follows it, or None.

    `transfer_encodings` are the values of all Transfer-Encoding fields.
    """
    if version not in _VERSIONS:
        return _VERSION
    if not transfer_encodings:
        return None
    if version == (1, 0):
        return _CODING_IN_1_0  # RFC 9112 6.1: its framing is faulty
    if [value.lower() for value in transfer_encodings] == ["chunked"]:
        return None
    return _UNKNOWN_CODING if any(transfer_encodings) else _EMPTY_CODING


def oversize(target: bytes, headers: Sequence[Header]) -> Denied | None:
    """Why a head is too large, or None; the parser itself only limits each field and their number.

    What stands between names and values is not counted.
    """
    size = len(target) + sum(map(len, chain.from_iterable(headers)))
    return _HEAD if size > MAX_HEAD else None


_VERSIONS = frozenset({(1, 0), (1, 1)})
_VERSION = Denied(ErrorCode.VERSION_NOT_SUPPORTED, "The proxy speaks HTTP/1.1.", close=True)
_CODING_IN_1_0 = Denied(
    ErrorCode.BAD_REQUEST, "A request in HTTP/1.0 has no Transfer-Encoding.", close=True
)
_EMPTY_CODING = Denied(ErrorCode.BAD_REQUEST, "The Transfer-Encoding is empty.", close=True)
_HEAD = Denied(ErrorCode.HEAD_TOO_LARGE, "The request's head is too large.", close=True)
_UNKNOWN_CODING = Denied(
    ErrorCode.NOT_IMPLEMENTED, "The only known Transfer-Encoding is 'chunked'.", close=True
)

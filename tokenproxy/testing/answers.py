"""What the issuer's double says, before it is put on the wire: plain values, no network.

An `Answer` is what a request led to; a `Reply` is how that is sent, or a `Silence`.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from tokenproxy.testing.faults import ABSENT, CutShort, GzipBomb, Huge, Odd, SlowBytes, Status

JSON_HEAD = (("Content-Type", "application/json"),)
Head = tuple[tuple[str, str], ...]
PAD = b"x" * (1 << 16)


@dataclass(frozen=True, slots=True)
class Granted:
    """200 and the fields of a JSON object, nested where a name is dotted."""

    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Refused:
    """Another status, and the fields of a JSON object."""

    status: int
    fields: Mapping[str, object]


Answer = Granted | Refused | Status


@dataclass(frozen=True, slots=True)
class Reply:
    """A head and the chunks of a body, `pace` seconds before each.

    Without `whole` the connection is closed after the last chunk, short of the Content-Length.
    """

    status: int
    headers: Head
    chunks: Iterable[bytes]
    pace: float = 0.0
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Silence:
    """The connection is closed and nothing is said."""


def plain(answer: Answer, *, challenge: str) -> Reply:
    """The answer as it should be sent; a refusal with 401 bears the `challenge`."""
    match answer:
        case Status():
            head = (("Content-Type", answer.content_type), *answer.headers)
            return _sized(answer.status, head, answer.body)
        case Granted():
            return _sized(HTTPStatus.OK, JSON_HEAD, _json(answer.fields))
        case Refused(status=HTTPStatus.UNAUTHORIZED):
            head = (*JSON_HEAD, ("WWW-Authenticate", challenge))
            return _sized(answer.status, head, _json(answer.fields))
        case Refused():
            return _sized(answer.status, JSON_HEAD, _json(answer.fields))


def dressed(how: Odd | CutShort | SlowBytes | Huge | GzipBomb, granted: Granted) -> Reply:
    """A grant in the manner of `how`."""
    body = _json(granted.fields)
    sized = (*JSON_HEAD, ("Content-Length", str(len(body))))
    match how:
        case Odd():
            return _odd(how, granted.fields)
        case CutShort():
            return Reply(HTTPStatus.OK, sized, (body[: how.after],), whole=False)
        case SlowBytes():
            each = (body[place : place + 1] for place in range(len(body)))
            return Reply(HTTPStatus.OK, sized, each, pace=how.interval)
        case Huge():
            return Reply(HTTPStatus.OK, JSON_HEAD, _padded(body, how.size))
        case GzipBomb():
            packed = (*JSON_HEAD, ("Content-Encoding", "gzip"))
            return Reply(HTTPStatus.OK, packed, _gzipped(_padded(body, how.size)))


def _odd(how: Odd, fields: Mapping[str, object]) -> Reply:
    fields = {**fields, **dict(how.also)}
    text = urlencode(_present(fields)).encode() if how.as_form else _json(fields)
    body = how.prefix + text
    head: Head = (("Content-Type", how.content_type),)
    if how.gzipped:
        body, head = gzip.compress(body), (*head, ("Content-Encoding", "gzip"))
    return _sized(how.status, head, body)


def _sized(status: int, head: Head, body: bytes) -> Reply:
    return Reply(status, (*head, ("Content-Length", str(len(body)))), (body,) if body else ())


def _padded(body: bytes, size: int) -> Iterator[bytes]:
    """A JSON object with one field more, which a reader without limits would take."""
    yield body[:-1] + b',"pad":"'
    for _ in range(size // len(PAD) + 1):
        yield PAD
    yield b'"}'


def _gzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(level=9, wbits=zlib.MAX_WBITS | 16)  # 16 asks for gzip's framing
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not ABSENT}


def _json(fields: Mapping[str, object]) -> bytes:
    """Compact, as Django REST framework writes it; NaN goes out as `NaN`, which is the point."""
    return json.dumps(_nested(_present(fields)), separators=(",", ":")).encode()


def _nested(fields: Mapping[str, object]) -> dict[str, object]:
    """`{"data.access": x}` as `{"data": {"access": x}}`."""
    root: dict[str, object] = {}
    for name, value in fields.items():
        *folders, last = name.split(".")
        place = root
        for folder in folders:
            inner = place.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise TypeError(f"the field {name!r} lies inside one that is no object")
            place = inner
        place[last] = value
    return root

"""The ways in which an issuer can fail, as frozen values.

    issuer.fail_next(3, faults.unavailable(retry_after="1"))
    issuer.fail_next(1, faults.DropBeforeAnswer())

| kind                            | carried out | what the client sees              |
|---------------------------------|-------------|-----------------------------------|
| `Status`                        | no          | this answer instead               |
| `Hang`, `DropBeforeAnswer`      | as it says  | the true answer late; none at all |
| `Odd`, `CutShort`, `SlowBytes`, | yes         | the true answer, in a strange way |
| `Huge`, `GzipBomb`              |             |                                   |

Where a request that was carried out ends in a refusal, the refusal is sent as it is. The names
in capitals are rows of what real issuers have been seen to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = auto()


ABSENT: Final = Absent.ABSENT  # for a field that is left out, where None would be sent as null


@dataclass(frozen=True, slots=True)
class Status:
    """This answer; the request is not looked at."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Hang:
    """The true answer after `seconds`.

    With `carried_out` the request is carried out before the wait, not after it: who hangs up
    meanwhile has lost an answer that counts.
    """

    seconds: float
    carried_out: bool = False


@dataclass(frozen=True, slots=True)
class DropBeforeAnswer:
    """The connection closed without an answer, though the request was carried out (or was not)."""

    carried_out: bool = True


@dataclass(frozen=True, slots=True)
class Odd:
    """The true answer, oddly dressed.

    `also` are fields that are added, replaced, or left out (`ABSENT`), by their names in the
    answer. `prefix` stands before the body.
    """

    status: int = 200
    content_type: str = "application/json"
    also: tuple[tuple[str, object], ...] = ()
    prefix: bytes = b""
    gzipped: bool = False
    as_form: bool = False


@dataclass(frozen=True, slots=True)
class CutShort:
    """The connection closed when `after` bytes of the body have been sent."""

    after: int = 10


@dataclass(frozen=True, slots=True)
class SlowBytes:
    """The body byte by byte, `interval` seconds before each."""

    interval: float = 0.1


@dataclass(frozen=True, slots=True)
class Huge:
    """The true answer, with a field that makes it (more than) `size` bytes long."""

    size: int


@dataclass(frozen=True, slots=True)
class GzipBomb:
    """`Huge`, compressed to about a thousandth."""

    size: int


Fault = Status | Hang | DropBeforeAnswer | Odd | CutShort | SlowBytes | Huge | GzipBomb

_PAGE = b"<!doctype html>\n<html><head><title>%s</title></head><body><h1>%s</h1></body></html>\n"


def page(status: int, title: str) -> Status:
    """A page for people where JSON was wanted."""
    text = title.encode()
    return Status(status, _PAGE % (text, text), "text/html; charset=utf-8")


def too_many(*, retry_after: str) -> Status:
    """429; `retry_after` as in the header: seconds or a date (RFC 9110 10.2.3)."""
    body = b'{"detail":"Request was throttled."}'
    return Status(429, body, headers=(("Retry-After", retry_after),))


def unavailable(*, retry_after: str) -> Status:
    """503; `retry_after` as in the header: seconds or a date (RFC 9110 10.2.3)."""
    return Status(503, b"", "text/plain", (("Retry-After", retry_after),))


def redirect(location: str, *, status: int = 302) -> Status:
    """A redirect, which no client of a token endpoint may follow."""
    return Status(status, b"", "text/plain", (("Location", location),))


def deep(levels: int) -> Status:
    """JSON nested so deep that a recursive parser gives up."""
    return Status(200, b'{"access":' + b"[" * levels + b"]" * levels + b"}")


def without(name: str) -> Odd:
    """The true answer without one field."""
    return Odd(also=((name, ABSENT),))


def with_field(name: str, value: object) -> Odd:
    """The true answer with one field more, or with another value in it."""
    return Odd(also=((name, value),))


# Passing: nothing is lost, and the same may be asked again later.
SERVER_ERROR = page(500, "Server Error (500)")  # simplejwt's, also for a user who was deleted
BAD_GATEWAY = page(502, "Bad Gateway")
UNAVAILABLE = Status(503, b"", "text/plain")
TOO_MANY = Status(429, b'{"detail":"Request was throttled."}')
HTML_PAGE = page(200, "Sign in to this network")  # a captive portal
BAD_JSON = Status(200, b'{"access":"eyJhbGciOiJI')
EMPTY_200 = Status(200)
LIST_200 = Status(200, b"[]")

# Refusals.
INVALID_GRANT = Status(400, b'{"error":"invalid_grant"}')
INVALID_REQUEST = Status(400, b'{"error":"invalid_request"}')  # Authlib, for a wrong password
INVALID_GRANT_IN_200 = Status(200, b'{"error":"invalid_grant"}')  # GitHub, Slack
TOKEN_NOT_VALID = Status(401, b'{"detail":"Token is invalid","code":"token_not_valid"}')
USER_INACTIVE = Status(401, b'{"detail":"User is inactive","code":"user_inactive"}')
EMPTY_400 = Status(400, b"", "text/plain")  # glewlwyd
EMPTY_401 = Status(401, b"", "text/plain")
EMPTY_403 = Status(403, b"", "text/plain")  # glewlwyd

# Odd successes.
CREATED = Odd(status=201)
AS_TEXT = Odd(content_type="text/plain")
AS_FORM = Odd(content_type="application/x-www-form-urlencoded", as_form=True)
WITH_BOM = Odd(prefix=b"\xef\xbb\xbf")
GZIPPED = Odd(gzipped=True)

NAMED: Final[Mapping[str, Fault]] = {
    "server_error": SERVER_ERROR,
    "bad_gateway": BAD_GATEWAY,
    "unavailable": UNAVAILABLE,
    "too_many": TOO_MANY,
    "html_page": HTML_PAGE,
    "bad_json": BAD_JSON,
    "empty_200": EMPTY_200,
    "list_200": LIST_200,
    "redirect": redirect("http://127.0.0.1:9/elsewhere"),
    "invalid_grant": INVALID_GRANT,
    "invalid_request": INVALID_REQUEST,
    "invalid_grant_in_200": INVALID_GRANT_IN_200,
    "token_not_valid": TOKEN_NOT_VALID,
    "user_inactive": USER_INACTIVE,
    "empty_400": EMPTY_400,
    "empty_401": EMPTY_401,
    "empty_403": EMPTY_403,
    "created": CREATED,
    "as_text": AS_TEXT,
    "as_form": AS_FORM,
    "with_bom": WITH_BOM,
    "gzipped": GZIPPED,
    "lost_answer": DropBeforeAnswer(),
    "dropped": DropBeforeAnswer(carried_out=False),
    "cut_short": CutShort(),
    "slow_bytes": SlowBytes(),
    "hang": Hang(60.0),
    "huge": Huge(2 << 20),
    "gzip_bomb": GzipBomb(16 << 20),
}
"""Each by the word for it in scenario files; the sizes are over what an answer may have."""

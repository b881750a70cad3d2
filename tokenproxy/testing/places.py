"""Where an API wants its token, and how it says no: frozen values and plain functions."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from tokenproxy.testing.ledger import Verdict

RawHeaders = Sequence[tuple[bytes, bytes]]

NOT_PROVIDED = "Authentication credentials were not provided."
NOT_VALID = "Given token not valid for any token type"


@dataclass(frozen=True, slots=True)
class InHeader:
    """`name: word token`; with an empty word, the token alone."""

    name: str = "Authorization"
    word: str = "Bearer"


@dataclass(frozen=True, slots=True)
class InQuery:
    """`?name=token`."""

    name: str = "access_token"


@dataclass(frozen=True, slots=True)
class InCookie:
    """`Cookie: name=token`."""

    name: str = "session"


@dataclass(frozen=True, slots=True)
class InBasic:
    """HTTP Basic (RFC 7617), the token as the password."""

    username: str = "oauth2accesstoken"


Place = InHeader | InQuery | InCookie | InBasic


def token_in(place: Place, headers: RawHeaders, target: str) -> str | None:
    """The token of a request; None where there is none, and where there is more than one."""
    match place:
        case InHeader():
            return _after_word(_only(_values(headers, place.name)), place.word)
        case InQuery():
            pairs = parse_qsl(target.partition("?")[2], keep_blank_values=True)
            return _only([value for name, value in pairs if name == place.name])
        case InCookie():
            crumbs = [part for value in _values(headers, "Cookie") for part in value.split(";")]
            pairs = [(name.strip(), value.strip()) for name, _, value in map(_parted, crumbs)]
            return _only([value for name, value in pairs if name == place.name])
        case InBasic():
            value = _after_word(_only(_values(headers, "Authorization")), "Basic")
            return _password(value, place.username)


def _values(headers: RawHeaders, name: str) -> list[str]:
    wanted = name.lower().encode()
    return [value.decode("latin-1") for key, value in headers if key.lower() == wanted]


def _only(values: Sequence[str]) -> str | None:
    return values[0] if len(values) == 1 else None


def _parted(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _after_word(value: str | None, word: str) -> str | None:
    """The rest of a field that begins with `word`; simplejwt minds the case of the word."""
    if value is None or not word:
        return value
    parts = value.split()
    return parts[1] if len(parts) == 2 and parts[0] == word else None  # noqa: PLR2004 - word, token


def _password(value: str | None, username: str) -> str | None:
    try:
        text = base64.b64decode(value or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, password = text.partition(":")
    return password if colon and name == username else None


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """401 with a challenge, as simplejwt answers."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """403 and no challenge, as simplejwt answers with SessionAuthentication listed first."""


@dataclass(frozen=True, slots=True)
class ErrorInBody:
    """200, and the trouble in the body: `{"errcode": 40001, "errmsg": …}`."""

    errcode: int = 40001


Rejection = Unauthorized | Forbidden | ErrorInBody


@dataclass(frozen=True, slots=True)
class Refusal:
    """An API's no: status, headers, and the fields of its JSON body."""

    status: int
    headers: dict[str, str]
    fields: dict[str, object]


def refusal(how: Rejection, place: Place, verdict: Verdict | None) -> Refusal:
    """The answer to a request whose token got `verdict`, or that had none (None)."""
    match how:
        case Unauthorized():
            word = place.word if isinstance(place, InHeader) and place.word else "Bearer"
            return Refusal(401, {"WWW-Authenticate": f'{word} realm="api"'}, _detail(verdict))
        case Forbidden():
            return Refusal(403, {}, _detail(verdict))
        case ErrorInBody():
            fields: dict[str, object] = {"errcode": how.errcode, "errmsg": "invalid credential"}
            return Refusal(200, {}, fields)


def _detail(verdict: Verdict | None) -> dict[str, object]:
    match verdict:
        case None:
            return {"detail": NOT_PROVIDED}
        case Verdict.INACTIVE:
            return {"detail": verdict.value, "code": "user_inactive"}
        case Verdict.DELETED:
            return {"detail": verdict.value, "code": "user_not_found"}
        case _:
            message = {"token_class": "AccessToken", "token_type": "access"}
            messages = [{**message, "message": verdict.value}]
            return {"detail": NOT_VALID, "code": "token_not_valid", "messages": messages}

"""Which answers of a token endpoint are a token, a refusal, or merely a bad day.

| answer                                         | ruling                                        |
|------------------------------------------------|-----------------------------------------------|
| any status, with a code of `REFUSAL_CODES`     | REFUSED (also inside a 200: GitHub, Slack)    |
| 2xx, a JSON object, without a code             | GRANTED (the source looks for its token)      |
| 400, 401, 403 without a code, and `certain`    | REFUSED: the same request would do harm again |
| 400, 401, 403 without a code                   | DOUBTFUL: the third in a row is a refusal     |
| 429, 5xx                                       | BUSY: worth another try within the renewal    |
| 3xx, 404, a page instead of JSON, all the rest | PASSING: it discards nothing                  |

`certain` is a request that carried a password or a client secret (trying it again trips
lockouts), or one behind which the config holds a login to fall back to.

What happens next (contract 3.3.6), in `tokens.renewal` and `tokens.renewer`:

| ruling   | of a renewal                               | of a login                              |
|----------|--------------------------------------------|-----------------------------------------|
| GRANTED  | stored, then used                          | the same                                |
| REFUSED  | the refresh token is forgotten (kept for   | not sent again, by no process, until    |
|          | another config, with `CLIENT_CODES`), the  | config or store change: a person        |
|          | login tried; without one: a person         |                                         |
| DOUBTFUL | tried again after a pause; the third in a  | the same                                |
|          | row is REFUSED                             |                                         |
| BUSY     | tried again at once, `retries` times, then | the same                                |
|          | after a pause, never before Retry-After    |                                         |
| PASSING  | tried again after a pause; once in five    | tried again after a pause               |
|          | minutes, while no token is good, the login |                                         |

A token that is still good goes on being used meanwhile.
"""

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

REFUSAL_CODES = frozenset(
    {
        # RFC 6749 5.2
        "invalid_grant",
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "unsupported_grant_type",
        "invalid_request",
        # Django REST framework simplejwt
        "token_not_valid",
        "no_active_account",
        "user_inactive",
        "password_changed",
    }
)
# Of these, those that say nothing about the grant that came with the request.
CLIENT_CODES = frozenset(
    {
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "unsupported_grant_type",
        "invalid_request",
    }
)
_LOGIN = "check the login in the config"
REMEDIES = {
    "invalid_grant": "sign in again, or mend the login in the config",
    "token_not_valid": "sign in again, or mend the login in the config",
    "invalid_client": "check 'client_id' and 'client_auth' in the config",
    "unauthorized_client": "check what the issuer lets this 'client_id' do",
    "invalid_scope": "check 'scope' in the config",
    "unsupported_grant_type": "check 'grant' in the config",
    "no_active_account": f"{_LOGIN}, and whether the account is open",
    "user_inactive": f"{_LOGIN}, and whether the account is open",
}
CODE_FIELDS = ("error", "code")
REFUSING_STATUSES = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
    }
)


def remedy(code: str | None) -> str:
    """What a person is to do about a refusal."""
    return REMEDIES.get(code or "", _LOGIN)


class Ruling(Enum):
    """What an answer means."""

    GRANTED = "granted"
    REFUSED = "refused"
    DOUBTFUL = "doubtful"
    BUSY = "busy"
    PASSING = "passing"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The ruling, and the code that the answer named, if it is one that we know."""

    ruling: Ruling
    code: str | None = None


def judge(status: int, body: object, *, certain: bool) -> Judgement:
    """Rule on an answer; `body` is its JSON, or None where it is not JSON."""
    fields = body if isinstance(body, dict) else {}
    codes = [fields[name] for name in CODE_FIELDS if isinstance(fields.get(name), str)]
    for code in codes:
        if code in REFUSAL_CODES:
            return Judgement(Ruling.REFUSED, code)
    if status in REFUSING_STATUSES and not codes:
        return Judgement(Ruling.REFUSED if certain else Ruling.DOUBTFUL)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Judgement(Ruling.BUSY)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES and fields and not fields.get("error"):
        return Judgement(Ruling.GRANTED)
    return Judgement(Ruling.PASSING)

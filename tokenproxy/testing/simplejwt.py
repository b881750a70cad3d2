"""What djangorestframework-simplejwt 5.5 reads and says, word for word; no network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from tokenproxy.testing.answers import Answer, Granted, Refused
from tokenproxy.testing.faults import SERVER_ERROR
from tokenproxy.testing.ledger import Grant, Pair, Verdict

CHALLENGE = 'Bearer realm="api"'
NO_ACCOUNT = "No active account found with the given credentials"
NO_ACCOUNT_FOR_TOKEN = "No active account found for the given token."


@dataclass(frozen=True, slots=True)
class Names:
    """Under which name the answers hold what; dotted for nested objects."""

    access: str
    refresh: str
    expires_in: str

    @property
    def given_refresh(self) -> str:
        """Under which name a request holds its refresh token."""
        return self.refresh.rpartition(".")[2]


def read_fields(content_type: str, body: bytes) -> dict[str, str] | Refused:
    """The fields of a JSON or form body, or the complaint about it."""
    if content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if content_type != "application/json":
        return Refused(415, {"detail": f'Unsupported media type "{content_type}" in request.'})
    try:
        value = json.loads(body)
    except ValueError as error:
        return Refused(400, {"detail": f"JSON parse error - {error}"})
    if not isinstance(value, dict):
        return Refused(400, {"non_field_errors": ["Invalid data. Expected a dictionary."]})
    return {name: str(item) for name, item in value.items() if item is not None}


def missing(given: Mapping[str, str], *names: str) -> Refused | None:
    """The complaint about fields that are absent or blank; None where all are there."""
    complaints = {
        name: ["This field may not be blank." if name in given else "This field is required."]
        for name in names
        if not given.get(name)
    }
    return Refused(400, complaints) if complaints else None


def login_granted(grant: Grant, names: Names, expires_in: object) -> Granted:
    """The tokens of a login."""
    fields = {names.access: grant.access, names.expires_in: expires_in}
    return Granted({names.refresh: grant.refresh, **fields} if isinstance(grant, Pair) else fields)


def login_refused() -> Refused:
    """A wrong password or a closed account: there is no `code` (simplejwt drops it)."""
    return Refused(401, {"detail": NO_ACCOUNT})


def renewal_granted(grant: Grant, names: Names, expires_in: object) -> Granted:
    """The tokens of a renewal: with rotation, a new refresh token too."""
    fields = {names.access: grant.access, names.expires_in: expires_in}
    return Granted({**fields, names.refresh: grant.refresh} if isinstance(grant, Pair) else fields)


def renewal_refused(verdict: Verdict) -> Answer:
    """Why a refresh token is not taken."""
    match verdict:
        case Verdict.DELETED:
            return SERVER_ERROR  # simplejwt lets its DoesNotExist through
        case Verdict.INACTIVE:
            return Refused(401, {"detail": NO_ACCOUNT_FOR_TOKEN})
        case _:
            return Refused(401, {"detail": verdict.value, "code": "token_not_valid"})

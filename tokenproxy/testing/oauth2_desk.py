"""What the OAuth 2 double grants for which form, and what it refuses; no network.

| `grant_type`         | wants                                            | gives a refresh token |
|----------------------|--------------------------------------------------|-----------------------|
| `client_credentials` | a client that proves itself                      | -                     |
| `refresh_token`      | one that is out, and was not replaced            | with `rotate`         |
| `password`           | `username`, `password`                           | yes                   |
| `jwt-bearer`         | `assertion`: current, for us, a new `jti`        | -                     |
| `token-exchange`     | `subject_token`, `subject_token_type`            | -                     |
| `device_code`        | a code of `device`; `polls` come first           | yes                   |
| `authorization_code` | a code of `authorize`, `code_verifier` (RFC 7636)| yes                   |

A code is good once: the second time ends the session that it began (RFC 6749 4.1.2).
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlencode, urlsplit

from tokenproxy.testing.answers import Answer, Granted, Refused
from tokenproxy.testing.faults import redirect
from tokenproxy.testing.ledger import Grant, Ledger, Pair, User, Verdict
from tokenproxy.testing.oauth2_clients import Assertions

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
DEVICE_LIFE = 600.0
CODE_LIFE = 60.0
LOOPBACKS = frozenset({"127.0.0.1", "::1", "localhost"})

Form = Mapping[str, str]


class Person(Enum):
    """What the one person says who is asked to sign in."""

    AGREES = "yes"
    DECLINES = "access_denied"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What each grant must bring; `assertion_key` is public, as PEM, and None trusts any."""

    username: str
    password: str = field(repr=False)
    subject_token: str = field(repr=False)
    assertion_key: str | None


@dataclass(slots=True)
class _Code:
    """An authorization code; `began` is what it was exchanged for."""

    redirect_uri: str
    challenge: str
    ends: float
    began: Grant | None = None


class Desk:
    """The token endpoint's rules, and the codes that are out."""

    def __init__(self, ledger: Ledger, wanted: Secrets, now: Callable[[], float]) -> None:
        self.person = Person.AGREES
        self.polls: list[str] = []
        self.assertions = Assertions()
        self.expires_in: object = None
        self._ledger = ledger
        self._wanted = wanted
        self._now = now
        self._codes: dict[str, _Code] = {}
        self._devices: dict[str, float] = {}

    def device(self, uri: str, interval: object) -> Granted:
        """A code for another device (RFC 8628 3.2)."""
        code = secrets.token_urlsafe(24)
        self._devices[code] = self._now() + DEVICE_LIFE
        return Granted(
            {
                "device_code": code,
                "user_code": "WDJB-MJHT",
                "verification_uri": uri,
                "verification_uri_complete": f"{uri}?user_code=WDJB-MJHT",
                "expires_in": int(DEVICE_LIFE),
                "interval": interval,
            }
        )

    def authorize(self, query: Form, client_id: str, issuer: str) -> Answer:
        """Where the browser is sent when the person has answered (RFC 6749 4.1.2, RFC 9207)."""
        uri = query.get("redirect_uri", "")
        if query.get("client_id") != client_id or urlsplit(uri).hostname not in LOOPBACKS:
            return Refused(400, {"error": "invalid_request"})  # never back to who may be anybody
        answer = self._decision(query) | {"state": query.get("state", ""), "iss": issuer}
        return redirect(f"{uri}?{urlencode(answer)}")

    def token(self, form: Form, audiences: Collection[str]) -> Answer:
        """The answer of the token endpoint to a client that has proved itself."""
        if "grant_type" not in form:
            return _refused("invalid_request")
        grants: dict[str, Callable[[Form], Answer]] = {
            "client_credentials": lambda _: self._begun(with_refresh=False),
            "refresh_token": self._renew,
            "password": self._password,
            "authorization_code": self._redeem,
            JWT_BEARER: lambda given: self._assertion(given, audiences),
            TOKEN_EXCHANGE: self._exchange,
            DEVICE_CODE: self._poll,
        }
        grant = grants.get(form["grant_type"])
        return _refused("unsupported_grant_type") if grant is None else grant(form)

    def _decision(self, query: Form) -> dict[str, str]:
        if self.person is Person.DECLINES:
            return {"error": self.person.value}
        challenge = query.get("code_challenge", "")
        if query.get("response_type") != "code":
            return {"error": "unsupported_response_type"}
        if not challenge or query.get("code_challenge_method") != "S256":
            return {"error": "invalid_request"}
        code = secrets.token_urlsafe(24)
        ends = self._now() + CODE_LIFE
        self._codes[code] = _Code(query["redirect_uri"], challenge, ends)
        return {"code": code}

    def _renew(self, form: Form) -> Answer:
        outcome = self._ledger.renew(form.get("refresh_token", ""))
        if isinstance(outcome, Verdict):
            return _refused("invalid_grant")
        return self._granted(outcome, with_refresh=True)

    def _password(self, form: Form) -> Answer:
        given = form.get("username"), form.get("password")
        right = given == (self._wanted.username, self._wanted.password)
        if not right or self._ledger.user is not User.ACTIVE:
            return _refused("invalid_grant")
        return self._begun(with_refresh=True)

    def _assertion(self, form: Form, audiences: Collection[str]) -> Answer:
        given = form.get("assertion", "")
        key = self._wanted.assertion_key
        if self.assertions.take(given, key, audiences, self._now()) is None:
            return _refused("invalid_grant")
        return self._begun(with_refresh=False)

    def _exchange(self, form: Form) -> Answer:
        if "subject_token_type" not in form:
            return _refused("invalid_request")
        if form.get("subject_token") != self._wanted.subject_token:
            return _refused("invalid_grant")
        kind = form.get("requested_token_type", "urn:ietf:params:oauth:token-type:access_token")
        granted = self._begun(with_refresh=False)
        return Granted({**granted.fields, "issued_token_type": kind})

    def _poll(self, form: Form) -> Answer:
        code = form.get("device_code", "")
        if code not in self._devices:
            return _refused("invalid_grant")
        if self._devices[code] <= self._now():
            return _refused("expired_token")
        if self.polls:
            return _refused(self.polls.pop(0))
        del self._devices[code]
        if self.person is Person.DECLINES:
            return _refused(self.person.value)
        return self._begun(with_refresh=True)

    def _redeem(self, form: Form) -> Answer:
        code = self._codes.get(form.get("code", ""))
        if code is None or code.ends <= self._now():
            return _refused("invalid_grant")
        if isinstance(code.began, Pair):
            self._ledger.end(code.began.refresh)
            return _refused("invalid_grant")
        verifier = form.get("code_verifier", "")
        if form.get("redirect_uri") != code.redirect_uri or _s256(verifier) != code.challenge:
            return _refused("invalid_grant")
        code.began = self._ledger.login()
        return self._granted(code.began, with_refresh=True)

    def _begun(self, *, with_refresh: bool) -> Granted:
        return self._granted(self._ledger.login(), with_refresh=with_refresh)

    def _granted(self, grant: Grant, *, with_refresh: bool) -> Granted:
        fields = {
            "access_token": grant.access,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
        }
        if with_refresh and isinstance(grant, Pair):
            return Granted({**fields, "refresh_token": grant.refresh})
        return Granted(fields)


def _refused(code: str) -> Refused:
    return Refused(400, {"error": code})


def _s256(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

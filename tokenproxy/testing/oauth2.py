"""A double of an OAuth 2 issuer: a real server, with one client and one account.

    async with OAuth2Issuer() as issuer:
        ...  # {"issuer": issuer.issuer, "client_id": issuer.client_id, …}
        assert issuer.calls_to(OAuth2Endpoint.TOKEN)[-1].field("grant_type") == "password"

| request                                           | answer                                  |
|---------------------------------------------------|-----------------------------------------|
| POST /token                                       | what `oauth2_desk` grants; RFC 6749 5   |
| POST /device                                      | a code for another device (RFC 8628)    |
| GET /authorize                                    | 302 back, as the `person` says          |
| POST /revoke                                      | 200; the token's session is over        |
| GET /.well-known/openid-configuration             | the metadata, where `published`         |
| GET /.well-known/oauth-authorization-server       | the same (RFC 8414 3.1)                 |

A client that does not prove itself is answered 401 `invalid_client`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tokenproxy.clock import Clock
from tokenproxy.settings.oauth2 import AuthMethod
from tokenproxy.testing.answers import Answer, Granted, Refused
from tokenproxy.testing.faults import Status
from tokenproxy.testing.issuing import PASSWORD, SYSTEM_CLOCK, Call, Issuing
from tokenproxy.testing.ledger import Pair, Terms
from tokenproxy.testing.oauth2_clients import Client, Shown, shown
from tokenproxy.testing.oauth2_desk import JWT_BEARER, TOKEN_EXCHANGE, Desk, Person, Secrets

SECRET = "demo-secret"
SUBJECT_TOKEN = "demo-subject-token"
FORM = "application/x-www-form-urlencoded"
NOT_FOUND = Status(404, b"", "text/plain")
DONE = Status(200, b"", "text/plain")
ANONYMOUS = frozenset({JWT_BEARER, TOKEN_EXCHANGE})  # RFC 7523 2.1, RFC 8693 2.1


class OAuth2Endpoint(Enum):
    """Where a call went; the values are where it is, unless the issuer has a path."""

    TOKEN = "/token"
    DEVICE = "/device"
    AUTHORIZE = "/authorize"
    REVOKE = "/revoke"
    OPENID = "/.well-known/openid-configuration"
    METADATA = "/.well-known/oauth-authorization-server"


WELL_KNOWN = frozenset({OAuth2Endpoint.OPENID, OAuth2Endpoint.METADATA})
_FETCHED = WELL_KNOWN | {OAuth2Endpoint.AUTHORIZE}  # by GET; all else by POST


@dataclass(frozen=True, slots=True)
class OAuth2Call(Call[OAuth2Endpoint]):
    """One request. `form` is what it asked, of a GET its query; header names are lower-case.

    `method` is how the client told who it is, right or wrong; None where it told two things.
    """

    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: AuthMethod | None = None

    def field(self, name: str) -> str | None:
        """The one value of that name in the form; None where there is none, or more."""
        values = [value for key, value in self.form if key == name]
        return values[0] if len(values) == 1 else None


class OAuth2Issuer(Issuing[OAuth2Endpoint, OAuth2Call]):
    """An OAuth 2 issuer, on a loopback port of its own inside `async with`.

    The client proves itself with its `client_secret` in any of three ways, with an assertion
    signed by the private half of `client_key` (PEM), or, where it has neither, by its name;
    `auth_method` leaves one way only. `opaque` tokens are no JWTs. `path` makes it one tenant of
    many: `/tenant`.

    May be changed while it serves, from any thread too:

    - `expires_in`: sent as it is, however odd; `faults.ABSENT` leaves it out;
    - `person`: what the one says who is asked to sign in;
    - `polls`: the errors that the next polls of a device get before the person's answer;
    - `interval`: what a device is told;
    - `published`: which of the two well-known places hold the metadata;
    - `metadata`: fields of theirs that differ from the truth; `faults.ABSENT` leaves one out.
    """

    CHALLENGE = 'Basic realm="client"'

    def __init__(
        self,
        *,
        client_id: str = "demo-client",
        client_secret: str | None = SECRET,
        client_key: str | None = None,
        auth_method: AuthMethod | None = None,
        username: str = "demo",
        password: str = PASSWORD,
        subject_token: str = SUBJECT_TOKEN,
        assertion_key: str | None = None,
        access_life: float = 300.0,
        refresh_life: float = 86_400.0,
        rotate: bool = True,
        reuse_kills_session: bool = True,
        opaque: bool = False,
        path: str = "",
        clock: Clock = SYSTEM_CLOCK,
        skew: float = 0.0,
        port: int = 0,
    ) -> None:
        terms = Terms(
            access_life, refresh_life, rotate, reuse_kills_session, sliding=False, opaque=opaque
        )
        super().__init__(terms, clock=clock, skew=skew, port=port)
        self.client_id = client_id
        self.interval: object = 5
        self.published: frozenset[OAuth2Endpoint] = WELL_KNOWN
        self.metadata: dict[str, object] = {}
        self._client = Client(client_id, client_secret, client_key, auth_method)
        self._path = path
        self._paths = {place: path + place.value for place in OAuth2Endpoint}
        self._paths[OAuth2Endpoint.METADATA] = OAuth2Endpoint.METADATA.value + path
        wanted = Secrets(username, password, subject_token, assertion_key)
        self._desk = Desk(self._ledger, wanted, self._now)
        self.polls = self._desk.polls
        self.expires_in = int(access_life) if access_life == int(access_life) else access_life

    def application(self) -> web.Application:
        """All endpoints."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    @property
    def issuer(self) -> str:
        """Its name, as the metadata tell it."""
        return self.url + self._path

    @property
    def expires_in(self) -> object:
        """What its answers say of a token's life."""
        return self._desk.expires_in

    @expires_in.setter
    def expires_in(self, value: object) -> None:
        self._desk.expires_in = value

    @property
    def person(self) -> Person:
        """What whoever is asked to sign in says."""
        return self._desk.person

    @person.setter
    def person(self, says: Person) -> None:
        self._desk.person = says

    @property
    def logins(self) -> int:
        """Calls to the token endpoint for a new session, however they ended."""
        return len(self.calls_to(OAuth2Endpoint.TOKEN)) - self.refreshes

    @property
    def refreshes(self) -> int:
        """Calls to the token endpoint with a refresh token, however they ended."""
        calls = self.calls_to(OAuth2Endpoint.TOKEN)
        return sum(call.field("grant_type") == "refresh_token" for call in calls)

    def url_of(self, endpoint: OAuth2Endpoint) -> str:
        """Where that endpoint is."""
        return self.url + self._paths[endpoint]

    def move(self, endpoint: OAuth2Endpoint, path: str) -> None:
        """From now on it is there, and the metadata say so; where it was is nothing (404)."""
        self._paths[endpoint] = path

    def new_refresh_token(self) -> str:
        """The refresh token of a session that somebody has begun elsewhere."""
        grant = self._ledger.login()
        if not isinstance(grant, Pair):
            raise TypeError("this ledger has no refresh tokens")
        return grant.refresh

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        endpoint = self._endpoint(request.method, request.path)
        if endpoint is None:
            return web.Response(status=NOT_FOUND.status)
        form = tuple(_pairs(request, await request.read()))
        headers = {name.lower(): value for name, value in request.headers.items()}
        by = shown(headers.get("authorization"), dict(form))
        method = by.method if isinstance(by, Shown) else None
        call = OAuth2Call(endpoint, self.clock.now(), None, form, headers, method)
        return await self._answer(request, call, partial(self._carry_out, call, by))

    def _endpoint(self, method: str, path: str) -> OAuth2Endpoint | None:
        for endpoint, where in self._paths.items():
            if path == where:
                return endpoint if (method == "GET") is (endpoint in _FETCHED) else None
        return None

    def _carry_out(self, call: OAuth2Call, by: Shown | Refused) -> Answer:
        match call.endpoint:
            case OAuth2Endpoint.OPENID | OAuth2Endpoint.METADATA:
                return self._document() if call.endpoint in self.published else NOT_FOUND
            case OAuth2Endpoint.AUTHORIZE:
                return self._desk.authorize(dict(call.form), self.client_id, self.issuer)
            case OAuth2Endpoint.TOKEN | OAuth2Endpoint.DEVICE | OAuth2Endpoint.REVOKE:
                return self._refusal(call, by) or self._for_client(call)

    def _for_client(self, call: OAuth2Call) -> Answer:
        if call.endpoint is OAuth2Endpoint.DEVICE:
            return self._desk.device(f"{self.issuer}/activate", self.interval)
        if call.endpoint is OAuth2Endpoint.REVOKE:
            self._ledger.end(call.field("token") or "")
            return DONE  # also for a token that nobody knows (RFC 7009 2.2)
        return self._desk.token(dict(call.form), self._audiences(call.endpoint))

    def _refusal(self, call: OAuth2Call, by: Shown | Refused) -> Refused | None:
        """What keeps the client from being heard, if anything does."""
        if isinstance(by, Refused):
            return by
        if not call.headers.get("content-type", "").startswith(FORM):
            return Refused(400, {"error": "invalid_request"})
        nameless = by == Shown(None, "none") and call.field("grant_type") in ANONYMOUS
        audiences = self._audiences(call.endpoint)
        if nameless or self._client.is_shown(by, self._desk.assertions, audiences, self._now()):
            return None
        return Refused(401, {"error": "invalid_client"})

    def _audiences(self, endpoint: OAuth2Endpoint) -> set[str]:
        """Whom an assertion may be made out to (RFC 7523 3, RFC 8414 2)."""
        return {self.issuer, self.url_of(OAuth2Endpoint.TOKEN), self.url_of(endpoint)}

    def _document(self) -> Granted:
        truth: dict[str, Any] = {
            "issuer": self.issuer,
            "token_endpoint": self.url_of(OAuth2Endpoint.TOKEN),
            "device_authorization_endpoint": self.url_of(OAuth2Endpoint.DEVICE),
            "authorization_endpoint": self.url_of(OAuth2Endpoint.AUTHORIZE),
            "revocation_endpoint": self.url_of(OAuth2Endpoint.REVOKE),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return Granted({**truth, **self.metadata})


def _pairs(request: web.Request, body: bytes) -> Iterator[tuple[str, str]]:
    text = request.query_string if request.method == "GET" else body.decode("utf-8", "replace")
    yield from parse_qsl(text, keep_blank_values=True)

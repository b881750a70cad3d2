"""A double of a token issuer: a real server, shaped as djangorestframework-simplejwt 5.5.

| request                                      | answer                                            |
|----------------------------------------------|---------------------------------------------------|
| POST /api/token/ {username, password}        | 200 {refresh, access}, or 401 {detail}            |
| POST /api/token/refresh/ {refresh}           | 200 {access[, refresh]}, or 401 {detail, code}    |
| the same with `sliding`: {token}             | 200 {token}, or 401 {detail, code}                |

Bodies may be JSON or forms. A request counts from the moment it has arrived, answered or not.
"""

from collections.abc import Mapping
from enum import Enum

from aiohttp import web

from tokenproxy.clock import Clock
from tokenproxy.testing.answers import Answer, Refused
from tokenproxy.testing.faults import ABSENT
from tokenproxy.testing.issuing import PASSWORD, SYSTEM_CLOCK, Call, Issuing
from tokenproxy.testing.ledger import Terms, User, Verdict
from tokenproxy.testing.simplejwt import (
    CHALLENGE,
    Names,
    login_granted,
    login_refused,
    missing,
    read_fields,
    renewal_granted,
    renewal_refused,
)


class Endpoint(Enum):
    """Where a call went."""

    LOGIN = "/api/token/"
    REFRESH = "/api/token/refresh/"


class Issuer(Issuing[Endpoint, Call[Endpoint]]):
    """An issuer with one account, on a loopback port of its own inside `async with`.

    Lives are in seconds, of `clock` put forward by `skew`; `clock` also times delays. Tokens
    hold whole seconds, as real ones, unless a life has a fraction; `opaque` ones are no JWTs.
    `access_name`, `refresh_name` and `expires_in_name` say where the answer holds what (dotted
    for nested objects); a request holds its refresh token under the last part of it. With
    `sliding` there is only the field `token`. `expires_in` is sent as it is, however odd.

    All methods and attributes may be used from another thread while it serves.
    """

    CHALLENGE = CHALLENGE

    def __init__(
        self,
        *,
        username: str = "demo",
        password: str = PASSWORD,
        username_field: str = "username",
        access_life: float = 300.0,
        refresh_life: float = 86_400.0,
        rotate: bool = True,
        reuse_kills_session: bool = False,
        sliding: bool = False,
        opaque: bool = False,
        access_name: str = "access",
        refresh_name: str = "refresh",
        expires_in_name: str = "expires_in",
        expires_in: object = ABSENT,
        clock: Clock = SYSTEM_CLOCK,
        skew: float = 0.0,
        port: int = 0,
    ) -> None:
        terms = Terms(access_life, refresh_life, rotate, reuse_kills_session, sliding, opaque)
        super().__init__(terms, clock=clock, skew=skew, port=port)
        self.username = username
        self.password = password
        self.username_field = username_field
        self.expires_in = expires_in
        names = ("token", "token") if sliding else (access_name, refresh_name)
        self._names = Names(*names, expires_in_name)

    def application(self) -> web.Application:
        """The two endpoints."""
        app = web.Application()
        app.router.add_post(Endpoint.LOGIN.value, self._serve)
        app.router.add_post(Endpoint.REFRESH.value, self._serve)
        return app

    @property
    def logins(self) -> int:
        """Calls to the login endpoint, however they ended."""
        return len(self.calls_to(Endpoint.LOGIN))

    @property
    def refreshes(self) -> int:
        """Calls to the refresh endpoint, however they ended."""
        return len(self.calls_to(Endpoint.REFRESH))

    @property
    def refused_refreshes(self) -> int:
        """Calls to the refresh endpoint that were answered with a no."""
        return sum(call.refused for call in self.calls_to(Endpoint.REFRESH))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        endpoint = Endpoint(request.path)
        given = read_fields(request.content_type, await request.read())
        call = Call(endpoint, self.clock.now())
        return await self._answer(request, call, lambda: self._carry_out(endpoint, given))

    def _carry_out(self, endpoint: Endpoint, given: dict[str, str] | Refused) -> Answer:
        if isinstance(given, Refused):
            return given
        match endpoint:
            case Endpoint.LOGIN:
                return self._login(given)
            case Endpoint.REFRESH:
                return self._renew(given)

    def _login(self, given: Mapping[str, str]) -> Answer:
        if complaint := missing(given, self.username_field, "password"):
            return complaint
        right = (self.username, self.password) == (given[self.username_field], given["password"])
        if not right or self.user is not User.ACTIVE:
            return login_refused()
        return login_granted(self._ledger.login(), self._names, self.expires_in)

    def _renew(self, given: Mapping[str, str]) -> Answer:
        if complaint := missing(given, self._names.given_refresh):
            return complaint
        outcome = self._ledger.renew(given[self._names.given_refresh])
        if isinstance(outcome, Verdict):
            return renewal_refused(outcome)
        return renewal_granted(outcome, self._names, self.expires_in)

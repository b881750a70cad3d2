"""A double of a token issuer: a real server, shaped as djangorestframework-simplejwt 5.5.

| request                                      | answer                                            |
|----------------------------------------------|---------------------------------------------------|
| POST /api/token/ {username, password}        | 200 {refresh, access}, or 401 {detail}            |
| POST /api/token/refresh/ {refresh}           | 200 {access[, refresh]}, or 401 {detail, code}    |
| the same with `sliding`: {token}             | 200 {token}, or 401 {detail, code}                |

Bodies may be JSON or forms. A request counts from the moment it has arrived, answered or not.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from aiohttp import web

from tokenproxy.clock import Clock, Moment, SystemClock
from tokenproxy.testing.answers import Answer, Granted, Refused, Reply, Silence, dressed, plain
from tokenproxy.testing.faults import (
    ABSENT,
    CutShort,
    DropBeforeAnswer,
    Fault,
    GzipBomb,
    Hang,
    Huge,
    Odd,
    SlowBytes,
    Status,
)
from tokenproxy.testing.ledger import Ledger, Terms, User, Verdict
from tokenproxy.testing.sending import send
from tokenproxy.testing.serving import Served
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

PASSWORD = "demo-password"
REFUSALS = frozenset({400, 401, 403})
_SYSTEM_CLOCK = SystemClock()


class Endpoint(Enum):
    """Where a call went."""

    LOGIN = "/api/token/"
    REFRESH = "/api/token/refresh/"


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the issuer. `status` is None while, or if, it goes unanswered."""

    endpoint: Endpoint
    at: Moment
    status: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the answer was a no for good, and not one that may pass."""
        return self.status in REFUSALS


class Issuer(Served):
    """An issuer with one account, on a loopback port of its own inside `async with`.

    Lives are in seconds, of `clock` put forward by `skew`; `clock` also times delays. Tokens
    hold whole seconds, as real ones, unless a life has a fraction. `access_name`,
    `refresh_name` and `expires_in_name` say where the answer holds what (dotted for nested
    objects); a request holds its refresh token under the last part of `refresh_name`. With
    `sliding` there is only the field `token`. `expires_in` is sent as it is, however odd.

    All methods and attributes may be used from another thread while it serves.
    """

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
        access_name: str = "access",
        refresh_name: str = "refresh",
        expires_in_name: str = "expires_in",
        expires_in: object = ABSENT,
        clock: Clock = _SYSTEM_CLOCK,
        skew: float = 0.0,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self.username = username
        self.password = password
        self.username_field = username_field
        self.expires_in = expires_in
        self.clock = clock
        self.skew = skew
        self.delay = 0.0
        self.calls: list[Call] = []
        self._faults: list[tuple[Fault, Endpoint | None]] = []
        names = ("token", "token") if sliding else (access_name, refresh_name)
        self._names = Names(*names, expires_in_name)
        terms = Terms(access_life, refresh_life, rotate, reuse_kills_session, sliding)
        self._ledger = Ledger(terms, lambda: self.clock.now().wall + self.skew)

    def application(self) -> web.Application:
        """The two endpoints."""
        app = web.Application()
        app.router.add_post(Endpoint.LOGIN.value, self._serve)
        app.router.add_post(Endpoint.REFRESH.value, self._serve)
        return app

    @property
    def logins(self) -> int:
        """Calls to the login endpoint, however they ended."""
        return self._count(Endpoint.LOGIN)

    @property
    def refreshes(self) -> int:
        """Calls to the refresh endpoint, however they ended."""
        return self._count(Endpoint.REFRESH)

    @property
    def refused_refreshes(self) -> int:
        """Calls to the refresh endpoint that were answered with a no."""
        return sum(call.refused for call in self.calls if call.endpoint is Endpoint.REFRESH)

    @property
    def reused(self) -> int:
        """How many times a refresh token came that an answer had replaced already."""
        return self._ledger.reused

    @property
    def user(self) -> User:
        """The account's state; set it to try an account that was closed or deleted."""
        return self._ledger.user

    @user.setter
    def user(self, state: User) -> None:
        self._ledger.user = state

    def accepts(self, access_token: str) -> Verdict:
        """What an API hears about a token that was presented to it."""
        return self._ledger.access_verdict(access_token)

    def expire_now(self) -> None:
        """All access tokens that are out end now, whatever their `exp` says."""
        self._ledger.expire_access()

    def revoke(self) -> None:
        """All tokens that are out end now, refresh tokens too: only a login helps."""
        self._ledger.revoke()

    def fail_next(self, n: int, how: Fault, *, endpoint: Endpoint | None = None) -> None:
        """Let the next `n` calls (to `endpoint`, or to either) fail so, after those set before."""
        self._faults.extend([(how, endpoint)] * n)

    def recover(self) -> None:
        """Forget all that `fail_next` has set."""
        self._faults.clear()

    def _count(self, endpoint: Endpoint) -> int:
        return sum(call.endpoint is endpoint for call in self.calls)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        endpoint = Endpoint(request.path)
        given = read_fields(request.content_type, await request.read())
        call = Call(endpoint, self.clock.now())
        self.calls.append(call)
        reply = await self._reply(self._take_fault(endpoint), endpoint, given)
        if self.delay:
            await self.clock.sleep(self.delay)
        if isinstance(reply, Reply):
            self._note_status(call, reply.status)
        return await send(request, reply, self.clock.sleep)

    def _take_fault(self, endpoint: Endpoint) -> Fault | None:
        for place, (fault, only) in enumerate(self._faults):
            if only in {None, endpoint}:
                del self._faults[place]
                return fault
        return None

    def _note_status(self, call: Call, status: int) -> None:
        with suppress(ValueError):  # a test may have cleared the list meanwhile
            self.calls[self.calls.index(call)] = replace(call, status=status)

    async def _reply(
        self, fault: Fault | None, endpoint: Endpoint, given: dict[str, str] | Refused
    ) -> Reply | Silence:
        match fault:
            case None:
                return self._plain(self._carry_out(endpoint, given))
            case Status():
                return self._plain(fault)
            case DropBeforeAnswer():
                if fault.carried_out:
                    self._carry_out(endpoint, given)
                return Silence()
            case Hang():
                before = self._carry_out(endpoint, given) if fault.carried_out else None
                await self.clock.sleep(fault.seconds)
                return self._plain(before or self._carry_out(endpoint, given))
            case Odd() | CutShort() | SlowBytes() | Huge() | GzipBomb():
                answer = self._carry_out(endpoint, given)
                if isinstance(answer, Granted):
                    return dressed(fault, answer)
                return self._plain(answer)

    def _plain(self, answer: Answer) -> Reply:
        return plain(answer, challenge=CHALLENGE)

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

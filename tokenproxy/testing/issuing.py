"""What the doubles of issuers share: their books, the record of calls, the faults to come."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar

from aiohttp import web

from tokenproxy.clock import Clock, Moment, SystemClock
from tokenproxy.testing.answers import Answer, Granted, Reply, Silence, dressed, plain
from tokenproxy.testing.faults import (
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

PASSWORD = "demo-password"
REFUSALS = frozenset({400, 401, 403})
SYSTEM_CLOCK = SystemClock()

E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class Call(Generic[E]):
    """One request to an issuer. `status` is None while, or if, it goes unanswered."""

    endpoint: E
    at: Moment
    status: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the answer was a no for good, and not one that may pass."""
        return self.status in REFUSALS


C = TypeVar("C", bound=Call[Any])


class Issuing(Served, Generic[E, C]):
    """An issuer of tokens with one account; what crosses the wire is for its kinds to say."""

    CHALLENGE: ClassVar[str]  # what a 401 bears as WWW-Authenticate

    def __init__(self, terms: Terms, *, clock: Clock, skew: float, port: int) -> None:
        super().__init__(port=port)
        self.clock = clock
        self.skew = skew
        self.delay = 0.0
        self.calls: list[C] = []
        self._faults: list[tuple[Fault, E | None]] = []
        self._ledger = Ledger(terms, self._now)

    @abstractmethod
    def application(self) -> web.Application:
        """The endpoints."""

    @property
    @abstractmethod
    def logins(self) -> int:
        """Calls for a new session, however they ended."""

    @property
    @abstractmethod
    def refreshes(self) -> int:
        """Calls with a refresh token, however they ended."""

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

    @property
    def rotate(self) -> bool:
        """Whether a renewal replaces the refresh token; may be set while it serves."""
        return self._ledger.terms.rotate

    @rotate.setter
    def rotate(self, rotates: bool) -> None:
        self._ledger.change(rotate=rotates)

    @property
    def access_life(self) -> float:
        """How long the access tokens live that it grants from now on, in seconds."""
        return self._ledger.terms.access_life

    @access_life.setter
    def access_life(self, seconds: float) -> None:
        self._ledger.change(access_life=seconds)

    def accepts(self, access_token: str) -> Verdict:
        """What an API hears about a token that was presented to it."""
        return self._ledger.access_verdict(access_token)

    def expire_now(self) -> None:
        """All access tokens that are out end now, whatever their `exp` says."""
        self._ledger.expire_access()

    def revoke(self) -> None:
        """All tokens that are out end now, refresh tokens too: only a login helps."""
        self._ledger.revoke()

    def fail_next(self, n: int, how: Fault, *, endpoint: E | None = None) -> None:
        """Let the next `n` calls (to `endpoint`, or to any) fail so, after those set before."""
        self._faults.extend([(how, endpoint)] * n)

    def recover(self) -> None:
        """Forget all that `fail_next` has set."""
        self._faults.clear()

    def calls_to(self, endpoint: E) -> list[C]:
        """The calls to one endpoint, however they ended."""
        return [call for call in self.calls if call.endpoint is endpoint]

    def _now(self) -> float:
        """The issuer's own time of day."""
        return self.clock.now().wall + self.skew

    async def _answer(
        self, request: web.Request, call: C, carry_out: Callable[[], Answer]
    ) -> web.StreamResponse:
        """Answer a request that has arrived; what it asks for happens in `carry_out`."""
        self.calls.append(call)
        reply = await self._reply(self._take_fault(call.endpoint), carry_out)
        if self.delay:
            await self.clock.sleep(self.delay)
        if isinstance(reply, Reply):
            self._note_status(call, reply.status)
        return await send(request, reply, self.clock.sleep)

    def _take_fault(self, endpoint: E) -> Fault | None:
        for place, (fault, only) in enumerate(self._faults):
            if only in {None, endpoint}:
                del self._faults[place]
                return fault
        return None

    def _note_status(self, call: C, status: int) -> None:
        with suppress(ValueError):  # a test may have cleared the list meanwhile
            self.calls[self.calls.index(call)] = replace(call, status=status)

    async def _reply(self, fault: Fault | None, carry_out: Callable[[], Answer]) -> Reply | Silence:
        match fault:
            case None:
                return self._plain(carry_out())
            case Status():
                return self._plain(fault)
            case DropBeforeAnswer():
                if fault.carried_out:
                    carry_out()
                return Silence()
            case Hang():
                before = carry_out() if fault.carried_out else None
                await self.clock.sleep(fault.seconds)
                return self._plain(before or carry_out())
            case Odd() | CutShort() | SlowBytes() | Huge() | GzipBomb():
                answer = carry_out()
                if isinstance(answer, Granted):
                    return dressed(fault, answer)
                return self._plain(answer)

    def _plain(self, answer: Answer) -> Reply:
        return plain(answer, challenge=self.CHALLENGE)

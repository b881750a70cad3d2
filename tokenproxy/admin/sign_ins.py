"""Sign-ins that people begin on the page, from their beginning to the token in the store.

| what happens            | in a browser                      | on another device                 |
|-------------------------|-----------------------------------|-----------------------------------|
| it begins               | a ticket waits for the browser    | the issuer is polled              |
| it begins once more     | another ticket: another tab       | the same code, while it is good   |
| the person has agreed   | the code is exchanged             | a poll brings the token           |
| the credential changes  | the ticket is forgotten           | polling ends                      |
| the end of the process  | an exchange has a moment          | polling ends                      |

An exchange goes on where the browser leaves: a code is good once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tokenproxy.admin.failures import Failures
from tokenproxy.admin.tickets import Cookie, Tickets
from tokenproxy.clock import Clock
from tokenproxy.errors import SourceError, SourceUnavailable, StoreError
from tokenproxy.events import InternalError, Observe, SignInFailed
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.oauth2.code import Begun, CodeFlow
from tokenproxy.tokens.oauth2.device import DeviceCode, DeviceFlow
from tokenproxy.tokens.token import Granted

FAULT = "credential '{}' was not signed in to for a fault of tokenproxy's own: see its log"


@dataclass(frozen=True, slots=True)
class Finished:
    """A browser has come back for that credential."""

    credential: str
    is_signed_in: bool


@dataclass(frozen=True, slots=True)
class _Away:
    """A sign-in whose browser is at the issuer."""

    keeper: Keeper
    flow: CodeFlow
    begun: Begun = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Polling:
    """A code that somebody is to type, and the task that waits for it."""

    code: DeviceCode
    task: asyncio.Task[bool]


class SignIns:
    """Those of the credentials in `keepers`; `change` these, and `close` it in the end."""

    def __init__(self, keepers: Mapping[str, Keeper], clock: Clock, observe: Observe) -> None:
        self.failures = Failures()
        self._keepers = keepers
        self._clock = clock
        self._observe = observe
        self._tickets: Tickets[_Away] = Tickets()
        self._beginning: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._polling: dict[str, _Polling] = {}
        self._running: dict[asyncio.Task[bool], Keeper] = {}

    def change(self, keepers: Mapping[str, Keeper]) -> None:
        """Another config is in force: what it has changed is not signed in to any more."""
        before, self._keepers = self._keepers, keepers
        self._tickets.keep(lambda away: self._is_current(away.keeper))
        for task, keeper in self._running.items():
            if not self._is_current(keeper):
                task.cancel()
        for keeper in before.values():
            if not self._is_current(keeper):
                self.failures.forget(keeper)
                self._polling.pop(keeper.name, None)

    async def close(self) -> None:
        """End what is under way."""
        await cancelled(*self._running)

    # -- in a browser --------------------------------------------------------------------------

    async def in_a_browser(
        self, keeper: Keeper, flow: CodeFlow, redirect_uri: str
    ) -> tuple[str, Cookie]:
        """Where to send the browser, and what it has to bring back.

        Raises:
            SourceUnavailable, SourceRefused: the issuer's side of it.
            StoreError: the token could not be kept.
        """
        await keeper.probe()
        begun = await flow.begin(redirect_uri)
        self._begins(keeper)
        away = _Away(keeper, flow, begun)
        return begun.url, self._tickets.issue(begun.state, away, self._clock.now())

    async def finish(
        self, answer: Mapping[str, str], cookies: Mapping[str, str]
    ) -> Finished | None:
        """Take in what a browser has brought; None where that is no answer to a sign-in of its."""
        away = self._tickets.take(answer.get("state", ""), cookies, self._clock.now())
        if away is None:
            return None
        name, said = away.keeper.name, answer.get("error_description")
        task = self._spawn(away.keeper, lambda: away.flow.finish(away.begun, answer), said)
        await asyncio.wait({task})
        return Finished(name, not task.cancelled() and task.result())

    # -- on another device ---------------------------------------------------------------------

    async def on_a_device(self, keeper: Keeper, flow: DeviceFlow) -> DeviceCode:
        """A code to type there, which is waited for from now on. Raises as `in_a_browser`."""
        async with self._beginning[keeper.name]:
            polling = self._polling.get(keeper.name)
            if polling is not None and not polling.task.done():
                if self._clock.now().until(polling.code.expires) > 0:
                    return polling.code
                await cancelled(polling.task)
            await keeper.probe()
            code = await flow.begin()
            self._begins(keeper)
            task = self._spawn(keeper, lambda: flow.wait(code))
            self._polling[keeper.name] = _Polling(code, task)
            return code

    # -- both ---------------------------------------------------------------------------------

    def _begins(self, keeper: Keeper) -> None:
        if not self._is_current(keeper):
            raise SourceUnavailable(f"credential '{keeper.name}' has just changed: begin again")
        self.failures.forget(keeper)

    def _is_current(self, keeper: Keeper) -> bool:
        return self._keepers.get(keeper.name) is keeper

    def _spawn(
        self, keeper: Keeper, wait: Callable[[], Awaitable[Granted]], said: str | None = None
    ) -> asyncio.Task[bool]:
        task = spawn(self._adopted(keeper, wait, said), name=f"sign in to {keeper.name}")
        self._running[task] = keeper
        task.add_done_callback(self._running.pop)
        return task

    async def _adopted(
        self, keeper: Keeper, wait: Callable[[], Awaitable[Granted]], said: str | None
    ) -> bool:
        """Whether the token has come, and is kept."""
        try:
            await keeper.adopt(await wait())
        except (SourceError, StoreError) as error:
            self._failed(keeper, str(error), said)
        except Exception as error:  # noqa: BLE001 - a fault of our own, which nobody waits for
            self._observe(InternalError("", type(error).__name__))
            self._failed(keeper, FAULT.format(keeper.name))
        else:
            return True
        return False

    def _failed(self, keeper: Keeper, error: str, said: str | None = None) -> None:
        self._observe(SignInFailed(keeper.name, error))
        if self._is_current(keeper):
            self.failures.note(keeper, error, said)

"""Putting another config into force: on SIGHUP, and when its file or one that it names changes.

A config with mistakes, or one that cannot be served, changes nothing, and is told of. So is a fault
of our own, whatever it is: the next change of the file is looked at all the same.
"""

import asyncio
from collections.abc import Callable
from typing import Self

from tokenproxy.admin.parts import ConfigState
from tokenproxy.clock import Clock
from tokenproxy.config.confidential import Known
from tokenproxy.config.load import Loaded
from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError, TokenproxyError
from tokenproxy.events import InternalError, Observe, Reloaded, ReloadFailed, ReloadUnneeded
from tokenproxy.server.configfile import ConfigFile
from tokenproxy.server.serve import Change, running

SETTLED = 0.1  # seconds in which nothing more may change: a file is often written in steps
LONGEST_WAIT = 50  # times that; a file that never rests is read all the same
NO_FILE = "the config was not read from a file: restart the program to change it"
A_FAULT = (
    "it cannot be taken up by a fault of the program ({}): report it, and restart to use the file"
)
THE_SAME = "the file says what is in force already"


class Reloading:
    """Reads the file again, `asked` or by itself, and has what it says put into force.

    `begun` and `done` are called round each try, and `applied` with each config that is in force
    from then on: it tells what of that needs a restart. Enter it for as long as anything is logged.
    """

    def __init__(
        self,
        file: ConfigFile | None,
        asked: asyncio.Event,
        clock: Clock,
        observe: Observe,
        *,
        applied: Callable[[Config], str | None] = lambda _: None,
        begun: Callable[[], None] = lambda: None,
        done: Callable[[ConfigState], None] = lambda _: None,
    ) -> None:
        self._file = file
        self._asked = asked
        self._clock = clock
        self._observe = observe
        self._applied = applied
        self._begun = begun
        self._done = done
        path = None if file is None else str(file.path)
        self._secrets = Known()  # of all configs that came: some may still be in use
        self.state = ConfigState(path, clock.now().wall)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._secrets.forget()

    async def __call__(self, change: Change) -> None:
        """Go on for ever."""
        while True:
            if self._file is None:
                await self._asked.wait()
                self._asked.clear()
                self._begun()  # whoever has asked waits to hear of it
                self._observe(ReloadUnneeded(NO_FILE))
                self._done(self.state)
            else:
                await self._reason(self._file)
                await self._try(self._file, change)

    async def _reason(self, file: ConfigFile) -> None:
        """Wait until there is one to read it again, and until it rests."""
        async with running(self._watch(file), self._observe):
            await self._asked.wait()
        seen = file.looks()
        for _ in range(LONGEST_WAIT):
            await self._clock.sleep(SETTLED)
            before, seen = seen, file.looks()
            if before == seen:
                break
        self._asked.clear()

    async def _watch(self, file: ConfigFile) -> None:
        async for _ in file.changes():
            self._asked.set()

    async def _try(self, file: ConfigFile, change: Change) -> None:
        self._begun()
        began = self._clock.now()
        try:
            loaded = await asyncio.to_thread(file.read)
            if file.is_another(loaded):
                needs_restart = await self._take_up(file, loaded, change)
                seconds = self._clock.now().steady - began.steady
                self._observe(_reloaded(file, loaded, seconds, needs_restart))
            else:
                self._observe(ReloadUnneeded(THE_SAME))
            self.state.error = None
        except TokenproxyError as error:
            self._failed(file, error)
        except Exception as error:  # noqa: BLE001 - reloading goes on, whatever comes of one file
            self._observe(InternalError("", type(error).__name__))
            self._failed(file, TokenproxyError(A_FAULT.format(type(error).__name__)))
        finally:
            self._done(self.state)

    async def _take_up(self, file: ConfigFile, loaded: Loaded, change: Change) -> str | None:
        """Put it into force; what of it needs a restart. Raises what `change` does."""
        self._secrets.add(loaded.config)
        try:
            await change(loaded.config)
        except ConfigError as error:
            raise loaded.placed(error) from error
        file.taken_up(loaded)
        self.state.reloads += 1
        self.state.loaded_at = self._clock.now().wall
        return self._applied(loaded.config)

    def _failed(self, file: ConfigFile, error: Exception) -> None:
        problems = error.problems if isinstance(error, ConfigError) else [error]
        self.state.error = "; ".join(map(str, problems))
        self.state.failed_reloads += 1
        self._observe(ReloadFailed(str(file.path), self.state.error))


def _reloaded(
    file: ConfigFile, loaded: Loaded, seconds: float, needs_restart: str | None
) -> Reloaded:
    warnings = "; ".join(map(str, loaded.warnings)) or None
    return Reloaded(str(file.path), seconds, needs_restart, warnings)


def status(state: ConfigState) -> str:
    """One line for a person who asks a service manager."""
    if state.error is None:
        return "Serving"
    return "Serving by an earlier config: " + " ".join(state.error.split())

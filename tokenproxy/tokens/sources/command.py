"""A token that a command prints."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.command import Command
from tokenproxy.tasks import spawn
from tokenproxy.tokens import exec_credential
from tokenproxy.tokens.answer import look_up
from tokenproxy.tokens.lifetime import Asked, expiry
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record, Token, is_sendable

MAX_OUTPUT = 1 << 20
LAST_WORDS = 0.3  # seconds for what an ended command has printed to be read


class CommandSource(Source):
    """Contract 1.1, `command`.

    The command gets no input, and what it writes to standard error is not shown: it may hold
    a secret.
    """

    def __init__(
        self, name: str, settings: Command, environment: Mapping[str, str], clock: Clock
    ) -> None:
        self._name = name
        self._settings = settings
        added = {key: value.get_secret_value() for key, value in settings.env.items()}
        if settings.format == "exec_credential":
            added = {exec_credential.VARIABLE: exec_credential.exec_info(), **added}
        self._environment = {**environment, **added}
        self._clock = clock

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """Run it again."""
        return (Attempt.LOGIN,)

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """What the command prints now."""
        sent = self._clock.now().wall
        printed = self._printed(await self._run())
        if not is_sendable(printed.token):
            raise self._failure("printed no token that a request can carry")
        received = self._clock.now().wall
        expires_at = printed.expires_at or expiry(
            printed.token,
            expires_in=printed.expires_in,
            asked=Asked(sent, received),
            minted=False,  # commands such as gcloud hand out the same token until it is old
            default_ttl=self._settings.refresh.default_ttl,
        )
        return Granted(Token(Secret(printed.token), received, expires_at))

    async def _run(self) -> bytes:
        running = await self._started()
        try:
            async with asyncio.timeout(self._settings.refresh.timeout):
                await running.settled()
        except TimeoutError as error:
            raise self._failure("did not end in time") from error
        finally:
            await running.end()
        if running.too_much:
            raise self._failure("printed too much to be a token")
        if running.code != 0:
            raise self._failure(f"{_ended(running.code)}; run it by hand to see why")
        return bytes(running.output)

    async def _started(self) -> "_Running":
        """Start it; one who is cancelled meanwhile waits for the process, and ends it.

        A start that is cancelled half-way can leave a process that nobody knows of.
        """
        starting = spawn(self._start(), name=f"start the command of {self._name}")
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            if starting.exception() is None:
                await starting.result().end()
            raise

    async def _start(self) -> "_Running":
        loop = asyncio.get_running_loop()
        try:
            _, running = await loop.subprocess_exec(
                _Running,
                *self._settings.argv,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=DEVNULL,
                env=self._environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a valid command"
            raise self._failure(f"could not be run ({reason})") from error
        return running

    def _printed(self, output: bytes) -> "_Printed":
        try:
            return self._read(output.decode("utf-8-sig").strip())
        except (ValueError, RecursionError) as error:
            raise self._failure(f"printed something that is not {self._settings.format}") from error

    def _read(self, text: str) -> "_Printed":
        match self._settings.format:
            case "text":
                return _Printed(text)
            case "json":
                parsed, names = json.loads(text), self._settings.fields
                return _Printed(
                    look_up(parsed, names.access_token), look_up(parsed, names.expires_in)
                )
            case "exec_credential":
                credential = exec_credential.read(text)
                return _Printed(credential.token, expires_at=credential.expires_at)

    def _failure(self, what: str) -> SourceUnavailable:
        program = self._settings.argv[0]  # the other words may hold secrets
        return SourceUnavailable(f"credential '{self._name}': the command '{program}' {what}")


@dataclass(frozen=True, slots=True)
class _Printed:
    """What a command printed; `expires_at` in seconds since the epoch."""

    token: object = field(repr=False)
    expires_in: object = None
    expires_at: float | None = None


class _Running(asyncio.SubprocessProtocol):
    """A command that runs, in a session and process group of its own, and what it prints.

    It has settled when it has ended and nobody holds its output any more, or a moment after its
    end, or when it has printed too much. A process that it leaves behind may hold the output for
    good: uvloop gives a command copies of it that no redirection closes.
    """

    def __init__(self) -> None:
        self.output = bytearray()
        self.too_much = False
        self._settled = asyncio.Event()
        self._exited = asyncio.Event()
        self._closed = asyncio.Event()
        self._moment: asyncio.TimerHandle | None = None

    async def settled(self) -> None:
        """Wait until there is nothing to wait for any more."""
        await self._settled.wait()

    @property
    def code(self) -> int | None:
        """The exit code, or what signal ended it, below zero; None while it runs."""
        return self._transport.get_returncode()

    async def end(self) -> None:
        """Leave nothing open: what has not ended by itself is killed, with its children.

        So are those that go on printing; others that it has left behind go on.
        """
        if self.too_much or not self._exited.is_set():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._transport.get_pid(), signal.SIGKILL)
            await self._exited.wait()
        self._transport.close()  # a child may still hold the pipe
        await self._closed.wait()
        if self._moment is not None:
            self._moment.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has been started."""
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has printed something."""
        self.output += data
        if len(self.output) > MAX_OUTPUT:
            self.too_much = True
            self.output.clear()
            self._settled.set()

    def process_exited(self) -> None:
        """It has ended; its children may still hold the pipe."""
        self._exited.set()
        self._moment = asyncio.get_running_loop().call_later(LAST_WORDS, self._settled.set)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, and its output too."""
        self._settled.set()
        self._closed.set()


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by signal {-code}"
    return f"ended with exit code {code}"

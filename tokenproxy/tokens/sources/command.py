"""A token that a command prints."""

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.command import Command
from tokenproxy.tokens.answer import is_sendable, look_up
from tokenproxy.tokens.lifetime import Asked, expiry
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record, Token

MAX_OUTPUT = 1 << 20


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
        self._environment = {**environment, **added}
        self._clock = clock

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """Run it again."""
        return (Attempt.LOGIN,)

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """What the command prints now."""
        sent = self._clock.now().wall
        output = await self._run()
        access, expires_in = self._token(output)
        received = self._clock.now().wall
        expires_at = expiry(
            access,
            expires_in=expires_in,
            asked=Asked(sent, received),
            minted=False,  # commands such as gcloud hand out the same token until it is old
            default_ttl=self._settings.refresh.default_ttl,
        )
        return Granted(Token(Secret(access), received, expires_at))

    async def _run(self) -> bytes:
        process = await self._start()
        try:
            async with asyncio.timeout(self._settings.refresh.timeout):
                output = await _read(process)
                code = await process.wait()
        except TimeoutError as error:
            raise self._failure("did not end in time") from error
        finally:
            await _end(process)
        if code != 0:
            raise self._failure(f"ended with exit code {code}; run it by hand to see why")
        return output

    async def _start(self) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
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

    def _token(self, output: bytes) -> tuple[str, object]:
        if len(output) > MAX_OUTPUT:
            raise self._failure("printed too much to be a token")
        try:
            text = output.decode("utf-8-sig").strip()
            access, expires_in = self._fields(text)
        except (ValueError, RecursionError) as error:
            raise self._failure(f"printed something that is not {self._settings.format}") from error
        if not is_sendable(access):
            raise self._failure("printed no token that a request can carry")
        return access, expires_in

    def _fields(self, text: str) -> tuple[object, object]:
        match self._settings.format:
            case "text":
                return text, None
            case "json":
                parsed = json.loads(text)
                names = self._settings.fields
                return look_up(parsed, names.access_token), look_up(parsed, names.expires_in)

    def _failure(self, what: str) -> SourceUnavailable:
        program = self._settings.argv[0]  # the other words may hold secrets
        return SourceUnavailable(f"credential '{self._name}': the command '{program}' {what}")


async def _read(process: Process) -> bytes:
    output = bytearray()
    stream = process.stdout
    while stream is not None and (chunk := await stream.read(1 << 16)):
        output += chunk
        if len(output) > MAX_OUTPUT:
            process.kill()
            break
    return bytes(output)


async def _end(process: Process) -> None:
    """Leave no process behind, whatever came of it."""
    if process.returncode is None:
        process.kill()
        await process.wait()

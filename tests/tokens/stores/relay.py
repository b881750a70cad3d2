"""What stands between a store and its Redis, and may fail it: a relay on loopback."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from tokenproxy.tasks import cancelled, spawn


class Relay:
    """Passes bytes on to `port` and back, until it is told otherwise."""

    def __init__(self, port: int) -> None:
        self.lost = 0  # answers
        self.held = asyncio.Event()  # an answer is, until `go_on`
        self._port = port
        self._lose: bytes | None = None
        self._hold: bytes | None = None
        self._way = asyncio.Event()
        self._way.set()
        self._relaying: set[asyncio.Task[None]] = set()
        self._dead: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lose_answers_to(self, word: bytes) -> None:
        """The next command with that word is passed on, and its connection then breaks."""
        self._lose = word

    def hold_answers_to(self, word: bytes) -> None:
        """The answer to the next command with that word waits for `go_on`."""
        self._hold = word

    def go_on(self) -> None:
        self._way.set()

    def cut(self) -> None:
        """What is connected now breaks at its next command, which is not passed on."""
        self._dead |= self._relaying

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        await cancelled(*self._relaying)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relaying.add(task)
        answers, commands = await asyncio.open_connection("127.0.0.1", self._port)
        answering = spawn(self._answer(answers, writer), name="answer")
        with suppress(OSError, asyncio.CancelledError):
            while (command := await reader.read(1 << 20)) and task not in self._dead:
                self._look(command)
                commands.write(command)
                if self._is_to_be_lost(command):
                    await cancelled(answering)
                    await answers.read(1)  # it has been carried out
                    self.lost += 1
                    break
        self._relaying.discard(task)
        await cancelled(answering)
        for end in (writer, commands):
            end.close()

    def _look(self, command: bytes) -> None:
        if self._hold is not None and self._hold in command:
            self._hold = None
            self._way.clear()

    def _is_to_be_lost(self, command: bytes) -> bool:
        if self._lose is None or self._lose not in command:
            return False
        self._lose = None
        return True

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while answer := await answers.read(1 << 20):
            if not self._way.is_set():
                self.held.set()
                await self._way.wait()
            writer.write(answer)
        writer.close()

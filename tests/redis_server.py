"""A real redis-server for tests, on a socket and a loopback port of its own.

with RedisServer() as server:
    server.url               # over the socket
    server.kill()            # SIGKILL, as a crash
    server.start()           # the same data: every write was synced
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tokenproxy.environment import variables

START_SECONDS = 20.0  # it takes a hundredth of one; a loaded machine takes longer
END_SECONDS = 10.0
NO_RETRY = Retry(NoBackoff(), 0)
PROGRAMS = ("redis-server", "valkey-server")


def needs_redis() -> str:
    """The path of a redis-server; without one the test is skipped, or fails where CI runs it."""
    for program in PROGRAMS:
        if path := shutil.which(program):
            return path
    if variables().get("CI") == "true":
        pytest.fail("no redis-server is installed: run tests/install.sh as root", pytrace=False)
    pytest.skip("no redis-server is installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class RedisServer:
    """One that runs from `start` to `stop` or `kill`, and again; its folder goes with `close`.

    `arguments` are those of redis-server, such as `"--requirepass", "secret"`.
    """

    def __init__(self, *arguments: str) -> None:
        self._program = needs_redis()
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))  # pytest's are too long for sockets
        self.socket = self.folder / "redis.sock"
        self.port = free_port()
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """It answers when this returns."""
        assert self._process is None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *self._settings(), *self._arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS  # noqa: TID251 - a process knows no clock of ours
        while not self._answers():
            late = time.monotonic() > deadline  # noqa: TID251 - the same
            if late or self._process.poll() is not None:
                self.kill()
                raise AssertionError(f"redis-server does not answer\n{self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """SIGTERM; it has ended when this returns."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, where it still runs."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It keeps its connections, and answers nothing until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str | bytes | int) -> Any:
        """The answer to one command, on a connection of its own."""
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _settings(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "daemonize": "no",
            "repl-diskless-sync-delay": "0",  # a replica that comes need not wait for more of them
        }
        return [part for name, value in settings.items() for part in (f"--{name}", value)]

    def client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self.socket),
            socket_timeout=START_SECONDS,
            retry=NO_RETRY,
        )

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # where it was frozen
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_SECONDS)


class SentinelServer(RedisServer):
    """A sentinel that watches `primary` under the name `main`, and decides alone."""

    def __init__(self, primary: RedisServer) -> None:
        super().__init__()
        self._config = self.folder / "sentinel.conf"  # it writes down there what it learns
        self._config.write_text(
            f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds main 1000\n"
            "sentinel failover-timeout main 1000\n"
        )

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.port}/main"

    def _settings(self) -> list[str]:
        settings = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder)}
        flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return [str(self._config), "--sentinel", *flags]

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=START_SECONDS, retry=NO_RETRY)

    def _answers(self) -> bool:
        """And has heard of the primary that it is one."""
        try:
            return bool(self.ask("SENTINEL", "MASTER", "main")[b"flags"] == b"master")
        except redis.RedisError:
            return False

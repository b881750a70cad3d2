"""Callers who keep a program busy, each on a connection of its own that it keeps alive."""

import http.client
import threading
from typing import Self
from urllib.parse import urlsplit

PAUSE = 0.005  # seconds between two requests of one caller


class Callers:
    """They ask one thing after the other, and note what fails; every second one sends a body."""

    def __init__(self, url: str, count: int) -> None:
        self._place = urlsplit(url)
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(at,)) for at in range(count)]
        self.answered = [0] * count
        self.connections = [0] * count
        self.failures: list[str] = []
        self._may_be_refused = False

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def until_refused(self) -> None:
        """From now on a new connection may be refused, and its caller gives up."""
        self._may_be_refused = True

    def _call(self, at: int) -> None:
        connection = http.client.HTTPConnection(self._place.netloc, timeout=30)
        while not self._ends.wait(PAUSE):
            if connection.sock is None:
                self.connections[at] += 1
            try:
                self._ask(connection, at)
            except (OSError, http.client.HTTPException) as error:
                if not (self._may_be_refused and isinstance(error, ConnectionRefusedError)):
                    self.failures.append(repr(error))
                return
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, at: int) -> None:
        body = b"x" * 5000
        connection.request("POST" if at % 2 else "GET", "/hash" if at % 2 else "/items/", body)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            self.answered[at] += 1
        else:
            self.failures.append(str(answer.status))

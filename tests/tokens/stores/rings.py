"""Keyrings for tests. None is `viable`, so that the keyring library never chooses one itself."""

import json
import threading
import types
from pathlib import Path
from typing import Any

from keyring.backend import KeyringBackend


class MemoryRing(KeyringBackend):
    """Entries in memory; `gate` holds up every call while it is closed, `failing` fails it."""

    priority = 5
    viable = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries: dict[tuple[str, str], str] = {}
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.forgetful = False

    def get_password(self, service: str, username: str) -> str | None:
        self._begin("get")
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._begin("set")
        if not self.forgetful:
            self.entries[service, username] = password

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        self.gate.wait()
        if call in self.failing:
            raise self.failing[call]


class FileRing(MemoryRing):
    """Entries in a file that processes share; KEYRING_PROPERTY_PLACE names it."""

    place: str

    def get_password(self, service: str, username: str) -> str | None:
        return self._entries().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        entries = self._entries() | {f"{service} {username}": password}
        fresh = Path(f"{self.place}.new")
        fresh.write_text(json.dumps(entries))
        fresh.rename(self.place)

    def _entries(self) -> dict[str, str]:
        try:
            entries: dict[str, str] = json.loads(Path(self.place).read_text())
        except FileNotFoundError:
            return {}
        return entries


class StuckRing(MemoryRing):
    """Waits for a person who never comes."""

    def __init__(self) -> None:
        super().__init__()
        self.gate.clear()


def lookalike(
    name: str, base: type[KeyringBackend] = MemoryRing, priority: float = 5
) -> KeyringBackend:
    """A back end of another module's name."""
    module, _, kind = name.rpartition(".")
    members: dict[str, Any] = {"__module__": module, "priority": priority, "viable": False}
    made: KeyringBackend = types.new_class(
        kind, (base,), exec_body=lambda its: its.update(members)
    )()
    return made

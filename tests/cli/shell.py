"""The command line as a person has it: each verb a process of its own, on one config.

Whatever a verb does, it shows no traceback and none of the config's secrets: each run is held
to that.
"""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import IO, Any

import yaml

from tests.e2e.conftest import program_environment

VERB_SECONDS = 40
NEEDS_A_PERSON = 3  # contract 2, exit codes
SECRET_KEYS = {"password", "secret", "key", "refresh_token", "subject_token", "actor_token"}


@dataclass(frozen=True, slots=True)
class Said:
    """What a verb said, and the code that it ended with."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """Its one error."""
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("error: ").rstrip("\n")


class Dialogue:
    """A verb that waits for a person."""

    def __init__(self, process: "subprocess.Popen[str]", errors: IO[str]) -> None:
        self.pid = process.pid
        self._process = process
        self._errors = errors
        self._read = ""

    def find(self, pattern: str) -> str:
        """Wait for a line with this in it; the first group."""
        for line in self._process.stdout or ():
            self._read += line
            if found := re.search(pattern, line):
                return found[1]
        raise AssertionError(f"it said no {pattern}, but {self.end()}")

    def end(self) -> Said:
        """Wait until it has ended by itself."""
        self._read += (self._process.stdout or self._errors).read()
        code = self._process.wait(VERB_SECONDS)
        self._errors.seek(0)
        return Said(code, self._read, self._errors.read())


class Shell:
    """Runs verbs as the user whose proxies the fixture `proxy` runs, by a config of their own.

    `file` is that config; `folder` is the test's `tmp_path`.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.file = Path(mkdtemp(prefix="shell-", dir=folder)) / "tokenproxy.yaml"
        self.file.write_text(yaml.safe_dump({"listen": "127.0.0.1:0", "admin": None, **config}))
        self.secrets = set(secrets_in(config))
        self._home = folder / "home"

    def __call__(self, verb: str, *words: str, **env: str) -> Said:
        """Run it to its end."""
        with self.begin(verb, *words, **env) as dialogue:
            return self.checked(dialogue.end())

    @contextmanager
    def begin(self, verb: str, *words: str, **env: str) -> Iterator[Dialogue]:
        """Run it while inside; what has not ended by then is killed."""
        command = [sys.executable, "-m", "tokenproxy", verb, "-c", str(self.file), *words]
        with (
            TemporaryFile("w+", encoding="utf-8") as errors,
            subprocess.Popen(
                command,
                cwd=self.file.parent,
                env={**program_environment(self._home), **env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
            ) as process,
        ):
            watchdog = threading.Timer(VERB_SECONDS, process.kill)
            watchdog.start()
            try:
                yield Dialogue(process, errors)
            finally:
                watchdog.cancel()
                process.kill()

    def checked(self, said: Said) -> Said:
        """The same, once it is known to hold nothing that it must not."""
        written = said.out + said.err
        assert "Traceback" not in written, written
        assert [secret for secret in self.secrets if secret in written] == []
        return said


def secrets_in(config: Any) -> Iterator[str]:
    """Each text of a config that nobody must see; of a key one of its lines."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            if name in SECRET_KEYS and isinstance(value, str):
                yield max(value.splitlines(), key=len)
            yield from secrets_in(value)
    elif isinstance(config, list):
        for item in config:
            yield from secrets_in(item)

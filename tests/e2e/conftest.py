"""What the end-to-end tests share: real issuers and the program, run as processes.

A test asks for `simplejwt_site`, `oidc_provider` (oidc.py) or `proxy` and calls it, as often as it
likes. Nothing is polled: a process is ready with its `listening on` line, and has ended when it
has been waited for.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol
from uuid import uuid4

import jwt
import pytest
import requests
import yaml

import tokenproxy
from tests.browser import Browser, Tab
from tests.e2e import oidc
from tokenproxy.environment import variables

PACKAGE_FOLDER = Path(tokenproxy.__file__).resolve().parents[1]
SITE = Path(__file__).parent / "issuers" / "simplejwt_site.py"
LISTENING = re.compile(r"listening on (https?://\S+)")
START_SECONDS = 30  # it takes one; a loaded machine takes longer
END_SECONDS = 15


class Program:
    """A Python (or other) program that serves: started when made, and as often again as one likes.

    Raises AssertionError with what it wrote to standard error where it does not come to listen,
    or does not end when asked.
    """

    url: str  # another one after `restart`, if the port was left to the system
    printed: Sequence[str] = ()  # after its first line, once it has ended

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        interpreter: str = sys.executable,
    ) -> None:
        self._command = (interpreter, *arguments)
        self.folder = folder
        self._env = env
        self._stderr = folder / "stderr.log"
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def stderr_text(self) -> str:
        """All that it has written to standard error, those before a restart included."""
        return self._stderr.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL; it has ended when this returns."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM; the exit code, also where it had ended before (-n: by signal n)."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """The same again, after `terminate` where it still runs."""
        self.terminate()
        self._start()

    def _start(self) -> None:
        with self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.PIPE,  # stays open for as long as this process lives
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
            )
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        try:
            self.url = self._listening()
        except BaseException:
            self.kill()
            raise
        finally:
            watchdog.cancel()

    def _listening(self) -> str:
        for line in self._process.stdout or ():
            if found := LISTENING.fullmatch(line.strip()):
                return found[1]
        raise self._failure(f"ended with {self._process.wait()} before it listened")

    def _end(self, number: signal.Signals) -> int:
        with self._process as process:  # closes its pipes, and waits
            process.send_signal(number)
            try:
                code = process.wait(END_SECONDS)
                if process.stdout and not process.stdout.closed:  # it has not ended before
                    self.printed = process.stdout.read().splitlines()
            except subprocess.TimeoutExpired:
                process.kill()
                failure = self._failure(f"still ran {END_SECONDS} s after {number.name}")
            else:
                return code
        raise failure

    def _failure(self, what: str) -> AssertionError:
        return AssertionError(f"{' '.join(self._command)} {what}\n{self.stderr_text()}")


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """What the site is told; lives are in seconds.

    simplejwt drops the fraction of an `exp`: a life of 2 lasts between one second and two.
    """

    access_life: float = 2
    refresh_life: float = 86400
    rotate: bool = True
    blacklist: bool = True
    header_types: tuple[str, ...] = ("Bearer",)
    session_first: bool = False  # SessionAuthentication comes first: 403 where 401 is due
    sliding: bool = False
    username: str = "anna"
    password: str = "correct horse"
    signing_key: str = "known to the tests and to nobody else"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request that reached the site, in the order of their coming.

    The body is as much of it as the application read: nothing, where it said no before.
    """

    method: str
    target: str  # as it stood in the request line
    authorized: bool  # whether there was an Authorization header, good or bad
    status: int | None = None  # None until it is answered
    body_length: int = 0
    body_sha256: str | None = None  # of POSTs only
    refused: bool | None = None  # of refreshes only: answered 4xx


class SimpleJwtSite:
    """The running site, as its user and its tests see it."""

    def __init__(self, options: SiteOptions, folder: Path) -> None:
        told = json.dumps({**asdict(options), "folder": str(folder)})
        self.options = options
        self.username = options.username
        self.password = options.password
        self.database = folder / "site.sqlite3"
        self._program = Program([str(SITE), told], folder, variables())
        self.url = self._program.url
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        self._session.close()
        self._program.terminate()

    def log(self) -> list[Arrival]:
        """All that came since the test first asked for the site, or cleared the log."""
        return [Arrival(**arrival) for arrival in self._ask("GET", "/_log").json()]

    def clear(self) -> None:
        self._ask("DELETE", "/_log")

    def logins(self) -> list[Arrival]:
        return self._posts("/api/token/")

    def refreshes(self) -> list[Arrival]:
        return self._posts("/api/token/refresh/")

    def refused_refreshes(self) -> list[Arrival]:
        return [arrival for arrival in self.refreshes() if arrival.refused]

    def reject_tokens_in_use(self) -> None:
        """Answer 401 to each access token that has come so far, whatever its `exp` says."""
        self._ask("POST", "/_reject")

    def sign_in(self) -> dict[str, str]:
        """The token pair of a login: `access` and `refresh`, or `token` where they slide."""
        login = {"username": self.username, "password": self.password}
        tokens: dict[str, str] = self._ask("POST", "/api/token/", json=login).json()
        return tokens

    def expired_token(self) -> str:
        """An access (or sliding) token that was good until a minute ago."""
        now = int(datetime.now(UTC).timestamp())
        claims = {
            "token_type": "sliding" if self.options.sliding else "access",
            "exp": now - 60,
            "iat": now - 120,
            "refresh_exp": now + 60,  # of sliding tokens
            "jti": uuid4().hex,
            "user_id": "1",
        }
        return jwt.encode(claims, self.options.signing_key, algorithm="HS256")

    def authorization(self, token: str) -> dict[str, str]:
        """The header that bears a token to this site."""
        return {"Authorization": f"{self.options.header_types[0]} {token}"}

    def _posts(self, target: str) -> list[Arrival]:
        return [found for found in self.log() if (found.method, found.target) == ("POST", target)]

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        answer = self._session.request(method, self.url + path, timeout=30, **more)
        answer.raise_for_status()
        return answer


SiteFactory = Callable[..., SimpleJwtSite]


@pytest.fixture(scope="session")
def started_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteFactory]:
    """One site for each set of options, kept for the session: a start takes a second."""
    with ExitStack() as running:

        @cache
        def start(options: SiteOptions) -> SimpleJwtSite:
            site = SimpleJwtSite(options, tmp_path_factory.mktemp("simplejwt"))
            running.callback(site.close)
            return site

        yield start


@pytest.fixture
def simplejwt_site(started_sites: SiteFactory) -> SiteFactory:
    """`simplejwt_site(sliding=True)`, by the fields of SiteOptions; its log begins empty."""

    @cache
    def site(**options: Any) -> SimpleJwtSite:
        found = started_sites(SiteOptions(**options))
        found.clear()
        return found

    return site


ProviderFactory = Callable[..., oidc.OidcProvider]


@pytest.fixture(scope="session")
def started_providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderFactory]:
    """One OAuth server for each set of options, kept for the session."""
    if why_not := oidc.why_not():
        (pytest.fail if variables().get("CI") == "true" else pytest.skip)(why_not)
    with ExitStack() as running:
        secrets = oidc.Secrets(tmp_path_factory.mktemp("oidc-secrets"))

        @cache
        def start(options: oidc.OidcOptions) -> oidc.OidcProvider:
            told = oidc.arguments(options, secrets)
            folder = tmp_path_factory.mktemp("oidc")
            program = Program(told, folder, variables(), oidc.node() or "node")
            running.callback(program.terminate)
            provider = oidc.OidcProvider(options, secrets, program.url)
            running.callback(provider.close)
            return provider

        yield start


@pytest.fixture
def oidc_provider(started_providers: ProviderFactory) -> ProviderFactory:
    """`oidc_provider(access_life=1)`, by the fields of OidcOptions; its log begins empty."""

    @cache
    def provider(**options: Any) -> oidc.OidcProvider:
        found = started_providers(oidc.OidcOptions(**options))
        found.clear()
        return found

    return provider


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium with a profile of its own, kept for the session: a start takes a second."""
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """An empty one that knows nothing of any other test."""
    with browser.tab() as tab:
        yield tab


@pytest.fixture
def client() -> Iterator[requests.Session]:
    """A client that knows nothing of tokens, nor of the proxies and passwords of this machine."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


def _foreign(name: str) -> bool:
    """Whether a variable of this machine would change what the program does."""
    return name.startswith(("TOKENPROXY_", "XDG_")) or name.lower().endswith("_proxy")


def program_environment(home: Path) -> dict[str, str]:
    """For a run of tokenproxy as a user who lives in `home`, and has set nothing."""
    inherited = {name: value for name, value in variables().items() if not _foreign(name)}
    paths = [str(PACKAGE_FOLDER), inherited.get("PYTHONPATH", "")]
    return {
        **inherited,
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


class ProxyFactory(Protocol):
    def __call__(self, config: Mapping[str, Any], **env: str) -> Program:
        """Run it with this config, on a free port unless it names one, and these variables."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyFactory]:
    """`proxy(config)` runs tokenproxy; all of a test have one home, so one default store.

    They tell all they can, and none of it may be a secret of the config, or a JWT.
    """
    home = tmp_path / "home"
    home.mkdir()
    written: list[tuple[Mapping[str, Any], Path]] = []
    with ExitStack() as running:

        def run(config: Mapping[str, Any], **env: str) -> Program:
            folder = Path(mkdtemp(prefix="proxy-", dir=tmp_path))
            file = folder / "tokenproxy.yaml"
            told = {"listen": "127.0.0.1:0", "admin": None, "log": {"level": "debug"}, **config}
            file.write_text(yaml.safe_dump(told))
            arguments = ["-m", "tokenproxy", "run", "-c", str(file)]
            program = Program(arguments, folder, {**program_environment(home), **env})
            running.callback(program.terminate)
            written.append((config, folder / "stderr.log"))
            return program

        yield run
    for config, log in written:
        text = log.read_text(errors="replace")
        assert [secret for secret in secrets_in(config) if secret in text] == []
        assert "eyJ" not in text  # the beginning of every JWT


SECRET_KEYS = {
    "client_key",
    "password",
    "secret",
    "refresh_token",
    "subject_token",
    "actor_token",
    "key",
    "token",
}
SHORTEST_SECRET = 8  # characters; a shorter one is likely to be a word of something else


def secrets_in(settings: Any) -> Iterator[str]:
    """What stands under the keys of a config that hold secrets, however deep."""
    match settings:
        case Mapping():
            for key, value in settings.items():
                is_secret = key in SECRET_KEYS and isinstance(value, str)
                if is_secret and len(value) >= SHORTEST_SECRET:
                    yield value
                yield from secrets_in(value)
        case list() | tuple():
            for item in settings:
                yield from secrets_in(item)
        case _:
            pass

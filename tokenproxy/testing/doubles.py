"""Doubles that are started when somebody asks for them first, all with one clock.

    with Doubles(clock) as doubles:
        config = load_config(path, environment=doubles.environment(variables()))

A config that names `${TOKENPROXY_ISSUER_URL}` starts an issuer, and one that names
`${TOKENPROXY_API_URL}` an API; with one that names neither, nothing is started.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Self, TypeVar

from tokenproxy.clock import Clock
from tokenproxy.testing.api import Api
from tokenproxy.testing.issuer import Issuer
from tokenproxy.testing.issuing import Issuing
from tokenproxy.testing.ledger import Verdict
from tokenproxy.testing.oauth2 import OAuth2Issuer
from tokenproxy.testing.serving import Served, running

ISSUER_URL = "TOKENPROXY_ISSUER_URL"
OAUTH2_ISSUER_URL = "TOKENPROXY_OAUTH2_ISSUER_URL"
API_URL = "TOKENPROXY_API_URL"

D = TypeVar("D", bound=Served)
Options = Mapping[str, Any]


class Doubles:
    """The doubles of one test; all that were started end with it.

    The options are arguments of `Issuer`, `OAuth2Issuer` and `Api`. The API takes the tokens of
    either issuer.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        issuer: Options | None = None,
        oauth2_issuer: Options | None = None,
        api: Options | None = None,
    ) -> None:
        self.clock = clock
        self._options = (issuer or {}, oauth2_issuer or {}, api or {})
        self._judges = _AnyOf(clock)
        self._running = ExitStack()
        self.started: list[Served] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @cached_property
    def issuer(self) -> Issuer:
        """One of simplejwt's kind, started with this."""
        issuer = self._start(Issuer(**{"clock": self.clock, **self._options[0]}))
        self._judges.issuers.append(issuer)
        return issuer

    @cached_property
    def oauth2_issuer(self) -> OAuth2Issuer:
        """One of OAuth 2, started with this."""
        issuer = self._start(OAuth2Issuer(**{"clock": self.clock, **self._options[1]}))
        self._judges.issuers.append(issuer)
        return issuer

    @cached_property
    def api(self) -> Api:
        """An API, started with this."""
        return self._start(Api(self._judges, **self._options[2]))

    def environment(self, outside: Mapping[str, str]) -> Mapping[str, str]:
        """The variables outside, and the URLs of doubles where these do not name others."""
        urls = {
            ISSUER_URL: lambda: self.issuer.url,
            OAUTH2_ISSUER_URL: lambda: self.oauth2_issuer.issuer,
            API_URL: lambda: self.api.url,
        }
        return Urls(outside, urls)

    def _start(self, double: D) -> D:
        self._running.enter_context(running(double))
        self.started.append(double)
        return double


class Urls(Mapping[str, str]):
    """Variables, some of which begin to be when they are asked for."""

    def __init__(self, outside: Mapping[str, str], urls: Mapping[str, Callable[[], str]]) -> None:
        self._outside = outside
        self._urls = urls

    def __getitem__(self, name: str) -> str:
        return self._outside[name] if name in self._outside else self._urls[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._outside.keys() | self._urls.keys())

    def __len__(self) -> int:
        return len(self._outside.keys() | self._urls.keys())


class _AnyOf:
    """What an API knows of several issuers: a token that one of them takes is good."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.issuers: list[Issuing[Any, Any]] = []

    def accepts(self, access_token: str) -> Verdict:
        """The best that any of them says, and why not where none takes it."""
        verdicts = [issuer.accepts(access_token) for issuer in self.issuers]
        known = [verdict for verdict in verdicts if verdict is not Verdict.INVALID]
        return next(iter(known), Verdict.INVALID)

"""Plays a scenario: starts what it needs, does its steps, and stops at the first that fails."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from tokenproxy.config.document import Where
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError, Problem, SourceError, TokenproxyError
from tokenproxy.testing.api import Api
from tokenproxy.testing.doubles import API_URL, ISSUER_URL, OAUTH2_ISSUER_URL, Doubles, Urls
from tokenproxy.testing.issuing import Issuing
from tokenproxy.testing.movable import MovableClock
from tokenproxy.testing.pointing import Source, proxy_for
from tokenproxy.testing.proxy import Proxy, UnknownName
from tokenproxy.testing.scenarios.asking import Got, ask
from tokenproxy.testing.scenarios.checking import Brought, Mismatch, check, check_answers
from tokenproxy.testing.scenarios.moving import move_api, move_issuer
from tokenproxy.testing.scenarios.reading import Script
from tokenproxy.testing.scenarios.script import (
    AdvanceStep,
    AnyStep,
    ApiStep,
    Expect,
    ExpectAnswer,
    IssuerStep,
    ParallelStep,
    RefreshStep,
    Request,
    RequestStep,
    SeenByApi,
    SeenByIssuer,
)
from tokenproxy.testing.scenarios.stage import OAuth2Double
from tokenproxy.testing.serving import running
from tokenproxy.testing.usual import SHOP

T = TypeVar("T")


class ScenarioFailed(Exception):
    """What did not go as expected, each with its file and line; `told` is what the proxy told."""

    def __init__(self, problems: list[Problem], told: str = "") -> None:
        super().__init__("\n".join(map(str, problems)))
        self.told = told


class ScenarioSkipped(Exception):
    """Its steps need a double, and the config that it was pointed at has none."""


def play(script: Script, *, pointed: Source | None = None, usual: Source | None = None) -> None:
    """Play a scenario with its own config, or with the one that it is `pointed` at instead.

    `usual` is for one that has no config of its own.

    Raises:
        ScenarioFailed: something is not as it should be.
        ScenarioSkipped: it needs a double that the config which it is pointed at does not name.
    """
    clock = MovableClock()
    with ExitStack() as stack:
        doubles = stack.enter_context(_doubles(script, clock))
        scenario = script.scenario
        own = [each for each in (scenario.config, usual, SHOP) if each is not None]
        try:
            environment = _environment(doubles, script)
            proxy = proxy_for(own[0] if pointed is None else pointed, doubles, environment)
            scene = Scene(script, doubles, clock, proxy)
            scene.check_doubles(pointed)
            stack.enter_context(running(proxy))
        except ConfigError as error:
            raise ScenarioFailed(script.of_config(error).problems) from None
        except TokenproxyError as error:
            raise ScenarioFailed([script.problem(("config",), str(error))]) from None
        scene.play()


def _doubles(script: Script, clock: MovableClock) -> Doubles:
    scenario = script.scenario
    return Doubles(
        clock,
        issuer=scenario.issuer.options(),
        oauth2_issuer=scenario.issuer.options(),
        api=scenario.api.options(),
    )


def _environment(doubles: Doubles, script: Script) -> Mapping[str, str]:
    """The variables outside, and `issuer` and `api` as the doubles' URLs."""
    outside = {key: value for key, value in variables().items() if key not in {"issuer", "api"}}
    is_oauth2 = isinstance(script.scenario.issuer, OAuth2Double)

    def issuer() -> str:
        return doubles.oauth2_issuer.issuer if is_oauth2 else doubles.issuer.url

    def api() -> str:
        return doubles.api.url

    urls = {"issuer": issuer, ISSUER_URL: issuer, OAUTH2_ISSUER_URL: issuer}
    return Urls(outside, {**urls, "api": api, API_URL: api})


@dataclass(frozen=True, slots=True)
class Tally:
    """How far all had come at some moment."""

    renewals: int
    logins: int
    refreshes: int
    reused: int
    received: int
    requests: int


class Scene:
    """A scenario under way."""

    def __init__(self, script: Script, doubles: Doubles, clock: MovableClock, proxy: Proxy) -> None:
        self._script = script
        self._doubles = doubles
        self._clock = clock
        self._proxy = proxy

    # -- the doubles -----------------------------------------------------------------------------

    @cached_property
    def _issuer(self) -> Issuing[Any, Any] | None:
        found = [each for each in self._doubles.started if isinstance(each, Issuing)]
        return found[0] if found else None

    @cached_property
    def _api(self) -> Api | None:
        found = [each for each in self._doubles.started if isinstance(each, Api)]
        return found[0] if found else None

    def check_doubles(self, pointed: Source | None) -> None:
        """All steps find the doubles that they need. Raises as `play` does."""
        if self._api is not None:
            self._script.scenario.api.prepare(self._api)
        there = {"issuer": self._issuer is not None, "api": self._api is not None}
        missing = [
            self._script.problem(("steps", at), f"needs the {name}'s double")
            for at, step in enumerate(self._script.scenario.steps)
            for name in _needed(step)
            if not there[name]
        ]
        if missing and pointed is not None:
            raise ScenarioSkipped(f"{missing[0]}, and {pointed} does not name it")
        if missing:
            more = ", and the config does not name it: write ${issuer} or ${api} in it"
            raise ScenarioFailed([Problem(p.path, p.what + more, p.line, p.file) for p in missing])

    # -- step by step ----------------------------------------------------------------------------

    def play(self) -> None:
        """Do all steps. Raises ScenarioFailed at the first that fails."""
        for at, step in enumerate(self._script.scenario.steps):
            problems = self._problems(("steps", at), step)
            if problems:
                raise ScenarioFailed(problems, self._proxy.told())

    def _problems(self, where: Where, step: AnyStep) -> list[Problem]:
        try:
            wrong = self._played(step)
        except (SourceError, UnknownName) as error:
            return [self._script.problem((*where, *_asking(step)), str(error))]
        return [self._script.problem((*where, *each.where), each.what) for each in wrong]

    def _played(self, step: AnyStep) -> list[Mismatch]:
        before = self._tally()
        answers: list[Got] = []
        match step:
            case RequestStep():
                answers = self._asked(step.request, 1)
            case ParallelStep():
                answers = self._asked(step.parallel.request, step.parallel.times)
            case AdvanceStep() | IssuerStep() | ApiStep() | RefreshStep():
                self._move(step)
        brought = self._brought(before)
        return [
            Mismatch((*where, *each.where), each.what)
            for where, expect in _expected(step)
            for each in _wrong(expect, answers, brought)
        ]

    def _asked(self, request: Request, times: int) -> list[Got]:
        url = self._proxy.url if request.route is None else self._proxy.url_of(request.route)
        return ask(url, request, times)

    def _move(self, step: AdvanceStep | IssuerStep | ApiStep | RefreshStep) -> None:
        match step:
            case AdvanceStep():
                self._clock.advance(step.advance)
            case IssuerStep():
                move_issuer(_there(self._issuer), step.issuer)
            case ApiStep():
                move_api(_there(self._api), step.api)
            case RefreshStep():
                self._proxy.credentials.refresh(step.refresh)

    # -- what has happened -----------------------------------------------------------------------

    def _tally(self) -> Tally:
        renewals, issuer = self._proxy.renewals(), self._issuer
        return Tally(
            renewals=renewals,
            logins=0 if issuer is None else issuer.logins,
            refreshes=0 if issuer is None else issuer.refreshes,
            reused=0 if issuer is None else issuer.reused,
            received=0 if self._api is None else len(self._api.requests),
            requests=len(self._proxy.requests),
        )

    def _brought(self, before: Tally) -> Brought:
        after = self._tally()
        credentials = self._proxy.config.credentials
        states = {name: self._proxy.credentials.status(name).state.value for name in credentials}
        return Brought(
            renewals=after.renewals - before.renewals,
            credentials=states,
            logins=after.logins - before.logins,
            refreshes=after.refreshes - before.refreshes,
            reused=after.reused - before.reused,
            received=() if self._api is None else self._api.requests[before.received :],
            replayed=[each.replayed for each in self._proxy.requests[before.requests :]],
        )


def _there(double: T | None) -> T:
    if double is None:
        raise TypeError("a double that a step needs was looked for before the first step")
    return double


def _asking(step: AnyStep) -> Where:
    """The key of a step whose name may be unknown."""
    match step:
        case RefreshStep():
            return ("refresh",)
        case ParallelStep():
            return ("parallel", "request")
        case _:
            return ("request",)


def _expected(step: AnyStep) -> list[tuple[Where, Expect]]:
    """All that a step expects, and where it says so."""
    beside: list[tuple[Where, Expect]] = [(("expect",), step.expect)]
    if not isinstance(step, ParallelStep):
        return beside
    inside: tuple[Where, Expect] = (("parallel", "expect"), step.parallel.expect)
    return [inside, *(beside if "expect" in step.model_fields_set else [])]


def _wrong(expect: Expect, answers: Sequence[Got], brought: Brought) -> Iterator[Mismatch]:
    if isinstance(expect, ExpectAnswer):
        yield from check_answers(expect, answers)
    yield from check(expect, brought)


def _needed(step: AnyStep) -> list[str]:
    """The doubles that a step moves or looks at."""
    expects = [expect for _, expect in _expected(step)]
    issuer = isinstance(step, IssuerStep) or any(e.issuer != SeenByIssuer() for e in expects)
    api = isinstance(step, ApiStep) or any(e.api != SeenByApi() for e in expects)
    return [name for name, needed in (("issuer", issuer), ("api", api)) if needed]

"""Raw requests with a victim behind each: nobody's bytes become another's request or answer."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from tests.conftest import WAYS
from tests.proxy.raw import chunks, fields, framing, lines, targets
from tests.proxy.raw.case import Case
from tests.proxy.raw.cves import KNOWN
from tests.proxy.raw.stage import VICTIM, Stage, staged, told

T = TypeVar("T")
CASES: list[Case] = [
    *lines.CASES,
    *targets.CASES,
    *fields.CASES,
    *framing.CASES,
    *chunks.CASES,
]


class Played:
    """A stage with a loop of its own, which goes on from row to row."""

    def __init__(self, way: str, runner: asyncio.Runner, stage: Stage) -> None:
        self.way = way
        self.stage = stage
        self._runner = runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def in_time() -> T:
            async with asyncio.timeout(10):
                return await work

        return self._runner.run(in_time())


@pytest.fixture(scope="module", params=WAYS)
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        staging = staged(request.param, tmp_path_factory.mktemp("raw"))
        yield Played(request.param, runner, runner.run(staging.__aenter__()))
        runner.run(staging.__aexit__(None, None, None))
    assert complaints == []


def named(case: Case) -> str:
    known = KNOWN.get(case.name)
    return f"{case.name} ({known})" if known else case.name


@pytest.mark.parametrize("case", CASES, ids=named)
def test_what_follows_a_request_is_what_it_is(played: Played, case: Case) -> None:
    played.run(_play(played, case))


async def _play(played: Played, case: Case) -> None:
    stage, outcomes = played.stage, case.on(played.way)
    number, finishes = len(outcomes[0].answers), outcomes[0].waits
    in_one = ([case.raw + VICTIM], 0)
    apart = ([case.raw, VICTIM], 0)
    behind = ([case.raw, VICTIM], number)
    for pieces, waits in (in_one, apart, behind):
        stage.record.clear()
        got = await stage.play(pieces, waits=waits, finishes=finishes)
        assert await stage.seen(got) in [told(outcome) for outcome in outcomes]


def test_each_row_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) > 150
    assert set(KNOWN) <= set(names)

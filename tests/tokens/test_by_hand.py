"""A person asks for a renewal though the login was refused: once in `min_interval` seconds."""

import pytest

from tests.tokens.acting import LOGIN, Stage, name, stage
from tokenproxy.errors import SourceRefused
from tokenproxy.tasks import spawn
from tokenproxy.tokens.keeper import Keeper

NO = SourceRefused("the issuer said no")
APART = 10.0


async def refused(keeper: Keeper) -> None:
    with pytest.raises(SourceRefused, match="the issuer said no"):
        await keeper.refresh()


async def turned_away(scene: Stage) -> Keeper:
    """One whose first try was refused."""
    scene.source.fail(NO)
    keeper = await scene.keeper(min_interval=APART)
    with pytest.raises(SourceRefused):
        await keeper.get()
    return keeper


async def test_a_refused_login_is_not_sent_again_however_often_a_person_asks() -> None:
    async with stage() as scene:
        keeper = await turned_away(scene)
        events = len(scene.events)
        for _ in range(20):
            await refused(keeper)
        assert (scene.source.asked, len(scene.events)) == ([LOGIN], events)


async def test_a_person_may_have_it_tried_again_after_a_while() -> None:
    async with stage() as scene:
        keeper = await turned_away(scene)
        await scene.clock.advance(APART)
        await refused(keeper)
        await refused(keeper)
        assert scene.source.asked == [LOGIN, LOGIN]
        await scene.clock.advance(APART)
        scene.source.fail(None)
        assert name(await keeper.refresh()) == "access-1"


async def test_a_person_who_asks_while_it_is_being_refused_has_it_sent_no_second_time() -> None:
    async with stage() as scene:
        scene.source.fail(NO)
        scene.source.delay = 1
        keeper = await scene.keeper(min_interval=APART)
        keeper.renew_behind()
        await scene.settle()
        waiting = spawn(refused(keeper), name="by hand")
        await scene.clock.advance(5)
        await waiting
        assert scene.source.asked == [LOGIN]


async def test_a_source_that_has_changed_is_asked_at_once() -> None:
    async with stage() as scene:
        keeper = await turned_away(scene)
        scene.source.fail(None)
        scene.source.changed.set()
        await scene.clock.advance(5)
        assert name(await keeper.get()) == "access-1"


async def test_a_person_who_has_signed_in_meanwhile_need_not_wait() -> None:
    async with stage() as scene:
        keeper = await turned_away(scene)
        scene.source.fail(None)
        await keeper.adopt(scene.source.grant())
        await scene.clock.advance(1)  # between any two requests
        assert name(await keeper.refresh()) == "access-2"

"""Many credentials of one issuer, whose tokens end together."""

from collections import Counter
from random import Random

from tests.tokens.acting import ScriptedSource
from tokenproxy.runtime import unheard
from tokenproxy.settings.refresh import Refresh
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.stores.memory import MemoryStores

CREDENTIALS = 500
LIFE = 300.0


async def test_five_hundred_that_end_together_are_renewed_apart() -> None:
    clock, stores, random = ManualClock(), MemoryStores(), Random(1)
    sources = [ScriptedSource(clock, life=LIFE) for _ in range(CREDENTIALS)]
    keepers = [
        Keeper(
            f"c{number}",
            source,
            stores.open(f"c{number}"),
            Refresh(),
            clock=clock,
            random=random,
            observe=unheard,
        )
        for number, source in enumerate(sources)
    ]
    try:
        for keeper in keepers:
            await keeper.start()
        await clock.advance(LIFE - 1)
    finally:
        for keeper in keepers:
            await keeper.close()

    begun = clock.now().steady - (LIFE - 1)
    renewals = Counter(int(call.at - begun) for source in sources for call in source.calls[1:])
    assert renewals.total() == CREDENTIALS
    assert max(renewals.values()) < CREDENTIALS / 4
    assert min(renewals) >= LIFE - 60 - 1
    assert max(renewals) <= LIFE - 54

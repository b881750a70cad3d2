"""How long to wait before an issuer is asked again."""

from random import Random

FIRST_RETRY = 0.5
FIRST_COOLDOWN = 1.0
LONGEST_COOLDOWN = 60.0
LONGEST_RETRY_AFTER = 300.0  # an issuer that says "tomorrow" is asked again in five minutes
SPREAD = 0.2  # each pause is up to a fifth longer, so that replicas fall out of step
STORE_COOLDOWN = 2.0  # a store is ours to ask: it need not be spared
LONGEST_PAUSE = LONGEST_RETRY_AFTER * (1 + SPREAD)


def retry_pause(tries: int, retry_after: float | None, random: Random) -> float:
    """Seconds before the next try of the same renewal, after `tries` (1 or more) of them."""
    return _pause(FIRST_RETRY * 2.0 ** (tries - 1), retry_after, random)


def cooldown(failures: int, retry_after: float | None, random: Random) -> float:
    """Seconds before the next renewal, after `failures` (1 or more) that failed in a row."""
    return _pause(
        min(FIRST_COOLDOWN * 2.0 ** min(failures - 1, 30), LONGEST_COOLDOWN), retry_after, random
    )


def _pause(seconds: float, retry_after: float | None, random: Random) -> float:
    asked_for = min(retry_after or 0.0, LONGEST_RETRY_AFTER)
    return max(seconds, asked_for) * (1 + SPREAD * random.random())

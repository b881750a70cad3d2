"""Moments and spans as people say them."""

from tokenproxy.clock import SystemClock
from tokenproxy.units import format_duration

_CLOCK = SystemClock()


def good_for(expires_at: float | None) -> str:
    """How much life is left: `good for 5m`."""
    if expires_at is None:
        return "good until it is rejected"
    left = expires_at - _CLOCK.now().wall
    return f"good for {format_duration(left)}" if left > 0 else "over"


def ago(moment: float | None) -> str:
    """How long it has been: `5m ago`."""
    if moment is None:
        return "never"
    return f"{format_duration(max(0.0, _CLOCK.now().wall - moment))} ago"

"""How long callers may take (contract 1, `timeouts`)."""

from tokenproxy.settings.base import PositiveDuration, Settings


class CallerTimeouts(Settings):
    """Towards callers, in seconds.

    `request_head` is for a head to come whole, `keep_alive` for the next request to begin, and
    `request_body_idle` for the next piece of a body that is waited for.
    """

    request_head: PositiveDuration = 30.0
    keep_alive: PositiveDuration = 75.0
    request_body_idle: PositiveDuration = 60.0

"""File descriptors: how many this process may have open, and which of them are for callers.

The kernel gives the lowest number that is free, so that the number of a new connection tells
how many are left.
"""

import contextlib
import resource

RESERVED = 8  # one in so many is for upstreams, token endpoints and the store
ADMIN_PART = 8  # one in so many is for the admin listener, at most
FOR_ONE_CALLER = 2  # its own connection, and one to an upstream


def limit() -> float:
    """How many there may be."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft


def for_callers() -> float:
    """The first number that is not for a caller."""
    most = limit()
    return most - most // RESERVED if most != float("inf") else most


def for_admin(most: int) -> int:
    """How many connections of the admin listener leave room for callers; `most` of them."""
    return int(min(most, limit() // ADMIN_PART))


def make_room(connections: int) -> None:
    """Raise the limit, as far as this process may, so that so many callers can be served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * FOR_ONE_CALLER * RESERVED // (RESERVED - 1)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft not in {resource.RLIM_INFINITY, hard} and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has limits of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

"""What goes wrong with a Redis, as one sentence that somebody can act on.

Nothing of what a server says is quoted: it may repeat what it was sent. Only the words that
errors of Redis begin with are looked for.
"""

import os
import re
import ssl
from collections.abc import Iterator

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tokenproxy.errors import StoreError

_PASSWORD = "does not take the user and password: mend them in the config's 'store.url'"  # noqa: S105
_RIGHTS = (
    "does not let this user do what is needed: allow it '+@read +@write +@scripting +@pubsub "
    "+@connection' on keys and channels that begin with the config's 'store.prefix'"
)
_REPLICA = "is a replica: name the primary in the config's 'store.url', or its sentinels"
_FULL = "has no memory left: give it more, or less to keep"
_LOADING = "is still loading its data: wait until it has"
_CLUSTER = "is one node of a cluster: name one in the config's 'store.url' that is none"
_HUNG = "does not answer in time: see what holds it up, or what stands between"

_BY_KIND: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, _PASSWORD),
    (NoPermissionError, _RIGHTS),
    (ReadOnlyError, _REPLICA),
    (OutOfMemoryError, _FULL),
    (BusyLoadingError, _LOADING),
    (
        MasterNotFoundError,
        "is named by none of these sentinels: see whether they are up, and agree",
    ),
    (AskError, _CLUSTER),  # MovedError is one
    (ClusterError, _CLUSTER),
    (ClusterCrossSlotError, _CLUSTER),
    (RedisTimeoutError, _HUNG),
    (TimeoutError, _HUNG),
)
_BY_WORD = {  # redis-py has no kinds for these, or an error of a script has hidden it
    "WRONGTYPE": "holds something else under this name: choose another 'store.prefix'",
    "NOPERM": _RIGHTS,
    "permissions": _RIGHTS,
    "user executing the script": _RIGHTS,
    "READONLY": _REPLICA,
    "OOM": _FULL,
    "MISCONF": "cannot write to its disk, and takes nothing until it can: mend that",
    "NOREPLICAS": "has lost its replicas, and takes nothing without them: mend that",
    "MASTERDOWN": "is a replica that has lost its primary: name the primary in 'store.url'",
    "BUSY": "is held up by somebody's script: end that, or wait",
    "clients": "takes no more clients: raise its 'maxclients', or see who holds so many",
}

_ERROR_NUMBER = re.compile(r"Error (\d+) connecting to ")


def trouble(place: str, error: Exception) -> StoreError:
    """What a call to the Redis at `place` has failed with, as a StoreError."""
    return StoreError(f"the Redis at {place} {_what(error)}")


def _what(error: Exception) -> str:
    for cause in _causes(error):  # redis-py hides some of what it meets while it connects
        if (what := _known(cause)) is not None:
            return what
    if number := _ERROR_NUMBER.match(str(error)):  # its cause gets lost on uvloop
        return _unreachable(os.strerror(int(number[1])))
    if isinstance(error, RedisConnectionError):
        return "has broken off the connection: see in its log why"
    return f"answers what no Redis does ({type(error).__name__}): see what it is"


def _known(error: BaseException) -> str | None:
    for kind, what in _BY_KIND:
        if isinstance(error, kind):
            return what
    if isinstance(error, OSError):
        return _unreachable(_reason(error))
    for word, what in _BY_WORD.items():
        if re.search(rf"\b{word}\b", str(error)):
            return what
    return None


def _unreachable(reason: str) -> str:
    return f"cannot be reached ({reason}): start it, or name another in the config's 'store.url'"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'reason', None) or 'no handshake'}"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or "no connection"

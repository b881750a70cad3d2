"""What is said of each way in which a Redis can fail; none of its own words are."""

import ssl

import pytest
from redis import exceptions as redis_errors
from redis.asyncio.sentinel import MasterNotFoundError

from tokenproxy.tokens.redis.trouble import trouble


def _caused_by(cause: Exception) -> redis_errors.ConnectionError:
    """As redis-py tells of what it meets while it connects."""
    error = redis_errors.ConnectionError("Error while connecting")
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (redis_errors.AuthenticationError("s3cr3t"), "does not take the user and password"),
        (_caused_by(redis_errors.AuthenticationError()), "does not take the user and password"),
        (redis_errors.NoPermissionError("s3cr3t"), "does not let this user"),
        (redis_errors.ResponseError("NOPERM s3cr3t"), "does not let this user"),
        (redis_errors.ReadOnlyError("s3cr3t"), "is a replica"),
        (redis_errors.ResponseError("ERR Error running script: READONLY s3cr3t"), "is a replica"),
        (redis_errors.OutOfMemoryError("s3cr3t"), "has no memory left"),
        (redis_errors.ResponseError("MISCONF s3cr3t"), "cannot write to its disk"),
        (redis_errors.ResponseError("NOREPLICAS s3cr3t"), "has lost its replicas"),
        (redis_errors.ResponseError("MASTERDOWN s3cr3t"), "has lost its primary"),
        (redis_errors.ResponseError("BUSY s3cr3t"), "is held up by somebody's script"),
        (redis_errors.ResponseError("WRONGTYPE s3cr3t"), "holds something else"),
        (redis_errors.BusyLoadingError("s3cr3t"), "is still loading"),
        (redis_errors.ConnectionError("max number of clients reached"), "takes no more clients"),
        (redis_errors.MovedError("7 s3cr3t:1"), "is one node of a cluster"),
        (redis_errors.ClusterDownError("s3cr3t"), "is one node of a cluster"),
        (MasterNotFoundError("s3cr3t"), "is named by none of these sentinels"),
        (redis_errors.TimeoutError("s3cr3t"), "does not answer in time"),
        (TimeoutError("s3cr3t"), "does not answer in time"),
        (_caused_by(ConnectionRefusedError(111, "s3cr3t")), "(Connection refused): start it"),
        (_caused_by(OSError("s3cr3t")), "cannot be reached (no connection)"),
        (_caused_by(ssl.SSLError(1, "s3cr3t")), "cannot be reached (TLS: no handshake)"),
        (
            redis_errors.ConnectionError("Error 111 connecting to s3cr3t"),
            "cannot be reached (Connection refused)",
        ),
        (redis_errors.ConnectionError("Connection closed by s3cr3t"), "has broken off"),
        (redis_errors.ResponseError("ERR s3cr3t"), "answers what no Redis does (ResponseError)"),
        (ValueError("s3cr3t"), "answers what no Redis does (ValueError)"),
    ],
)
def test_what_failed_is_said_in_words_of_our_own(error: Exception, what: str) -> None:
    message = str(trouble("redis://h:1/0", error))
    assert message.startswith("the Redis at redis://h:1/0 ")
    assert what in message
    assert "s3cr3t" not in message

"""URLs of Redis: what is made of them, and that nothing secret in them is shown."""

from typing import Any

import pytest
from redis.asyncio import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from tokenproxy.errors import ConfigError
from tokenproxy.tokens.redis.address import open_server


def _options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = open_server(url).client.connection_pool.connection_kwargs
    return options


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
        ("redis://anna:s3cr3t@cache.example:6380/2", "redis://cache.example:6380/2"),
        ("redis://:s3cr3t@cache.example", "redis://cache.example:6379"),
        ("redis://[::1]:6380/0", "redis://[::1]:6380/0"),
        ("redis://h?password=s3cr3t", "redis://h:6379"),
        ("rediss://a:s3cr%2Fet@h?ssl_keyfile=/s3cr3t", "rediss://h:6379"),
        ("unix:///run/redis.sock?password=s3cr3t", "unix:///run/redis.sock"),
        ("unix://anna:s3cr3t@/run/redis.sock", "unix:///run/redis.sock"),
        ("sentinel://a:s3cr3t@one,two:2/main", "sentinel://one,two:2/main"),
    ],
)
def test_a_place_is_shown_without_its_secrets(url: str, place: str) -> None:
    assert open_server(url).place == place


@pytest.mark.parametrize(
    "url",
    [
        "redis://anna:s3cr3t/x@h",
        "redis://anna:12/s3cr3t@h",
        "redis://anna:12#s3cr3t@h",
        "redis://anna:12?s3cr3t@h",
        "redis://h:s3cr3t",
        "redis://[s3cr3t",
        "redis://h/s3cr3t",
        "redis://h?s3cr3t=s3cr3t",
        "redis://h?db=s3cr3t",
        "redis://h?socket_timeout=s3cr3t",
        "rediss://h?ssl_cert_reqs=s3cr3t",
        "sentinel://h:s3cr3t/main",
        "sentinel://one,,two/main",
        "sentinel://one/main?s3cr3t=1",
    ],
)
def test_a_url_that_cannot_be_is_told_at_once_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url: .*percent-encoded") as caught:
        open_server(url)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__suppress_context__  # its cause would be shown in a traceback


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h", {"host": "h"}),
        ("redis://h/3", {"db": 3}),
        ("redis://anna:p%40ss@h", {"username": "anna", "password": "p@ss"}),
        ("redis://h", {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "protocol": 2}),
        ("redis://h?socket_timeout=7", {"socket_timeout": 7.0, "socket_connect_timeout": 2.0}),
        ("redis://h?decode_responses=true", {"decode_responses": False}),
        ("rediss://h?ssl_ca_certs=/ca.pem", {"ssl_ca_certs": "/ca.pem"}),
        ("unix:///s?db=3", {"path": "/s", "db": 3, "socket_timeout": 2.0}),
    ],
)
def test_the_url_decides_what_the_client_is_told(url: str, options: dict[str, Any]) -> None:
    assert _options(url).items() >= options.items()


@pytest.mark.parametrize(
    ("url", "kind"),
    [("rediss://h", SSLConnection), ("unix:///s", UnixDomainSocketConnection)],
)
def test_the_scheme_decides_how_to_connect(url: str, kind: type) -> None:
    assert open_server(url).client.connection_pool.connection_class is kind


def _sentinel(url: str) -> SentinelConnectionPool:
    pool = open_server(url).client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    return pool


def _sentinels(url: str) -> list[dict[str, Any]]:
    sentinels = _sentinel(url).sentinel_manager.sentinels
    return [sentinel.connection_pool.connection_kwargs for sentinel in sentinels]


def test_a_sentinel_url_names_sentinels_and_a_primary() -> None:
    url = "sentinel://one:1,[::1]:2,three/main%20one?db=3"
    hosts = [(options["host"], options["port"]) for options in _sentinels(url)]
    assert hosts == [("one", 1), ("::1", 2), ("three", 26379)]
    assert _sentinel(url).service_name == "main one"
    assert _sentinel(url).connection_kwargs["db"] == 3


def test_the_user_of_a_sentinel_url_is_rediss_and_sentinels_have_their_own() -> None:
    url = "sentinel://anna:p%40ss@one/main?sentinel_username=s&sentinel_password=p"
    primary, (sentinel,) = _options(url), _sentinels(url)
    assert (primary["username"], primary["password"]) == ("anna", "p@ss")
    assert (sentinel["username"], sentinel["password"]) == ("s", "p")
    assert "sentinel_password" not in primary


def test_sentinels_that_want_no_password_are_sent_none() -> None:
    (sentinel,) = _sentinels("sentinel://anna:secret@one/main")
    assert (sentinel["username"], sentinel["password"]) == (None, None)


def test_tls_reaches_sentinels_and_primary() -> None:
    url = "sentinel://one/main?ssl=true&ssl_ca_certs=/ca.pem"
    (sentinel,) = _sentinels(url)
    assert sentinel["ssl_ca_certs"] == _options(url)["ssl_ca_certs"] == "/ca.pem"
    assert _sentinel(url).connection_class is SentinelManagedSSLConnection

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.proxy.headers import (
    HOP_BY_HOP,
    Caller,
    Header,
    NameTable,
    RequestRules,
    nominated,
)
from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.settings.headers import RequestHeaders
from tokenproxy.settings.route import Route

HOST = (b"Host", b"api.example")
LOCAL = Caller("127.0.0.1")
ANSWERS = CompiledRoute("r", Route(upstream="http://api.example")).answers


def to_caller(headers: list[Header]) -> list[Header]:
    return ANSWERS.to_caller(headers, target=b"/", scheme="http")


def sent(
    headers: list[Header],
    *,
    forwarded: Literal["drop", "keep", "set"] = "drop",
    via: bool = False,
    version: str = "1.1",
    caller: Caller = LOCAL,
    preserve_host: bool = False,
    changes: dict[str, Any] | None = None,
) -> list[Header]:
    rules = RequestRules(
        authority=b"api.example",
        forwarded=forwarded,
        via=via,
        preserve_host=preserve_host,
        changes=RequestHeaders.model_validate(changes or {}),
    )
    return rules.to_upstream(headers, version=version, caller=caller)


def fields(text: str) -> list[Header]:
    """Header fields as they stand on the wire, one a line."""
    lines = [line.strip().encode() for line in text.strip().splitlines()]
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


def test_what_no_rule_names_goes_on_in_order_with_repeats_and_case() -> None:
    headers = fields(
        """
        User-Agent: curl/8
        ACCEPT: */*
        X-Twice: 1
        accept-encoding: gzip, br
        x-twice: 2
        Content-Length: 17
        Expect: 100-continue
        X_Custom_Name: kept
        Authorization: Basic YTpi
        """
    )
    assert sent(headers) == [HOST, *headers]


def test_the_upstream_gets_its_own_host_once_and_first() -> None:
    headers = [(b"A", b"1"), (b"Host", b"127.0.0.1:8080"), (b"hOST", b"evil.example")]
    assert sent(headers) == [HOST, (b"A", b"1")]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
@pytest.mark.parametrize("spelt", [bytes.lower, bytes.upper, bytes.title])
def test_hop_by_hop_fields_stop_here_both_ways(
    name: bytes, spelt: Callable[[bytes], bytes]
) -> None:
    headers = [(b"A", b"1"), (spelt(name), b"x"), (b"B", b"2")]
    assert sent(headers) == [HOST, (b"A", b"1"), (b"B", b"2")]
    assert to_caller(headers) == [(b"A", b"1"), (b"B", b"2")]


@pytest.mark.parametrize(
    "connection",
    [
        ["X-Secret"],
        ["close, x-secret"],
        ["close,,  ,\tX-SECRET \t,keep-alive"],
        ["keep-alive", "x-secret"],
        ["x-secret", "keep-alive"],
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_what_connection_nominates_stops_here_both_ways(connection: list[str], last: bool) -> None:
    nominations = [(b"Connection", value.encode()) for value in connection]
    headers = [(b"A", b"1"), (b"X-Secret", b"x"), (b"x-secret", b"y")]
    headers = headers + nominations if last else nominations + headers
    assert sent(headers) == [HOST, (b"A", b"1")]
    assert to_caller(headers) == [(b"A", b"1")]


def test_a_nomination_holds_for_its_own_message_only() -> None:
    rules = RequestRules(authority=b"api.example", forwarded="drop", via=False)
    once = [(b"Connection", b"x-a"), (b"X-A", b"1")]
    assert rules.to_upstream(once, version="1.1", caller=LOCAL) == [HOST]
    assert rules.to_upstream(once[1:], version="1.1", caller=LOCAL) == [HOST, once[1]]


def test_framing_and_host_cannot_be_nominated_away() -> None:
    headers = fields(
        """
        Connection: content-length, transfer-encoding, host, via
        Content-Length: 5
        """
    )
    assert sent(headers, via=True) == [HOST, headers[1], (b"Via", b"1.1 tokenproxy")]
    assert to_caller(headers) == [headers[1]]
    assert nominated([headers[0][1]]) == {b"via"}


@pytest.mark.parametrize(
    "twin",
    [
        b"Content_Length",
        b"CONTENT_LENGTH",
        b"transfer_encoding",
        b"Transfer_Encoding",
        b"Keep_Alive",
        b"Proxy_Connection",
        b"X_Tokenproxy_Key",
        b"X-Tokenproxy_Key",
        b"X-Tokenproxy-Key",
        b"X_Forwarded_For",
        b"x-forwarded_host",
    ],
)
def test_a_name_that_a_wsgi_server_would_merge_with_one_of_ours_is_dropped(twin: bytes) -> None:
    assert sent([(twin, b"1"), (b"A", b"1")]) == [HOST, (b"A", b"1")]


def test_answers_keep_names_with_underscores_that_are_no_twins_of_the_framing() -> None:
    headers = [(b"X_A", b"1"), (b"Content-Length", b"3")]
    twins = [(b"Content_Length", b"2"), (b"TRANSFER_ENCODING", b"chunked"), (b"Keep_Alive", b"x")]
    assert to_caller(headers + twins) == headers


FORWARDED = fields(
    """
    Forwarded: for=192.0.2.1
    X-Forwarded-For: 192.0.2.1
    x-forwarded-host: evil.example
    X-FORWARDED-PROTO: https
    X-Forwarded-Prefix: /x
    """
)


def test_forwarded_fields_are_dropped() -> None:
    assert sent([*FORWARDED, (b"X-Real-IP", b"1")]) == [HOST, (b"X-Real-IP", b"1")]


def test_forwarded_fields_are_kept_where_the_route_says_so() -> None:
    assert sent(FORWARDED, forwarded="keep") == [HOST, *FORWARDED]


@pytest.mark.parametrize(
    ("caller", "host", "expected"),
    [
        (
            Caller("127.0.0.1"),
            b"localhost:8080",
            """
            X-Forwarded-For: 127.0.0.1
            X-Forwarded-Host: localhost:8080
            X-Forwarded-Proto: http
            Forwarded: for=127.0.0.1;host="localhost:8080";proto=http
            """,
        ),
        (
            Caller("::1", "https"),
            b"shop.localhost",
            """
            X-Forwarded-For: ::1
            X-Forwarded-Host: shop.localhost
            X-Forwarded-Proto: https
            Forwarded: for="[::1]";host=shop.localhost;proto=https
            """,
        ),
        (
            Caller("fe80::1%eth0"),
            None,
            """
            X-Forwarded-For: fe80::1
            X-Forwarded-Proto: http
            Forwarded: for="[fe80::1]";proto=http
            """,
        ),
        (
            Caller(None),
            b'a"b\\c',
            r"""
            X-Forwarded-Host: a"b\c
            X-Forwarded-Proto: http
            Forwarded: for=unknown;host="a\"b\\c";proto=http
            """,
        ),
    ],
)
def test_forwarded_fields_are_set_anew(caller: Caller, host: bytes | None, expected: str) -> None:
    headers = [*FORWARDED, (b"A", b"1")] + ([(b"Host", host)] if host is not None else [])
    kept = sent(headers, forwarded="set", caller=caller)
    assert kept == [HOST, (b"A", b"1"), *fields(expected)]


@pytest.mark.parametrize(
    ("version", "field"), [("1.1", b"1.1 tokenproxy"), ("1.0", b"1.0 tokenproxy")]
)
def test_via_is_added_after_those_of_others(version: str, field: bytes) -> None:
    headers = [(b"via", b"1.1 other"), (b"A", b"1")]
    assert sent(headers, via=True, version=version) == [HOST, *headers, (b"Via", field)]


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ([(b"A", b"1"), (b"hOST", b"Shop.localhost:8080")], b"Shop.localhost:8080"),
        ([(b"A", b"1")], b"api.example"),  # HTTP/1.0
        ([(b"A", b"1"), (b"Host", b"")], b"api.example"),
    ],
)
def test_a_callers_host_is_preserved_where_it_has_one(headers: list[Header], host: bytes) -> None:
    assert sent(headers, preserve_host=True) == [(b"Host", host), (b"A", b"1")]
    assert sent(headers) == [HOST, (b"A", b"1")]


def test_a_preserved_host_cannot_be_nominated_away() -> None:
    headers = [(b"Host", b"localhost"), (b"Connection", b"host")]
    assert sent(headers, preserve_host=True) == [(b"Host", b"localhost")]


SET = {"X-Tenant": "anna", "x_odd": "\u00fc"}


def test_headers_that_are_set_replace_every_field_of_their_name() -> None:
    headers = fields(
        """
        x-tenant: evil
        A: 1
        X_TENANT: evil
        X-Tenant: evil
        X-Odd: evil
        """
    )
    expected = [HOST, (b"A", b"1"), (b"X-Tenant", b"anna"), (b"x_odd", "\u00fc".encode())]
    assert sent(headers, changes={"set": SET}) == expected
    assert sent([(b"A", b"1")], changes={"set": SET}) == expected


def test_headers_that_are_removed_leave_nothing_of_their_name() -> None:
    headers = [(b"Cookie", b"a=b"), (b"A", b"1"), (b"COOKIE", b"c=d"), (b"x_debug", b"1")]
    assert sent(headers, changes={"remove": ["cookie", "X-Debug"]}) == [HOST, (b"A", b"1")]


def test_what_is_set_cannot_be_nominated_away() -> None:
    headers = [(b"Connection", b"x-tenant, a"), (b"A", b"1")]
    expected = [HOST, (b"X-Tenant", b"anna"), (b"Via", b"1.1 tokenproxy")]
    assert sent(headers, via=True, changes={"set": {"X-Tenant": "anna"}}) == expected


def test_what_a_route_sets_goes_on_although_a_callers_own_would_not() -> None:
    changes = {"set": {"X-Forwarded-Proto": "https", "X-Tokenproxy-Key": "next"}}
    headers = [*FORWARDED, (b"X-Tokenproxy-Key", b"mine")]
    assert sent(headers, changes=changes) == [
        HOST,
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Tokenproxy-Key", b"next"),
    ]


def test_a_name_table_forgets_made_up_names() -> None:
    asked = []

    def rule(name: bytes) -> int:
        asked.append(name)
        return len(name)

    table = NameTable(rule)
    assert [table[b"Abc"], table[b"Abc"], table[b"ABC"]] == [3, 3, 3]
    assert asked == [b"abc", b"abc"]
    for number in range(10_000):
        assert table[b"%d" % number] == len(b"%d" % number)
    assert table[b"x" * 10_000] == 10_000
    assert len(table) <= 256
    assert max(map(len, table)) <= 64


# Properties.

NAMES = ["accept", "cookie", "x-a", "X-B", "Content-Length", "Content_Length", "host", "via"]
NAMES += ["Connection", "connection", "te", "Upgrade", "x_a", "Keep_Alive", "Forwarded"]
NAMES += ["Transfer-Encoding", "X-Forwarded-For", "x_forwarded-for", "X-Tokenproxy-Key"]
names = st.one_of(st.sampled_from(NAMES), st.text("abcxyzABC-_", min_size=1, max_size=8))
nominations = st.lists(st.sampled_from([*NAMES, "close", "", " x-a\t"]), max_size=3).map(", ".join)
values = st.one_of(st.text("ab=;, \"'", max_size=6), nominations)
heads = st.lists(st.tuples(names, values), max_size=12).map(
    lambda pairs: [(name.encode(), value.encode()) for name, value in pairs]
)


def named_by(headers: list[Header]) -> set[bytes]:
    connections = [value for name, value in headers if name.lower() == b"connection"]
    tokens = {token.strip().lower() for value in connections for token in value.split(b",")}
    return tokens - {b"content-length", b"transfer-encoding", b"host"}


def stays(name: bytes, headers: list[Header]) -> bool:
    """The rules said once more, slowly."""
    lower = name.lower()
    merged = lower.replace(b"_", b"-")
    if lower == b"host" or lower in named_by(headers):
        return False
    if merged == b"content-length":
        return lower == merged
    if merged in {b"forwarded", b"x-tokenproxy-key"} or merged.startswith(b"x-forwarded-"):
        return False
    return merged not in HOP_BY_HOP


@given(heads)
def test_all_but_what_the_rules_name_leaves_byte_for_byte_in_order(headers: list[Header]) -> None:
    kept = sent(headers)
    assert kept == [HOST] + [field for field in headers if stays(field[0], headers)]


@given(heads)
def test_answers_lose_what_is_for_one_hop_and_nothing_else(headers: list[Header]) -> None:
    named = named_by(headers)

    def passes(name: bytes) -> bool:
        lower = name.lower()
        merged = lower.replace(b"_", b"-")
        if lower in named or merged in HOP_BY_HOP:
            return False
        return merged != b"content-length" or lower == merged

    assert to_caller(headers) == [field for field in headers if passes(field[0])]


@given(heads)
def test_a_head_is_read_and_never_changed(headers: list[Header]) -> None:
    before = list(headers)
    sent(headers, forwarded="set", via=True)
    to_caller(headers)
    assert headers == before

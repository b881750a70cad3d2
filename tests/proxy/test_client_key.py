"""`client_key` and the rules of routes, end to end over both ways in."""

import json
from base64 import b64encode
from typing import Any

import pytest

from tests.conftest import STATIC, Proxy, Serving
from tests.wire import Upstream

KEY = "a-key-that-nobody-guesses"
NAMED = b"X-Tokenproxy-Key: " + KEY.encode()
BEARER = b"Authorization: Bearer " + KEY.encode()
BASIC = b"Authorization: Basic " + b64encode(f"anna:{KEY}".encode())
CHALLENGE = b'Basic realm="tokenproxy", Bearer realm="tokenproxy"'


async def locked(serving: Serving, upstream: Upstream, **route: Any) -> Proxy:
    return await serving(
        {
            "client_key": KEY,
            "credentials": {"c": STATIC},
            "routes": [
                {"upstream": upstream.url, "credential": "c", **route},
                {"path": "/open", "upstream": upstream.url},
            ],
        }
    )


@pytest.mark.parametrize("field", [NAMED, BEARER, BASIC])
async def test_the_key_opens_and_goes_no_further(
    serving: Serving, upstream: Upstream, field: bytes
) -> None:
    proxy = await locked(serving, upstream)
    async with await proxy.connect() as peer:
        for number in range(6):  # parsed, learnt, known by its fields, and known whole
            await peer.send(proxy.request(b"/%d" % (number // 2), field, b"X-A: b"))
            assert (await peer.answer()).body == b"ok"
    for request in upstream.requests:
        assert request.values(b"authorization") == [b"Bearer the-token"]
        assert KEY.encode() not in request.head
        assert request.values(b"x-a") == [b"b"]
    assert KEY not in repr(proxy.events)


async def test_without_the_key_there_is_a_challenge(serving: Serving, upstream: Upstream) -> None:
    proxy = await locked(serving, upstream)
    for fields in ([], [b"X-Tokenproxy-Key: " + KEY[:-1].encode()], [b"Authorization: Bearer x"]):
        refused = await proxy.ask(b"/", *fields)
        assert (refused.status, refused.values(b"www-authenticate")) == (401, [CHALLENGE])
        problem = json.loads(refused.body)
        assert (problem["code"], problem["route"]) == ("client_key_required", "c")
    assert upstream.requests == []


async def test_where_nothing_overwrites_it_an_authorization_is_no_place_for_the_key(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await locked(serving, upstream)
    async with await proxy.connect() as peer:
        for field, here, there in ((BEARER, 200, 401), (NAMED, 200, 200), (BASIC, 200, 401)):
            for target in [b"/", b"/open/a"] * 4:
                await peer.send(proxy.request(target, field))
                expected = there if target.startswith(b"/open") else here
                assert (await peer.answer()).status == expected
    assert all(KEY.encode() not in request.head for request in upstream.requests)


async def test_fields_that_were_let_in_let_nobody_in_without_the_key(
    serving: Serving, upstream: Upstream
) -> None:
    """Only vetted fields are remembered, and those that fail are judged again each time."""
    proxy = await locked(serving, upstream)
    async with await proxy.connect() as peer:
        for fields, status in [([NAMED], 200), ([], 401), ([b"X-Tokenproxy-Key: x"], 401)] * 5:
            for target in (b"/a", b"/a", b"/b"):
                await peer.send(proxy.request(target, *fields))
                assert (await peer.answer()).status == status
    assert len(upstream.requests) == 15


async def test_what_a_route_does_not_let_through_reaches_nobody(
    serving: Serving, upstream: Upstream
) -> None:
    rules = {
        "path": "/shop",
        "allow": {"methods": ["GET", "POST"], "paths": ["/shop/items/**"]},
        "deny": {"paths": ["/shop/items/*/secret"]},
    }
    proxy = await locked(serving, upstream, **rules)
    asked = [
        (b"GET", b"/shop/items/1", 200, None),
        (b"POST", b"/shop/items", 200, None),
        (b"DELETE", b"/shop/items/1", 405, "method_not_allowed"),
        (b"GET", b"/shop/other", 403, "path_not_allowed"),
        (b"GET", b"/shop/items/1/secret", 403, "path_not_allowed"),
        (b"GET", b"/shop/items/1/%73ecret", 400, "bad_request"),
        (b"GET", b"/shop/items//1/secret", 400, "bad_request"),
        (b"DELETE", b"/shop/items/1/secret", 405, "method_not_allowed"),
    ]
    async with await proxy.connect() as peer:
        for method, target, status, code in asked * 3:
            await peer.send(proxy.request(target, NAMED, method=method))
            answered = await peer.answer()
            assert (answered.status, method, target) == (status, method, target)
            if code is not None:
                assert json.loads(answered.body)["code"] == code
            allow = [b"GET, POST, HEAD"] if status == 405 else []
            assert answered.values(b"allow") == allow
    assert len(upstream.requests) == 6


METHODS = [b"X-HTTP-Method-Override", b"x_http_method", b"X-Method-Override"]
PATHS = [b"X-Original-URL", b"X-Rewrite-URL"]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, [*METHODS, *PATHS]),
        ({"deny": {"methods": ["DELETE"]}}, PATHS),
        ({"allow": {"paths": ["/**"]}}, METHODS),
        ({"allow": {"methods": ["POST"]}, "deny": {"paths": ["/no"]}}, []),
    ],
)
async def test_no_field_says_another_method_or_path_than_the_one_that_was_judged(
    serving: Serving, upstream: Upstream, rules: dict[str, Any], kept: list[bytes]
) -> None:
    proxy = await locked(serving, upstream, **rules)
    fields = [b"%b: DELETE" % name for name in METHODS] + [b"%b: /no" % name for name in PATHS]
    async with await proxy.connect() as peer:
        for _ in range(4):
            await peer.send(proxy.request(b"/", NAMED, *fields, method=b"POST"))
            assert (await peer.answer()).status == 200
    for request in upstream.requests:
        assert [name for name, _ in request.fields if name in METHODS + PATHS] == kept

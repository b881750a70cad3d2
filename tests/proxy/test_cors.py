"""Pages of other sites that a route lets in (contract 3.2), over both ways in."""

import json
from typing import Any

import pytest

from tests.conftest import STATIC, Proxy, Serving
from tests.wire import Message, Upstream, answer
from tokenproxy.proxy.cors import Cors, preflight_fields
from tokenproxy.settings import access

PAGE, OTHER = b"https://app.example", b"http://localhost:3000"
ORIGINS = [PAGE.decode(), OTHER.decode()]
BY_PAGE = b"Origin: " + PAGE
ASKS = b"Access-Control-Request-Method: PUT"


def told(message: Message, *names: bytes) -> list[list[bytes]]:
    return [message.values(b"access-control-" + name) for name in names]


async def opened(serving: Serving, upstream: Upstream, **route: Any) -> Proxy:
    cors = {"origins": ORIGINS, **route.pop("cors", {})}
    return await serving(
        {
            "credentials": {"c": STATIC},
            "routes": [{"upstream": upstream.url, "credential": "c", "cors": cors, **route}],
        }
    )


# -- preflights --------------------------------------------------------------------------------


async def test_a_preflight_is_answered_here(serving: Serving, upstream: Upstream) -> None:
    proxy = await opened(serving, upstream)
    async with await proxy.connect() as peer:
        for _ in range(3):
            await peer.send(
                proxy.request(
                    b"/a?b",
                    BY_PAGE,
                    ASKS,
                    b"Access-Control-Request-Headers: x-a,X-Tokenproxy-Key",
                    b"Sec-Fetch-Site: cross-site",
                    method=b"OPTIONS",
                )
            )
            answered = await peer.answer()
            assert (answered.status, answered.values(b"content-length")) == (204, [])
            assert told(answered, b"allow-origin", b"allow-credentials") == [[PAGE], []]
            assert told(answered, b"allow-methods", b"allow-headers", b"max-age") == [
                [b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"],
                [b"x-a, X-Tokenproxy-Key"],
                [b"600"],
            ]
            (vary,) = answered.values(b"vary")
            assert vary.lower().startswith(b"origin, access-control-request-method")
            assert told(answered, b"allow-private-network", b"expose-headers") == [[], []]
    assert upstream.requests == []
    assert {(one.route, one.status, one.code) for one in proxy.served} == {("c", 204, None)}


@pytest.mark.parametrize(
    ("origin", "status"),
    [(b"https://evil.example", 403), (b"null", 403), (b"http://localhost:3001", 403), (OTHER, 204)],
)
async def test_a_preflight_of_others_ends_here_as_well(
    serving: Serving, upstream: Upstream, origin: bytes, status: int
) -> None:
    proxy = await opened(serving, upstream)
    answered = await proxy.ask(b"/", b"Origin: " + origin, ASKS, method=b"OPTIONS")
    assert answered.status == status
    assert told(answered, b"allow-origin") == ([[origin]] if status == 204 else [[]])
    assert upstream.requests == []


async def test_options_that_are_no_preflight_go_on(serving: Serving, upstream: Upstream) -> None:
    proxy = await opened(serving, upstream)
    own = b"Origin: http://" + proxy.authority
    for fields in ([], [BY_PAGE], [ASKS], [own, ASKS]):
        assert (await proxy.ask(b"/", *fields, method=b"OPTIONS")).body == b"ok"
    assert len(upstream.requests) == 4


def preflight(*fields: tuple[bytes, bytes], allowed: bool = True) -> dict[bytes, bytes]:
    told = preflight_fields((), fields, methods=[b"GET"], may_have=lambda _: allowed)
    return {name.removeprefix(b"Access-Control-"): value for name, value in told}


def test_what_a_page_asks_for_is_said_again_where_it_is_sound() -> None:
    asked, fields = b"Access-Control-Request-Method", b"access-control-request-headers"
    assert preflight((asked, b"PURGE"))[b"Allow-Methods"] == b"GET, PURGE"
    assert preflight((asked, b"PURGE"), allowed=False)[b"Allow-Methods"] == b"GET"
    assert preflight((asked, b"a b\r\nX: y"))[b"Allow-Methods"] == b"GET"
    assert preflight((fields, b"a, b"), (fields, b"c"))[b"Allow-Headers"] == b"a, b, c"
    for unsound in (b"", b"a,,b", b"a b", b"a:b", b"a\r\nb"):
        assert b"Allow-Headers" not in preflight((fields, unsound))


def test_a_page_that_may_ask_may_ask_over_the_network() -> None:
    private = b"Access-Control-Request-Private-Network"
    assert preflight((private, b"true"))[b"Allow-Private-Network"] == b"true"
    assert b"Allow-Private-Network" not in preflight((private, b"false"))


async def test_a_preflight_tells_which_methods_the_route_has(
    serving: Serving, upstream: Upstream
) -> None:
    rules = {"allow": {"methods": ["GET", "PURGE"]}, "deny": {"methods": ["HEAD"]}}
    proxy = await opened(serving, upstream, **rules)
    answered = await proxy.ask(b"/", BY_PAGE, ASKS, method=b"OPTIONS")
    assert (answered.status, told(answered, b"allow-methods")) == (204, [[b"GET, PURGE"]])


async def test_a_preflight_carries_no_key_and_needs_none(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving(
        {
            "client_key": "a-key-that-nobody-guesses",
            "routes": [{"upstream": upstream.url, "cors": {"origins": ORIGINS}}],
        }
    )
    assert (await proxy.ask(b"/", BY_PAGE, ASKS, method=b"OPTIONS")).status == 204
    refused = await proxy.ask(b"/", BY_PAGE, method=b"PUT")
    assert refused.status == 401
    assert told(refused, b"allow-origin") == [[PAGE]]


# -- answers -----------------------------------------------------------------------------------

UPSTREAMS = [
    (b"Access-Control-Allow-Origin", b"*"),
    (b"access_control_allow_origin", b"https://evil.example"),
    (b"Access-Control-Allow-Credentials", b"true"),
    (b"Access-Control-Expose-Headers", b"X-Theirs"),
    (b"Vary", b"Accept"),
    (b"X-Total", b"7"),
]


async def test_the_upstreams_word_on_pages_is_ours(serving: Serving, upstream: Upstream) -> None:
    upstream.reply = answer(b"ok", fields=UPSTREAMS)
    proxy = await opened(serving, upstream)
    answered = await proxy.ask(b"/", BY_PAGE, b"Sec-Fetch-Site: cross-site", method=b"POST")
    assert answered.body == b"ok"
    assert told(answered, b"allow-origin", b"allow-credentials") == [[PAGE], []]
    assert told(answered, b"expose-headers") == [[b"x-total"]]
    assert answered.values(b"vary") == [b"Accept", b"Origin"]
    assert answered.values(b"access_control_allow_origin") == []
    assert upstream.requests[0].values(b"authorization") == [b"Bearer the-token"]


async def test_with_credentials_they_are_told_so(serving: Serving, upstream: Upstream) -> None:
    proxy = await opened(serving, upstream, cors={"credentials": True})
    for fields, method in (([], b"GET"), ([ASKS], b"OPTIONS")):
        answered = await proxy.ask(b"/", BY_PAGE, *fields, method=method)
        assert told(answered, b"allow-origin", b"allow-credentials") == [[PAGE], [b"true"]]


async def test_a_route_that_lets_no_page_in_leaves_answers_alone(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.reply = answer(b"ok", fields=UPSTREAMS)
    answered = await plain.ask()
    assert answered.fields[: len(UPSTREAMS)] == UPSTREAMS


async def test_no_page_gets_what_another_one_is_told(serving: Serving, upstream: Upstream) -> None:
    """Heads that have come before are given again as they went out (`proxy/wire/known.py`)."""
    upstream.reply = answer(b"ok", fields=UPSTREAMS)
    proxy = await opened(serving, upstream)
    own = b"http://" + proxy.authority
    async with await proxy.connect() as peer:
        for origin in [None, None, None, PAGE, PAGE, PAGE, None, OTHER, OTHER, own, own, own] * 3:
            fields = [] if origin is None else [b"Origin: " + origin]
            await peer.send(proxy.request(b"/x", *fields))
            answered = await peer.answer()
            expected = [origin] if origin in {PAGE, OTHER} else []
            assert told(answered, b"allow-origin") == [expected]
            assert told(answered, b"expose-headers") == [[b"x-total"] if expected else []]
            assert answered.values(b"vary") == [b"Accept", b"Origin"]
            assert answered.values(b"access_control_allow_origin") == []
        for _ in range(3):
            await peer.send(proxy.request(b"/x", b"Origin: https://evil.example"))
            assert (await peer.answer()).status == 403


async def test_a_page_can_read_what_went_wrong(serving: Serving) -> None:
    proxy = await serving(
        {
            "routes": [
                {
                    "upstream": "http://127.0.0.1:9",
                    "cors": {"origins": ORIGINS},
                    "deny": {"methods": ["DELETE"], "paths": ["/no"]},
                }
            ]
        }
    )
    for target, method, code in (
        (b"/", b"GET", "upstream_unreachable"),
        (b"/", b"DELETE", "method_not_allowed"),
        (b"/no", b"GET", "path_not_allowed"),
    ):
        answered = await proxy.ask(target, BY_PAGE, method=method)
        assert json.loads(answered.body)["code"] == code
        assert told(answered, b"allow-origin") == [[PAGE]]
        assert answered.values(b"vary") == [b"Origin"]
        assert b"proxy-status" in told(answered, b"expose-headers")[0][0]
        foreign = await proxy.ask(target, b"Origin: null", method=method)
        assert (foreign.status, told(foreign, b"allow-origin")) == (403, [[]])


# -- other protocols ---------------------------------------------------------------------------

SWITCH = [b"Connection: Upgrade", b"Upgrade: websocket"]
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.only("wire")
@pytest.mark.parametrize(
    ("origin", "status"), [(PAGE, 101), (b"https://evil.example", 403), (b"null", 403)]
)
async def test_a_websocket_is_opened_by_the_same_pages(
    serving: Serving, upstream: Upstream, origin: bytes, status: int
) -> None:
    upstream.reply = SWITCHED
    proxy = await opened(serving, upstream)
    async with await proxy.connect() as peer:
        await peer.send(proxy.request(b"/", b"Origin: " + origin, *SWITCH))
        head = Message(await peer.head(), b"")
    assert head.status == status
    assert len(upstream.requests) == (status == 101)
    assert told(head, b"allow-origin") == [[]]


# -- origins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "origin", "let_in"),
    [
        ("https://a.example", b"https://a.example", True),
        ("https://a.example", b"https://a.example:443", True),
        ("https://a.example:443", b"https://a.example", True),
        ("https://a.example", b"https://a.example:8443", False),
        ("https://a.example", b"http://a.example", False),
        ("https://a.example", b"https://a.example.", False),
        ("https://a.example", b"https://A.example", False),
        ("https://a.example", b"https://b.a.example", False),
        ("http://[::1]", b"http://[::1]:80", True),
        ("http://[::1]:3000", b"http://[::1]", False),
        ("moz-extension://x", b"moz-extension://x", True),
        ("*", b"https://b.example", True),
        ("*", b"null", False),
    ],
)
def test_origins_are_compared_whole(listed: str, origin: bytes, let_in: bool) -> None:
    shared = Cors(access.Cors(origins=(listed,))).shared_with(origin)
    model = Cors(access.Cors.model_validate({"origins": [listed]})).shared_with(origin)
    assert model == (((b"Access-Control-Allow-Origin", origin),) if let_in else None)
    assert shared == model

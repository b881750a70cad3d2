"""The proxy on the way out: which one, and whether it is used for what it should be."""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import shop
from tests.wire import Peer
from tokenproxy.clock import SystemClock
from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError
from tokenproxy.runtime import Runtime, World
from tokenproxy.testing import Issuer
from tokenproxy.tokens.egress import proxy_for

PROXY = "http://proxy.example:3128"
BOTH = {"https_proxy": PROXY, "http_proxy": "http://plain.example:3128"}


@pytest.mark.parametrize(
    ("setting", "url", "variables", "proxy"),
    [
        (None, "https://a.example/", BOTH, None),
        (PROXY, "http://a.example/", {}, PROXY),
        (PROXY, "https://a.example/", {"no_proxy": "*"}, PROXY),
        ("env", "https://a.example/", {}, None),
        ("env", "https://a.example/", BOTH, PROXY),
        ("env", "http://a.example/", BOTH, "http://plain.example:3128"),
        ("env", "https://a.example/", {"HTTPS_PROXY": PROXY}, PROXY),
        ("env", "https://a.example/", {"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, PROXY),
        ("env", "http://a.example/", {"HTTP_PROXY": PROXY}, None),
        ("env", "https://a.example/", {"https_proxy": "proxy.example:3128"}, PROXY),
        ("env", "https://a.example/", {**BOTH, "no_proxy": "b.example, a.example"}, None),
        ("env", "https://x.a.example/", {**BOTH, "no_proxy": ".a.example"}, None),
        ("env", "https://x.a.example/", {**BOTH, "no_proxy": "*.a.example"}, None),
        ("env", "https://x.A.example/", {**BOTH, "NO_PROXY": "a.EXAMPLE"}, None),
        ("env", "https://xa.example/", {**BOTH, "no_proxy": "a.example"}, PROXY),
        ("env", "https://a.example:8443/", {**BOTH, "no_proxy": "a.example:8443"}, None),
        ("env", "https://a.example/", {**BOTH, "no_proxy": "a.example:8443"}, PROXY),
        ("env", "https://[::1]:8443/", {**BOTH, "no_proxy": "::1"}, None),
        ("env", "https://[::1]:8443/", {**BOTH, "no_proxy": "[::1]:8443"}, None),
        ("env", "https://127.0.0.1/", {**BOTH, "no_proxy": "127.0.0.1,localhost"}, None),
        ("env", "https://a.example/", {**BOTH, "no_proxy": "*"}, None),
        ("env", "https://a.example/", {**BOTH, "no_proxy": ",, ,"}, PROXY),
    ],
)
def test_which_proxy(
    setting: str | None, url: str, variables: Mapping[str, str], proxy: str | None
) -> None:
    assert proxy_for(setting, variables)(url) == proxy


@pytest.mark.parametrize(
    "value",
    [
        "http://user:SECRETpw/x@127.0.0.1:9010",
        "http://user:SECRET#pw@127.0.0.1:9010",
        "http://[::1",
        "http://proxy.example:99999",
        "http://proxy.example:port",
        "socks5://proxy.example:1080",
        "https://proxy.example:3128",
        "foo://bar",
        "http://",
    ],
)
@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_an_environment_that_names_no_proxy_is_a_mistake_of_the_config(
    name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=f"the environment variable {name}, which") as caught:
        proxy_for("env", {name: value})
    assert "SECRET" not in str(caught.value)
    proxy_for(None, {name: value})


async def test_a_token_is_asked_for_through_the_proxy(issuer: Issuer, tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with Peer(reader, writer) as caller:
            request = await caller.request()
            heads.append(request.head)
            port = int(issuer.url.rpartition(":")[2])
            target = request.target.removeprefix(issuer.url.encode())
            head = request.head.replace(request.target, target, 1).replace(
                b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n", b""
            )
            async with Peer(*await asyncio.open_connection("127.0.0.1", port)) as server:
                await server.send(head, request.body)
                answer = await server.answer()
                await caller.send(answer.head, answer.body)

    server = await asyncio.start_server(proxy, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    credential = {**shop(issuer), "egress_proxy": f"http://user:pass@127.0.0.1:{port}"}
    settings = {
        "store": {"type": "memory"},
        "credentials": {"shop": credential},
        "routes": [{"upstream": "http://127.0.0.1:9", "credential": "shop"}],
    }
    config = Config.model_validate(settings, context={"folder": tmp_path})
    world = World(SystemClock(), random.Random(1), {}, tmp_path)
    async with server, Runtime(config, world) as runtime:
        await runtime.keepers["shop"].get()
    assert [head.partition(b"\r\n")[0] for head in heads] == [
        f"POST {issuer.url}/api/token/ HTTP/1.1".encode()
    ]
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in heads[0]

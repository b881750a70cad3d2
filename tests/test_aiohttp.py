"""The door for aiohttp programs: routes in an application, tokens in a client session."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import tokenproxy.aiohttp
from tokenproxy.errors import ConfigError
from tokenproxy.testing import Api, Issuer
from tokenproxy.testing.serving import listening


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as issuer:
        yield issuer


@pytest.fixture
async def api(issuer: Issuer) -> AsyncIterator[Api]:
    async with Api(issuer) as api:
        yield api


def config(issuer: Issuer, api: Api) -> dict[str, Any]:
    return {
        "store": {"type": "memory"},
        "credentials": {
            "shop": {
                "type": "simplejwt",
                "base_url": issuer.url,
                "username": issuer.username,
                "password": issuer.password,
                "refresh": {"min_interval": 0},
            }
        },
        "routes": [{"path": "/shop", "upstream": api.url, "credential": "shop"}],
    }


async def test_routes_are_mounted_behind_those_of_the_application(issuer: Issuer, api: Api) -> None:
    async def own(request: web.Request) -> web.Response:
        return web.Response(text=f"own {request.path}")

    app = web.Application()
    app.router.add_get("/own", own)
    tokenproxy.aiohttp.setup(app, config(issuer, api))

    async with listening(app) as url, aiohttp.ClientSession() as client:
        async with client.get(f"{url}/own") as response:
            assert await response.text() == "own /own"
        async with client.get(f"{url}/shop/items/") as response:
            assert response.status == 200
        async with client.get(f"{url}/elsewhere") as response:
            assert (await response.json())["code"] == "no_route"


async def test_a_session_gets_tokens_renewal_and_one_replay(issuer: Issuer, api: Api) -> None:
    async with (
        tokenproxy.aiohttp.credentials(config(issuer, api)) as credentials,
        aiohttp.ClientSession(middlewares=[credentials.middleware("shop")]) as client,
    ):
        async with client.get(f"{api.url}/items/") as response:
            assert response.status == 200
        issuer.expire_now()
        async with client.post(f"{api.url}/items/", json={"name": "cup"}) as response:
            assert (response.status, (await response.json())["name"]) == (201, "cup")

    assert [request.authorized for request in api.requests] == [True, False, True]
    assert issuer.refreshes == 1


async def test_a_token_goes_to_no_other_origin(issuer: Issuer, api: Api) -> None:
    async with (
        Api(issuer) as other,
        tokenproxy.aiohttp.credentials(config(issuer, api)) as credentials,
        aiohttp.ClientSession(middlewares=[credentials.middleware("shop")]) as client,
    ):
        async with client.get(f"{other.url}/items/") as response:
            assert response.status == 401

        assert other.requests[0].values("Authorization") == []


async def test_an_unknown_credential_is_a_config_error(issuer: Issuer, api: Api) -> None:
    async with tokenproxy.aiohttp.credentials(config(issuer, api)) as credentials:
        with pytest.raises(ConfigError, match="no credential is called 'shpo'"):
            credentials.middleware("shpo")

"""Tokens bound to a key, on the real oidc-provider and an API that checks every proof."""

import hashlib
import os
from typing import Any

import pytest
import requests

import tokenproxy.aiohttp
from tests.e2e.conftest import ProviderFactory, ProxyFactory
from tests.e2e.oidc import OidcProvider
from tokenproxy.clock import SystemClock

CLOCK = SystemClock()
SHORT = 2.5
NONCES = [(issuer, api) for issuer in ("off", "offered", "required") for api in (False, True)]
TEN_LIVES = pytest.param(20.0, marks=pytest.mark.soak)


def config(provider: OidcProvider, **keys: Any) -> dict[str, Any]:
    client = provider.clients["dpop"]
    return {
        "credentials": {
            "shop": {
                "type": "oauth2",
                "grant": "password",
                "issuer": provider.url,
                "client_id": client.client_id,
                "client_auth": client.client_auth(),
                "username": "anna",
                "password": "correct horse",
                "scope": "openid offline_access",
                "dpop": True,
                "refresh": {"min_interval": 0},
                **keys,
            }
        },
        "routes": [{"path": "/shop", "upstream": provider.api_url, "credential": "shop"}],
    }


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seconds", [SHORT, TEN_LIVES])
@pytest.mark.parametrize("nonces", NONCES, ids=lambda nonces: "-".join(map(str, nonces)))
def test_bound_tokens_are_got_used_and_kept_alive(
    oidc_provider: ProviderFactory,
    proxy: ProxyFactory,
    client: requests.Session,
    nonces: tuple[Any, bool],
    seconds: float,
) -> None:
    of_issuer, of_api = nonces
    provider = oidc_provider(access_life=2, token_nonces=of_issuer, api_nonces=of_api)
    program = proxy(config(provider))

    end = CLOCK.now().steady + seconds
    statuses = set()
    while CLOCK.now().steady < end:
        statuses.add(client.get(f"{program.url}/shop/items?q=1", timeout=10).status_code)

    assert statuses == {200}
    assert provider.refused() == []
    assert provider.revoked_families() == []
    assert len(provider.token_calls("refresh_token")) >= seconds / 2 - 1
    assert {call.scheme for call in provider.api_calls()} == {"DPoP"}


def test_a_replayed_upload_bears_a_proof_of_its_own(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=60, api_nonces=True)
    program = proxy(config(provider))
    assert client.get(f"{program.url}/shop/items", timeout=10).status_code == 200
    provider.reject_tokens_in_use()
    provider.clear()
    content = os.urandom(1 << 20)

    answer = client.post(f"{program.url}/shop/hash", data=content, timeout=10)

    assert answer.status_code == 200
    digest = hashlib.sha256(content).hexdigest()
    arrived = [call for call in provider.api_calls() if call.status == 200]
    assert [call.body_sha256 for call in arrived] == [digest]
    assert len(provider.token_calls()) == 1


def test_a_nonce_that_changes_is_no_rejection_of_the_token(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=60, api_nonces=True)
    program = proxy(config(provider))
    assert client.get(f"{program.url}/shop/items", timeout=10).status_code == 200
    provider.change_api_nonce()
    provider.clear()

    answer = client.post(f"{program.url}/shop/hash", data=b"once", timeout=10)

    assert answer.status_code == 200
    assert [call.status for call in provider.api_calls()] == [401, 200]
    assert provider.token_calls() == []


def test_what_a_client_sends_as_a_proof_never_leaves(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=60)
    program = proxy(config(provider))
    headers = {"DPoP": "forged", "Authorization": "DPoP forged"}

    answer = client.get(f"{program.url}/shop/items", headers=headers, timeout=10)

    assert answer.status_code == 200


def test_a_restart_goes_on_with_the_stored_key(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=60)
    program = proxy(config(provider))
    assert client.get(f"{program.url}/shop/items", timeout=10).status_code == 200
    program.kill()
    program.restart()

    assert client.get(f"{program.url}/shop/items", timeout=10).status_code == 200
    assert len(provider.token_calls()) == 1


def test_a_token_that_is_not_bound_is_refused(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    """The issuer binds nothing where no proof is asked for: here its answer is made to say so."""
    provider = oidc_provider(access_life=60)
    program = proxy(config(provider, fields={"token_type": "scope"}))

    answer = client.get(f"{program.url}/shop/items", timeout=10)

    assert answer.status_code == 502
    assert answer.json()["code"] == "login_required"
    assert provider.api_calls() == []


async def test_a_client_session_sends_proofs_as_well(
    oidc_provider: ProviderFactory, tmp_path: Any
) -> None:
    import aiohttp  # noqa: PLC0415 - beside the module of the same name

    provider = oidc_provider(access_life=60, api_nonces=True)
    settings = {**config(provider), "store": {"type": "memory"}}
    async with (
        tokenproxy.aiohttp.credentials(settings) as credentials,
        aiohttp.ClientSession(middlewares=[credentials.middleware("shop")]) as session,
    ):
        for _ in range(3):
            async with session.get(f"{provider.api_url}/items") as answer:
                assert answer.status == 200
    assert {call.scheme for call in provider.api_calls()} == {"DPoP"}

"""The main job on a real Django with simplejwt, by real clients that know nothing of tokens."""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from tests.e2e.conftest import Program, ProxyFactory, SimpleJwtSite, SiteFactory
from tokenproxy.clock import SystemClock

CLOCK = SystemClock()
SHORT = 2.5  # seconds of what `make soak` does for a minute
MINUTE = pytest.param(60.0, marks=pytest.mark.soak)
FIVE_MIB = 5 << 20


def shop(site: SimpleJwtSite, *, refresh_on: list[Any] | None = None, **credential: Any) -> Any:
    """The config of a user of that site."""
    route: dict[str, Any] = {"path": "/shop", "upstream": f"{site.url}/api", "credential": "shop"}
    if refresh_on is not None:
        route["refresh_on"] = refresh_on
    return {
        "credentials": {
            "shop": {
                "type": "simplejwt",
                "base_url": site.url,
                "username": site.username,
                "password": site.password,
                **credential,
            }
        },
        "routes": [route],
    }


ALWAYS_RENEW: dict[str, Any] = {"refresh": {"min_interval": 0}}


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["curl", "--silent", "--show-error", "--max-time", "30", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={})


def for_seconds(seconds: float, act: Callable[[], int]) -> Counter[int]:
    """What `act` gave, over and over for that long."""
    end = CLOCK.now().steady + seconds
    seen: Counter[int] = Counter()
    while CLOCK.now().steady < end:
        seen[act()] += 1
    return seen


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", [SHORT, MINUTE])
def test_curl_in_a_loop_sees_only_200_and_the_server_refuses_no_refresh(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, seconds: float
) -> None:
    site = simplejwt_site(access_life=2)
    program = proxy(shop(site))

    def status() -> int:
        url = f"{program.url}/shop/items/"
        return int(curl("-o", os.devnull, "-w", "%{http_code}", url).stdout)

    seen = for_seconds(seconds, status)

    assert set(seen) == {200}
    assert seen.total() > 10
    assert len(site.logins()) == 1
    assert len(site.refreshes()) >= seconds / 2 - 1
    assert site.refused_refreshes() == []


def test_an_upload_on_a_token_that_the_server_rejects_arrives_once_byte_for_byte(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, tmp_path: Path
) -> None:
    site = simplejwt_site(access_life=60)
    program = proxy(shop(site, **ALWAYS_RENEW))
    curl(f"{program.url}/shop/items/")
    site.reject_tokens_in_use()
    content = os.urandom(FIVE_MIB)
    (tmp_path / "upload").write_bytes(content)

    answer = curl("--data-binary", f"@{tmp_path / 'upload'}", f"{program.url}/shop/hash/").stdout

    digest = hashlib.sha256(content).hexdigest()
    assert json.loads(answer)["sha256"] == digest
    uploads = [arrival for arrival in site.log() if arrival.target == "/api/hash/"]
    assert [(upload.status, upload.body_sha256) for upload in uploads[1:]] == [(200, digest)]
    assert (uploads[0].status, uploads[0].body_length) == (401, 0)
    assert len(site.refreshes()) == 1


async def test_200_requests_at_once_on_a_rejected_token_cost_one_renewal(
    simplejwt_site: SiteFactory, proxy: ProxyFactory
) -> None:
    site = simplejwt_site(access_life=60)
    program = await asyncio.to_thread(proxy, shop(site, **ALWAYS_RENEW))
    url = f"{program.url}/shop/items/"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def status() -> int:
            async with session.get(url) as response:
                await response.read()
                return response.status

        assert await status() == 200
        await asyncio.to_thread(site.reject_tokens_in_use)
        statuses = await asyncio.gather(*(status() for _ in range(200)))

    assert Counter(statuses) == {200: 200}
    assert len(await asyncio.to_thread(site.refreshes)) == 1


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", [SHORT, MINUTE])
def test_two_proxies_share_one_store_and_one_rotating_token(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, seconds: float
) -> None:
    site = simplejwt_site(access_life=2)
    programs = [proxy(shop(site)), proxy(shop(site))]

    def statuses(program: Program) -> Counter[int]:
        with requests.Session() as session:
            session.trust_env = False
            url = f"{program.url}/shop/items/"
            return for_seconds(seconds, lambda: session.get(url, timeout=30).status_code)

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(statuses, [*programs, *programs]))

    assert {status for counter in seen for status in counter} == {200}
    assert site.refused_refreshes() == []
    assert len(site.logins()) == 1
    assert len(site.refreshes()) >= seconds / 2 - 1


def test_a_403_of_session_authentication_is_told_by_a_matcher(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    site = simplejwt_site(access_life=60, session_first=True)
    told = [401, {"status": 403, "body_contains": "token_not_valid"}]
    program = proxy(shop(site, refresh_on=told, **ALWAYS_RENEW))
    assert client.get(f"{program.url}/shop/items/").status_code == 200
    site.reject_tokens_in_use()

    assert client.get(f"{program.url}/shop/items/").status_code == 200

    items = [arrival.status for arrival in site.log() if arrival.target == "/api/items/"]
    assert items == [200, 403, 200]


def test_an_error_code_inside_a_200_is_told_by_a_matcher(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    site = simplejwt_site(access_life=60)
    told = [{"status": 200, "json": {"errcode": [40001, 42001]}}]
    program = proxy(shop(site, refresh_on=told, **ALWAYS_RENEW))
    client.get(f"{program.url}/shop/errcode/")
    site.reject_tokens_in_use()

    assert client.get(f"{program.url}/shop/errcode/").json()["errcode"] == 0

    assert len(site.refreshes()) == 1


def test_another_header_word_is_sent(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    site = simplejwt_site(access_life=60, header_types=("JWT",))
    config = shop(site)
    config["routes"][0]["inject"] = {"header": "Authorization", "value": "JWT {token}"}

    assert client.get(f"{proxy(config).url}/shop/items/").status_code == 200


@pytest.mark.parametrize("rotate", [True, False])
def test_tokens_are_renewed_with_and_without_rotation(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, client: requests.Session, rotate: bool
) -> None:
    site = simplejwt_site(access_life=60, rotate=rotate, blacklist=rotate)
    program = proxy(shop(site, **ALWAYS_RENEW))
    for _ in range(3):
        assert client.get(f"{program.url}/shop/items/").status_code == 200
        site.reject_tokens_in_use()

    assert client.get(f"{program.url}/shop/items/").status_code == 200
    assert (len(site.logins()), len(site.refreshes())) == (1, 3)
    assert site.refused_refreshes() == []


def test_a_sliding_token_is_renewed_with_itself(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    site = simplejwt_site(access_life=2, sliding=True)
    program = proxy(shop(site, sliding=True))

    seen = for_seconds(SHORT, lambda: client.get(f"{program.url}/shop/items/").status_code)

    assert set(seen) == {200}
    assert len(site.refreshes()) >= 1


def test_a_first_refresh_token_is_enough(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    site = simplejwt_site(access_life=60)
    refresh = site.sign_in()["refresh"]
    site.clear()
    config = shop(site)
    config["credentials"]["shop"] = {
        "type": "simplejwt",
        "base_url": site.url,
        "refresh_token": "${REFRESH}",
    }
    program = proxy(config, REFRESH=refresh)
    assert client.get(f"{program.url}/shop/items/").status_code == 200

    program.restart()

    assert client.get(f"{program.url}/shop/items/").status_code == 200
    assert (len(site.logins()), len(site.refreshes())) == (0, 1)


def test_a_wrong_password_is_sent_once_and_the_caller_is_told_that_a_person_must_act(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    site = simplejwt_site(access_life=60)
    program = proxy(shop(site, password="wrong"))

    answers = [client.get(f"{program.url}/shop/items/") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {502}
    assert {answer.json()["code"] for answer in answers} == {"login_required"}
    assert len(site.logins()) == 1


def test_a_foreign_host_or_page_gets_nowhere(
    simplejwt_site: SiteFactory, proxy: ProxyFactory
) -> None:
    site = simplejwt_site(access_life=60)
    url = f"{proxy(shop(site)).url}/shop/items/"
    code = ("-o", os.devnull, "-w", "%{http_code}")

    assert curl(*code, "-H", "Host: evil.example", url).stdout == "421"
    assert curl(*code, "-H", "Origin: https://evil.example", url).stdout == "403"

    assert [arrival for arrival in site.log() if arrival.target.startswith("/api/items")] == []


NODE = """
const [url] = process.argv.slice(1);
const get = await fetch(url + '/shop/items/');
const post = await fetch(url + '/shop/echo/', {method: 'POST', body: 'from node'});
console.log(JSON.stringify([get.status, post.status, await post.text()]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed here")
def test_fetch_of_node_works(simplejwt_site: SiteFactory, proxy: ProxyFactory) -> None:
    program = proxy(shop(simplejwt_site(access_life=60)))
    command = ["node", "--input-type=module", "--eval", NODE, program.url]

    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    assert json.loads(printed)[:2] == [200, 200]
    assert "from node" in json.loads(printed)[2]


def test_no_secret_is_ever_written(
    simplejwt_site: SiteFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    site = simplejwt_site(access_life=60, password="marker-in-the-password")
    config = {**shop(site, **ALWAYS_RENEW), "log": {"level": "debug"}}
    program = proxy(config)
    seen_by_client = client.get(f"{program.url}/shop/items/").text
    site.reject_tokens_in_use()
    seen_by_client += client.get(f"{program.url}/shop/items/?secret=marker-in-the-query").text
    program.terminate()

    written = program.stderr_text() + seen_by_client
    assert '"request"' in written
    assert "marker" not in written
    assert "eyJ" not in written  # the beginning of every JWT

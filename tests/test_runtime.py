"""A config is put together whole or not at all, started, and left with nothing running."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.wire import Message, Peer, Upstream, answer
from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError
from tokenproxy.runtime import Runtime, World
from tokenproxy.tasks import cancelled, spawn

FETCHED = answer(b'{"access": "a", "refresh": "r"}')


def shop(issuer: str, **refresh: Any) -> dict[str, Any]:
    return {
        "type": "simplejwt",
        "base_url": issuer,
        "username": "demo",
        "password": "demo",
        "refresh": refresh,
    }


def runtime(tmp_path: Path, config: dict[str, Any]) -> Runtime:
    world = World(variables={}, state_folder=tmp_path / "state")
    return Runtime(Config.model_validate(config), world)


# -- putting together ------------------------------------------------------------------------


async def test_all_that_cannot_be_put_together_is_told_in_one_go(tmp_path: Path) -> None:
    signing = {"type": "oauth2", "grant": "jwt_bearer", "token_url": "https://issuer.example/"}
    config = {
        "credentials": {
            "shop": shop("https://shop.example") | {"tls": {"ca": "/none.pem"}},
            "robot": {**signing, "key": "no-key", "tls": {"cert": "/none.pem", "key": "/none.pem"}},
        },
        "routes": [
            {"path": "/a", "upstream": "https://a.example", "credential": "shop"},
            {"path": "/b", "upstream": "https://b.example", "tls": {"ca": "/none.pem"}},
        ],
    }

    with pytest.raises(ConfigError) as caught:
        async with runtime(tmp_path, config).built():
            pass

    assert [problem.path for problem in caught.value.problems] == [
        "credentials.shop.tls.ca",
        "credentials.robot.tls.cert",
        "credentials.robot.tls.key",
        "credentials.robot.key",
        "routes.1.tls.ca",
    ]


@pytest.mark.parametrize("made_of", ["keyring", "sealing"])
async def test_a_package_that_is_missing_is_told_with_the_place_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_of: str
) -> None:
    key = "c2l4dGVlbiBieXRlcyBhcmUgaGFsZiB3aGF0IGlzIG4="
    module, store = {
        "keyring": ("tokenproxy.tokens.stores.keyring", {"type": "keyring"}),
        "sealing": ("tokenproxy.tokens.sealing", {"type": "file", "encryption_key": key}),
    }[made_of]
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ConfigError, match=r"^store: .* needs a package that is not installed"):
        async with runtime(tmp_path, {"store": store}).built():
            pass


async def test_nothing_is_asked_or_written_until_it_is_started(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.reply = FETCHED
    made = runtime(tmp_path, {"credentials": {"shop": shop(upstream.url)}})

    async with made.built():
        for _ in range(5):
            await asyncio.sleep(0)
        assert upstream.connections == 0
        assert not (tmp_path / "state").exists()
        with pytest.raises(RuntimeError, match="enter the runtime first"):
            _ = made.handler
        async with made:
            assert (await made.keepers["shop"].get()).token.access.reveal() == "a"

    assert (tmp_path / "state").exists()


async def test_a_runtime_can_be_left_and_entered_again(tmp_path: Path, upstream: Upstream) -> None:
    upstream.reply = FETCHED
    made = runtime(tmp_path, {"credentials": {"shop": shop(upstream.url)}})

    for _ in range(2):
        async with made:
            assert (await made.keepers["shop"].get()).token.access.reveal() == "a"

    assert len(upstream.requests) == 1


# -- leaving ---------------------------------------------------------------------------------


def test_leaving_gives_a_renewal_the_time_that_its_request_may_take(tmp_path: Path) -> None:
    quick, slow = shop("https://a.example", timeout="2s"), shop("https://b.example", timeout="30s")

    assert runtime(tmp_path, {}).close_grace == 1
    assert runtime(tmp_path, {"credentials": {"a": quick}}).close_grace == 3
    assert runtime(tmp_path, {"credentials": {"a": quick, "b": slow}}).close_grace == 31


async def test_a_renewal_under_way_is_stored_before_it_is_left(
    tmp_path: Path, upstream: Upstream
) -> None:
    async def answer_late(peer: Peer, request: Message) -> None:
        await goes_on.wait()
        await peer.send(FETCHED)

    goes_on = asyncio.Event()
    upstream.act = answer_late
    made = runtime(tmp_path, {"credentials": {"shop": shop(upstream.url)}})
    leave = asyncio.Event()
    held = spawn(_hold(made, leave), name="held")
    await upstream.until(lambda: bool(upstream.requests))
    leave.set()
    await asyncio.sleep(0)
    goes_on.set()
    await held

    [record] = (tmp_path / "state").glob("shop-*.json")
    assert '"r"' in record.read_text()


@pytest.mark.parametrize("steps", range(2, 12))
async def test_nothing_outlives_one_whose_leaving_is_cancelled(
    tmp_path: Path, upstream: Upstream, steps: int
) -> None:
    async def never(peer: Peer, request: Message) -> None:
        await peer.ended()

    upstream.act = never
    made = runtime(tmp_path, {"credentials": {"shop": shop(upstream.url)}})
    leave, before = asyncio.Event(), asyncio.all_tasks()
    held = spawn(_hold(made, leave), name="held")
    await upstream.until(lambda: bool(upstream.requests))
    leave.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    await cancelled(held)
    await upstream.all_gone()

    assert held.cancelled()
    assert asyncio.all_tasks() == before


async def _hold(
    runtime: Runtime, leave: asyncio.Event, entered: asyncio.Event | None = None
) -> None:
    async with runtime:
        if entered is not None:
            entered.set()
        await leave.wait()


# -- heirs -----------------------------------------------------------------------------------


def world(tmp_path: Path) -> World:
    return World(variables={}, state_folder=tmp_path / "state")


def made_by(config: dict[str, Any], world: World, heir_of: Runtime | None = None) -> Runtime:
    return Runtime(Config.model_validate(config), world, close_grace=0, heir_of=heir_of)


@pytest.mark.parametrize("store", ["memory", "file"])
async def test_a_credential_that_is_the_same_goes_on_under_an_heir(
    tmp_path: Path, upstream: Upstream, store: str
) -> None:
    upstream.reply = FETCHED
    around = world(tmp_path)
    credentials = {"shop": shop(upstream.url)}
    config = {"store": {"type": store}, "credentials": credentials}
    async with AsyncExitStack() as later:
        async with made_by(config, around) as first:
            await first.keepers["shop"].get()
            more = {**credentials, "b": {"type": "static", "token": "t"}}
            second = made_by({**config, "credentials": more}, around, first)
            await later.enter_async_context(second)
            assert second.keepers["shop"] is first.keepers["shop"]
            assert second.bound is first.bound
        assert (await second.keepers["shop"].get()).token.access.reveal() == "a"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "changed",
    [{"credentials": {"shop": {"username": "eve"}}}, {"store": {"type": "memory"}}],
    ids=["settings", "store"],
)
async def test_one_that_has_changed_is_another_and_the_old_one_serves_those_who_have_it(
    tmp_path: Path, upstream: Upstream, changed: dict[str, Any]
) -> None:
    upstream.reply = FETCHED
    around, settings = world(tmp_path), shop(upstream.url, background=False)
    config: dict[str, Any] = {"store": {"type": "file"}, "credentials": {"shop": settings}}
    other = {"shop": settings | changed.get("credentials", {}).get("shop", {})}
    store = changed.get("store", config["store"])
    async with made_by(config, around) as first:
        await first.keepers["shop"].get()
        async with made_by({"store": store, "credentials": other}, around, first) as second:
            assert second.keepers["shop"] is not first.keepers["shop"]
            await second.keepers["shop"].get()
        await first.keepers["shop"].get()
    assert len(upstream.requests) == 2


async def test_another_certificate_behind_the_same_name_is_a_change(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    file, around = tmp_path / "ca.pem", world(tmp_path)
    settings = shop("https://a.example", background=False) | {"tls": {"ca": str(file)}}
    config = {"credentials": {"shop": settings}}
    trustme.CA().cert_pem.write_to_path(str(file))
    async with made_by(config, around) as first, made_by(config, around, first) as second:
        assert second.keepers["shop"] is first.keepers["shop"]
        trustme.CA().cert_pem.write_to_path(str(file))
        async with made_by(config, around, second) as third:
            assert third.keepers["shop"] is not first.keepers["shop"]


async def test_an_heir_that_cannot_be_put_together_leaves_all_as_it_was(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.reply = FETCHED
    around = world(tmp_path)
    config = {"credentials": {"shop": shop(upstream.url)}}
    async with made_by(config, around) as first:
        broken = {**config, "routes": [{"upstream": "https://a", "tls": {"ca": "/none.pem"}}]}
        with pytest.raises(ConfigError):
            async with made_by(broken, around, first):
                pass
        assert (await first.keepers["shop"].get()).token.access.reveal() == "a"


async def test_two_that_are_left_together_end_what_they_share(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.reply = FETCHED
    around, config = world(tmp_path), {"credentials": {"shop": shop(upstream.url)}}
    leave, before = asyncio.Event(), asyncio.all_tasks()
    first = made_by(config, around)
    held = [spawn(_hold(first, leave), name="first")]
    await upstream.until(lambda: bool(upstream.requests))
    second, entered = made_by(config, around, first), asyncio.Event()
    held.append(spawn(_hold(second, leave, entered), name="second"))
    await entered.wait()
    await second.keepers["shop"].get()

    leave.set()
    await asyncio.gather(*held)

    assert asyncio.all_tasks() == before


async def test_an_heir_that_is_left_last_ends_what_it_has_inherited_though_never_started(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.reply = FETCHED
    around, config = world(tmp_path), {"credentials": {"shop": shop(upstream.url)}}
    before = asyncio.all_tasks()
    async with AsyncExitStack() as later, made_by(config, around) as first:
        await first.keepers["shop"].get()
        await later.enter_async_context(made_by(config, around, first).built())
    assert asyncio.all_tasks() == before

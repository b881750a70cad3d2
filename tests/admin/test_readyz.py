"""`/readyz` and `/healthz` of a proxy that serves."""

from typing import Any

import pytest

from tests.admin.conftest import Open
from tests.conftest import STATIC, Serving, shop
from tokenproxy.testing import Issuer, faults

pytestmark = pytest.mark.only("wire")
READY = {"ready": True, "reasons": [], "warnings": []}


def quick(issuer: Issuer) -> dict[str, Any]:
    return shop(issuer, retries=0, wait=1)


async def test_a_process_that_serves_is_healthy_whatever_its_credentials(
    opened: Open, issuer: Issuer
) -> None:
    issuer.fail_next(9, faults.page(500, "down"))
    desk = await opened(quick(issuer))
    await desk.proxy.ask()
    assert (await desk.get("/healthz")).status == 200
    assert (await desk.get("/readyz")).status == 503


async def test_a_credential_that_nobody_has_asked_for_bars_nothing(
    opened: Open, issuer: Issuer
) -> None:
    desk = await opened(quick(issuer))
    assert (await desk.credential())["state"] == "empty"
    said = await desk.get("/readyz")
    assert (said.status, said.json) == (200, READY)


async def test_a_refused_login_is_a_reason_until_it_is_mended(opened: Open, issuer: Issuer) -> None:
    issuer.fail_next(1, faults.Status(401, b'{"detail": "no", "code": "no_active_account"}'))
    desk = await opened(quick(issuer))
    assert (await desk.proxy.ask()).status == 502

    said = await desk.get("/readyz")
    assert (said.status, said.json["reasons"]) == (503, ["shop: login_required"])

    desk.proxy.clock.skip(2)
    assert (await desk.post("/api/credentials/shop/refresh")).status == 200
    assert (await desk.get("/readyz")).json == READY


async def test_a_failed_renewal_of_a_token_that_is_good_is_a_warning(
    opened: Open, issuer: Issuer
) -> None:
    desk = await opened(quick(issuer))
    assert (await desk.proxy.ask()).status == 200
    issuer.fail_next(9, faults.page(500, "down"))
    desk.proxy.clock.skip(2)
    await desk.post("/api/credentials/shop/refresh")

    said = await desk.get("/readyz")

    assert said.status == 200
    assert said.json == {"ready": True, "reasons": [], "warnings": ["shop: renewal_failed"]}


@pytest.mark.parametrize(
    ("wanted", "used", "status"),
    [
        ("all", ["good", "bad"], 503),
        ("all", ["good"], 200),  # what no route uses is not asked for
        ("any", ["good", "bad"], 200),
        ("any", ["bad"], 503),
        ("none", ["bad"], 200),
    ],
)
async def test_the_credentials_that_routes_use_are_asked_for_as_the_config_says(
    opened: Open, issuer: Issuer, wanted: str, used: list[str], status: int
) -> None:
    issuer.fail_next(99, faults.page(500, "down"))
    bad = {**quick(issuer), "refresh": {"retries": 0, "background": False}}
    desk = await opened(
        credentials={"good": STATIC, "bad": bad},
        routes=[{"path": f"/{n}", "upstream": issuer.url, "credential": n} for n in used],
        readiness=wanted,
    )
    await desk.post("/api/credentials/bad/refresh")

    said = await desk.get("/readyz")

    assert said.status == status
    assert (await desk.get("/readyz?credential=good")).status == 200
    of_bad = await desk.get("/readyz?credential=bad")
    assert (of_bad.status, of_bad.json["reasons"]) == (503, ["bad: unavailable"])
    assert (await desk.get("/readyz?credential=none")).status == 404
    assert (await desk.get("/readyz?credential=")).status == 404


async def test_a_shutdown_shows_at_once_and_goes_on_being_answered(
    opened: Open, serving: Serving
) -> None:
    desk = await opened(STATIC, shutdown_delay=0.5)
    assert (await desk.get("/readyz")).json == READY
    desk.proxy.stop()
    said = await desk.get("/readyz")
    assert (said.status, said.json["reasons"]) == (503, ["stopping"])
    assert (await desk.get("/readyz?credential=shop")).status == 503
    assert (await desk.get("/healthz")).status == 200
    assert (await desk.proxy.ask()).status == 200

"""A suite of somebody else's: in a folder of its own, against doubles or a real site by its config.

It runs as they would run it, by a pytest in a process of its own: here with what is checked out,
and in `make soak` from a wheel in a virtual environment that has nothing else.
"""

import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.programs import REPOSITORY
from tests.e2e.conftest import SiteFactory
from tokenproxy.environment import variables

SUITE = {
    "doubles.yaml": """
credentials:
  shop:
    type: simplejwt
    base_url: ${TOKENPROXY_ISSUER_URL}
    username: demo
    password: demo-password
    refresh: {background: false}
routes:
  - {upstream: "${TOKENPROXY_API_URL}", credential: shop}
""",
    "site.yaml": """
credentials:
  shop:
    type: simplejwt
    base_url: ${SITE_URL}
    username: ${SITE_USER}
    password: ${SITE_PASSWORD}
    refresh: {background: false}
routes:
  - {upstream: "${SITE_URL}/api", credential: shop}
""",
    "later.scenario.yaml": """
name: ten minutes later the token is renewed before the request
steps:
  - request: GET /items/
    expect: {status: 200, json: $any, renewals: 1}
  - advance: 10m
  - request: {method: POST, path: /items/, json: {name: kettle}}
    expect: {status: 201, renewals: 1, replayed: false}
""",
    "revoked.scenario.yaml": """
name: a revoked token is replaced by a login
steps:
  - request: GET /items/
    expect: {status: 200}
  - advance: 20s
  - issuer: {revoke: true}
  - request: GET /items/
    expect: {status: 200, replayed: true, issuer: {logins: 1}}
""",
    "test_shop.py": """
from urllib.request import urlopen


def test_the_shop_has_items(tokenproxy):
    with urlopen(tokenproxy.url + "/items/") as answer:
        assert answer.status == 200
    assert tokenproxy.renewals("shop") == 1
    assert [each.route for each in tokenproxy.requests] == ["shop"]
""",
    "pytest.ini": "[pytest]\ntokenproxy_config = doubles.yaml\n",
}


def run(python: str, folder: Path, *args: str, **more: str) -> list[str]:
    """The last lines of a pytest there, without plugins of ours that have nothing to do with it."""
    done = subprocess.run(
        [python, "-m", "pytest", "-rs", "-p", "no:cacheprovider", *args],
        cwd=folder,
        env={**variables(), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in SUITE.items():
        (tmp_path / name).write_text(text.lstrip())
    return tmp_path


@pytest.fixture(scope="module", params=["here", pytest.param("installed", marks=pytest.mark.soak)])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter that has tokenproxy."""
    if request.param == "here":
        return sys.executable
    wheels, place = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("venv")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*pip, wheels, REPOSITORY], check=True)
    venv.create(place, with_pip=True)
    python = str(place / "bin" / "python")
    (wheel,) = wheels.iterdir()
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[testing]"], check=True)
    return python


def plugins(python: str) -> Mapping[str, str]:
    """Of this environment's many, the one that it is about."""
    if python != sys.executable:
        return {}
    return {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "-p tokenproxy.testing.plugin",
    }


def test_it_is_green_against_the_doubles(python: str, folder: Path) -> None:
    lines = run(python, folder, **plugins(python))
    assert "3 passed" in lines[-1]


def test_it_is_pointed_at_a_real_site_by_its_config_alone(
    python: str, folder: Path, simplejwt_site: SiteFactory
) -> None:
    site = simplejwt_site(access_life=300)
    told = {
        "SITE_URL": site.url,
        "SITE_USER": site.username,
        "SITE_PASSWORD": site.password,
    }
    lines = run(python, folder, "--tokenproxy-config", "site.yaml", **told, **plugins(python))
    assert "2 passed, 1 skipped" in lines[-1]
    assert any("revoked.scenario.yaml:6: steps.2: needs the issuer's" in line for line in lines)
    asked = [(each.method, each.target, each.status) for each in site.log()]
    assert asked.count(("GET", "/api/items/", 200)) == 2
    assert asked.count(("POST", "/api/items/", 201)) == 1

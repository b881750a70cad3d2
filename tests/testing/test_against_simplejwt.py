"""The doubles and the real djangorestframework-simplejwt are asked the same and say the same."""

import json
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from tokenproxy.testing import Api, Issuer, running

REAL = Path(__file__).with_name("real_simplejwt.py")
LOGIN = {"username": "demo", "password": "demo-password"}
TOKEN, REFRESH, ITEMS = "/api/token/", "/api/token/refresh/", "/items/"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


PAIR = [
    [TOKEN, "POST", {**LOGIN, "password": "wrong"}, {}],
    [TOKEN, "POST", {"username": "demo"}, {}],
    [TOKEN, "POST", {**LOGIN, "password": ""}, {}],
    [TOKEN, "POST", LOGIN, {}],
    [ITEMS, "GET", {}, bearer("{login.access}")],
    [ITEMS, "GET", {}, {}],
    [ITEMS, "GET", {}, bearer("nonsense")],
    [ITEMS, "GET", {}, bearer("{login.refresh}")],
    [ITEMS, "GET", {}, {"Authorization": "bearer {login.access}"}],
    [ITEMS, "GET", {}, {"Authorization": "JWT {login.access}"}],
    [REFRESH, "POST", {"refresh": "nonsense"}, {}],
    [REFRESH, "POST", {}, {}],
    [REFRESH, "POST", {"refresh": "{login.access}"}, {}],
    [REFRESH, "POST", {"refresh": "{login.refresh}"}, {}],
    [REFRESH, "POST", {"refresh": "{login.refresh}"}, {}],
    [ITEMS, "GET", {}, bearer("{login.access}")],
    [ITEMS, "GET", {}, bearer("{last.access}")],
    [REFRESH, "POST", {"refresh": "{last.refresh}"}, {}],
]

SLIDING = [
    [TOKEN, "POST", LOGIN, {}],
    [REFRESH, "POST", {"token": "{login.token}"}, {}],
    [REFRESH, "POST", {"token": "{login.token}"}, {}],
    [ITEMS, "GET", {}, bearer("{login.token}")],
    [ITEMS, "GET", {}, bearer("{last.token}")],
    [REFRESH, "POST", {"token": "nonsense"}, {}],
    [REFRESH, "POST", {}, {}],
]


def of_the_real_one(script: list[Any], *arguments: str) -> Any:
    command = [sys.executable, str(REAL), *arguments]
    given = json.dumps(script).encode()
    run = subprocess.run(command, input=given, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return json.loads(run.stdout)


def of_the_doubles(script: list[Any], *, sliding: bool) -> Any:
    with running(Issuer(sliding=sliding)) as issuer, running(Api(issuer)) as api:
        api.items = []

        def say(path: str, method: str, fields: Any, headers: Mapping[str, str]) -> Any:
            url = (api if path == ITEMS else issuer).url + path
            answer = requests.request(method, url, json=fields, headers=headers, timeout=5)
            return answer.status_code, answer.headers.get("WWW-Authenticate"), answer.json()

        return runpy.run_path(str(REAL))["play"](script, say)


def test_pairs_and_rotation_are_as_the_real_ones() -> None:
    assert of_the_doubles(PAIR, sliding=False) == of_the_real_one(PAIR)


def test_sliding_tokens_are_as_the_real_ones() -> None:
    assert of_the_doubles(SLIDING, sliding=True) == of_the_real_one(SLIDING, "sliding")

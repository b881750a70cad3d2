"""A config of one credential, route or store: what it is read as, or what its user is told."""

from typing import Any, TypeVar

import pytest

from tokenproxy.config.load import load_config
from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError
from tokenproxy.settings.credential import Credential
from tokenproxy.settings.route import Route

C = TypeVar("C", bound=Credential)

STATIC = {"type": "static", "token": "t"}
SIMPLEJWT = {"type": "simplejwt", "base_url": "https://shop.example", "refresh_token": "r"}


def read(config: dict[str, Any]) -> Config:
    return load_config(config, environment={}).config


def read_credential(kind: type[C], settings: dict[str, Any]) -> C:
    credential = read({"credentials": {"c": settings}}).credentials["c"]
    assert isinstance(credential, kind)
    return credential


def read_route(**settings: Any) -> Route:
    return read(_with_route(settings)).routes[0]


def told(config: dict[str, Any]) -> list[str]:
    """Each mistake as `dotted.path: what is wrong`."""
    with pytest.raises(ConfigError) as caught:
        read(config)
    return [str(problem) for problem in caught.value.problems]


def told_of_credential(settings: dict[str, Any]) -> list[str]:
    """The same, with paths that begin at the credential: its own is empty."""
    return [_below("credentials.c", one) for one in told({"credentials": {"c": settings}})]


def told_of_route(**settings: Any) -> list[str]:
    """The same, with paths that begin at the route."""
    return [_below("routes.0", one) for one in told(_with_route(settings))]


def _with_route(settings: dict[str, Any]) -> dict[str, Any]:
    route = {"upstream": "https://api.example", "credential": "c", **settings}
    return {"credentials": {"c": STATIC}, "routes": [route]}


def _below(place: str, problem: str) -> str:
    return problem.removeprefix(place).removeprefix(":").removeprefix(".").lstrip()

"""Moves the doubles as a step says."""

from typing import Any

from tokenproxy.testing.api import Api
from tokenproxy.testing.issuer import Endpoint, Issuer
from tokenproxy.testing.issuing import Issuing
from tokenproxy.testing.ledger import User
from tokenproxy.testing.scenarios.stage import ApiMove, FailNext, IssuerMove

_ENDPOINTS = {"login": Endpoint.LOGIN, "refresh": Endpoint.REFRESH}


def move_issuer(issuer: Issuing[Any, Any], move: IssuerMove) -> None:
    """Let that happen at the issuer; what ends comes before what begins."""
    for name, act in {"expire": issuer.expire_now, "revoke": issuer.revoke}.items():
        if getattr(move, name):
            act()
    if move.recover:
        issuer.recover()
    for name in ("delay", "rotate", "access_life", "password"):
        if name in move.model_fields_set:
            setattr(issuer, name, getattr(move, name))
    if move.user is not None:
        issuer.user = User[move.user.upper()]
    if move.fail_next is not None:
        _fail(issuer, move.fail_next)
    if move.down is not None:
        _put(issuer, down=move.down)


def move_api(api: Api, move: ApiMove) -> None:
    """Let that happen at the API."""
    for name in ("rejects_all", "rejects_early"):
        if name in move.model_fields_set:
            setattr(api, name, getattr(move, name))
    if move.down is not None:
        _put(api, down=move.down)


def _fail(issuer: Issuing[Any, Any], how: FailNext) -> None:
    endpoint = _ENDPOINTS[how.to] if how.to and isinstance(issuer, Issuer) else None
    issuer.fail_next(how.times, how.fault, endpoint=endpoint)


def _put(double: Issuing[Any, Any] | Api, *, down: bool) -> None:
    if down:
        double.go_down()
    else:
        double.come_back()

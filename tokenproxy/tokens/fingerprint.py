"""Whose token a record holds: another account is another record (contract 1).

The fingerprint covers what names the account and never what proves it: passwords, secrets and
keys are left out, so that it gives nothing away, and a changed password is not a new account.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from itertools import pairwise

from pydantic import JsonValue, SecretStr

from tokenproxy.settings.command import Command
from tokenproxy.settings.file import File
from tokenproxy.settings.json_login import JsonLogin, JsonRequest
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.static import Static

_NAMES = "pass|secret|token|key|pin|otp|code|auth"
SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
SECRET_FLAG = re.compile(rf"-[\w-]*(?:{_NAMES})[\w-]*", re.IGNORECASE)  # `--password`, then it
SECRET_SETTING = re.compile(  # `--password=x`, `PASSWORD=x`, `"password": "x"`
    rf"[\w-]*(?:{_NAMES})[\w-]*[\"']?\s*[=:]\s*\S+", re.IGNORECASE
)
AUTHORIZATION = "authorization"
LENGTH = 16  # hex digits: told apart, not guarded


def record_key(name: str, settings: AnyCredential) -> str:
    """The key of a credential's record in every store."""
    identity = json.dumps(_identity(settings), sort_keys=True).encode()
    return f"{name}-{hashlib.sha256(identity).hexdigest()[:LENGTH]}"


def _identity(settings: AnyCredential) -> JsonValue:
    match settings:
        case Static():
            return ["static"]
        case File():
            return ["file", str(settings.path)]
        case Command():
            environment = _public({**_revealed(settings.env)})
            return ["command", *_public_words(settings.argv), environment]
        case SimpleJwt():
            urls: list[JsonValue] = [settings.login_endpoint, settings.refresh_endpoint]
            return ["simplejwt", *urls, settings.username, settings.sliding]
        case JsonLogin():
            return [
                "json",
                _request(settings.login),
                settings.renew.url if settings.renew else None,
            ]
        case OAuth2():
            return _oauth2(settings)


def _oauth2(settings: OAuth2) -> JsonValue:
    """Who asks whom for what, in whose name; `extra` may tell it too (a tenant, an account)."""
    claims = {name: settings.claims.get(name) for name in ("iss", "sub", "scope")}
    return [
        "oauth2",
        settings.grant,
        settings.issuer or settings.token_url,
        settings.client_id,
        settings.username,
        settings.scope,
        settings.audience,
        [*settings.resource],
        _public({**_revealed(settings.extra)}),
        claims if settings.grant == "jwt_bearer" else None,
        settings.requested_token_type,
    ]


def _request(request: JsonRequest) -> JsonValue:
    headers = _revealed(request.headers)
    users = [_basic_user(value) for name, value in headers.items() if name.lower() == AUTHORIZATION]
    form = _revealed(request.form or {})
    return [request.url, _public(request.body), _public({**form}), _public({**headers}), *users]


def _revealed(values: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in values.items()}


def _basic_user(authorization: str) -> str | None:
    """The user name in HTTP Basic (RFC 7617), the only place where some logins have it."""
    word, _, encoded = authorization.partition(" ")
    if word.lower() != "basic":
        return None
    try:
        user, colon, _ = base64.b64decode(encoded).partition(b":")
    except ValueError:
        return None
    return user.decode("utf-8", "replace") if colon else None


def _public_words(argv: tuple[str, ...]) -> list[JsonValue]:
    """A command without what its flags and settings call a secret."""
    words = [word for flag, word in pairwise(argv) if not SECRET_FLAG.fullmatch(flag)]
    return [argv[0], *(SECRET_SETTING.sub("", word) for word in words)]


def _public(value: JsonValue) -> JsonValue:
    match value:
        case dict():
            return {
                name: _public(item) for name, item in value.items() if not SECRET_NAME.search(name)
            }
        case list():
            return [_public(item) for item in value]
        case _:
            return value

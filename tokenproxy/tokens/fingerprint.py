"""Whose token a record holds: another account is another record (contract 1).

What names the account is known for `simplejwt` and `oauth2`; what proves it (passwords, keys)
is left out, so that a changed password is not a new account. For `command`, `json` and `extra`
nobody can tell the one from the other, and so nothing is left out: an account that was mixed up
with another would be worse than a login too many. What may hold a secret goes through a slow
hash: a fingerprint stands in file names, and must not let anybody try passwords.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, JsonValue, SecretStr

from tokenproxy.files import read_regular
from tokenproxy.settings.command import Command
from tokenproxy.settings.file import File
from tokenproxy.settings.json_login import JsonLogin
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.static import Static

LENGTH = 16  # hex digits: told apart, not guarded
MAX_FILE = 1 << 20
COST = 1 << 12  # of scrypt: about 10 ms, and 4 MiB


def record_key(name: str, settings: AnyCredential) -> str:
    """The key of a credential's record in every store."""
    identity = json.dumps(_identity(settings), sort_keys=True).encode("utf-8", "surrogatepass")
    if isinstance(settings, Command | JsonLogin) or getattr(settings, "extra", None):
        return f"{name}-{_slow(identity, salt=b'account')}"
    return f"{name}-{hashlib.sha256(identity).hexdigest()[:LENGTH]}"


def config_label(key: str, settings: AnyCredential) -> str:
    """Tells whether the settings of a record are others than they were, secrets included."""
    everything = json.dumps([_revealed(settings), _referred(settings)], sort_keys=True)
    return _slow(everything.encode("utf-8", "surrogatepass"), salt=key.encode())


def _referred(settings: AnyCredential) -> JsonValue:
    """What stands in a file that the settings name, and is sent as a secret of theirs."""
    path = settings.subject_token_file if isinstance(settings, OAuth2) else None
    try:
        return None if path is None else read_regular(path, MAX_FILE)[:MAX_FILE].hex()
    except OSError:
        return None


def _slow(content: bytes, *, salt: bytes) -> str:
    return hashlib.scrypt(content, salt=salt, n=COST, r=8, p=1, dklen=LENGTH // 2).hex()


def _identity(settings: AnyCredential) -> JsonValue:
    match settings:
        case Static():
            return ["static"]
        case File():
            return ["file", str(settings.path)]
        case Command():
            return ["command", [*settings.argv], _revealed(settings.env), settings.format]
        case SimpleJwt():
            urls: list[JsonValue] = [settings.login_endpoint, settings.refresh_endpoint]
            user: list[JsonValue] = [settings.username_field, settings.username]
            return ["simplejwt", *urls, *user, settings.sliding]
        case JsonLogin():
            return ["json", _revealed(settings.login), _revealed(settings.renew)]
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
        _revealed(settings.extra),
        claims if settings.grant == "jwt_bearer" else None,
        settings.requested_token_type,
        settings.dpop,
    ]


def _revealed(value: Any) -> JsonValue:
    """Settings as plain data, with their secrets."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case BaseModel():
            return {name: _revealed(getattr(value, name)) for name in type(value).model_fields}
        case Mapping():
            return {str(name): _revealed(item) for name, item in value.items()}
        case list() | tuple():
            return [_revealed(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)

"""Whose token a record holds: another account is another record (contract 1).

The fingerprint covers what names the account and never what proves it: passwords, secrets and
keys are left out, so that it gives nothing away, and a changed password is not a new account.
"""

import hashlib
import json
import re

from pydantic import JsonValue

from tokenproxy.settings.command import Command
from tokenproxy.settings.file import File
from tokenproxy.settings.json_login import JsonLogin, JsonRequest
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.static import Static

SECRET_NAME = re.compile(r"pass|secret|token|key|pin|otp|code|auth", re.IGNORECASE)
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
            return ["command", *settings.argv]
        case SimpleJwt():
            urls: list[JsonValue] = [settings.login_endpoint, settings.refresh_endpoint]
            return ["simplejwt", *urls, settings.username, settings.sliding]
        case JsonLogin():
            return [
                "json",
                _request(settings.login),
                settings.renew.url if settings.renew else None,
            ]


def _request(request: JsonRequest) -> JsonValue:
    form: dict[str, JsonValue] = {
        name: value.get_secret_value() for name, value in (request.form or {}).items()
    }
    return [request.url, _public(request.body), _public(form)]


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

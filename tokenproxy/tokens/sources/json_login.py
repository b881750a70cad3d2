"""Any login API that speaks JSON or forms: two requests, as the config writes them."""

import json
import re
from collections.abc import Callable
from urllib.parse import urlencode

from pydantic import JsonValue

from tokenproxy.settings.json_login import JsonLogin, JsonRequest
from tokenproxy.tokens.answer import Reading
from tokenproxy.tokens.endpoint import Endpoint, TokenRequest
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PLACEHOLDER = re.compile(r"\{(refresh_token|access_token)\}")


class JsonLoginSource(Source):
    """Contract 1.1, `json`: without `renew`, or without what it needs, `login` is done again."""

    def __init__(self, name: str, settings: JsonLogin, endpoint: Endpoint) -> None:
        self._name = name
        self._settings = settings
        self._endpoint = endpoint

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """Renew, where we have all that it carries; else login."""
        renew = self._settings.renew
        if renew is None or not renew.asks_for <= _tokens(record).keys():
            return (Attempt.LOGIN,)
        if not renew.asks_for and record.token is None:
            return (Attempt.LOGIN,)
        return (Attempt.RENEW, Attempt.LOGIN)

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """Ask the server once."""
        settings = self._settings
        wanted, fields, key = settings.login, settings.login_fields, "login.fields"
        if attempt is Attempt.RENEW and settings.renew is not None:
            wanted, fields, key = settings.renew, settings.renewal_fields, "renew.fields"
        request = _build(wanted, _tokens(record))
        answer = await self._endpoint.send(request)
        reading = Reading(self._name, fields, settings.refresh.default_ttl, key)
        return reading.granted(request, answer, certain=True)


def _tokens(record: Record) -> dict[str, str]:
    """What `{refresh_token}` and `{access_token}` stand for."""
    tokens = {}
    if record.refresh is not None:
        tokens["refresh_token"] = record.refresh.reveal()
    if record.token is not None:
        tokens["access_token"] = record.token.access.reveal()
    return tokens


def _build(wanted: JsonRequest, tokens: dict[str, str]) -> TokenRequest:
    def fill(text: str) -> str:
        """In one pass: what a token itself holds is left as it is."""
        return PLACEHOLDER.sub(lambda found: tokens.get(found[1], found[0]), text)

    headers = {name: fill(value.get_secret_value()) for name, value in wanted.headers.items()}
    content, kind = _content(wanted, fill)
    if kind is not None and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = kind
    return TokenRequest(wanted.method, wanted.url, headers, content)


def _content(wanted: JsonRequest, fill: Callable[[str], str]) -> tuple[bytes | None, str | None]:
    if wanted.form is not None:
        pairs = {name: fill(value.get_secret_value()) for name, value in wanted.form.items()}
        return urlencode(pairs, errors="surrogatepass").encode(), FORM  # any text, never a crash
    if wanted.body is not None:
        return json.dumps(_filled(wanted.body, fill)).encode(), JSON
    return None, None


def _filled(value: JsonValue, fill: Callable[[str], str]) -> JsonValue:
    match value:
        case str():
            return fill(value)
        case list():
            return [_filled(item, fill) for item in value]
        case dict():
            return {key: _filled(item, fill) for key, item in value.items()}
        case _:
            return value

"""Django REST framework simplejwt: login, rotation on and off, sliding tokens.

Its answers hold nothing but `access` and `refresh`: life is in the JWT. A wrong password is a
401 without a code, and trying it again trips lockouts; a dead refresh token is a 401 with
`token_not_valid`. A sliding token is both in one: it is renewed with itself before its `exp`,
and after that only by login.
"""

import json
from http import HTTPStatus

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.credential import Fields
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.tokens.answer import Reading
from tokenproxy.tokens.endpoint import Endpoint, TokenRequest, shown
from tokenproxy.tokens.refusal import Ruling, judge
from tokenproxy.tokens.source import Attempt, Seed, Source
from tokenproxy.tokens.token import Granted, Record, Token

PAIR = Fields(access_token="access", refresh_token="refresh")  # noqa: S106 - names of fields
SLIDING = Fields(access_token="token", refresh_token="-")  # noqa: S106 - names of fields


class SimpleJwtSource(Source):
    """Contract 1.1, `simplejwt`."""

    def __init__(self, name: str, settings: SimpleJwt, endpoint: Endpoint, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._endpoint = endpoint
        self._clock = clock
        fields = SLIDING if settings.sliding else PAIR
        self._reading = Reading(name, fields, settings.refresh.default_ttl)
        self.seed = None
        if settings.refresh_token is not None:
            self.seed = Seed(Secret(settings.refresh_token.get_secret_value()))
        self.helpless = (
            f"credential '{name}' has no refresh token that still works: give it a new "
            "'refresh_token', or a 'username' and 'password'"
        )

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """The refresh token, if there is one; the login, if the config holds one."""
        renew = (Attempt.RENEW,) if self._renews_with(record) is not None else ()
        login = (Attempt.LOGIN,) if self._settings.login is not None else ()
        return renew + login

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """Ask the server once."""
        request = self._request(attempt, record)
        answer = await self._endpoint.send(request)
        certain = self._settings.login is not None
        return self._reading.granted(request, answer, certain=certain)

    async def revoke(self, record: Record) -> bool:
        """Give the refresh token to `logout_url`, as its TokenBlacklistView takes it."""
        url, refresh = self._settings.logout_url, record.refresh
        if url is None or refresh is None:
            return False
        answer = await self._endpoint.send(_post(url, {"refresh": refresh.reveal()}, record.token))
        dead = judge(answer.status, answer.json, certain=False).ruling is Ruling.REFUSED
        if not (HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES or dead):
            raise SourceUnavailable(
                f"credential '{self._name}': {shown(url)} did not end the session "
                f"({answer.status})",
                retry_after=answer.retry_after,
            )
        return True

    def _request(self, attempt: Attempt, record: Record) -> TokenRequest:
        match attempt:
            case Attempt.RENEW:
                return _post(self._settings.refresh_endpoint, self._renewal(record))
            case Attempt.LOGIN:
                return _post(self._settings.login_endpoint, self._login())

    def _renewal(self, record: Record) -> dict[str, str]:
        token = self._renews_with(record)
        name = "token" if self._settings.sliding else "refresh"
        return {} if token is None else {name: token.reveal()}

    def _login(self) -> dict[str, str]:
        if self._settings.login is None:
            return {}
        username, password = self._settings.login
        return {
            self._settings.username_field: username,
            "password": password.get_secret_value(),
        }

    def _renews_with(self, record: Record) -> Secret | None:
        if not self._settings.sliding:
            return record.refresh
        token = record.token
        if token is None:
            return record.refresh  # the first one, from the config
        over = token.expires_at is not None and token.expires_at <= self._clock.now().wall
        return None if over else token.access


def _post(url: str, body: dict[str, str], token: Token | None = None) -> TokenRequest:
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.access.reveal()}"
    return TokenRequest("POST", url, headers, json.dumps(body).encode())

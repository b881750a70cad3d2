"""Sign-in on another device: a code to type there, and polling until it has been (RFC 8628).

| answer to a poll              | what happens next                         |
|-------------------------------|-------------------------------------------|
| a token                       | done                                      |
| `authorization_pending`       | asked again after `interval`              |
| `slow_down`                   | the same, and `interval` grows by 5 s     |
| no answer, 429, 5xx           | the same, and `interval` doubles (3.5)    |
| `access_denied` and the like  | SourceRefused: the person said no         |
| `expired_token`, time is over | SourceRefused: begin anew                 |
| anything else                 | as `tokens.refusal` has it                |
"""

from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeGuard

from tokenproxy.clock import Clock, Moment
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.tokens.endpoint import TokenAnswer
from tokenproxy.tokens.lifetime import positive
from tokenproxy.tokens.oauth2 import grants
from tokenproxy.tokens.oauth2.client import TokenClient
from tokenproxy.tokens.token import Granted, Unusable

USUAL_INTERVAL = 5.0  # RFC 8628 3.2
SLOWER = 5.0  # 3.5
SHORTEST_INTERVAL = 1.0  # whatever an issuer says: it is a person that we wait for
LONGEST_INTERVAL = 60.0
LONGEST_LIFE = 3600.0  # seconds; a code that is good for longer is given up all the same
MAX_TEXT = 2048  # of what a person is shown: an address and a code are a line


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a person is shown, and what we poll with; times in seconds."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires: Moment
    interval: float
    device_code: str = field(repr=False)


class DeviceFlow:
    """Sign-ins of one credential."""

    def __init__(self, name: str, settings: OAuth2, client: TokenClient, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._clock = clock

    async def begin(self) -> DeviceCode:
        """Ask for a code. Raises SourceUnavailable, SourceRefused."""
        endpoints = await self._client.endpoints()
        if endpoints.device_authorization is None:
            raise self._refusal("has an issuer that tells no 'device_authorization_endpoint'")
        form = grants.wanted(self._settings)
        request, answer = await self._client.ask(endpoints.device_authorization, form)
        fields = answer.json if isinstance(answer.json, dict) else {}
        code, user_code = fields.get("device_code"), fields.get("user_code")
        uri = fields.get("verification_uri", fields.get("verification_url"))  # Google's word
        if answer.status != HTTPStatus.OK or not (_is_text(code) and _is_line(user_code)):
            with suppress(Unusable):  # a no, or a bad day; but not that it holds no token
                self._client.read(request, answer, certain=True)
            raise self._refusal("got an answer that is no device code")
        if not _is_link(uri):
            raise self._refusal("got a device code with no address to type it at")
        complete = fields.get("verification_uri_complete")
        life = min(positive(fields.get("expires_in")) or LONGEST_LIFE, LONGEST_LIFE)
        return DeviceCode(
            user_code=user_code,
            verification_uri=uri,
            verification_uri_complete=complete if _is_link(complete) else None,
            expires=self._clock.now().after(life),
            interval=_interval(fields.get("interval")),
            device_code=code,
        )

    async def wait(self, code: DeviceCode) -> Granted:
        """Poll until a person has signed in. Raises SourceRefused, SourceUnavailable."""
        interval, key = code.interval, self._client.new_key()
        while self._clock.now().until(code.expires) > 0:
            await self._clock.sleep(interval)
            try:
                token = (await self._client.endpoints()).token
                form = grants.device_code(code.device_code)
                request, answer = await self._client.ask(token, form, key=key)
            except SourceUnavailable:
                interval = max(interval, min(interval * 2, LONGEST_INTERVAL))
                continue
            match _error(answer):
                case "authorization_pending":
                    continue
                case "slow_down":
                    interval += SLOWER
                case "access_denied" | "authorization_declined":  # Microsoft's word
                    raise self._refusal("was not let in: whoever was asked said no")
                case "expired_token":
                    break
                case _ if answer.is_busy:
                    interval = max(interval, min(interval * 2, LONGEST_INTERVAL))
                case _:
                    return self._client.read(request, answer, certain=True, key=key)
        raise self._refusal("was not let in in time: the code is no longer good")

    def _refusal(self, what: str) -> SourceRefused:
        return SourceRefused(
            f"credential '{self._name}' {what}; run 'tokenproxy login {self._name}' again"
        )


def _interval(told: object) -> float:
    return max(positive(told) or USUAL_INTERVAL, SHORTEST_INTERVAL)


def _error(answer: TokenAnswer) -> object:
    return answer.json.get("error") if isinstance(answer.json, dict) else None


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _is_line(value: object) -> TypeGuard[str]:
    """Something that may be shown: a terminal obeys what is not printable."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def _is_link(value: object) -> TypeGuard[str]:
    return _is_line(value) and value.startswith(("https://", "http://"))

"""OAuth 2: the grants of contract 1.2.

A refresh token is used where there is one, whatever grant has brought it; but for client
credentials, where asking again costs nothing and no refresh token should have come (RFC 6749
4.4.3). A grant that needs a person is begun by `tokenproxy login`, and lives on its refresh
token from then on.
"""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import assert_never

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable
from tokenproxy.files import read_regular
from tokenproxy.secret import Secret
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.tokens.oauth2 import grants
from tokenproxy.tokens.oauth2.client import TokenClient
from tokenproxy.tokens.oauth2.client_auth import Pairs
from tokenproxy.tokens.oauth2.code import CodeFlow
from tokenproxy.tokens.oauth2.device import DeviceFlow
from tokenproxy.tokens.oauth2.revocation import revoke
from tokenproxy.tokens.source import Attempt, Seed, Source
from tokenproxy.tokens.token import Granted, Record
from tokenproxy.tokens.watching import file_changes

MAX_TOKEN_FILE = 1 << 20


class OAuth2Source(Source):
    """Contract 1.1, `oauth2`."""

    def __init__(self, name: str, settings: OAuth2, client: TokenClient, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._clock = clock
        self.seed = _seed(settings)
        self.helpless = _helpless(name, settings)
        match settings.grant:
            case "device_code":
                self.sign_in = DeviceFlow(name, settings, client, clock)
            case "authorization_code":
                self.sign_in = CodeFlow(name, settings, client)
            case _:
                pass
        self._signer = None
        if settings.key is not None:
            from tokenproxy.tokens.oauth2.assertions import Signer  # noqa: PLC0415 - an extra

            self._signer = Signer(
                settings.key.get_secret_value(),
                algorithm=settings.algorithm,
                key_id=settings.key_id,
                where=f"credentials.{name}.key",
            )

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """The refresh token, if there is one; the grant itself, if it needs no person."""
        renews = record.refresh is not None and self._settings.grant != "client_credentials"
        renew = (Attempt.RENEW,) if renews else ()
        login = (Attempt.LOGIN,) if self._settings.unattended else ()
        return renew + login

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """Ask the token endpoint once."""
        form = await self._form(attempt, record)
        key = None
        if self._settings.dpop:
            key = record.dpop_key or self._client.new_key()
        return await self._client.grant(form, certain=self._is_certain(attempt), key=key)

    def changes(self) -> AsyncGenerator[None, None]:
        """Yields when the file of the subject token holds another."""
        path = self._settings.subject_token_file
        return super().changes() if path is None else file_changes(path)

    async def revoke(self, record: Record) -> bool:
        """RFC 7009, where the issuer has an endpoint for it."""
        return await revoke(self._name, self._client, record)

    def _is_certain(self, attempt: Attempt) -> bool:
        """Contract 3.3.6: it carries a password or a client secret, or a login is left after it."""
        carries = self._client.shows_a_secret or self._settings.grant == "password"
        return carries or (attempt is Attempt.RENEW and self._settings.unattended)

    async def _form(self, attempt: Attempt, record: Record) -> Pairs:
        if attempt is Attempt.RENEW and record.refresh is not None:
            return grants.renewal(self._settings, record.refresh)
        match self._settings.grant:
            case "client_credentials":
                return grants.client_credentials(self._settings)
            case "password":
                return grants.password(self._settings)
            case "jwt_bearer":
                return grants.jwt_bearer(self._settings, await self._assertion())
            case "token_exchange":
                return grants.token_exchange(self._settings, await self._subject_token())
            case "refresh_token" | "device_code" | "authorization_code":
                raise SourceUnavailable(self.helpless)
            case grant:
                assert_never(grant)

    async def _assertion(self) -> str:
        """A signed statement that is made anew for each request: its `jti` is good once."""
        if self._signer is None:
            raise SourceUnavailable(self.helpless)
        endpoints = await self._client.endpoints()
        issuer = {} if self._settings.client_id is None else {"iss": self._settings.client_id}
        claims = {**issuer, "aud": endpoints.token, **self._settings.claims}
        return self._signer.sign(claims, self._clock.now().wall)

    async def _subject_token(self) -> str:
        if self._settings.subject_token is not None:
            return self._settings.subject_token.get_secret_value()
        path = self._settings.subject_token_file
        if path is None:
            raise SourceUnavailable(self.helpless)
        try:
            token = await asyncio.to_thread(_read, path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise SourceUnavailable(
                f"credential '{self._name}': the subject token in {path} cannot be read ({reason})"
            ) from error
        if not token:
            raise SourceUnavailable(
                f"credential '{self._name}': {path} is empty, where the subject token should be"
            )
        return token


def _read(path: Path) -> str:
    return read_regular(path, MAX_TOKEN_FILE)[:MAX_TOKEN_FILE].decode("utf-8-sig").strip()


def _seed(settings: OAuth2) -> Seed | None:
    """The token that the config holds: another one begins anew."""
    if settings.refresh_token is not None:
        return Seed(Secret(settings.refresh_token.get_secret_value()), is_refresh_token=True)
    if settings.subject_token is not None:
        return Seed(Secret(settings.subject_token.get_secret_value()), is_refresh_token=False)
    return None


def _helpless(name: str, settings: OAuth2) -> str:
    if settings.grant == "refresh_token":
        return (
            f"credential '{name}' has no refresh token that still works: give it a new "
            "'refresh_token'"
        )
    return f"credential '{name}' needs a person: run 'tokenproxy login {name}'"

"""Sign-in in a browser: the authorization code grant for a native app (RFC 6749 4.1, RFC 8252).

PKCE with S256 (RFC 7636) proves at the end that it was we who began; `state` ties the answer to
the browser that was sent out; `iss` tells that it comes from the issuer that we asked (RFC 9207).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from tokenproxy.errors import SourceRefused
from tokenproxy.secret import Secret
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.tokens.oauth2 import grants
from tokenproxy.tokens.oauth2.client import TokenClient
from tokenproxy.tokens.oauth2.client_auth import Pairs
from tokenproxy.tokens.token import Granted

PATIENCE = 600.0  # seconds for a person at a browser
VERIFIER_BYTES = 64  # 86 characters; RFC 7636 4.1 wants 43 to 128
STATE_BYTES = 24
MAX_ERROR = 200  # characters of what an issuer says, which may be anything


class ForeignAnswer(ValueError):
    """An answer to a question that was not ours: nothing has changed by it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in under way: the browser goes to `url`, and comes back to `redirect_uri`."""

    url: str = field(repr=False)
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    issuer: str | None
    needs_issuer: bool
    dpop_key: Secret | None = None


class CodeFlow:
    """Sign-ins of one credential."""

    def __init__(self, name: str, settings: OAuth2, client: TokenClient) -> None:
        self._name = name
        self._settings = settings
        self._client = client

    async def begin(self, redirect_uri: str) -> Begun:
        """Where to send the browser. Raises SourceUnavailable, SourceRefused."""
        endpoints = await self._client.endpoints()
        if endpoints.authorization is None:
            raise self._refusal("has an issuer that tells no 'authorization_endpoint'")
        verifier = secrets.token_urlsafe(VERIFIER_BYTES)
        state = secrets.token_urlsafe(STATE_BYTES)
        key = self._client.new_key()
        pairs = (
            ("response_type", "code"),
            ("client_id", self._settings.client_id or ""),
            ("redirect_uri", redirect_uri),
            *grants.wanted(self._settings),
            *self._consent(),
            *grants.optional(dpop_jkt=None if key is None else self._client.thumbprint(key)),
            ("state", state),
            ("code_challenge", challenge(verifier)),
            ("code_challenge_method", "S256"),
        )
        joint = "&" if urlsplit(endpoints.authorization).query else "?"
        return Begun(
            url=f"{endpoints.authorization}{joint}{urlencode(pairs)}",
            redirect_uri=redirect_uri,
            state=state,
            verifier=verifier,
            issuer=endpoints.issuer,
            needs_issuer=endpoints.answers_name_issuer,
            dpop_key=key,
        )

    async def finish(self, begun: Begun, answer: Mapping[str, str]) -> Granted:
        """The token for what the browser brought back in its query.

        Raises:
            ForeignAnswer: it belongs to another sign-in, or to none.
            SourceRefused: the issuer or the person said no.
            SourceUnavailable: the token endpoint did not answer.
        """
        code = self._code(begun, answer)
        form = grants.authorization_code(code, begun.redirect_uri, begun.verifier)
        resources = tuple(("resource", resource) for resource in self._settings.resource)
        return await self._client.grant((*form, *resources), certain=True, key=begun.dpop_key)

    def _consent(self) -> Pairs:
        """OpenID Connect Core 11: without this prompt `offline_access` is passed over."""
        asks = "offline_access" in (self._settings.scope or "").split()
        return (("prompt", "consent"),) if asks and "prompt" not in self._settings.extra else ()

    def _code(self, begun: Begun, answer: Mapping[str, str]) -> str:
        if not hmac.compare_digest(
            answer.get("state", "").encode(errors="replace"), begun.state.encode()
        ):
            raise ForeignAnswer("the state is not ours")
        self._check_issuer(begun, answer.get("iss"))
        if "error" in answer:
            raise self._refusal(f"was not let in ({shown_error(answer['error'])})")
        code = answer.get("code")
        if not code:
            raise self._refusal("got an answer without a code")
        return code

    def _check_issuer(self, begun: Begun, told: str | None) -> None:
        """RFC 9207 2.4: another issuer may want our code, to use it at the one we meant."""
        if told is None and not begun.needs_issuer:
            return
        if begun.issuer is not None and told != begun.issuer:
            raise self._refusal("got an answer that another issuer sent, and has not used it")

    def _refusal(self, what: str) -> SourceRefused:
        return SourceRefused(
            f"credential '{self._name}' {what}; run 'tokenproxy login {self._name}' again"
        )


def challenge(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def shown_error(text: str) -> str:
    """What an issuer calls an error, as it may be shown: one short line."""
    return "".join(letter for letter in text if letter.isprintable())[:MAX_ERROR]

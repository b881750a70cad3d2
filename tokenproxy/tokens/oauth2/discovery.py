"""Where an issuer's endpoints are: as the config says, else as its metadata do.

| first | `{issuer}/.well-known/openid-configuration`                |
|-------|------------------------------------------------------------|
| else  | `https://host/.well-known/oauth-authorization-server/path` |

The document must name the issuer that it was asked of (RFC 8414 3.3, OpenID Connect Discovery
4.3): else whoever answers there could send our secrets to an endpoint of its own. What was read
is kept until a request to the token endpoint fails: it may have moved.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from tokenproxy.errors import SourceUnavailable
from tokenproxy.settings.base import is_loopback
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.tokens.endpoint import Endpoint, TokenAnswer, TokenRequest, shown

VISIBLE = re.compile(r"[!-~]+")  # a space would end the target of a request
ASKED_FOR = {"Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where to send what; None for what nobody has told.

    `issuer` is the one that the metadata name; `answers_name_issuer` says that an authorization
    response must bear it as `iss` (RFC 9207).
    """

    token: str
    issuer: str | None = None
    authorization: str | None = None
    device_authorization: str | None = None
    revocation: str | None = None
    answers_name_issuer: bool = False


class Discovery:
    """The endpoints of one credential."""

    def __init__(self, name: str, settings: OAuth2, endpoint: Endpoint) -> None:
        self._name = name
        self._settings = settings
        self._endpoint = endpoint
        self._found: Endpoints | None = None

    async def endpoints(self) -> Endpoints:
        """The endpoints, asked for where they are not known.

        Raises:
            SourceUnavailable: the metadata could not be had, or are another issuer's.
        """
        if self._found is None:
            self._found = await self._find()
        return self._found

    def forget(self) -> None:
        """Ask again next time: something there did not answer as it should."""
        self._found = None

    async def _find(self) -> Endpoints:
        settings = self._settings
        document: Mapping[str, object] = {}
        if settings.issuer is not None:
            document = await self._document(settings.issuer)
        token = settings.token_url or self._url(document, "token_endpoint")
        if token is None:
            raise self._failure(settings.issuer or "", "does not tell its token endpoint")
        return Endpoints(
            token=token,
            issuer=self._issuer(document),
            authorization=settings.authorization_url
            or self._url(document, "authorization_endpoint"),
            device_authorization=settings.device_authorization_url
            or self._url(document, "device_authorization_endpoint"),
            revocation=settings.revocation_url or self._url(document, "revocation_endpoint"),
            answers_name_issuer=document.get("authorization_response_iss_parameter_supported")
            is True,
        )

    async def _document(self, issuer: str) -> Mapping[str, object]:
        """The metadata: the first of the two that is there."""
        first, second = well_known(issuer)
        answer = await self._ask(first)
        if _metadata(answer) is None and not answer.is_busy:
            answer = await self._ask(second)
        document = _metadata(answer)
        if document is None:
            raise self._failure(first, f"holds no metadata ({answer.status})", answer)
        expected = self._settings.metadata_issuer or issuer
        if document.get("issuer") != expected:
            raise self._failure(
                first,
                f"holds the metadata of another issuer than '{expected}': check 'issuer', or name "
                "the other one as 'metadata_issuer' if that is meant",
            )
        return document

    async def _ask(self, url: str) -> TokenAnswer:
        return await self._endpoint.send(TokenRequest("GET", url, ASKED_FOR, None))

    def _issuer(self, document: Mapping[str, object]) -> str | None:
        issuer = document.get("issuer")
        return issuer if isinstance(issuer, str) else None

    def _url(self, document: Mapping[str, object], name: str) -> str | None:
        """An endpoint, by the name that a client with a certificate uses if it has one."""
        value = document.get(name)
        aliases = document.get("mtls_endpoint_aliases")  # RFC 8705 5
        if self._settings.client_auth.chosen == "tls_client_auth" and isinstance(aliases, dict):
            value = aliases.get(name, value)
        if value is None:
            return None
        if not isinstance(value, str) or not self._is_safe(value):
            raise self._failure(
                self._settings.issuer or "", f"tells a '{name}' that is no https URL"
            )
        return value

    def _is_safe(self, url: str) -> bool:
        """Whether a secret may go there: beyond this machine by https, or by leave from http."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if not host or parts.username is not None or not VISIBLE.fullmatch(url):
            return False
        secure = (self._settings.issuer or "").startswith("https:")
        return parts.scheme == "https" or (
            parts.scheme == "http"
            and (is_loopback(host) or (self._settings.allow_insecure and not secure))
        )

    def _failure(self, url: str, what: str, answer: TokenAnswer | None = None) -> SourceUnavailable:
        return SourceUnavailable(
            f"credential '{self._name}': {shown(url)} {what}",
            retry_after=answer.retry_after if answer is not None else None,
            retriable=answer is not None and answer.is_busy,
        )


def _metadata(answer: TokenAnswer) -> Mapping[str, object] | None:
    if answer.status != HTTPStatus.OK or not isinstance(answer.json, dict):
        return None
    return answer.json


def well_known(issuer: str) -> tuple[str, str]:
    """The two places of an issuer's metadata (OpenID Connect Discovery 4, RFC 8414 3.1)."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    )

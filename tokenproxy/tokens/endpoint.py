"""One request to a token endpoint, held to limits: size, depth, time, no redirects.

A redirect is never followed: it would carry a password to whoever it names.
"""

import asyncio
import json
import math
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from yarl import URL

from tokenproxy.clock import Clock
from tokenproxy.errors import ConfigError, Problem, SourceUnavailable
from tokenproxy.files import read_regular
from tokenproxy.settings.tls import Tls
from tokenproxy.tokens.egress import ProxyFor
from tokenproxy.tokens.lifetime import Asked
from tokenproxy.tokens.namedfiles import MAX_FILE

MAX_TOKEN_ANSWER = 1 << 20  # an answer is a few KB; a login page is not a token
MAX_FORM_FIELDS = 100
FORM = re.compile(r"\s*[A-Za-z0-9_.]+=[!-~]*\s*")  # one line without a space: no page of HTML
LONGEST_BODY = 5.0  # seconds from an answer's head to its end: one byte a second is hostile


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is sent; `body` is complete, and `headers` say what it is."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What came back; `json` is None where the body is neither JSON nor a form."""

    status: int
    json: object = field(repr=False)
    retry_after: float | None
    asked: Asked
    dpop_nonce: str | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the server says that it cannot answer now."""
        return (
            self.status == HTTPStatus.TOO_MANY_REQUESTS
            or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        )


class _TooLarge(Exception):
    """More than `MAX_TOKEN_ANSWER` has come."""


# What may happen instead of a whole answer, and whether the same may be tried again at once.
FAULTS: tuple[tuple[type[Exception], str, bool], ...] = (
    (TimeoutError, "did not answer in time", False),
    (_TooLarge, "sent an answer that is too large to be a token", False),
    (
        aiohttp.ClientConnectorCertificateError,
        "has a certificate that is not trusted: check 'tls'",
        False,
    ),
    (aiohttp.ClientSSLError, "failed the TLS handshake: check 'tls', and that it is https", False),
    (aiohttp.ClientHttpProxyError, "is behind a proxy that refuses: check 'egress_proxy'", False),
    (aiohttp.ClientProxyConnectionError, "is behind a proxy that cannot be reached", True),
    (aiohttp.ClientConnectorDNSError, "has a host name that is not known", True),
    (aiohttp.ClientConnectorError, "could not be reached", True),
    (aiohttp.ServerDisconnectedError, "closed the connection without an answer", True),
    (aiohttp.ClientPayloadError, "broke off its answer, or sent what cannot be decoded", True),
    (aiohttp.ClientResponseError, "sent an answer that is not HTTP", False),
    (ValueError, "cannot be asked: its URL or a header holds what HTTP does not allow", False),
    (Exception, "broke off the connection", True),
)


class Endpoint:
    """Sends requests for one credential, over connections of its own."""

    def __init__(
        self,
        name: str,
        session: aiohttp.ClientSession,
        timeout: float,
        clock: Clock,
        proxy_for: ProxyFor = lambda _: None,
    ) -> None:
        self._name = name
        self._session = session
        self._timeout = timeout
        self._proxy_for = proxy_for
        self._clock = clock

    async def send(self, request: TokenRequest) -> TokenAnswer:
        """Ask once.

        Raises:
            SourceUnavailable: no whole answer came, in time and within the limits.
        """
        sent = self._clock.now().wall
        try:
            async with asyncio.timeout(self._timeout), self._open(request) as response:
                body = await _read(response)
        except (aiohttp.ClientError, OSError, ValueError, _TooLarge) as error:
            what, retriable = _explain(error)
            message = f"credential '{self._name}': {shown(request.url)} {what}"
            raise SourceUnavailable(message, retriable=retriable) from error
        received = self._clock.now().wall
        return TokenAnswer(
            status=response.status,
            json=_parse(body),
            retry_after=retry_after(response.headers.get("Retry-After"), received),
            asked=Asked(sent, received),
            dpop_nonce=response.headers.get("DPoP-Nonce"),
        )

    def _open(self, request: TokenRequest) -> "aiohttp.client._RequestContextManager":
        return self._session.request(
            request.method,
            URL(request.url, encoded=True),
            data=request.body,
            headers=request.headers,
            proxy=self._proxy_for(request.url),
            allow_redirects=False,
        )


def open_session(*, tls: ssl.SSLContext | bool) -> aiohttp.ClientSession:
    """A session for token endpoints: no cookies, no proxies from the environment.

    Renewals are rare, so no connection is kept: it would be stale by the next one.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Accept": "application/json"},
        skip_auto_headers={"User-Agent"},
    )


def tls_context(settings: Tls, where: str = "tls") -> ssl.SSLContext | Literal[True]:
    """What aiohttp takes for `ssl`: True for the defaults. `where` is its place in the config.

    Raises:
        ConfigError: files cannot be read or are not what they should be.
    """
    if settings == Tls():
        return True
    files = {"ca": settings.ca, "cert": settings.cert, "key": settings.key}
    wrong = [
        Problem(f"{where}.{key}", f"{path} cannot be read ({why})")
        for key, path in files.items()
        if path is not None and (why := unreadable(path)) is not None
    ]
    if wrong:
        raise ConfigError(wrong)
    context = _trusting(settings, where)
    if settings.cert is not None:
        show_certificate(context, settings.cert, settings.key, where)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def unreadable(path: Path) -> str | None:
    """Why a file cannot be read, or None where it can."""
    try:
        if len(read_regular(path, MAX_FILE)) > MAX_FILE:
            return "it is larger than 16 MiB"
    except OSError as error:
        return error.strerror
    except ValueError:  # a NUL in it
        return "it cannot be a file's name"
    return None


def _trusting(settings: Tls, where: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except ssl.SSLError as error:
        what = f"{settings.ca} holds no certificate in PEM format"
        raise ConfigError([Problem(f"{where}.ca", what)]) from error


def show_certificate(context: ssl.SSLContext, cert: Path, key: Path | None, where: str) -> None:
    """Have a certificate shown to the other side. Raises ConfigError."""
    try:
        context.load_cert_chain(cert, key, password="")  # never asked for
    except ssl.SSLError as error:
        its = f"{key} the" if key is not None else "the"
        what = (
            f"{cert} must hold a certificate in PEM format, and {its} private key that "
            "belongs to it, without a password"
        )
        raise ConfigError([Problem(f"{where}.cert", what)]) from error


def shown(url: str) -> str:
    """A URL as errors may show it: without its query, where secrets can be."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 10.2.3), as a number or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until_date(value, now)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _until_date(value: str, now: float) -> float | None:
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)  # the form without a zone (RFC 9110 5.6.7)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async with asyncio.timeout(LONGEST_BODY):
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_TOKEN_ANSWER:
                raise _TooLarge
    return bytes(body)


def _parse(body: bytes) -> object:
    """The JSON in `body`, a BOM tolerated, or its form; None for anything else, however deep."""
    try:
        text = body.decode("utf-8-sig")
    except ValueError:
        return None
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return _form(text)
    return parsed


def _form(text: str) -> object:
    """The fields of an answer that is a form, whatever it calls itself (GitHub's are)."""
    if not FORM.fullmatch(text):
        return None
    try:
        fields = parse_qsl(text.strip(), strict_parsing=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        return None
    return dict(fields)


def _explain(error: Exception) -> tuple[str, bool]:
    """What went wrong, and whether the same may be tried again at once."""
    return next((what, again) for kind, what, again in FAULTS if isinstance(error, kind))

"""One client's requests to its issuer's token endpoint."""

from http import HTTPStatus
from urllib.parse import urlencode

from tokenproxy.clock import Clock
from tokenproxy.errors import ConfigError, SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.tokens.answer import Reading
from tokenproxy.tokens.endpoint import Endpoint, TokenAnswer, TokenRequest
from tokenproxy.tokens.oauth2.client_auth import Pairs, Proof, authentication
from tokenproxy.tokens.oauth2.discovery import Discovery, Endpoints
from tokenproxy.tokens.token import Granted

FORM = "application/x-www-form-urlencoded"
SECRET_METHODS = frozenset({"client_secret_basic", "client_secret_post"})


class TokenClient:
    """Asks for tokens in the name of one credential.

    Raises:
        ConfigError: a key of its settings cannot be used, or a package for it is missing.
    """

    def __init__(self, name: str, settings: OAuth2, endpoint: Endpoint, clock: Clock) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._clock = clock
        word = "dpop" if settings.dpop else None
        self._reading = Reading(
            name, settings.fields, settings.refresh.default_ttl, token_type=word
        )
        self._authenticate = authentication(name, settings.client_id, settings.client_auth)
        self._discovery = Discovery(name, settings, endpoint)
        self._binding = _Binding(name) if settings.dpop else None

    @property
    def shows_a_secret(self) -> bool:
        """Whether its requests carry a client secret: a refusal of those is not asked for twice."""
        return self._settings.client_auth.chosen in SECRET_METHODS

    def new_key(self) -> Secret | None:
        """A key to bind tokens to; None where they are not to be bound."""
        return None if self._binding is None else self._binding.new_key()

    def thumbprint(self, key: Secret) -> str | None:
        """What tells an authorization endpoint the key beforehand (RFC 9449 10)."""
        return None if self._binding is None else self._binding.thumbprint(key)

    async def endpoints(self) -> Endpoints:
        """The issuer's endpoints. Raises SourceUnavailable."""
        return await self._discovery.endpoints()

    async def grant(self, form: Pairs, *, certain: bool, key: Secret | None = None) -> Granted:
        """What the token endpoint gives for a grant; `certain` as `tokens.refusal` has it.

        `key` is the one that the tokens are, or are to be, bound to.

        Raises:
            SourceUnavailable, SourceRefused: it gave none.
        """
        endpoints = await self.endpoints()
        request, answer = await self.ask(endpoints.token, form, key=key)
        return self.read(request, answer, certain=certain, key=key)

    def read(
        self,
        request: TokenRequest,
        answer: TokenAnswer,
        *,
        certain: bool,
        key: Secret | None = None,
    ) -> Granted:
        """What an answer grants. Raises SourceUnavailable, SourceRefused."""
        try:
            granted = self._reading.granted(request, answer, certain=certain)
        except SourceUnavailable:
            self._discovery.forget()
            raise
        return granted if key is None else granted.bound_to(key)

    async def ask(
        self, url: str, form: Pairs, *, key: Secret | None = None
    ) -> tuple[TokenRequest, TokenAnswer]:
        """Post a form with the client's authentication. Raises SourceUnavailable.

        An issuer that wants a nonce in the proof tells it, and is asked once more (RFC 9449 8).
        An assertion is made out to the token endpoint wherever it goes: all issuers know that.
        """
        audience = (await self.endpoints()).token
        request, answer = await self._send(url, form, audience, key)
        if key is not None and _wants_nonce(answer):
            request, answer = await self._send(url, form, audience, key)
        return request, answer

    async def _send(
        self, url: str, form: Pairs, audience: str, key: Secret | None
    ) -> tuple[TokenRequest, TokenAnswer]:
        request = self._request(url, form, audience, key)
        try:
            answer = await self._endpoint.send(request)
        except SourceUnavailable:
            self._discovery.forget()
            raise
        if self._binding is not None:
            self._binding.nonces.learn(url, answer.dpop_nonce)
        return request, answer

    def _request(self, url: str, form: Pairs, audience: str, key: Secret | None) -> TokenRequest:
        now = self._clock.now().wall
        proof = self._authenticate(audience=audience, now=now)
        headers = {"Content-Type": FORM, "Accept": "application/json"}
        if proof.authorization is not None:
            headers["Authorization"] = proof.authorization
        if self._binding is not None and key is not None:
            headers["DPoP"] = self._binding.proof(key, url, now)
        body = urlencode([*form, *_missing(proof, form)], errors="surrogatepass").encode()
        return TokenRequest("POST", url, headers, body)


class _Binding:
    """What binding tokens to a key needs: an optional package, and the issuer's nonces."""

    def __init__(self, name: str) -> None:
        try:
            from tokenproxy.tokens.oauth2 import dpop  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigError(
                f"credentials.{name}.dpop needs a package that is not installed: run "
                "pip install 'tokenproxy[crypto]'"
            ) from error
        self.nonces = dpop.Nonces()
        self._prover = dpop.Prover
        self.new_key = dpop.new_key

    def proof(self, key: Secret, url: str, now: float) -> str:
        return self._prover(key).proof("POST", url, now=now, nonce=self.nonces.get(url))

    def thumbprint(self, key: Secret) -> str:
        return self._prover(key).thumbprint


def _wants_nonce(answer: TokenAnswer) -> bool:
    """RFC 9449 8: a 400 that names `use_dpop_nonce`, and the nonce to use."""
    fields = answer.json if isinstance(answer.json, dict) else {}
    return (
        answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}
        and fields.get("error") == "use_dpop_nonce"
        and answer.dpop_nonce is not None
    )


def _missing(proof: Proof, form: Pairs) -> Pairs:
    names = {name for name, _ in form}
    return tuple(pair for pair in proof.pairs if pair[0] not in names)

"""One client's requests to its issuer's token endpoint."""

from urllib.parse import urlencode

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable
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
        ConfigError: a key of its settings cannot be used.
    """

    def __init__(self, name: str, settings: OAuth2, endpoint: Endpoint, clock: Clock) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._clock = clock
        self._reading = Reading(name, settings.fields, settings.refresh.default_ttl)
        self._authenticate = authentication(name, settings.client_id, settings.client_auth)
        self._discovery = Discovery(name, settings, endpoint)

    @property
    def shows_a_secret(self) -> bool:
        """Whether its requests carry a client secret: a refusal of those is not asked for twice."""
        return self._settings.client_auth.chosen in SECRET_METHODS

    async def endpoints(self) -> Endpoints:
        """The issuer's endpoints. Raises SourceUnavailable."""
        return await self._discovery.endpoints()

    async def grant(self, form: Pairs, *, certain: bool) -> Granted:
        """What the token endpoint gives for a grant; `certain` as `tokens.refusal` has it.

        Raises:
            SourceUnavailable, SourceRefused: it gave none.
        """
        endpoints = await self.endpoints()
        request, answer = await self.ask(endpoints.token, form)
        return self.read(request, answer, certain=certain)

    def read(self, request: TokenRequest, answer: TokenAnswer, *, certain: bool) -> Granted:
        """What an answer grants. Raises SourceUnavailable, SourceRefused."""
        try:
            return self._reading.granted(request, answer, certain=certain)
        except SourceUnavailable:
            self._discovery.forget()
            raise

    async def ask(self, url: str, form: Pairs) -> tuple[TokenRequest, TokenAnswer]:
        """Post a form with the client's authentication. Raises SourceUnavailable."""
        request = self._request(url, form)
        try:
            return request, await self._endpoint.send(request)
        except SourceUnavailable:
            self._discovery.forget()
            raise

    def _request(self, url: str, form: Pairs) -> TokenRequest:
        proof = self._authenticate(audience=url, now=self._clock.now().wall)
        headers = {"Content-Type": FORM, "Accept": "application/json"}
        if proof.authorization is not None:
            headers["Authorization"] = proof.authorization
        body = urlencode([*form, *_missing(proof, form)], errors="surrogatepass").encode()
        return TokenRequest("POST", url, headers, body)


def _missing(proof: Proof, form: Pairs) -> Pairs:
    names = {name for name, _ in form}
    return tuple(pair for pair in proof.pairs if pair[0] not in names)

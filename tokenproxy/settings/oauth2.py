"""Settings of OAuth 2: seven grants, six ways of a client to say who it is (contract 1.2)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, SecretStr, model_validator

from tokenproxy.settings.base import (
    ConfigPath,
    HttpUrl,
    HttpUrlBase,
    NonEmpty,
    SecretText,
    Settings,
    Shaped,
    TokenText,
    is_loopback,
    one_is_a_list_of_one,
    refuse,
)
from tokenproxy.settings.credential import Fields, NetworkCredential

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
SecretAlgorithm = Literal["HS256", "HS384", "HS512"]
AuthMethod = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "none",
]
GrantType = Literal[
    "client_credentials",
    "refresh_token",
    "password",
    "jwt_bearer",
    "token_exchange",
    "device_code",
    "authorization_code",
]

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693 3
FREE_PORT = "http://127.0.0.1/callback"  # with a port of its own at each sign-in (RFC 8252 7.3)

# The keys that belong to one grant alone.
OWN_KEYS: Mapping[GrantType, frozenset[str]] = {
    "client_credentials": frozenset(),
    "refresh_token": frozenset({"refresh_token"}),
    "password": frozenset({"username", "password"}),
    "jwt_bearer": frozenset({"key", "key_id", "algorithm", "claims"}),
    "token_exchange": frozenset(
        {
            "subject_token",
            "subject_token_file",
            "subject_token_type",
            "requested_token_type",
            "actor_token",
            "actor_token_type",
        }
    ),
    "device_code": frozenset({"device_authorization_url"}),
    "authorization_code": frozenset({"authorization_url", "redirect_uri"}),
}
# The grants that need no person, and can be asked for again at any time.
UNATTENDED: frozenset[GrantType] = frozenset(
    {"client_credentials", "password", "jwt_bearer", "token_exchange"}
)
# A parameter of these names is made here; `extra` must not bring another.
MADE_HERE = frozenset(
    {
        "grant_type",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "refresh_token",
        "assertion",
        "code",
        "code_verifier",
        "code_challenge",
        "code_challenge_method",
        "response_type",
        "state",
        "dpop_jkt",
        "device_code",
        "redirect_uri",
        "scope",
        "audience",
        "resource",
        "subject_token",
        "subject_token_type",
        "actor_token",
        "actor_token_type",
        "requested_token_type",
        "username",
        "password",
    }
)
_NEEDS: Mapping[AuthMethod, str | None] = {
    "client_secret_basic": "secret",
    "client_secret_post": "secret",
    "client_secret_jwt": "secret",
    "private_key_jwt": "key",
    "tls_client_auth": None,
    "none": None,
}
_SIGNING: frozenset[AuthMethod] = frozenset({"client_secret_jwt", "private_key_jwt"})


class ClientAuth(Settings):
    """How the client says who it is (RFC 6749 2.3, RFC 7523, RFC 8705).

    `audience` is what an assertion is made out to: the token endpoint, unless it is given.
    """

    method: AuthMethod | None = None
    secret: SecretText | None = None
    key: SecretText | None = None
    key_id: NonEmpty | None = None
    algorithm: Algorithm | SecretAlgorithm | None = None
    audience: NonEmpty | None = None

    @property
    def chosen(self) -> AuthMethod:
        """The method, or the one that fits what there is."""
        if self.method is not None:
            return self.method
        if self.secret is not None:
            return "client_secret_basic"
        return "none" if self.key is None else "private_key_jwt"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        method, needed = self.chosen, _NEEDS[self.chosen]
        signs = method in _SIGNING
        used = {needed, *(("key_id", "algorithm", "audience") if signs else ())}
        wrong = [
            f"has a '{name}', which the method '{method}' does not use"
            for name in ("secret", "key", "key_id", "algorithm", "audience")
            if getattr(self, name) is not None and name not in used
        ]
        if needed is not None and getattr(self, needed) is None:
            wrong.append(f"has the method '{method}', which needs a '{needed}'")
        if signs and self.algorithm is not None:
            symmetric = self.algorithm.startswith("HS")
            if symmetric is not (method == "client_secret_jwt"):
                wrong.append(f"has an 'algorithm' that '{method}' cannot sign with")
        refuse(wrong)
        return self


def _joined(value: Any) -> Any:
    """A list of scopes is one text with spaces between them (RFC 6749 3.3)."""
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return value


def _not_ours(extra: dict[str, SecretStr]) -> dict[str, SecretStr]:
    refuse(
        [
            f"has a '{name}', which is made from the other keys: use those"
            for name in extra
            if name in MADE_HERE
        ]
    )
    return extra


def _is_redirect(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme != "http" or not is_loopback(parts.hostname or ""):
        raise ValueError(
            "must be an http address of this machine, as in http://127.0.0.1:8400/callback: "
            "the browser brings the answer there"
        )
    if parts.query:
        raise ValueError("must not hold a query ('?')")
    return uri


Scope = Annotated[
    str,
    BeforeValidator(_joined),
    Shaped(
        r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*",
        "must be names with single spaces between them, or a list of names",
    ),
]
Resource = Annotated[
    tuple[
        Annotated[str, Shaped(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s#]+", "must be an absolute URI")], ...
    ],
    BeforeValidator(one_is_a_list_of_one),
]


class OAuth2(NetworkCredential):
    """Contract 1.1, `oauth2`."""

    endpoints = (
        "issuer",
        "token_url",
        "revocation_url",
        "device_authorization_url",
        "authorization_url",
    )

    type: Literal["oauth2"]
    grant: GrantType
    issuer: Annotated[HttpUrlBase | None, Field(repr=False)] = None
    metadata_issuer: NonEmpty | None = None
    token_url: Annotated[HttpUrl | None, Field(repr=False)] = None
    revocation_url: Annotated[HttpUrl | None, Field(repr=False)] = None
    client_id: NonEmpty | None = None
    client_auth: ClientAuth = ClientAuth()
    scope: Scope | None = None
    audience: NonEmpty | None = None
    resource: Resource = ()
    extra: Annotated[dict[NonEmpty, SecretStr], AfterValidator(_not_ours)] = Field(
        default_factory=dict
    )
    fields: Fields = Fields()
    dpop: bool = False

    refresh_token: TokenText | None = None

    username: NonEmpty | None = None
    password: SecretText | None = None

    key: SecretText | None = None
    key_id: NonEmpty | None = None
    algorithm: Algorithm | None = None
    claims: dict[NonEmpty, JsonValue] = Field(default_factory=dict, repr=False)

    subject_token: SecretText | None = None
    subject_token_file: ConfigPath | None = None
    subject_token_type: NonEmpty = ACCESS_TOKEN_TYPE
    requested_token_type: NonEmpty | None = None
    actor_token: SecretText | None = None
    actor_token_type: NonEmpty = ACCESS_TOKEN_TYPE

    device_authorization_url: Annotated[HttpUrl | None, Field(repr=False)] = None

    authorization_url: Annotated[HttpUrl | None, Field(repr=False)] = None
    redirect_uri: Annotated[HttpUrl, AfterValidator(_is_redirect)] = FREE_PORT

    @property
    def unattended(self) -> bool:
        """Whether the config holds all that the grant needs, at any time."""
        return self.grant in UNATTENDED

    @model_validator(mode="after")
    def _fits_its_grant(self) -> Self:
        wrong = self._of_other_grants()
        wrong += [f"needs {key} for 'grant: {self.grant}'" for key in self._missing()]
        if self.metadata_issuer is not None and self.issuer is None:
            wrong.append("has a 'metadata_issuer' but no 'issuer' whose metadata it could name")
        refuse(wrong)
        return self

    def _of_other_grants(self) -> list[str]:
        return [
            f"has a '{key}', which belongs to 'grant: {grant}', and this is 'grant: {self.grant}'"
            for grant, keys in OWN_KEYS.items()
            for key in sorted(keys & self.model_fields_set - OWN_KEYS[self.grant])
            if getattr(self, key) is not None
        ]

    def _missing(self) -> list[str]:
        needs = self._needed_urls()
        if self.client_id is None and self.grant not in {"jwt_bearer", "token_exchange"}:
            needs.append("a 'client_id'")
        elif self.client_auth.chosen != "none" and self.client_id is None:
            needs.append("a 'client_id' beside its 'client_auth'")
        match self.grant:
            case "client_credentials" if self.client_auth.chosen == "none":
                needs.append("a 'client_auth', as in {secret: …}")
            case "refresh_token" if self.refresh_token is None:
                needs.append("the first 'refresh_token'")
            case "password" if self.username is None or self.password is None:
                needs.append("a 'username' and a 'password'")
            case "jwt_bearer" if self.key is None:
                needs.append("a 'key' to sign with")
            case "token_exchange" if (self.subject_token is None) is (
                self.subject_token_file is None
            ):
                needs.append("either a 'subject_token' or a 'subject_token_file'")
            case _:
                pass
        if self.client_auth.chosen == "tls_client_auth" and self.tls.cert is None:
            needs.append("a 'tls' with a 'cert' (and its 'key') to authenticate with")
        return needs

    def _needed_urls(self) -> list[str]:
        if self.issuer is not None:
            return []
        needs = (
            [] if self.token_url is not None else ["a 'token_url', or an 'issuer' that tells it,"]
        )
        if self.grant == "device_code" and self.device_authorization_url is None:
            needs.append("a 'device_authorization_url', or an 'issuer' that tells it,")
        if self.grant == "authorization_code" and self.authorization_url is None:
            needs.append("an 'authorization_url', or an 'issuer' that tells it,")
        return needs

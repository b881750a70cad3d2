"""What the form of each grant holds (RFC 6749 4, RFC 7523 2.1, RFC 8693 2.1)."""

from pydantic import SecretStr

from tokenproxy.secret import Secret
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.tokens.oauth2.client_auth import Pairs

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a URN
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


def wanted(settings: OAuth2, *, with_scope: bool = True) -> Pairs:
    """What the token is to be good for: scope, audience, resources (RFC 8707), and `extra`."""
    scope = optional(scope=settings.scope) if with_scope else ()
    resources = tuple(("resource", resource) for resource in settings.resource)
    extra = tuple((name, value.get_secret_value()) for name, value in settings.extra.items())
    return scope + optional(audience=settings.audience) + resources + extra


def renewal(settings: OAuth2, refresh: Secret) -> Pairs:
    """A refresh token for an access token.

    The scope is left out: it is then what was granted (RFC 6749 6), which may be less than what
    was asked for, and to ask for more is an error.
    """
    grant = (("grant_type", "refresh_token"), ("refresh_token", refresh.reveal()))
    return grant + wanted(settings, with_scope=False)


def client_credentials(settings: OAuth2) -> Pairs:
    """The client's own access."""
    return (("grant_type", "client_credentials"), *wanted(settings))


def password(settings: OAuth2) -> Pairs:
    """A user's name and password."""
    return (
        ("grant_type", "password"),
        *optional(username=settings.username, password=settings.password),
        *wanted(settings),
    )


def jwt_bearer(settings: OAuth2, assertion: str) -> Pairs:
    """A signed statement of whom the token is for."""
    return (("grant_type", JWT_BEARER), ("assertion", assertion), *wanted(settings))


def token_exchange(settings: OAuth2, subject_token: str) -> Pairs:
    """Another token for this one."""
    actor = optional(actor_token=settings.actor_token)
    if actor:
        actor += (("actor_token_type", settings.actor_token_type),)
    return (
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject_token),
        ("subject_token_type", settings.subject_token_type),
        *actor,
        *optional(requested_token_type=settings.requested_token_type),
        *wanted(settings),
    )


def device_code(code: str) -> Pairs:
    """The code of a device that a person has let in by now (RFC 8628 3.4)."""
    return (("grant_type", DEVICE_CODE), ("device_code", code))


def authorization_code(code: str, redirect_uri: str, verifier: str) -> Pairs:
    """What the browser brought back, and the proof that it was we who asked (RFC 7636 4.5)."""
    return (
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier),
    )


def optional(**values: str | SecretStr | None) -> Pairs:
    """The pairs that have a value."""
    return tuple(
        (name, value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in values.items()
        if value is not None
    )

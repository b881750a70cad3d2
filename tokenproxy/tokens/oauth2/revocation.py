"""Telling an issuer that a token is no longer wanted (RFC 7009)."""

from http import HTTPStatus

from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.tokens.endpoint import TokenAnswer, shown
from tokenproxy.tokens.oauth2.client import TokenClient
from tokenproxy.tokens.oauth2.client_auth import Pairs
from tokenproxy.tokens.token import Record


async def revoke(name: str, client: TokenClient, record: Record) -> bool:
    """Revoke what the record holds; False where that is nothing, or the issuer has no place for it.

    The refresh token first: with it the issuer ends all that came from it (RFC 7009 2.1).

    Raises:
        SourceUnavailable: the issuer did not do it.
    """
    forms = _forms(record)
    endpoints = await client.endpoints() if forms else None
    if endpoints is None or endpoints.revocation is None:
        return False
    for form in forms:
        _, answer = await client.ask(endpoints.revocation, form)
        if not _is_done(answer):
            raise SourceUnavailable(
                f"credential '{name}': {shown(endpoints.revocation)} did not revoke the token "
                f"({answer.status})",
                retry_after=answer.retry_after,
            )
    return True


def _forms(record: Record) -> list[Pairs]:
    access = None if record.token is None else record.token.access
    return [
        _form(token, hint)
        for token, hint in ((record.refresh, "refresh_token"), (access, "access_token"))
        if token is not None
    ]


def _form(token: Secret, hint: str) -> Pairs:
    return (("token", token.reveal()), ("token_type_hint", hint))


def _is_done(answer: TokenAnswer) -> bool:
    """Whether the token is gone, or cannot be made to go.

    An issuer need not be able to revoke access tokens (RFC 7009 2.2.1), and one that has ended
    all that came from a refresh token may not know them any more (Google: `invalid_token`).
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return True
    error = answer.json.get("error") if isinstance(answer.json, dict) else None
    return error in {"unsupported_token_type", "invalid_token"}

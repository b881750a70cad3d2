"""From the answer of a token endpoint to a token, or to the error that it stands for."""

from dataclasses import dataclass

from tokenproxy.errors import SourceError, SourceRefused, SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.credential import Fields
from tokenproxy.tokens.endpoint import TokenAnswer, TokenRequest, shown
from tokenproxy.tokens.lifetime import expiry
from tokenproxy.tokens.refusal import CLIENT_CODES, Judgement, Ruling, judge, remedy
from tokenproxy.tokens.token import Granted, Token, Unusable, is_sendable

BOUND_TYPES = frozenset({"dpop", "mac", "pop"})  # RFC 6749 7.1: no bearer could use them


@dataclass(frozen=True, slots=True)
class Reading:
    """How answers for one credential are read; `fields` stand under `key` in the config."""

    name: str
    fields: Fields
    default_ttl: float | None
    key: str = "fields"
    token_type: str | None = None  # in lower case; None for any

    def granted(self, request: TokenRequest, answer: TokenAnswer, *, certain: bool) -> Granted:
        """What the answer grants.

        Raises:
            SourceRefused: it says no.
            SourceUnavailable: it says neither yes nor no.
        """
        judgement = judge(answer.status, answer.json, certain=certain)
        if judgement.ruling is not Ruling.GRANTED:
            raise self._error(request, answer, judgement)
        access = look_up(answer.json, self.fields.access_token)
        self._check_type(request, look_up(answer.json, self.fields.token_type))
        refresh = _refresh(look_up(answer.json, self.fields.refresh_token))
        if not is_sendable(access):
            what = self._said(request, _without_token(access, self.fields, self.key))
            raise Unusable(what, refresh)
        expires_in = look_up(answer.json, self.fields.expires_in)
        expires_at = expiry(
            access,
            expires_in=expires_in,
            asked=answer.asked,
            minted=True,
            default_ttl=self.default_ttl,
        )
        return Granted(Token(Secret(access), answer.asked.received, expires_at), refresh)

    def _check_type(self, request: TokenRequest, told: object) -> None:
        """A bearer token where a bound one was asked for: whoever has it could use it."""
        if self.token_type is None:
            if isinstance(told, str) and told.lower() in BOUND_TYPES:
                what = f"gave a token of the type '{told}', which cannot be sent by itself"
                raise SourceRefused(self._said(request, what))
            return
        if not isinstance(told, str) or told.lower() != self.token_type:
            raise SourceRefused(
                self._said(request, "gave a token that is not bound to our key (dpop: true)")
            )

    def _error(
        self, request: TokenRequest, answer: TokenAnswer, judgement: Judgement
    ) -> SourceError:
        status = f"{answer.status} {judgement.code}" if judgement.code else f"{answer.status}"
        match judgement.ruling:
            case Ruling.REFUSED:
                return SourceRefused(
                    self._said(request, f"refused ({status}): {remedy(judgement.code)}"),
                    of_the_client=judgement.code in CLIENT_CODES,
                )
            case Ruling.DOUBTFUL:
                return SourceUnavailable(
                    self._said(request, f"turned us away ({status})"),
                    retry_after=answer.retry_after,
                    doubtful=True,
                )
            case Ruling.BUSY:
                return SourceUnavailable(
                    self._said(request, f"is not able to answer now ({status})"),
                    retry_after=answer.retry_after,
                    retriable=True,
                )
            case Ruling.PASSING | Ruling.GRANTED:
                return SourceUnavailable(
                    self._said(request, f"answered with something that is no token ({status})"),
                    retry_after=answer.retry_after,
                )

    def _said(self, request: TokenRequest, what: str) -> str:
        return f"credential '{self.name}': {shown(request.url)} {what}"


def _refresh(value: object) -> Secret | None:
    return Secret(value) if isinstance(value, str) and value else None


def look_up(json: object, path: str) -> object:
    """The value at a dotted path; None where there is none."""
    for part in path.split("."):
        if not isinstance(json, dict):
            return None
        json = json.get(part)
    return json


def _without_token(access: object, fields: Fields, key: str) -> str:
    if access is None:
        return (
            f"answered without a field '{fields.access_token}', where its token should be: check "
            f"the credential's type and '{key}' in the config"
        )
    return "sent a token that no request can carry (it is empty, or holds a space or line break)"

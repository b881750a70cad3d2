"""What a browser asks for to sign a person in, and what it brings back from the issuer."""

from typing import Any

from aiohttp import web

from tokenproxy.admin.answers import answer, as_json, problem, unknown_credential
from tokenproxy.admin.notices import notice
from tokenproxy.admin.parts import Parts
from tokenproxy.admin.redirects import CALLBACK, Elsewhere, redirect_uri
from tokenproxy.admin.server import Routes, authority
from tokenproxy.admin.tickets import cookie_name
from tokenproxy.errors import SourceRefused, SourceUnavailable, StoreError
from tokenproxy.redaction import redact
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.oauth2.code import PATIENCE, CodeFlow
from tokenproxy.tokens.oauth2.device import DeviceCode, DeviceFlow

FAILED = "failed"  # a parameter of ours: the credential whose failure is to be shown
FOREIGN = (
    "This is no answer to a sign-in that this browser has begun here in the last ten minutes: "
    "begin again on the status page."
)


class SignInApi:
    """The answers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def routes(self) -> Routes:
        """Who answers for which path."""
        return {
            "/api/credentials/*/sign-in": {"POST": self.begin},
            CALLBACK: {"GET": self.come_back},
        }

    async def begin(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """Begin a sign-in: where to go, or what to type elsewhere."""
        keeper = self._parts.served.keepers.get(name)
        if keeper is None:
            return unknown_credential()
        try:
            return await self._begun(request, keeper)
        except Elsewhere as error:
            return problem(409, "sign_in_elsewhere", str(error))
        except SourceRefused as error:
            return problem(502, "login_required", redact(str(error)))
        except (SourceUnavailable, StoreError) as error:
            retry_after = error.retry_after if isinstance(error, SourceUnavailable) else None
            detail = redact(str(error))
            return problem(503, "token_unavailable", detail, retry_after=retry_after or 1.0)

    async def _begun(self, request: web.BaseRequest, keeper: Keeper) -> web.StreamResponse:
        match keeper.sign_in:
            case DeviceFlow() as flow:
                return as_json(_shown(await self._parts.sign_ins.on_a_device(keeper, flow)))
            case CodeFlow() as flow:
                return await self._sent_out(request, keeper, flow)
            case None:
                detail = f"Nobody signs in to credential '{keeper.name}': it goes by the config."
                return problem(409, "no_sign_in", detail)

    async def _sent_out(
        self, request: web.BaseRequest, keeper: Keeper, flow: CodeFlow
    ) -> web.StreamResponse:
        settings = self._parts.served.credentials[keeper.name]
        if not isinstance(settings, OAuth2):
            raise TypeError(f"'{settings.type}' has no authorization code")
        back = redirect_uri(keeper.name, settings, authority(request))
        url, cookie = await self._parts.sign_ins.in_a_browser(keeper, flow, back)
        response = as_json({"type": "redirect", "url": url})
        # Lax: the issuer, another site, leads the browser here (RFC 6265bis 5.2).
        response.set_cookie(
            cookie.name,
            cookie.value,
            max_age=int(PATIENCE),
            path=CALLBACK,
            httponly=True,
            samesite="Lax",
        )
        return response

    async def come_back(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        """Take in what the issuer has sent, and lead away from the address that holds it."""
        query = request.query
        if set(query) == {FAILED}:
            return self._failure(query[FAILED])
        is_odd = len(query) != len(set(query))  # RFC 6749 3.1: no parameter twice
        if request.method == "HEAD" or is_odd:
            return _foreign()
        finished = await self._parts.sign_ins.finish(dict(query), request.cookies)
        if finished is None:
            return _foreign()
        where = "/" if finished.is_signed_in else f"{CALLBACK}?{FAILED}={finished.credential}"
        response = answer(b"", "text/plain", 303)
        response.headers["Location"] = where
        response.del_cookie(cookie_name(query["state"]), path=CALLBACK)
        return response

    def _failure(self, name: str) -> web.Response:
        keeper = self._parts.served.keepers.get(name)
        failure = None if keeper is None else self._parts.sign_ins.failures.of(keeper)
        if failure is None:
            return _foreign()
        said = [] if failure.said is None else [f"The issuer says: {redact(failure.said)}"]
        error = redact(failure.error).removeprefix(f"credential '{name}': ")
        return notice(400, "Not signed in", _sentence(error), *said, beside_the_page=True)


def _sentence(error: str) -> str:
    """As it stands by itself; an address at its beginning keeps its letters."""
    is_address = "://" in error.partition(" ")[0]
    return f"{error}." if is_address else f"{error[:1].upper()}{error[1:]}."


def _foreign() -> web.Response:
    return notice(400, "Not signed in", FOREIGN, beside_the_page=True)


def _shown(code: DeviceCode) -> dict[str, Any]:
    return {
        "type": "device_code",
        "verification_uri": code.verification_uri,
        "verification_uri_complete": code.verification_uri_complete,
        "user_code": code.user_code,
        "expires_at": code.expires.wall,
    }

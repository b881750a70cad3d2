"""A person who signs in by the admin listener, and an issuer that asks for one.

The browser is the test: it follows nothing by itself, and its cookies are where one can see them.
"""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp

from tests.admin.conftest import Desk, Said, check_secrecy
from tests.admin.test_status import watching
from tokenproxy.testing import OAuth2Issuer

SIGN_IN = "/api/credentials/shop/sign-in"
LED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


def person(issuer: OAuth2Issuer, grant: str = "authorization_code", **keys: Any) -> dict[str, Any]:
    """A credential that a person signs in to."""
    told = {"issuer": issuer.issuer, "client_id": issuer.client_id, **keys}
    return {"type": "oauth2", "grant": grant, **told, "refresh": {"background": False}}


@dataclass(frozen=True)
class Back:
    """A browser that the issuer has sent back: what it asks for, and its cookies."""

    desk: Desk
    query: dict[str, str]
    cookie: str

    async def arrive(self, *, method: str = "GET", **more: str) -> Said:
        """What the callback says to it."""
        headers = {**LED, **({"Cookie": self.cookie} if self.cookie else {}), **more}
        return await asked(self.desk, method, f"/oauth/callback?{urlencode(self.query)}", headers)

    def bringing(self, **parts: str | None) -> "Back":
        """The same with another answer; None leaves a part of it out."""
        told = {**self.query, **parts}
        return replace(self, query={name: value for name, value in told.items() if value})


async def asked(desk: Desk, method: str, target: str, headers: dict[str, str]) -> Said:
    url = desk.url + target
    request = desk.session.request(method, url, headers=headers, allow_redirects=False)
    async with request as response:
        said = Said(response.status, response.headers.copy(), await response.read())
    check_secrecy(said.body)
    return said


async def sent_out(desk: Desk) -> tuple[str, str]:
    """The issuer's URL, and the cookie that the browser is given."""
    said = await desk.post(SIGN_IN)
    assert (said.status, said.json["type"]) == (200, "redirect")
    return said.json["url"], said.headers["Set-Cookie"]


async def signed_in_there(desk: Desk) -> Back:
    """A browser that has been to the issuer, and is not back yet."""
    url, cookie = await sent_out(desk)
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as said:
        where = urlsplit(said.headers["Location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == f"{desk.url}/oauth/callback"
    return Back(desk, dict(parse_qsl(where.query)), cookie.partition(";")[0])


async def until(desk: Desk, **wanted: Any) -> dict[str, Any]:
    """How the credential stands, as soon as it stands so."""
    async with watching(desk) as stream:
        while True:
            found: dict[str, Any] = (await stream.next())["credentials"]["shop"]
            if found.items() >= wanted.items():
                return found

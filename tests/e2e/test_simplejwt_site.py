"""The real site answers as simplejwt was observed to: what our doubles and matchers rest on."""

import hashlib
import http.client
import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests

from tests.e2e.conftest import Arrival, SimpleJwtSite, SiteFactory

FIVE_MIB = os.urandom(5 << 20)
LOGIN, REFRESH = "/api/token/", "/api/token/refresh/"
ITEMS, HASH, ECHO, ERRCODE = "/api/items/", "/api/hash/", "/api/echo/", "/api/errcode/"


@pytest.fixture
def site(simplejwt_site: SiteFactory) -> SimpleJwtSite:
    return simplejwt_site()


def refresh(client: requests.Session, site: SimpleJwtSite, token: str) -> requests.Response:
    return client.post(site.url + REFRESH, json={"refresh": token})


def get(
    client: requests.Session, site: SimpleJwtSite, token: str, path: str = ITEMS
) -> requests.Response:
    return client.get(site.url + path, headers=site.authorization(token))


def test_a_login_answers_two_tokens_and_nothing_of_their_life(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    login = {"username": site.username, "password": site.password}
    answer = client.post(site.url + LOGIN, json=login)
    assert (answer.status_code, set(answer.json())) == (200, {"access", "refresh"})
    claims = jwt.decode(answer.json()["access"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] in {1, 2}  # less where a second ends between the two
    assert get(client, site, answer.json()["access"]).json() == {"items": ["apple", "pear"]}


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": "nobody"}])
def test_a_wrong_login_is_a_401_with_a_detail_and_no_code(
    client: requests.Session, site: SimpleJwtSite, wrong: dict[str, str]
) -> None:
    login = {"username": site.username, "password": site.password, **wrong}
    answer = client.post(site.url + LOGIN, json=login)
    assert (answer.status_code, set(answer.json())) == (401, {"detail"})


@contextmanager
def changed(site: SimpleJwtSite, change: str, back: str) -> Iterator[None]:
    with closing(sqlite3.connect(site.database, timeout=30, isolation_level=None)) as database:
        database.execute(f"UPDATE auth_user SET {change}")
        try:
            yield
        finally:
            database.execute(f"UPDATE auth_user SET {back}")


def test_the_login_of_an_inactive_user_is_a_401_with_a_detail_and_no_code(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    login = {"username": site.username, "password": site.password}
    with changed(site, "is_active = 0", back="is_active = 1"):
        answer = client.post(site.url + LOGIN, json=login)
    assert (answer.status_code, set(answer.json())) == (401, {"detail"})


def test_a_refresh_of_a_user_who_is_gone_is_a_500_page(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    token = site.sign_in()["refresh"]
    with changed(site, "id = 2", back="id = 1"):
        answer = refresh(client, site, token)
    assert (answer.status_code, answer.headers["Content-Type"][:9]) == (500, "text/html")
    assert [call.refused for call in site.refreshes()] == [False]


def test_a_refresh_rotates_and_the_old_refresh_token_is_refused(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    first = site.sign_in()
    second = refresh(client, site, first["refresh"]).json()
    assert set(second) == {"access", "refresh"}
    assert second["refresh"] != first["refresh"]
    again = refresh(client, site, first["refresh"])
    assert (again.status_code, again.json()["code"]) == (401, "token_not_valid")
    assert refresh(client, site, second["refresh"]).status_code == 200
    assert [call.refused for call in site.refreshes()] == [False, True, False]
    assert (len(site.logins()), len(site.refused_refreshes())) == (1, 1)


def test_a_malformed_refresh_token_is_refused_like_a_used_one(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    answer = refresh(client, site, "abc")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")


def test_without_rotation_a_refresh_answers_an_access_token_alone(
    client: requests.Session, simplejwt_site: SiteFactory
) -> None:
    site = simplejwt_site(rotate=False, session_first=True)
    token = site.sign_in()["refresh"]
    for _ in range(2):
        answer = refresh(client, site, token)
        assert (answer.status_code, set(answer.json())) == (200, {"access"})


def test_an_expired_token_is_a_401_with_a_challenge_and_a_code(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    answer = get(client, site, site.expired_token())
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert answer.json()["code"] == "token_not_valid"
    assert "expired" in str(answer.json()["messages"])


def test_with_sessions_first_an_expired_token_is_a_403_without_a_challenge(
    client: requests.Session, simplejwt_site: SiteFactory
) -> None:
    site = simplejwt_site(rotate=False, session_first=True)
    answer = get(client, site, site.expired_token())
    assert answer.status_code == 403
    assert "WWW-Authenticate" not in answer.headers
    assert answer.json()["code"] == "token_not_valid"
    assert get(client, site, site.sign_in()["access"]).status_code == 200


def test_a_site_of_another_header_word_takes_no_other(
    client: requests.Session, simplejwt_site: SiteFactory
) -> None:
    site = simplejwt_site(header_types=("JWT",), sliding=True)
    token = site.sign_in()["token"]
    bearer = client.get(site.url + ITEMS, headers={"Authorization": f"Bearer {token}"})
    assert (bearer.status_code, bearer.headers["WWW-Authenticate"]) == (401, 'JWT realm="api"')
    answer = client.get(site.url + ITEMS, headers={"Authorization": f"JWT {token}"})
    assert answer.status_code == 200


def test_a_sliding_token_is_renewed_by_itself_until_it_has_expired(
    client: requests.Session, simplejwt_site: SiteFactory
) -> None:
    site = simplejwt_site(header_types=("JWT",), sliding=True)
    renewed = client.post(site.url + REFRESH, json={"token": site.sign_in()["token"]})
    assert (renewed.status_code, set(renewed.json())) == (200, {"token"})
    assert get(client, site, renewed.json()["token"]).status_code == 200
    late = client.post(site.url + REFRESH, json={"token": site.expired_token()})
    assert (late.status_code, late.json()["code"]) == (401, "token_not_valid")


def test_a_token_in_use_can_be_rejected_ahead_of_its_time(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    tokens = site.sign_in()
    assert get(client, site, tokens["access"]).status_code == 200
    site.reject_tokens_in_use()
    answer = get(client, site, tokens["access"])
    assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")
    renewed = refresh(client, site, tokens["refresh"]).json()["access"]
    assert get(client, site, renewed).status_code == 200


def test_an_api_can_tell_of_a_bad_token_in_the_body_of_a_200(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    bad = get(client, site, site.expired_token(), ERRCODE)
    none = client.get(site.url + ERRCODE)
    good = get(client, site, site.sign_in()["access"], ERRCODE)
    assert [answer.status_code for answer in (bad, none, good)] == [200, 200, 200]
    assert [answer.json()["errcode"] for answer in (bad, none, good)] == [40001, 40001, 0]


def test_a_body_arrives_whole_and_is_counted(client: requests.Session, site: SimpleJwtSite) -> None:
    headers = site.authorization(site.sign_in()["access"])
    sha256 = hashlib.sha256(FIVE_MIB).hexdigest()
    for arrivals in (1, 2):
        told = client.post(site.url + HASH, data=FIVE_MIB, headers=headers).json()
        assert told == {"sha256": sha256, "length": len(FIVE_MIB), "arrivals": arrivals}
    last = site.log()[-1]
    assert last == Arrival("POST", HASH, True, 200, len(FIVE_MIB), sha256)


def test_the_log_keeps_targets_as_they_were_sent(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    target = ECHO + "?q=a%2Fb&&c"
    answer = get(client, site, site.sign_in()["access"], target)
    assert answer.json()["target"] == target
    client.get(site.url + ITEMS)
    assert site.log()[1:] == [
        Arrival("GET", target, authorized=True, status=200),
        Arrival("GET", ITEMS, authorized=False, status=401),
    ]
    site.clear()
    assert site.log() == []


def connection(site: SimpleJwtSite) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=10)


def begin_upload(upload: http.client.HTTPConnection, **headers: Any) -> None:
    upload.putrequest("POST", HASH)
    for name, value in headers.items():
        upload.putheader(name.replace("_", "-"), value)
    upload.endheaders()


def test_a_rejection_comes_before_the_body_and_leaves_the_connection_usable(
    site: SimpleJwtSite,
) -> None:
    with closing(connection(site)) as upload:
        begin_upload(upload, Content_Length=len(FIVE_MIB), **site.authorization("expired"))
        early = upload.getresponse()
        assert (early.status, json.load(early)["code"]) == (401, "token_not_valid")
        upload.sock.sendall(FIVE_MIB)
        upload.request("GET", ERRCODE)
        assert json.load(upload.getresponse())["errcode"] == 40001
    assert [(call.status, call.body_length) for call in site.log()] == [(401, 0), (200, 0)]


def test_a_body_that_breaks_off_is_never_taken_for_whole(site: SimpleJwtSite) -> None:
    with closing(connection(site)) as upload:
        authorization = site.authorization(site.sign_in()["access"])
        begin_upload(upload, Content_Length=9, **authorization)
        upload.sock.sendall(b"half")
        upload.sock.shutdown(socket.SHUT_WR)
        assert upload.getresponse().status == 400


def test_a_body_of_no_stated_length_is_asked_for_its_length(
    client: requests.Session, site: SimpleJwtSite
) -> None:
    headers = site.authorization(site.sign_in()["access"])
    answer = client.post(site.url + HASH, data=iter([b"a", b"b"]), headers=headers)
    assert (answer.status_code, answer.headers["Connection"]) == (411, "close")

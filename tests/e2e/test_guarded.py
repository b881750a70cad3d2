"""TLS, the client key and pages of other sites, on the program itself and on its workers."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from tests.e2e.conftest import ProxyFactory
from tests.e2e.test_failing_well import config
from tests.e2e.test_workers import told, workers
from tokenproxy.testing import Api, Issuer, running

KEY = "a-key-that-nobody-guesses"
PAGE = "https://app.example"


@pytest.fixture
def issuer() -> Any:
    with running(Issuer(access_life=60)) as issuer:
        yield issuer


@pytest.fixture
def api(issuer: Issuer) -> Any:
    with running(Api(issuer)) as api:
        yield api


@pytest.mark.parametrize("count", [1, 3])
def test_it_serves_over_tls_whoever_has_the_key(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tmp_path: Path, count: int
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    cert, chain = authority.issue_cert("127.0.0.1", "localhost"), tmp_path / "chain.pem"
    cert.private_key_and_cert_chain_pem.write_to_path(chain)
    listen = {"address": "127.0.0.1:0", "tls": {"cert": str(chain)}}
    guarded = config(issuer, api, workers=count, client_key=KEY, listen=listen)
    guarded["routes"][0]["cors"] = {"origins": [PAGE]}

    program = proxy(guarded)

    assert program.url.startswith("https://")
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(tmp_path / "ca.pem")
        answers = [
            session.get(f"{program.url}/items/", auth=("anna", KEY), timeout=30) for _ in range(9)
        ]
        assert {answer.status_code for answer in answers} == {200}
        refused = session.get(f"{program.url}/items/", headers={"Origin": PAGE}, timeout=30)
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == PAGE
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(program.url, timeout=30)
    assert program.terminate() == 0
    if count > 1:
        assert len(workers(program)) == count
        assert told(program, "worker_died") == []


def test_a_handshake_that_fails_is_no_trouble(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tmp_path: Path
) -> None:
    cert, chain = trustme.CA().issue_cert("localhost"), tmp_path / "chain.pem"
    cert.private_key_and_cert_chain_pem.write_to_path(chain)
    listen = {"address": "127.0.0.1:0", "tls": {"cert": str(chain)}}
    program = proxy(config(issuer, api, workers=2, listen=listen))
    for _ in range(5):
        with pytest.raises((requests.exceptions.SSLError, requests.exceptions.ConnectionError)):
            requests.get(program.url, timeout=30)
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(program.url.replace("https", "http"), timeout=30)
    assert program.terminate() == 0
    assert "Traceback" not in program.stderr_text()
    assert ssl.SSLError.__name__ not in program.stderr_text()

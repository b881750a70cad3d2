from pathlib import Path

import jwt
import pytest
from pydantic import TypeAdapter

from tests.conftest import Serving
from tests.wire import OK, Peer, Upstream
from tokenproxy.clock import FOREVER, Moment
from tokenproxy.proxy.bound import Bound, wants_nonce
from tokenproxy.proxy.headers import Header
from tokenproxy.secret import Secret
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.codec import encode
from tokenproxy.tokens.fingerprint import record_key
from tokenproxy.tokens.oauth2.dpop import new_key
from tokenproxy.tokens.slot import Held
from tokenproxy.tokens.token import Record, Token

KEY = new_key()
HELD = Held(1, Token(Secret("the-token"), 0.0), Moment(0, 0), FOREVER, FOREVER, KEY)
ORIGIN = "https://api.example"
CHALLENGE: Header = (b"WWW-Authenticate", b'DPoP error="use_dpop_nonce", algs="ES256"')
NONCE: Header = (b"DPoP-Nonce", b"n-1")


def sent(bound: Bound, *fields: Header, target: bytes = b"/a?b") -> list[Header]:
    headers, unchanged = bound.apply(fields, target, HELD, key=KEY, method="POST", origin=ORIGIN)
    assert unchanged == target
    return headers


def claims(headers: list[Header]) -> dict[str, object]:
    [proof] = [value for name, value in headers if name == b"DPoP"]
    return jwt.decode(proof.decode(), options={"verify_signature": False})


def test_the_token_goes_with_its_word_and_a_proof_of_the_request() -> None:
    headers = sent(Bound(ManualClock(wall=1_800_000_000.0)), (b"Accept", b"*/*"))
    assert headers[:2] == [(b"Accept", b"*/*"), (b"Authorization", b"DPoP the-token")]
    proof = claims(headers)
    assert (proof["htm"], proof["htu"]) == ("POST", "https://api.example/a")
    assert "ath" in proof
    assert "nonce" not in proof


def test_what_the_caller_sent_in_these_places_is_gone() -> None:
    mine = ((b"authorization", b"x"), (b"dPoP", b"forged"), (b"DPOP", b"again"))
    headers = sent(Bound(ManualClock()), *mine)
    assert [name for name, _ in headers] == [b"Authorization", b"DPoP"]


def test_every_send_has_another_proof() -> None:
    bound = Bound(ManualClock())
    assert claims(sent(bound))["jti"] != claims(sent(bound))["jti"]


def test_the_latest_nonce_of_the_origin_is_in_the_next_proof() -> None:
    bound = Bound(ManualClock())
    bound.learn([(b"Content-Type", b"text/plain"), NONCE], ORIGIN)
    bound.learn([(b"DPoP-Nonce", b"other")], "https://other.example")
    assert claims(sent(bound))["nonce"] == "n-1"
    bound.learn([(b"dpop-nonce", b"n-2")], ORIGIN)
    assert claims(sent(bound))["nonce"] == "n-2"


@pytest.mark.parametrize(
    ("status", "headers", "wanted"),
    [
        (401, [CHALLENGE, NONCE], True),
        (401, [(b"www-authenticate", b"DPoP error=use_dpop_nonce"), NONCE], True),
        (401, [(b"WWW-Authenticate", b"Bearer, " + CHALLENGE[1]), NONCE], True),
        (401, [(b"WWW-Authenticate", b"Bearer"), CHALLENGE, NONCE], True),
        (401, [CHALLENGE], False),
        (401, [NONCE], False),
        (401, [(b"WWW-Authenticate", b'DPoP error="invalid_token"'), NONCE], False),
        (401, [(b"WWW-Authenticate", b'DPoP error="use_dpop_nonces"'), NONCE], False),
        (403, [CHALLENGE, NONCE], False),
        (200, [CHALLENGE, NONCE], False),
        (401, [], False),
    ],
)
def test_a_challenge_is_a_401_that_names_the_error_and_the_nonce(
    status: int, headers: list[Header], wanted: bool
) -> None:
    assert wants_nonce(status, headers) is wanted


async def test_a_request_on_a_stale_connection_goes_again_with_another_proof(
    serving: Serving, upstream: Upstream, tmp_path: Path
) -> None:
    """RFC 9449 11.1: whoever has seen the first may remember it."""
    proofs: list[str] = []
    replies = iter([OK, OK])

    async def meet(peer: Peer) -> None:
        proofs.append(_proof(await peer.head()))
        await peer.send(next(replies))
        proofs.append(_proof(await peer.head()))
        peer.close()

    upstream.meet = meet
    proxy = await serving(_config(upstream, tmp_path))
    assert [(await proxy.ask()).status for _ in range(2)] == [200, 200]
    assert upstream.connections == 2
    assert len(set(proofs)) == len(proofs) == 3


def _proof(head: bytes) -> str:
    [line] = [line for line in head.split(b"\r\n") if line.startswith(b"DPoP: ")]
    return line.decode()


def _config(upstream: Upstream, folder: Path) -> dict[str, object]:
    """A credential whose token is in the store already, so that no issuer is asked."""
    store = folder / "tokens"
    shop = {
        "type": "oauth2",
        "grant": "client_credentials",
        "token_url": "http://127.0.0.1:9/token",
        "client_id": "shop",
        "client_auth": {"secret": "s"},
        "dpop": True,
        "refresh": {"background": False},
    }
    settings = TypeAdapter[AnyCredential](AnyCredential).validate_python(shop)
    record = Record(1, Token(Secret("the-token"), 1.0), dpop_key=KEY)
    store.mkdir(mode=0o700)
    (store / f"{record_key('shop', settings)}.json").write_bytes(encode(record))
    return {
        "store": {"type": "file", "path": str(store)},
        "credentials": {"shop": shop},
        "routes": [{"upstream": upstream.url, "credential": "shop"}],
    }

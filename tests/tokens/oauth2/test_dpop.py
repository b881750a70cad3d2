import base64
import hashlib
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.tokens.oauth2.dpop import MAX_NONCE, Nonces, Prover, new_key

NOW = 1_800_000_000.9
URL = "https://api.example/v1/items"


def opened(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a proof that its own key has signed."""
    header = jwt.get_unverified_header(proof)
    key = jwt.PyJWK(header["jwk"], algorithm="ES256")
    claims = jwt.decode(proof, key, algorithms=["ES256"], options={"verify_iat": False})
    return header, claims


def test_a_proof_names_its_request_and_is_signed_with_the_key_that_it_shows() -> None:
    header, claims = opened(Prover(new_key()).proof("POST", URL, now=NOW))
    assert header["typ"] == "dpop+jwt"
    assert header["alg"] == "ES256"
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}  # and nothing of the private half
    assert (claims["htm"], claims["htu"], claims["iat"]) == ("POST", URL, 1_800_000_000)
    assert claims.keys() == {"htm", "htu", "iat", "jti"}


def test_a_proof_that_goes_with_a_token_holds_its_hash() -> None:
    """RFC 9449 4.2: of the ASCII of the token."""
    _, claims = opened(Prover(new_key()).proof("GET", URL, now=NOW, token="the-token"))
    digest = hashlib.sha256(b"the-token").digest()
    assert claims["ath"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_no_two_proofs_are_the_same() -> None:
    prover = Prover(new_key())
    proofs = [prover.proof("GET", URL, now=NOW) for _ in range(20)]
    assert len({opened(proof)[1]["jti"] for proof in proofs}) == 20


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.example/a?token=x", "https://api.example/a"),
        ("https://api.example/a#top", "https://api.example/a"),
        ("https://api.example?x", "https://api.example/"),
        ("https://api.example/%7Ea//b", "https://api.example/%7Ea//b"),
        ("http://127.0.0.1:8000/a", "http://127.0.0.1:8000/a"),
        ("https://[::1]:8443/", "https://[::1]:8443/"),
    ],
)
def test_the_url_is_told_without_its_query(url: str, shown: str) -> None:
    assert opened(Prover(new_key()).proof("GET", url, now=NOW))[1]["htu"] == shown


def test_a_key_has_the_same_thumbprint_wherever_it_is_loaded() -> None:
    key = new_key()
    header, _ = opened(Prover(key).proof("GET", URL, now=NOW))
    members = {name: header["jwk"][name] for name in ("crv", "kty", "x", "y")}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    assert Prover(key).thumbprint == Prover(Secret(key.reveal())).thumbprint == digest
    assert Prover(new_key()).thumbprint != digest


def _rsa() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize("make", [lambda: "MARKER", lambda: "", _rsa], ids=["text", "none", "rsa"])
def test_what_is_no_key_of_ours_is_told_without_showing_it(make: Any) -> None:
    with pytest.raises(SourceUnavailable, match="DPoP key") as caught:
        Prover(Secret(make()))
    assert "MARKER" not in str(caught.value)


def test_each_origin_has_its_own_latest_nonce() -> None:
    nonces = Nonces()
    nonces.learn("https://api.example/a", "one")
    nonces.learn("https://login.example/token", "two")
    nonces.learn("https://api.example/b", "three")
    assert nonces.get("https://api.example/c?d") == "three"
    assert nonces.get("https://login.example/") == "two"
    assert nonces.get("https://api.example:8443/a") is None
    assert nonces.get("http://api.example/a") is None


@pytest.mark.parametrize("nonce", [None, "", "é", "a\nb", "a" * (MAX_NONCE + 1)])
def test_what_is_no_nonce_changes_nothing(nonce: str | None) -> None:
    nonces = Nonces()
    nonces.learn(URL, "good")
    nonces.learn(URL, nonce)
    assert nonces.get(URL) == "good"

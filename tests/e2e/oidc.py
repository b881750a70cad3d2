"""A real OAuth 2.0 server for the end-to-end tests: npm oidc-provider 9, with an API beside it.

A test asks for `oidc_provider` (conftest.py) and calls it, as often as it likes, with the fields
of OidcOptions. `oidc_pages` has a person for its pages.
"""

import json
import shutil
import sys
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote_plus
from uuid import uuid4

import jwt
import requests
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tokenproxy.environment import variables

SITE = Path(__file__).parent / "issuers" / "oidc_provider" / "server.mjs"
INSTALLED = SITE.parent / "node_modules" / "oidc-provider"

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
GRANTS = (
    "authorization_code",
    "client_credentials",
    "password",
    "refresh_token",
    DEVICE_CODE,
    JWT_BEARER,
    TOKEN_EXCHANGE,
)
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_RESOURCE, OPAQUE_RESOURCE = "urn:api:jwt", "urn:api:opaque"  # and the form of their tokens

AuthMethod = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "none",
]
# What a good client meets, and does not repeat as it was.
EXPECTED_REFUSALS = {"authorization_pending", "use_dpop_nonce"}


def node() -> str | None:
    """The node of this machine, or the one that was installed beside this Python."""
    path = f"{Path(sys.executable).parent}:{variables().get('PATH', '')}"
    return shutil.which("node", path=path)


def why_not() -> str | None:
    """What is missing for these tests, if something is."""
    if node() is None:
        return "there is no node on this machine"
    if not INSTALLED.is_dir():
        return f"{INSTALLED} is missing: `make test` puts it there"
    return None


def claims(life: float = 60, **more: Any) -> dict[str, Any]:
    """Of a JWT that is good from now on; None takes one of them out."""
    now = datetime.now(UTC).timestamp()
    made = {"iat": int(now), "exp": int(now + life), "jti": uuid4().hex, **more}
    return {name: value for name, value in made.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair of a client or of somebody whom the issuer trusts; its name is its `kid`."""

    key_id: str
    algorithm: Literal["RS256", "ES256"]
    pem: str = field(repr=False)

    @classmethod
    def new(cls, key_id: str, algorithm: Literal["RS256", "ES256"]) -> "SigningKey":
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if algorithm == "RS256":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(key_id, algorithm, pem.decode())

    @property
    def public_jwk(self) -> dict[str, Any]:
        public: Any = load_pem_private_key(self.pem.encode(), None).public_key()
        algorithm: Any = jwt.get_algorithm_by_name(self.algorithm)
        jwk: dict[str, Any] = algorithm.to_jwk(public, as_dict=True)
        return {**jwk, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    def sign(self, payload: Mapping[str, Any], **header: Any) -> str:
        headers = header or {"kid": self.key_id}
        return jwt.encode(dict(payload), self.pem, algorithm=self.algorithm, headers=headers)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files: a chain and its private key."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Client:
    """A client that the issuer knows; it may use every grant."""

    client_id: str
    method: AuthMethod
    secret: str | None = field(default=None, repr=False)
    key: SigningKey | None = None
    dpop: bool = False  # gets no token without a proof
    bound: bool = False  # its tokens are bound to its certificate

    def client_auth(self) -> dict[str, str]:
        """The `client_auth` of a tokenproxy credential for this client."""
        told = {"method": self.method, "secret": self.secret}
        if self.key is not None:
            told |= {"key": self.key.pem, "key_id": self.key.key_id}
            told |= {"algorithm": self.key.algorithm}
        return {name: value for name, value in told.items() if value is not None}

    def metadata(self) -> dict[str, Any]:
        """The client as the library is told of it (OpenID Connect Registration 2)."""
        told: dict[str, Any] = {
            "application_type": "native",  # a loopback redirect may have any port (RFC 8252 7.3)
            "client_id": self.client_id,
            "dpop_bound_access_tokens": self.dpop,
            "grant_types": GRANTS,
            "redirect_uris": [
                f"http://{host}{path}"
                for host in ("127.0.0.1", "localhost")
                for path in ("/callback", "/oauth/callback")  # a verb's, and the status page's
            ],
            "tls_client_certificate_bound_access_tokens": self.bound,
            "token_endpoint_auth_method": self.method,
        }
        if self.secret is not None:
            told["client_secret"] = self.secret
        if self.key is not None:
            told["token_endpoint_auth_signing_alg"] = self.key.algorithm
            told["jwks"] = {"keys": [self.key.public_jwk]}
        if self.method == "tls_client_auth":
            told["tls_client_auth_san_dns"] = "client.example"
        return told


class Secrets:
    """What the issuer and its clients know; made once, for making RSA keys takes a while."""

    def __init__(self, folder: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        self.server = self._certificate(authority, folder / "server", "127.0.0.1", "localhost")
        self.certificates = {
            "client": self._certificate(authority, folder / "client", "client.example"),
            "other": self._certificate(authority, folder / "other", "other.example"),
            "stranger": self._certificate(stranger, folder / "stranger", "client.example"),
        }
        self.keys = {name: SigningKey.new(name.lower(), name) for name in ("RS256", "ES256")}
        self.clients = {
            # Both hold what means something else in a form, or in Basic: RFC 6749 2.3.1.
            "basic": Client("till: 50%+7", "client_secret_basic", 'pa:ss%20+word &="~/'),
            "post": Client("post", "client_secret_post", "post+secret%20"),
            "secret_jwt": Client("secret_jwt", "client_secret_jwt", "s" * 32),
            "rs256": Client("rs256", "private_key_jwt", key=self.keys["RS256"]),
            "es256": Client("es256", "private_key_jwt", key=self.keys["ES256"]),
            "tls": Client("tls", "tls_client_auth"),
            "bound": Client("bound", "tls_client_auth", bound=True),
            "public": Client("public", "none"),
            "dpop": Client("dpop", "none", dpop=True),
        }

    @staticmethod
    def _certificate(authority: trustme.CA, stem: Path, *names: str) -> Certificate:
        made = authority.issue_cert(*names)
        found = Certificate(f"{stem}.pem", f"{stem}.key")
        made.private_key_pem.write_to_path(found.key)
        for pem in made.cert_chain_pems:
            pem.write_to_path(found.cert, append=True)
        return found

    def told(self) -> dict[str, Any]:
        """The part of them that the server is started with."""
        return {
            "clients": [client.metadata() for client in self.clients.values()],
            "trusted_keys": [key.public_jwk for key in self.keys.values()],
            "tls": {"ca": self.ca, **asdict(self.server)},
        }


@dataclass(frozen=True, slots=True)
class OidcOptions:
    """What the server is told; lives are in whole seconds, and the library drops fractions:
    a life of 2 lasts between one second and two."""

    access_life: int = 2
    refresh_life: int = 86400
    device_life: int = 600
    rotate: bool = True  # else a refresh answers the refresh token that it was given
    default_resource: str | None = None  # JWT_RESOURCE makes all access tokens JWTs
    token_nonces: Literal["off", "offered", "required"] = "off"  # of DPoP, at the issuer
    api_nonces: bool = False  # of DPoP, at the API: required
    joined_challenges: bool = False  # the API names Bearer and DPoP in one WWW-Authenticate
    offline_access_only: bool = False  # no refresh token without that scope: the library's default
    audience: str = "https://api.example"  # the only one that an exchange takes
    username: str = "anna"
    password: str = "correct horse"


@dataclass(frozen=True, slots=True)
class TokenCall:
    """One call of the token endpoint (or revocation, introspection, device authorization)."""

    auth: str | None = None  # the method used, whatever the registered one
    client_id: str | None = None
    dpop: bool = False
    status: int | None = None  # None until it is answered
    error: str | None = None
    detail: str | None = None  # what the library says of it to its owner only
    lost: bool = False  # the connection was cut in place of the answer
    form: Mapping[str, str | list[str]] = field(default_factory=dict)

    @property
    def grant_type(self) -> str | None:
        found = self.form.get("grant_type")
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request that reached the API, /me of the issuer included.

    The body is as much of it as was read: nothing, where the API said no before.
    """

    method: str
    target: str
    scheme: str = ""
    token: str | None = None
    status: int | None = None  # None until it is answered
    error: str | None = None
    body_length: int = 0
    body_sha256: str | None = None


class OidcProvider:
    """The running server, as its clients, its user and its tests see it."""

    def __init__(self, options: OidcOptions, secrets: Secrets, url: str) -> None:
        self.options = options
        self.username = options.username
        self.password = options.password
        self.ca = secrets.ca
        self.certificates = secrets.certificates
        self.clients = secrets.clients
        self.keys = secrets.keys
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = url  # the issuer
        self.token_url = self.url + "/token"
        self.api_url = self.url + "/api"
        aliases = self.metadata()["mtls_endpoint_aliases"]
        self.tls_url: str = aliases["token_endpoint"].removesuffix("/token")

    def close(self) -> None:
        self._session.close()

    def metadata(self) -> dict[str, Any]:
        answer = self._session.get(f"{self.url}/.well-known/openid-configuration", timeout=30)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    # What came, since the test first asked for the server or cleared the log.

    def token_calls(self, grant_type: str | None = None) -> list[TokenCall]:
        calls = [TokenCall(**entry) for entry in self._log("token")]
        return [call for call in calls if grant_type in {None, call.grant_type}]

    def refused(self) -> list[TokenCall]:
        """Token calls answered 4xx, but for those that a good client makes, too."""
        calls = [call for call in self.token_calls() if 400 <= (call.status or 0) < 500]
        return [call for call in calls if call.error not in EXPECTED_REFUSALS]

    def revoked_families(self) -> list[str]:
        """The grants that ended because a refresh token (or a code) was used twice."""
        return [told["grant_id"] for told in self._log("revoked") if told["endpoint"] == "token"]

    def revocations(self) -> list[TokenCall]:
        return [TokenCall(**entry) for entry in self._log("revocation")]

    def api_calls(self) -> list[ApiCall]:
        return [ApiCall(**entry) for entry in self._log("api")]

    def clear(self) -> None:
        self._control("DELETE", "/_log")

    # What a test can bring about.

    def reject_tokens_in_use(self) -> None:
        """The API answers 401 to each access token that it has seen, whatever its life."""
        self._control("POST", "/_reject")

    def change_api_nonce(self) -> None:
        """The API takes no proof with the nonce that it has told so far."""
        self._control("POST", "/_nonce")

    def lose_next_token_answer(self) -> None:
        """The next token call is carried out, and cut off in place of its answer."""
        self._control("POST", "/_lose")

    # What clients ask.

    def ask(
        self, client: str, path: str = "/token", *, dpop: str | None = None, **form: Any
    ) -> requests.Response:
        """POST a form as that client, which authenticates by its method."""
        known = self.clients[client]
        headers = {} if dpop is None else {"DPoP": dpop}
        base, more = self.url, {}
        match known.method:
            case "client_secret_basic":
                headers["Authorization"] = basic(known.client_id, known.secret or "")
            case "client_secret_post":
                form |= {"client_id": known.client_id, "client_secret": known.secret}
            case "client_secret_jwt" | "private_key_jwt":
                form |= {"client_assertion": self.client_assertion(client)}
                form |= {"client_assertion_type": ASSERTION_TYPE}
            case "tls_client_auth":
                form |= {"client_id": known.client_id}
                base, more = self.tls_url, self.tls("client")
            case "none":
                form |= {"client_id": known.client_id}
        return self._session.post(base + path, data=form, headers=headers, timeout=30, **more)

    def tokens(self, client: str = "public", **more: Any) -> dict[str, Any]:
        """The token answer of a login with username and password."""
        login = {"username": self.username, "password": self.password}
        answer = self.ask(client, grant_type="password", **login, **more)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def refresh(self, client: str, refresh_token: str, **more: Any) -> requests.Response:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self.ask(client, **form, **more)

    def client_assertion(self, client: str, **more: Any) -> str:
        known = self.clients[client]
        issued = {"iss": known.client_id, "sub": known.client_id, "aud": self.url}
        payload = claims(**{**issued, **more})
        if known.key is not None:
            return known.key.sign(payload)
        return jwt.encode(payload, known.secret or "", algorithm="HS256")

    def assertion(self, key: str = "RS256", **more: Any) -> str:
        """A JWT that speaks for `anna`: an assertion (RFC 7523 2.1) or a subject token."""
        spoken = {"iss": "https://anna.example", "sub": "anna", "aud": self.url}
        return self.keys[key].sign(claims(**{**spoken, **more}))

    def tls(self, certificate: str | None) -> dict[str, Any]:
        """Keywords for requests: trust the server at `tls_url`, and show that certificate."""
        shown = self.certificates[certificate] if certificate is not None else None
        return {"verify": self.ca, "cert": None if shown is None else (shown.cert, shown.key)}

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries = self._control("GET", "/_log").json()
        return [entry for entry in entries if entry.pop("kind") == kind]

    def _control(self, method: str, path: str) -> requests.Response:
        answer = self._session.request(method, self.url + path, timeout=30)
        answer.raise_for_status()
        return answer


def basic(client_id: str, secret: str) -> str:
    """RFC 6749 2.3.1: both are form-encoded before they are joined."""
    joined = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + b64encode(joined.encode()).decode()


def arguments(options: OidcOptions, secrets: Secrets) -> list[str]:
    """What node is started with."""
    return [str(SITE), json.dumps({**asdict(options), **secrets.told()})]

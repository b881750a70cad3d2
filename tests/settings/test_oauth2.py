from typing import Any

import pytest
from pydantic import ValidationError

from tokenproxy.settings.oauth2 import MADE_HERE, OWN_KEYS, ClientAuth, OAuth2

NO_URL = "needs a 'token_url', or an 'issuer' that tells it, for"


def told(**keys: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        OAuth2.model_validate({"type": "oauth2", **keys})
    [error] = caught.value.errors()
    return list(error["ctx"]["error"].sentences)


def test_all_that_a_grant_lacks_is_told_and_all_that_is_another_grants() -> None:
    assert told(grant="password", key="k", claims={"a": 1}, metadata_issuer="x") == [
        "has a 'claims', which belongs to 'grant: jwt_bearer', and this is 'grant: password'",
        "has a 'key', which belongs to 'grant: jwt_bearer', and this is 'grant: password'",
        f"{NO_URL} 'grant: password'",
        "needs a 'client_id' for 'grant: password'",
        "needs a 'username' and a 'password' for 'grant: password'",
        "has a 'metadata_issuer' but no 'issuer' whose metadata it could name",
    ]


@pytest.mark.parametrize("grant", ["client_credentials", "jwt_bearer"])
def test_a_client_id_that_is_missing_is_told_once(grant: str) -> None:
    sentences = told(grant=grant, token_url="https://a.example", client_auth={"secret": "s"})

    assert sum("'client_id'" in sentence for sentence in sentences) == 1


def test_all_that_does_not_fit_together_in_a_client_auth_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        ClientAuth.model_validate(
            {"method": "client_secret_jwt", "key": "k", "algorithm": "RS256", "key_id": "1"}
        )

    assert caught.value.errors()[0]["ctx"]["error"].sentences == (
        "has a 'key', which the method 'client_secret_jwt' does not use",
        "has the method 'client_secret_jwt', which needs a 'secret'",
        "has an 'algorithm' that 'client_secret_jwt' cannot sign with",
    )


def test_all_parameters_that_are_made_from_other_keys_are_told() -> None:
    extra = {"scope": "x", "tenant": "y", "client_id": "z"}
    with pytest.raises(ValidationError) as caught:
        OAuth2.model_validate({"type": "oauth2", "grant": "password", "extra": extra})

    sentences = caught.value.errors()[0]["ctx"]["error"].sentences
    assert [sentence.split(",")[0] for sentence in sentences] == [
        "has a 'scope'",
        "has a 'client_id'",
    ]


# -- each rule, with its sentence ------------------------------------------------------------

TOKEN_URL = "https://a.example/token"
CLIENT: dict[str, Any] = {"token_url": TOKEN_URL, "client_id": "c"}
GOOD: dict[str, dict[str, Any]] = {
    "client_credentials": {**CLIENT, "client_auth": {"secret": "s"}},
    "refresh_token": {**CLIENT, "refresh_token": "r"},
    "password": {**CLIENT, "username": "u", "password": "p"},
    "jwt_bearer": {"token_url": TOKEN_URL, "key": "k"},
    "token_exchange": {"token_url": TOKEN_URL, "subject_token": "t"},
    "device_code": {**CLIENT, "device_authorization_url": "https://a.example/device"},
    "authorization_code": {**CLIENT, "authorization_url": "https://a.example/authorize"},
}
GRANTS = sorted(GOOD)


def read(grant: str, **keys: Any) -> OAuth2:
    """Settings that are good but for these keys; None takes one out."""
    given = {"type": "oauth2", "grant": grant, **GOOD[grant], **keys}
    return OAuth2.model_validate({name: key for name, key in given.items() if key is not None})


def wrong(grant: str, **keys: Any) -> list[str]:
    """What is told of those, as `place: sentence`."""
    with pytest.raises(ValidationError) as caught:
        read(grant, **keys)
    told: list[str] = []
    for error in caught.value.errors():
        place = ".".join(str(part) for part in error["loc"])
        cause = error.get("ctx", {}).get("error")
        sentences = getattr(cause, "sentences", (str(cause or error["msg"]),))
        told += [f"{place}: {sentence}" for sentence in sentences]
    return told


@pytest.mark.parametrize("grant", GRANTS)
def test_a_grant_is_content_with_what_it_needs(grant: str) -> None:
    settings = read(grant)
    assert settings.unattended is (
        grant in {"client_credentials", "password", "jwt_bearer", "token_exchange"}
    )


@pytest.mark.parametrize("grant", GRANTS)
def test_an_issuer_stands_for_all_urls(grant: str) -> None:
    urls = ("token_url", "device_authorization_url", "authorization_url")
    without = {name: None for name in urls if name in GOOD[grant]}
    assert read(grant, **without, issuer="https://a.example/t").token_url is None


@pytest.mark.parametrize(
    ("grant", "key", "what"),
    [
        *((grant, "token_url", "a 'token_url', or an 'issuer' that tells it,") for grant in GRANTS),
        *((grant, "client_id", "a 'client_id'") for grant in GRANTS if "client_id" in GOOD[grant]),
        ("client_credentials", "client_auth", "a 'client_auth', as in {secret: …}"),
        ("refresh_token", "refresh_token", "the first 'refresh_token'"),
        ("password", "username", "a 'username' and a 'password'"),
        ("password", "password", "a 'username' and a 'password'"),
        ("jwt_bearer", "key", "a 'key' to sign with"),
        (
            "token_exchange",
            "subject_token",
            "either a 'subject_token' or a 'subject_token_file'",
        ),
        (
            "device_code",
            "device_authorization_url",
            "a 'device_authorization_url', or an 'issuer' that tells it,",
        ),
        (
            "authorization_code",
            "authorization_url",
            "an 'authorization_url', or an 'issuer' that tells it,",
        ),
    ],
)
def test_what_a_grant_needs_is_told(grant: str, key: str, what: str) -> None:
    assert wrong(grant, **{key: None}) == [f": needs {what} for 'grant: {grant}'"]


def test_one_subject_token_is_enough() -> None:
    assert wrong("token_exchange", subject_token_file="/t") == [
        ": needs either a 'subject_token' or a 'subject_token_file' for 'grant: token_exchange'"
    ]


def test_a_certificate_that_proves_a_client_must_be_there() -> None:
    auth = {"method": "tls_client_auth"}
    assert wrong("client_credentials", client_auth=auth) == [
        ": needs a 'tls' with a 'cert' (and its 'key') to authenticate with for "
        "'grant: client_credentials'"
    ]
    read("client_credentials", client_auth=auth, tls={"cert": "/c.pem"})


@pytest.mark.parametrize("grant", ["jwt_bearer", "token_exchange"])
def test_a_client_that_proves_itself_has_a_name(grant: str) -> None:
    assert wrong(grant, client_auth={"secret": "s"}) == [
        f": needs a 'client_id' beside its 'client_auth' for 'grant: {grant}'"
    ]


OWN = [(grant, key) for grant, keys in sorted(OWN_KEYS.items()) for key in sorted(keys)]
VALUES: dict[str, Any] = {
    "algorithm": "RS256",
    "claims": {},
    "authorization_url": "https://a.example/x",
    "device_authorization_url": "https://a.example/x",
    "redirect_uri": "http://127.0.0.1/x",
}


@pytest.mark.parametrize(("owner", "key"), OWN)
def test_a_key_of_another_grant_is_told_with_its_owner(owner: str, key: str) -> None:
    assert wrong("client_credentials", **{key: VALUES.get(key, "x")}) == [
        f": has a '{key}', which belongs to 'grant: {owner}', and this is "
        "'grant: client_credentials'"
    ]


@pytest.mark.parametrize("name", sorted(MADE_HERE))
def test_a_parameter_that_is_made_here_is_not_extra(name: str) -> None:
    assert wrong("password", extra={name: "x", "tenant": "y"}) == [
        f"extra: has a '{name}', which is made from the other keys: use those"
    ]


# -- how the client proves itself ------------------------------------------------------------

METHODS = [
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "none",
]
NEEDS = dict.fromkeys(METHODS[:3], "secret") | {"private_key_jwt": "key"}
SIGNS = {"client_secret_jwt", "private_key_jwt"}


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        ({}, "none"),
        ({"secret": "s"}, "client_secret_basic"),
        ({"key": "k"}, "private_key_jwt"),
        ({"method": "client_secret_post", "secret": "s"}, "client_secret_post"),
    ],
    ids=["nothing", "secret", "key", "said"],
)
def test_a_method_is_chosen_by_what_there_is(keys: dict[str, Any], chosen: str) -> None:
    assert ClientAuth.model_validate(keys).chosen == chosen


@pytest.mark.parametrize("key", ["secret", "key", "key_id", "algorithm", "audience"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_uses_its_own_keys_only(method: str, key: str) -> None:
    value = "HS256" if method == "client_secret_jwt" else "RS256"
    auth = {"method": method, key: value if key == "algorithm" else "x"}
    if method in NEEDS:
        auth.setdefault(NEEDS[method], "x")
    if key == NEEDS.get(method) or (method in SIGNS and key in {"key_id", "algorithm", "audience"}):
        assert ClientAuth.model_validate(auth).chosen == method
        return
    assert wrong("password", client_auth=auth) == [
        f"client_auth: has a '{key}', which the method '{method}' does not use"
    ]


@pytest.mark.parametrize(("method", "key"), sorted(NEEDS.items()))
def test_a_method_needs_its_secret_or_key(method: str, key: str) -> None:
    assert wrong("password", client_auth={"method": method}) == [
        f"client_auth: has the method '{method}', which needs a '{key}'"
    ]


@pytest.mark.parametrize(
    ("method", "algorithm"), [("client_secret_jwt", "RS256"), ("private_key_jwt", "HS256")]
)
def test_a_method_signs_with_its_own_kind_of_algorithm(method: str, algorithm: str) -> None:
    auth = {"method": method, NEEDS[method]: "x", "algorithm": algorithm}
    assert wrong("password", client_auth=auth) == [
        f"client_auth: has an 'algorithm' that '{method}' cannot sign with"
    ]


# -- shapes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "scope"),
    [("a", "a"), ("a b", "a b"), (["a", "b"], "a b"), ("https://x/y.z:w!", "https://x/y.z:w!")],
    ids=str,
)
def test_a_scope_is_a_text_or_a_list(given: object, scope: str) -> None:
    assert read("password", scope=given).scope == scope


@pytest.mark.parametrize("scope", ["", " a", "a  b", 'a"', "a\\b", "ä", "a\nb", [], ["a b", ""]])
def test_a_scope_is_names_with_spaces(scope: object) -> None:
    """RFC 6749 3.3."""
    assert wrong("password", scope=scope) == [
        "scope: must be names with single spaces between them, or a list of names"
    ]


@pytest.mark.parametrize(
    ("given", "resource"),
    [
        ("urn:a", ("urn:a",)),
        (["urn:a", "https://b.example/?x"], ("urn:a", "https://b.example/?x")),
        ([], ()),
    ],
    ids=str,
)
def test_a_resource_is_one_or_more(given: object, resource: tuple[str, ...]) -> None:
    assert read("password", resource=given).resource == resource


@pytest.mark.parametrize("resource", ["a", "/a", "https://a.example/#x", "urn:", "urn:a b"])
def test_a_resource_is_an_absolute_uri_without_a_fragment(resource: str) -> None:
    """RFC 8707 2."""
    assert wrong("password", resource=resource) == ["resource.0: must be an absolute URI"]


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1/callback", "http://localhost:8400/", "http://[::1]:8400/a/b"],
)
def test_a_browser_comes_back_to_this_machine(uri: str) -> None:
    assert read("authorization_code", redirect_uri=uri).redirect_uri == uri


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("https://127.0.0.1/callback", "must be an http address of this machine, as in "),
        ("http://shop.example/callback", "must be an http address of this machine, as in "),
        ("http://127.0.0.1/callback?x=1", "must not hold a query ('?')"),
        ("callback", "must be a full URL such as "),
    ],
)
def test_a_browser_comes_back_nowhere_else(uri: str, what: str) -> None:
    [sentence] = wrong("authorization_code", redirect_uri=uri)
    assert sentence.startswith(f"redirect_uri: {what}")


@pytest.mark.parametrize("key", ["issuer", "token_url", "revocation_url"])
@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("a.example", "must be a full URL such as https://shop.example"),
        ("ftp://a.example", "must be a full URL such as https://shop.example"),
        ("https://me:word@a.example", "must not hold a user name or password"),
        ("https://a.example/#x", "must not hold a fragment ('#')"),
        ("https://a.example/a b", "must be plain ASCII without spaces: percent-encode the rest"),
    ],
    ids=["no scheme", "ftp", "userinfo", "fragment", "space"],
)
def test_a_url_is_held_to_the_same_as_all(key: str, url: str, what: str) -> None:
    assert wrong("password", **{key: url}) == [f"{key}: {what}"]


def test_an_issuer_has_no_query() -> None:
    """RFC 8414 2: its metadata would be looked for without it."""
    assert wrong("password", issuer="https://a.example/?x=1") == [
        "issuer: must not hold a query ('?')"
    ]


def test_a_refresh_token_is_one_that_a_token_may_be() -> None:
    assert wrong("refresh_token", refresh_token="MARK ER") == [
        "refresh_token: holds a character that no token may have (a space or line break?)"
    ]


@pytest.mark.parametrize("grant", GRANTS)
def test_no_secret_is_shown(grant: str) -> None:
    keys = {
        key: "MARKER"
        for key in ("refresh_token", "password", "key", "subject_token")
        if key in GOOD[grant]
    }
    settings = read(grant, **keys, client_auth={"secret": "MARKER"}, client_id="c")
    assert "MARKER" not in repr(settings)

"""Where an issuer sends the browser back to: to the page, where that is what is registered."""

import pytest

from tokenproxy.admin.redirects import Elsewhere, redirect_uri
from tokenproxy.settings.oauth2 import OAuth2


def settings(uri: str | None) -> OAuth2:
    told = {
        "type": "oauth2",
        "grant": "authorization_code",
        "issuer": "https://login.example",
        "client_id": "c",
    }
    return OAuth2.model_validate(told if uri is None else {**told, "redirect_uri": uri})


@pytest.mark.parametrize(
    ("uri", "host", "comes_back"),
    [
        (None, "127.0.0.1:8081", "http://127.0.0.1:8081/oauth/callback"),
        (None, "localhost:8081", "http://localhost:8081/oauth/callback"),
        (None, "[::1]:8081", "http://[::1]:8081/oauth/callback"),
        (None, "admin.example", "http://admin.example/oauth/callback"),
        ("http://127.0.0.1:8081/oauth/callback", "127.0.0.1:8081", "as it is"),
        ("http://LocalHost:8081/oauth/callback", "localhost:8081", "as it is"),
        ("http://127.0.0.1:80/oauth/callback", "127.0.0.1", "as it is"),
        ("http://127.0.0.1/oauth/callback", "127.0.0.1:8081", "with the port"),
        ("http://[::1]/oauth/callback", "[::1]:8081", "with the port"),
    ],
)
def test_the_browser_comes_back_to_the_page(uri: str | None, host: str, comes_back: str) -> None:
    words = {"as it is": uri, "with the port": f"http://{host}/oauth/callback"}
    wanted = words.get(comes_back, comes_back)
    assert redirect_uri("shop", settings(uri), host) == wanted


VERB = "run 'tokenproxy login shop'."


@pytest.mark.parametrize(
    ("uri", "host", "sentence"),
    [
        (None, None, f"A browser could not come back to this listener: {VERB}"),
        ("http://127.0.0.1:8081/oauth/callback", None, VERB),
        ("http://127.0.0.1/callback", "127.0.0.1:8081", f"does not lead to this page: {VERB}"),
        ("http://127.0.0.1:8400/oauth/callback", "127.0.0.1:8081", VERB),
        ("http://127.0.0.1:8081/oauth/callback/", "127.0.0.1:8081", VERB),
        ("http://127.0.0.1:8081/oauth/callback", "127.0.0.1", VERB),
        ("http://127.0.0.1:8081/oauth/callback", "a:b", VERB),
        (
            "http://127.0.0.1:8081/oauth/callback",
            "localhost:8081",
            "open http://127.0.0.1:8081/ instead.",
        ),
        ("http://localhost/oauth/callback", "127.0.0.1:8081", "open http://localhost:8081/ inst"),
    ],
)
def test_where_it_cannot_a_sentence_says_where_to_sign_in(
    uri: str | None, host: str | None, sentence: str
) -> None:
    with pytest.raises(Elsewhere) as caught:
        redirect_uri("shop", settings(uri), host)
    assert sentence in str(caught.value)

"""No secret is in the `repr` of a config, which a traceback or a log may show."""

from tokenproxy.config.model import Config

S = "MARKER"
URL = f"https://shop.example/?key={S}"
RSA = {"key": S, "client_auth": {"method": "private_key_jwt", "key": S}, "claims": {"a": S}}
OAUTH = {"type": "oauth2", "client_id": "c", "token_url": URL, "revocation_url": URL}
CREDENTIALS = {
    "static": {"type": "static", "token": S},
    "command": {"type": "command", "argv": ["echo", S], "env": {"A": S}},
    "simplejwt": {
        "type": "simplejwt",
        "login_url": URL,
        "refresh_url": URL,
        "username": "u",
        "password": S,
        "refresh_token": S,
    },
    "json": {
        "type": "json",
        "login": {"url": URL, "headers": {"X": S}, "body": {"a": S}},
        "renew": {"url": URL, "form": {"a": S}},
    },
    "secret": {
        **OAUTH,
        "grant": "client_credentials",
        "client_auth": {"secret": S},
        "extra": {"a": S},
    },
    "robot": {**OAUTH, **RSA, "grant": "jwt_bearer", "issuer": "https://shop.example"},
    "exchange": {**OAUTH, "grant": "token_exchange", "subject_token": S, "actor_token": S},
    "renews": {**OAUTH, "grant": "refresh_token", "refresh_token": S},
    "user": {**OAUTH, "grant": "password", "username": "u", "password": S},
    "device": {**OAUTH, "grant": "device_code", "device_authorization_url": URL},
    "person": {**OAUTH, "grant": "authorization_code", "authorization_url": URL},
}


def test_no_secret_is_in_the_repr_of_a_config() -> None:
    config = Config.model_validate(
        {
            "store": {"type": "redis", "url": f"redis://:{S}@localhost"},
            "credentials": CREDENTIALS,
        }
    )

    assert S not in repr(config)
    assert S not in str(config)
    assert "shop.example" not in repr(config)
    assert set(config.credentials) == set(CREDENTIALS)

import gc
import weakref

from tokenproxy.config.confidential import Known, secrets_of, without_secrets
from tokenproxy.config.load import load_config
from tokenproxy.secret import living

CONFIG = load_config(
    {
        "store": {"type": "redis", "url": "redis://:redis-password@127.0.0.1/0"},
        "credentials": {
            "shop": {
                "type": "simplejwt",
                "base_url": "https://shop.example",
                "username": "anna",
                "password": "correct horse",
            },
            "other": {
                "type": "json",
                "login": {
                    "url": "https://other.example",
                    "headers": {"X-Key": "header-secret"},
                    "form": {"pin": "1"},
                },
            },
        },
        "routes": [
            {"path": "/shop", "upstream": "https://shop.example", "credential": "shop"},
            {"path": "/other", "upstream": "https://other.example", "credential": "other"},
        ],
    },
    environment={},
).config


def test_every_secret_of_a_config_is_found_however_deep() -> None:
    assert set(secrets_of(CONFIG)) == {
        "redis://:redis-password@127.0.0.1/0",
        "correct horse",
        "header-secret",
        "1",
    }


def test_a_command_inherits_no_variable_that_holds_a_secret_of_the_config() -> None:
    environment = {"PATH": "/bin", "SHOP_PASSWORD": "correct horse", "KEY": "header-secret"}
    assert without_secrets(environment, CONFIG) == {"PATH": "/bin"}


def test_a_variable_that_is_like_a_very_short_secret_stays() -> None:
    assert without_secrets({"SHLVL": "1"}, CONFIG) == {"SHLVL": "1"}


def kept() -> list[str]:
    return [secret.reveal() for secret in living() if secret.reveal() == "correct horse"]


def test_secrets_of_configs_are_known_once_and_until_the_end() -> None:
    before = kept()
    with Known(CONFIG) as known:
        known.add(CONFIG.model_copy())
        assert kept() == [*before, "correct horse"]
    assert kept() == before


def test_of_a_config_whose_secrets_are_known_nothing_else_is_kept() -> None:
    config = CONFIG.model_copy()
    there = weakref.ref(config)
    with Known() as known:
        known.add(config)
        del config
        gc.collect()
        assert there() is None

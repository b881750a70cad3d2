"""What a config holds that nobody else should see."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, SecretStr

from tokenproxy.secret import Secret

SHORTEST = 4  # characters: what is shorter is also the value of variables that are no secret


def secrets_of(value: Any) -> Iterator[str]:
    """All secrets in settings, however deep."""
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            for name in type(value).model_fields:
                yield from secrets_of(getattr(value, name))
        case Mapping():
            for item in value.values():
                yield from secrets_of(item)
        case list() | tuple():
            for item in value:
                yield from secrets_of(item)
        case _:
            pass


def without_secrets(environment: Mapping[str, str], config: Any) -> dict[str, str]:
    """The environment for child processes: without the variables that config secrets came by.

    A command that needs one of them is given it by its own `env`.
    """
    secret = {text for text in secrets_of(config) if len(text) >= SHORTEST}
    return {name: value for name, value in environment.items() if value not in secret}


def for_commands(
    environment: Mapping[str, str], config: Any, named: Iterable[str]
) -> dict[str, str]:
    """The environment for a person's own command, which is to know of no secret of the config.

    Without the variables that secrets came by, also as a part of one: of those, only what the
    config names (`named`) is taken out.
    """
    texts = [*secrets_of(config)]
    parts = {
        name
        for name in named
        if (value := environment.get(name)) and any(value in text for text in texts)
    }
    kept = without_secrets(environment, config)
    return {name: value for name, value in kept.items() if name not in parts}


@contextmanager
def known(config: Any) -> Iterator[None]:
    """In here what is written is searched for the secrets of the config, too."""
    secrets = [Secret(text) for text in secrets_of(config)]
    yield
    secrets.clear()

"""What a config holds that nobody else should see."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

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


class Known:
    """What is written is searched for the secrets of these configs, too, until the end of `with`.

    Each is kept once, and nothing else of the configs: they may be many, and mostly the same.
    """

    def __init__(self, *configs: BaseModel) -> None:
        self._secrets: set[Secret] = set()
        for config in configs:
            self.add(config)

    def add(self, config: BaseModel) -> None:
        """Search for those of one more."""
        self._secrets.update(map(Secret, secrets_of(config)))

    def forget(self) -> None:
        """Search for none of them any more."""
        self._secrets.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

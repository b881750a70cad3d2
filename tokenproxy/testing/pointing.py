"""Serves for a test the config that it names, with doubles where the config names them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tokenproxy.config.load import load_config
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError, TokenproxyError
from tokenproxy.testing.doubles import Doubles
from tokenproxy.testing.proxy import Proxy
from tokenproxy.testing.serving import running

Source = Path | str | Mapping[str, Any]


@contextmanager
def serving(
    source: Source, doubles: Doubles, *, failed: Callable[[str], object]
) -> Iterator[Proxy]:
    """A proxy that serves the config; `failed` is told in a sentence why it cannot."""
    with ExitStack() as stack:
        try:
            proxy = stack.enter_context(running(proxy_for(source, doubles)))
        except TokenproxyError as error:
            wrong = str(error)
        else:
            yield proxy
            return
    failed(wrong)


def proxy_for(
    source: Source, doubles: Doubles, environment: Mapping[str, str] | None = None
) -> Proxy:
    """A proxy that is yet to be started.

    Raises:
        ConfigError: every mistake of the config, each with its place.
    """
    named = doubles.environment(variables()) if environment is None else environment
    loaded = load_config(source, environment=named)
    if not loaded.config.routes:
        raise ConfigError("the config has no routes: a proxy for tests needs one")
    return Proxy(loaded.config, clock=doubles.clock)

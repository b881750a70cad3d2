"""One credential of a config, for the verbs that people use on it.

They work through the store and its lock, so that a proxy that runs takes up what they did.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from tokenproxy.cli.completion import credential_names
from tokenproxy.cli.config import load
from tokenproxy.cli.output import warn
from tokenproxy.config.explain import closest, did_you_mean
from tokenproxy.config.load import Loaded
from tokenproxy.config.process import split_unix
from tokenproxy.errors import ConfigError
from tokenproxy.events import Event, NotPersisted, StoreTrouble
from tokenproxy.runtime import Runtime, World
from tokenproxy.settings.stores import MemoryStore
from tokenproxy.tokens.keeper import Keeper

T = TypeVar("T")

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A credential of the config.", autocompletion=credential_names
    ),
]


def with_keeper(
    loaded: Loaded, name: str, act: Callable[[Keeper], Awaitable[T]], *, keeps: bool = True
) -> T:
    """What `act` gives for the keeper of that credential; with `keeps` it must outlive us.

    Raises:
        ConfigError: the config has no such credential, or keeps nothing.
        SourceError, StoreError: as `act` raises them.
    """
    _check_name(loaded, name)

    async def run() -> T:
        async with opened(loaded, [name]) as keepers:
            keeper = keepers[name]
            outcome = await act(keeper)
        if keeps:
            keeper.check_persisted()
        return outcome

    return asyncio.run(run())


@asynccontextmanager
async def opened(loaded: Loaded, names: list[str]) -> AsyncIterator[dict[str, Keeper]]:
    """The keepers of these credentials, with what the store holds; nothing runs by itself."""
    runtime = Runtime(loaded.config, replace(World(), observe=_Told()))
    try:
        async with runtime.built():
            keepers = {name: runtime.keepers[name] for name in names}
            try:
                await asyncio.gather(*(keeper.start(watch=False) for keeper in keepers.values()))
                yield keepers
            finally:
                grace = runtime.close_grace
                await asyncio.gather(*(keeper.close(grace) for keeper in keepers.values()))
    except ConfigError as error:
        raise loaded.placed(error) from error


def stored(config: Path | None) -> Loaded:
    """A config whose tokens outlive a process. Raises ConfigError."""
    _, loaded = load(config)
    _check_store(loaded)
    return loaded


def _check_store(loaded: Loaded) -> None:
    if isinstance(loaded.config.store, MemoryStore):
        raise ConfigError(
            "the config keeps its tokens in memory, where no other process can see them: use "
            f"'store: {{type: file}}' for this{_or_ask(loaded.config.admin)}"
        )


def _or_ask(admin: str | None) -> str:
    """The end of a sentence: where the proxy that runs tells how they stand."""
    unix = None if admin is None else split_unix(admin)
    if unix is not None:
        return f", or ask with 'curl --unix-socket {unix[0]} http://localhost/api/status'"
    return "" if admin is None else f", or ask the proxy that runs at http://{admin}/api/status"


def _check_name(loaded: Loaded, name: str) -> None:
    known = list(loaded.config.credentials)
    if name in known:
        return
    guess = closest(name, known)
    hint = did_you_mean(guess) if guess else f" (there are: {', '.join(known) or 'none'})"
    raise ConfigError(f"no credential is called '{name}'{hint}")


class _Told:
    """Warns of what a store meets with, of each thing once."""

    def __init__(self) -> None:
        self._sentences: set[str] = set()

    def __call__(self, event: Event) -> None:
        match event:
            case StoreTrouble(_, error) | NotPersisted(_, error) if error not in self._sentences:
                self._sentences.add(error)
                warn(error)
            case _:
                pass

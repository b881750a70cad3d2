"""The file that a config was read from, to be read again when it changes, or a file it names."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path

from tokenproxy.config.load import Loaded, load_config
from tokenproxy.files import read_regular
from tokenproxy.tokens.namedfiles import contents, named_files
from tokenproxy.tokens.watching import FolderWatch, folders_of, look

Looks = Mapping[Path, tuple[int, ...] | None]


class ConfigFile:
    """Where a config was `loaded` from, with the variables that it was read with."""

    def __init__(self, path: Path, loaded: Loaded, environment: Mapping[str, str]) -> None:
        self.path = path
        self.loaded = loaded
        self._environment = environment
        self._files: set[Path] = set()
        self._note([*loaded.reads, *named_files(loaded.config)])
        self._seen = self.looks()
        self._inside = self._inside_last = contents(loaded.config)

    def read(self) -> Loaded:
        """Read it again; whether it is taken up is another matter. Raises ConfigError.

        What is in its certificates is noted before they are used: where they are replaced
        meanwhile, they are no longer what is noted.
        """
        self._seen = self.looks()
        opened: list[Path] = []
        try:
            loaded = load_config(
                self.path, environment=self._environment, opened=opened, read=read_regular
            )
        except BaseException:
            self._note([*self._files, *opened])
            raise
        self._note([*opened, *named_files(loaded.config)])
        self._inside_last = contents(loaded.config)
        return loaded

    def _note(self, files: Iterable[Path]) -> None:
        self._files = {self.path.absolute(), *files}

    def is_another(self, loaded: Loaded) -> bool:
        """Whether what was read last says anything else than what is in force."""
        return (self.loaded.config, self._inside) != (loaded.config, self._inside_last)

    def taken_up(self, loaded: Loaded) -> None:
        """That is in force now."""
        self.loaded = loaded
        self._inside = self._inside_last

    @property
    def has_changed(self) -> bool:
        """Whether any of the files is another than when it was read last.

        One that has gone is no reason to read it: it may be on its way back.
        """
        now = self.looks()
        known = {path: self._seen.get(path, now[path]) for path in now}
        return any(found not in {None, known[path]} for path, found in now.items())

    def looks(self) -> Looks:
        """What changes with any of the files."""
        return {path: look(path) for path in self._files}

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yields whenever a file has changed; folders are watched, as `watching` says."""
        async with aclosing(FolderWatch(self._folders).changes()) as changes:
            async for _ in changes:
                if self.has_changed:
                    yield

    def _folders(self) -> set[Path]:
        """That are there; where one is missing, the one that it will be made in."""
        found = {folder for path in self._files for folder in folders_of(path)}
        return {next(each for each in (it, *it.parents) if each.is_dir()) for it in found}

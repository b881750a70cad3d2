"""From a config file, or the same as a mapping, to a Config: all mistakes in one go.

Reading, interpolation, the models and the references between parts each add what they find; only
a text that is no YAML at all hides the rest. No message holds a value: it may be a secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tokenproxy.config import references
from tokenproxy.config.document import Document, Mistake, Unreadable, problems, read_mapping
from tokenproxy.config.explain import sentence, unknown_key, unknown_type
from tokenproxy.config.interpolate import Outside, interpolated
from tokenproxy.config.locate import Locator
from tokenproxy.config.model import Config
from tokenproxy.config.yamlfile import read_yaml
from tokenproxy.errors import ConfigError, Problem

MAX_CONFIG = 4 << 20  # bytes; thousands of routes
USUAL_NAMES = ("tokenproxy.yaml", "config.yaml")
VARIABLE = "TOKENPROXY_CONFIG"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config, and what in it stops nothing but is hardly meant."""

    config: Config
    warnings: tuple[Problem, ...] = ()


def load_config(
    source: Path | str | Mapping[str, Any], *, environment: Mapping[str, str]
) -> Loaded:
    """The config in a YAML file or a mapping; `environment` is what `${NAME}` reads.

    Relative paths are relative to the file's folder, or to the current one for a mapping.

    Raises:
        ConfigError: every mistake that it has, in the order of the file.
    """
    file = None if isinstance(source, Mapping) else Path(source)
    folder = Path.cwd() if file is None else file.absolute().parent
    try:
        document = read_mapping(source) if isinstance(source, Mapping) else _read(Path(source))
    except Unreadable as error:
        raise ConfigError([Problem("", error.what, error.line, file)]) from None
    if not isinstance(document.data, dict):
        what = "must be a mapping ('key: value' lines): see config.example.yaml"
        raise ConfigError([Problem("", what, 1 if file else None, file)])
    document = interpolated(document, Outside(environment, folder))
    return _checked(document, file, folder)


def find_config(environment: Mapping[str, str], folder: Path) -> Path:
    """The file that is meant where none is named.

    Raises:
        ConfigError: there is none.
    """
    if named := environment.get(VARIABLE):
        return Path(named)
    for name in USUAL_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(
        f"there is no config: name one with -c FILE or ${VARIABLE}, or write "
        f"{' or '.join(f'./{name}' for name in USUAL_NAMES)}"
    )


def _read(file: Path) -> Document:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_CONFIG + 1)
    except FileNotFoundError:
        raise Unreadable("does not exist: name another file with -c") from None
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    if len(content) > MAX_CONFIG:
        raise Unreadable("is larger than 4 MiB, which no config is")
    try:
        return read_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 text") from None


def _checked(document: Document, file: Path | None, folder: Path) -> Loaded:
    mistakes = [*document.mistakes, *references.mistakes(document.data)]
    try:
        config = Config.model_validate(document.data, context={"folder": folder})
    except ValidationError as error:
        mistakes += _mistakes(document, error)
        raise ConfigError(problems(document, mistakes, file)) from None
    if mistakes:
        raise ConfigError(problems(document, mistakes, file))
    warnings = problems(document, references.warnings(document.data), file)
    return Loaded(config, tuple(warnings))


def _mistakes(document: Document, error: ValidationError) -> list[Mistake]:
    """What pydantic found, without what is wrong only because a reference was not read."""
    unread = {mistake.where for mistake in document.mistakes}
    found = [_mistake(document, detail) for detail in error.errors(include_url=False)]
    return [mistake for mistake in found if mistake.where not in unread]


def _mistake(document: Document, detail: ErrorDetails) -> Mistake:
    place = _locator().place(detail["loc"], document.data)
    where, context = place.where, detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            known = [key for key in place.keys if key not in _written(document, where)]
            return Mistake(where, unknown_key(str(where[-1]), known)[0])
        case "missing":
            return Mistake(where, "is missing")
        case "union_tag_invalid":
            given, expected = context["tag"], context["expected_tags"]
            return Mistake((*where, "type"), unknown_type(given, expected))
        case "union_tag_not_found":
            return _without_type(document, where)
        case "string_pattern_mismatch":
            return Mistake(where, _misshapen(where))
        case kind:
            return Mistake(where, sentence(kind, context, document.at(where)))


def _written(document: Document, where: tuple[str | int, ...]) -> set[str]:
    """The keys that stand beside the one at `where`."""
    around = document.at(where[:-1])
    return set(around) if isinstance(around, dict) else set()


def _without_type(document: Document, where: tuple[str | int, ...]) -> Mistake:
    if isinstance(document.at(where), dict):
        return Mistake((*where, "type"), "is missing")
    return Mistake(where, "must be a mapping ('key: value' lines) with a 'type'")


def _misshapen(where: tuple[str | int, ...]) -> str:
    """What a text should look like that does not match its key's pattern."""
    match where:
        case (*_, "value"):
            return 'must be plain text that holds {token} once, as in "Bearer {token}"'
        case ("credentials", _) | (*_, "credential") | ("credentials", _, "[key]"):
            return "must be made of lower-case letters, digits, '-' and '_'"
        case (*_, "header" | "cookie"):
            return "must be a name without spaces or separators"
        case (*_, "username"):
            return "must not hold a ':'"
        case _:
            return "is not of the form that belongs here"


@cache
def _locator() -> Locator:
    return Locator(Config)

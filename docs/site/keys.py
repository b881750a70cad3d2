"""The config's keys, as the settings' models have them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.site.kinds import kind, models_in, shown
from docs.site.markdown import code, table
from tokenproxy.config.descriptions import MODELS
from tokenproxy.config.model import Config
from tokenproxy.config.schema import description
from tokenproxy.settings.oauth2 import OWN_KEYS, OAuth2

_TYPE = "type"


@dataclass(frozen=True, slots=True)
class Block:
    """A model where it stands in the file: `credentials.NAME.refresh`."""

    path: str
    model: type[BaseModel]


def blocks() -> Iterator[Block]:
    """The whole file, and every block in it, each after the one that holds it.

    A block that all types of a credential share stands once, at the first of them.
    """
    waiting, seen = [Block("", Config)], set()
    while waiting:
        block = waiting.pop(0)
        mark = (block.path, block.model)
        if mark in seen:
            continue
        seen.add(mark)
        yield block
        waiting = [*_within(block), *waiting]


def _within(block: Block) -> Iterator[Block]:
    hints = get_type_hints(block.model, include_extras=True)
    for name, field in block.model.model_fields.items():
        for model, step in models_in(hints[name]):
            yield Block(joined(block.path, key(name, field)) + step, model)


def key(name: str, field: FieldInfo) -> str:
    """As it is written in the file."""
    return field.alias or name


def joined(path: str, name: str) -> str:
    """A dotted path."""
    return f"{path}.{name}" if path else name


def written() -> str:
    """A section for each block: what it is, and its keys."""
    found = list(blocks())
    at = Counter(block.path for block in found)
    return "\n".join(_section(block, alone=at[block.path] == 1) for block in found)


def _section(block: Block, *, alone: bool) -> str:
    return f"## {_heading(block, alone=alone)}\n\n{MODELS[block.model.__name__]}\n\n{_keys(block)}"


def _keys(block: Block) -> str:
    hints = get_type_hints(block.model, include_extras=True)
    rows = [
        (code(key(name, field)), kind(hints[name]), _default(field, hints[name]),
         _meaning(block.model, key(name, field)))
        for name, field in block.model.model_fields.items()
    ]  # fmt: skip
    return table(["key", "type", "default", "what it does"], rows)


def _meaning(model: type[BaseModel], name: str) -> str:
    """As the schema says it; a grant's own keys are told with their grant."""
    grants = [grant for grant, keys in OWN_KEYS.items() if name in keys]
    of = f" For `grant: {grants[0]}`." if model is OAuth2 and grants else ""
    return description(model.__name__, name) + of


def _heading(block: Block, *, alone: bool) -> str:
    """Its path; where others may stand in the same place, what tells it from these."""
    fields = block.model.model_fields
    if not block.path:
        return "The whole file"
    if alone:
        return code(block.path)
    if _TYPE in fields:
        (name,) = get_args(fields[_TYPE].annotation)
        return f"{code(block.path)} of type {code(name)}"
    return f"{code(block.path)} with {code(next(iter(fields)))}"


def _default(field: FieldInfo, hint: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if isinstance(value, BaseModel) else code(shown(value, hint))

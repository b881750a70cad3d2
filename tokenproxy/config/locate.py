"""From pydantic's locations to the keys that the user wrote.

pydantic names the member of a union that it chose (`inject.0.header.headr`), and an index where
one thing stood for a list of one. Which steps of a location are such additions only the
schema can tell: a credential may be named `file`, and an injection has a key `header`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from tokenproxy.config.document import Where

Schema = Mapping[str, Any]

_TYPE = "type"  # the key that tells the kinds of a union apart, where a key does
_NO_KINDS: Mapping[str, Schema] = {}


@dataclass(frozen=True, slots=True)
class Place:
    """A node as the user would name it, and the keys that the model around it knows.

    `types` are those to choose from, where the node is one of several kinds. Where the model
    around it is of one `type` among several, `owners` are those that know such a key.
    """

    where: Where
    keys: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    type: str | None = None
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Step:
    """What one step of a location leads to; `written` where the user wrote it, too."""

    schema: Schema | None
    written: bool = True
    keys: tuple[str, ...] = ()


class Locator:
    """Finds the places of one model's errors."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._root: Schema = model.__pydantic_core_schema__
        definitions: Sequence[Schema] = self._root.get("definitions", ())
        self._definitions = {definition["ref"]: definition for definition in definitions}

    def place(self, location: Sequence[str | int], data: Any) -> Place:
        """Where in `data` the error at `location` is."""
        schema: Schema | None = self._root
        place, kinds, kind = Place(()), _NO_KINDS, None
        for name in location:
            if schema is None:
                break
            bare = self._bare(schema)
            step = _step(bare, name, listed=isinstance(data, list))
            schema = step.schema
            if step.written:
                owners = self._owners(kinds, name)
                place = Place((*place.where, name), step.keys, type=kind, owners=owners)
                data, kinds, kind = _item(data, name), _NO_KINDS, None
            elif bare.get("discriminator") == _TYPE:
                kinds, kind = bare["choices"], str(name)
        choices: Schema = {} if schema is None else self._bare(schema).get("choices", {})
        return replace(place, types=tuple(choices))

    def _owners(self, kinds: Mapping[str, Schema], key: str | int) -> tuple[str, ...]:
        """Those of the kinds whose model has such a key."""
        return tuple(kind for kind in kinds if key in _fields(self._bare(kinds[kind])))

    def _bare(self, schema: Schema) -> Schema:
        """Without defaults, validators and references around it."""
        while schema["type"] not in {"tagged-union", "model-fields", "dict", "tuple"}:
            if schema["type"] == "definition-ref":
                schema = self._definitions[schema["schema_ref"]]
            elif "schema" in schema:
                schema = schema["schema"]
            else:
                break
        return schema


def _step(schema: Schema, name: str | int, *, listed: bool) -> _Step:
    match schema["type"]:
        case "tagged-union":
            return _Step(schema["choices"].get(name), written=False)
        case "model-fields":
            fields = _fields(schema)
            return _Step(fields.get(str(name)), keys=tuple(fields))
        case "dict":
            return _Step(schema["values_schema"])
        case "tuple":
            return _Step(schema["items_schema"][0], written=listed)
        case _:
            return _Step(None, written=False)


def _fields(schema: Schema) -> dict[str, Schema]:
    return {_key(field, of): of["schema"] for field, of in schema["fields"].items()}


def _key(name: str, field: Mapping[str, Any]) -> str:
    return str(field.get("validation_alias", name))


def _item(data: Any, step: str | int) -> Any:
    try:
        return data[step]
    except (LookupError, TypeError):
        return None

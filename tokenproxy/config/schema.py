"""The JSON Schema (2020-12) of a config file: for editors, and for checks without this program.

It takes what the loader takes: durations and sizes as people write them, one thing where a list
may stand, and `${…}` in place of any value. What keys say about each other it mostly leaves to
the loader.
"""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from tokenproxy.config.descriptions import KEYS, MODELS
from tokenproxy.config.model import Config
from tokenproxy.settings.oauth2 import OWN_KEYS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OURS = "x-ours"  # a definition of ours: pydantic takes references to its own only
REFERENCE = {_OURS: "reference"}
_REFERENCE = r"\$\{"
_DEFS: dict[str, JsonSchemaValue] = {
    "reference": {
        "type": "string",
        "pattern": _REFERENCE,
        "description": "${NAME}, ${NAME:-fallback} or ${file:/path}",
    },
    "duration": {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)?\s*$"},
            REFERENCE,
        ],
        "description": "Seconds, or a text such as 500ms, 30s, 5m or 24h.",
    },
    "size": {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {
                "type": "string",
                "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(B|KiB|MiB|GiB|kB|KB|MB|GB)?\s*$",
            },
            REFERENCE,
        ],
        "description": "Bytes, or a text such as 64KiB or 10MiB.",
    },
}
_UNITS = {"parse_duration": "duration", "parse_size": "size"}
_ONE_OR_MANY = {"one_is_a_list_of_one", "_listed", "_places"}
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_NUMERAL = r"^\s*[-+]?[0-9_]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\s*$"
_TRUTH = r"^([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|[Nn]o|[Oo]n|[Oo]ff|[YyNnTtFf10])$"
_NOISE = ("title", "format", "writeOnly")


def json_schema() -> JsonSchemaValue:
    """That of the whole file."""
    schema = Config.model_json_schema(schema_generator=_Generator)
    definitions = {**schema.pop("$defs"), **_DEFS}
    for name, definition in definitions.items():
        definitions[name] = _told(name, _tidied(definition))
    whole = _told("Config", _tidied(schema))
    definitions["OAuth2"]["allOf"] = [_of_grant(grant) for grant in OWN_KEYS]
    return {
        "$schema": DIALECT,
        "title": "tokenproxy config",
        **whole,
        "$defs": dict(sorted(definitions.items())),
    }


class _Generator(GenerateJsonSchema):
    """pydantic's own, with what the loader also takes."""

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return _or_text(super().bool_schema(schema), _TRUTH)

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return _or_text(super().int_schema(schema), _NUMERAL)

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return _or_text(super().float_schema(schema), _NUMERAL)

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return {"anyOf": [super().literal_schema(schema), REFERENCE]}

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        name = getattr(schema["function"]["function"], "__name__", "")
        if name in _UNITS:
            return {_OURS: _UNITS[name]}
        inner = super().function_before_schema(schema)
        if name in _ONE_OR_MANY:
            return _or_one(inner)
        if name == "_joined":  # scopes
            return {"anyOf": [inner, {"type": "array", "items": {"type": "string"}}]}
        return inner

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        if schema["discriminator"] != "type":
            return {"anyOf": [self.generate_inner(each) for each in schema["choices"].values()]}
        choices = {str(name): self.generate_inner(each) for name, each in schema["choices"].items()}
        return _by_type(choices)


def _or_text(schema: JsonSchemaValue, pattern: str) -> JsonSchemaValue:
    """A value, or the text that is read as one: `${…}` gives a text always."""
    return {"anyOf": [schema, {"type": "string", "pattern": pattern}, REFERENCE]}


def _or_one(schema: JsonSchemaValue) -> JsonSchemaValue:
    """A list, or one of it."""
    choices = schema.get("anyOf", [schema])
    single = [each["items"] for each in choices if "items" in each]
    return {"anyOf": [*choices, *single]}


def _by_type(choices: Mapping[str, JsonSchemaValue]) -> JsonSchemaValue:
    """The mistake that is told is of the type that is meant, not that no type fits."""
    names = [*choices]
    rules = [
        {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": choice}
        for name, choice in choices.items()
    ]
    return {
        "type": "object",
        "properties": {"type": {"anyOf": [{"enum": names}, REFERENCE]}},
        "allOf": rules,
    }


def _of_grant(grant: str) -> JsonSchemaValue:
    """The keys that are another grant's must be empty."""
    own = next(keys for name, keys in OWN_KEYS.items() if name == grant)
    foreign = sorted({key for keys in OWN_KEYS.values() for key in keys} - own)
    is_it = {"properties": {"grant": {"const": grant}}, "required": ["grant"]}
    return {"if": is_it, "then": {"properties": {key: {"type": "null"} for key in foreign}}}


def _tidied(node: Any) -> Any:
    """Limits by JSON Schema's names, patterns that a reference passes, and closed mappings."""
    if isinstance(node, list):
        return [_tidied(each) for each in node]
    if not isinstance(node, dict):
        return node
    tidy: dict[str, Any] = {}
    if (ours := node.get(_OURS)) is not None:
        node = {key: value for key, value in node.items() if key not in {_OURS, "type"}}
        tidy["$ref"] = f"#/$defs/{ours}"
    for key, value in node.items():
        if key in _NOISE and not isinstance(value, dict):
            continue
        if key in {"default", "enum", "const", "required"}:
            tidy[key] = value
        elif key == "pattern" and isinstance(value, str):
            tidy[key] = value if _REFERENCE in value else f"{value}|{_REFERENCE}"
        else:
            tidy[_LIMITS.get(key, key)] = _tidied(value)
    if "patternProperties" in tidy:
        tidy.setdefault("additionalProperties", False)
    return tidy


def _told(name: str, definition: JsonSchemaValue) -> JsonSchemaValue:
    """With a description of it and of each of its keys."""
    if name in MODELS:
        definition = {**definition, "description": MODELS[name]}
    if "properties" not in definition or name not in MODELS:
        return definition
    described = {
        key: {**value, "description": description(name, key)}
        for key, value in definition["properties"].items()
    }
    return {**definition, "properties": described}


def description(model: str, key: str) -> str:
    """What a key of a model means; those that many models share are told once."""
    return KEYS.get(f"{model}.{key}") or KEYS[key]

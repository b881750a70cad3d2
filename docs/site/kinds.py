"""What a config's value may be, in words, and how a default is written."""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from tokenproxy.settings.base import http_url, http_url_base
from tokenproxy.units import parse_duration, parse_size

_PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text",
          Path: "path", SecretStr: "secret", type(None): "null"}  # fmt: skip
_UNITS = {"duration": (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001)),
          "size": (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1))}  # fmt: skip
_HOLDERS = {dict: "mapping of ", tuple: "list of "}
_LONGEST_IN_SECONDS = 300  # what is longer is written in minutes or hours


def models_in(hint: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The blocks that a value may hold, and what stands between the key and theirs."""
    origin, inside = get_origin(hint), get_args(hint)
    if _is_block(hint):
        yield hint, ""
    elif origin is Annotated:
        yield from models_in(inside[0])
    elif origin is dict:
        yield from ((model, f".NAME{step}") for model, step in models_in(inside[1]))
    elif origin is tuple:
        yield from ((model, f"[]{step}") for model, step in models_in(inside[0]))
    elif _is_union(origin):
        for each in inside:
            yield from models_in(each)


def kind(hint: Any) -> str:
    """What a value may be."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _unit(hint) or kind(inside[0])
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inside)
    if _is_union(origin):
        return " or ".join(dict.fromkeys(map(kind, inside)))
    if origin in _HOLDERS:
        return _HOLDERS[origin] + kind(inside[-1] if origin is dict else inside[0])
    return _PLAIN.get(hint, "block" if _is_block(hint) else "any value")


def _is_block(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


def _is_union(origin: Any) -> bool:
    return origin in {Union, types.UnionType}


def _unit(hint: Any) -> str | None:
    """Durations, sizes and URLs are told apart by what checks them."""
    for each in get_args(hint)[1:]:
        match getattr(each, "func", None):
            case function if function is parse_duration:
                return "duration"
            case function if function is parse_size:
                return "size"
            case function if function in {http_url, http_url_base}:
                return "URL"
    return None


def shown(value: Any, hint: Any) -> str:
    """A default as it is written in the file."""
    unit = kind(hint).split(" or ")[0]
    if unit in _UNITS and value is not None:
        return _in_units(value, unit)
    if isinstance(value, str):
        return value
    return json.dumps(value, default=_plain)


def _in_units(value: float, unit: str) -> str:
    if unit == "duration" and (value == 0 or 1 <= value <= _LONGEST_IN_SECONDS):
        return f"{value:g}s"
    for name, size in _UNITS[unit]:
        if value >= size and value % size == 0:
            return f"{value / size:g}{name}"
    return f"{value:g}"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_defaults=False)
    return str(value)

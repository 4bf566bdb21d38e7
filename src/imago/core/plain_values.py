"""Plain values, as JSON and TOML give them, into dataclasses: nothing is believed, every field is checked by its type.

build(InputSpec, {"rule": "resize", "size_hw": [320]})  # ValueError: size_hw must be a list of 2 whole numbers; ...
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

Settings = TypeVar("Settings")
_WORDS = {  # of one value, of several
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("a text", "texts"),
    type(None): ("null", "null"),
}
_LARGEST = 1 << 63  # whole numbers from here on are nothing that anybody counts
_SHOWN = 60  # characters of a wrong value


def parse_json(text: str) -> Any:
    """``json.loads`` that raises ValueError for whatever is no JSON, nesting that is too deep included."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def build(settings: type[Settings], values: Any, where: str = "") -> Settings:
    """The dataclass ``settings`` from a table of its fields, other dataclasses in it included.

    ``where``: the name of the table in messages. Raises ValueError that names the field, for missing and unknown ones,
    for values of another type, and for what the dataclass itself refuses.
    """
    read = read_fields(settings, values, where)
    needed = [
        field.name
        for field in dataclasses.fields(settings)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [_join(where, name) for name in needed if name not in read]
    if missing:
        raise ValueError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    try:
        return settings(**read)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def read_fields(settings: type, values: Any, where: str = "") -> dict[str, Any]:
    """Those fields of the dataclass ``settings`` that the table has, as their types. Raises as ``build``."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where or 'it'} must be a table of settings; got {_show(values)}")
    hints = field_types(settings)
    unknown = [_join(where, name) for name in values if name not in hints]
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)}; known are {', '.join(sorted(hints))}")
    return {name: convert(values[name], hint, _join(where, name)) for name, hint in hints.items() if name in values}


def convert(value: Any, hint: Any, name: str) -> Any:
    """``value`` as the type ``hint``: str, int, float (finite), bool, Literal, X | None, tuple, dict, dataclass, Any.

    Lists become tuples and whole numbers floats where ``hint`` wants that; nothing else is turned into anything.
    Raises ValueError that says what ``name`` must be.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else build(typing.cast(type, hint), value, name)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if kind is not type(None)]
        return None if value is None and len(kinds) < len(inner) else convert(value, kinds[0], name)
    if origin is tuple and isinstance(value, (list, tuple)) and (inner[1:] == (...,) or len(value) == len(inner)):
        parts = zip(value, itertools.cycle(inner[:1]) if inner[1:] == (...,) else inner, strict=False)
        return tuple(convert(part, kind, f"{name}[{at}]") for at, (part, kind) in enumerate(parts))
    if origin is dict and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: convert(part, inner[1], _join(name, key)) for key, part in value.items()}
    if origin is Literal and isinstance(value, str) and value in inner:
        return value
    if hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if hint in (str, int, bool) and type(value) is hint and (hint is not int or abs(value) < _LARGEST):
        return value
    raise ValueError(f"{name} must be {describe(hint)}; got {_show(value)}")


def describe(hint: Any, several: bool = False) -> str:
    """A type in words, of one value or of ``several``."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"{'values' if several else 'one'} of {', '.join(map(repr, inner))}"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(kind, several) for kind in inner)
    if origin is tuple:
        count = "" if inner[1:] == (...,) else f"{len(inner)} "
        return f"{'lists' if several else 'a list'} of {count}{describe(inner[0], True)}"
    if origin is dict or dataclasses.is_dataclass(hint):
        return "tables" if several else "a table"
    return _WORDS.get(hint, ("another type", "other types"))[several]


def _join(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _show(value: Any) -> str:
    text = json.dumps(value, default=str) if not isinstance(value, Mapping) else "a table"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


@functools.cache
def field_types(settings: type) -> dict[str, Any]:
    """The types of a dataclass's fields by their names."""
    hints = typing.get_type_hints(settings)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}

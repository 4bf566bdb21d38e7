"""What ``--option NAME=VALUE`` says: settings of the net (width=32), and of parts beside it (proposals.count=500)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from imago.core.errors import ImagoError, ModelError
from imago.models import BUILDERS, list_options
from imago.models.detection.builders import DETECTION_BUILDERS

Settings = TypeVar("Settings")
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def list_net_options(architecture: str) -> tuple[str, ...]:
    """The names of what its builder takes. Raises ModelError for an architecture that there is not."""
    if architecture in DETECTION_BUILDERS:
        return tuple(inspect.signature(DETECTION_BUILDERS[architecture]).parameters)
    if architecture not in BUILDERS:
        names = ", ".join((*BUILDERS, *DETECTION_BUILDERS))
        raise ModelError(f"architecture {architecture!r} is not known; choose from {names}")
    return list_options(architecture)


def parse_option(option: Sequence[str]) -> dict[str, Any]:
    """Names with their values, read as JSON where they can be. Raises ImagoError."""
    found: dict[str, Any] = {}
    for text in option:
        name, equals, value = text.partition("=")
        if not equals:
            raise ImagoError(f"--option {text!r} has no '='; write it like width=32")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def read_net_options(option: Sequence[str]) -> dict[str, Any]:
    """Those without a part's name before them."""
    return {name: value for name, value in parse_option(option).items() if "." not in name}


def read_part_options(option: Sequence[str], part: str, settings: type[Settings]) -> Settings:
    """The dataclass ``settings``, with what is said of ``part``. Raises ImagoError for names and values that are not
    among its own."""
    usual = {field.name: field.default for field in fields(settings)}  # type: ignore[arg-type]
    chosen = {}
    for name, value in parse_option(option).items():
        before, _, own = name.partition(".")
        if before != part:
            continue
        if own not in usual:
            raise ImagoError(f"--option {name}: {part} has no {own!r} to set; it has {', '.join(usual)}")
        wanted = type(usual[own])
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise ImagoError(f"--option {name} is {KINDS[wanted]}, like {usual[own]}; got {value!r}")
        chosen[own] = value
    try:
        return settings(**chosen)
    except ValueError as error:
        raise ImagoError(f"--option {part}: {error}") from error


def refuse_parts(option: Sequence[str], known: Sequence[str], model: str) -> None:
    """Raises ImagoError for options of parts that ``model`` has not, rather than pass over them."""
    for name in parse_option(option):
        part, dot, _ = name.partition(".")
        if dot and part not in known:
            has = f"it has {' and '.join(known)}" if known else "it has none"
            raise ImagoError(f"--option {name}: {model} has no part {part!r} to set; {has}")

"""Options of the command line made from a frozen dataclass, so that no name, default or choice is written twice.

A field's ``metadata`` may hold

- ``help``: its line in the help;
- ``short``: a one-letter name, as "-o";
- ``name``: the long name, where it is not the field's own with dashes;
- ``choices``: the values that are allowed, for fields that are no ``Literal``;
- ``metavar``: what stands for the value in the help;
- ``argument``: True for a positional argument;
- ``commas``: True for a tuple whose values may also come in one, with commas between;
- ``tasks``, ``models``: the tasks of training, or the models, that it applies to, which its help then names;
- ``group``: True for a field that is itself such a dataclass: its fields become options of the same command;
- ``cli``: False for a field that the command line does not set.

Types: str, int, float, bool (``--x/--no-x``), Path, Literal, ``X | None``, ``tuple[X, ...]`` (given several times),
``tuple[int, int]`` (height and width: ``320x256``, or ``320`` for a square).
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import click
from click.core import ParameterSource

from imago.core.settings import FINDS_OBJECTS, describe_scope, find_needless, flag, iter_settings, setting

Settings = TypeVar("Settings")
Command = Callable[..., Any]

SHOW_BANDS = (
    "Models of other channels than grey and RGB: the bands shown as red, green and blue, from 1, as 4,3,2.  [default: "
    "as the model's card says]"
)
MAX_FOUND = 100  # as imago.metrics.detection_matching.MOST, which would take NumPy to import


@dataclasses.dataclass(frozen=True)
class CountSettings:
    """Which objects are counted where models are measured."""

    max_found: int = setting(
        MAX_FOUND,
        "Objects: the best N of a class and photo count for AP, 100 as in COCO; 0: all, for crowded photos.",
        metavar="N",
        models=FINDS_OBJECTS,
        why="it finds no single objects",
    )

    def __post_init__(self) -> None:
        if self.max_found < 0:
            raise ValueError(f"--max-found must not be negative; got {self.max_found}")

    @property
    def most(self) -> int:
        """How many, in a number."""
        return self.max_found or sys.maxsize


class CommaList(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """One value or several with commas between -> tuple."""

    name = "list"

    def __init__(self, item: click.ParamType[Any]) -> None:
        self.item = item

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        return tuple(self.item.convert(part, param, ctx) for part in parts if part)


class PathThatIs(click.Path):
    """A path; an empty one, as of a variable that is not set, is no other name of the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty path; '.' is the current folder", param, ctx)
        return super().convert(value, param, ctx)


class SizeHW(click.ParamType):  # type: ignore[type-arg]
    """``320x256`` (height x width) or ``320`` -> (320, 256)."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) not in (1, 2) or not all(part.isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is no size; write height x width in pixels, as 320x256, or one number", param, ctx)
        return int(parts[0]), int(parts[-1])


def add_options(settings: type, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """A decorator that gives a click command one option a field of the dataclass ``settings``, in their order, groups
    included.

    The command is called with the fields' names as keywords; ``build`` makes the object. ``without``: fields that this
    command has no option for.
    """

    def decorate(command: Command) -> Command:
        for field, owner in reversed(list(iter_settings(settings))):
            if field.metadata.get("cli", True) and field.name not in without:
                command = _parameter(field, typing.get_type_hints(owner)[field.name])(command)
        return command

    return decorate


def build_settings(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The dataclass from what click gathered. A ValueError of its own check becomes a usage error (exit code 2)."""
    chosen: dict[str, Any] = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        if field.metadata.get("group"):
            assert isinstance(field.default_factory, type)
            chosen[field.name] = build_settings(field.default_factory, values)
        elif field.name in values and field.metadata.get("cli", True):
            value = values[field.name]
            if isinstance(value, tuple) and value and all(isinstance(part, tuple) for part in value):
                value = tuple(item for part in value for item in part)  # --x a,b --x c
            chosen[field.name] = value
    try:
        return settings(**chosen)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def find_given(context: click.Context) -> set[str]:
    """Names of the fields that the user set himself, on the command line; the rest are defaults."""
    return {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def find_asked(*settings: type) -> dict[str, str]:
    """Of the fields of dataclasses ``settings`` those that the user asked something by, in the command that runs, and
    how they are written: not a switch that says what is so anyway (``--no-crf``)."""
    context = click.get_current_context()
    given = find_given(context)
    asked = {}
    for field, _ in (found for one in settings for found in iter_settings(one)):
        if not field.metadata.get("cli", True):  # of the same name as an argument
            continue
        if field.name in given and not (context.params[field.name] is False and field.default is False):
            asked[field.name] = flag(field)
    return asked


def check_needs(settings: Any) -> None:
    """Raises a usage error for an option that says nothing beside the other ones (``needs`` of its field)."""
    asked = find_asked(type(settings))
    for name, why in find_needless(settings, asked).items():
        raise click.UsageError(f"{asked[name]} would do nothing: {why}")


def _parameter(field: dataclasses.Field[Any], hint: Any) -> Callable[[Command], Command]:
    kind, several = _without_none(hint), False
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if inner == (int, int):
            kind = SizeHW()
        elif len(inner) == 2 and inner[1] is Ellipsis:
            kind, several = inner[0], True
        else:
            raise TypeError(
                f"field {field.name!r}: no option can be made of {hint}; use tuple[X, ...] or tuple[int, int]"
            )
    default = _default(field)
    if field.metadata.get("argument"):
        return click.argument(
            field.name,
            type=_click_type(field, kind),
            nargs=-1 if several else 1,
            required=default is dataclasses.MISSING,
            default=None if default is dataclasses.MISSING or several else default,
            metavar=field.metadata.get("metavar"),
        )
    long = flag(field)
    names = [field.name, long, *([field.metadata["short"]] if "short" in field.metadata else [])]
    help = "  ".join(filter(None, (field.metadata.get("help"), _describe_scope(field))))
    rest: dict[str, Any] = {"help": help or None, "metavar": field.metadata.get("metavar")}
    if default is dataclasses.MISSING:
        rest["required"] = True
    else:
        rest["default"] = default
        rest["show_default"] = default not in (None, "", (), False)
    if kind is bool:
        del rest["metavar"]
        names[1] = f"{long}/--no-{long[2:]}"
        return click.option(*names, **rest)
    rest["type"] = _click_type(field, kind)
    if several:
        rest["multiple"] = True
        if field.metadata.get("commas"):
            rest["type"] = CommaList(rest["type"])
            if rest.get("default"):
                rest["show_default"] = ",".join(map(str, rest["default"]))
                rest["default"] = [rest["default"]]
            if isinstance(rest["type"].item, click.Choice):
                rest["metavar"] = rest["metavar"] or "|".join(map(str, rest["type"].item.choices)) + ",..."
    return click.option(*names, **rest)


def _describe_scope(field: dataclasses.Field[Any]) -> str:
    scope = describe_scope(field)
    return f"[{scope}]" if scope else ""


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _without_none(hint: Any) -> Any:
    """``X | None`` -> X."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if len(kinds) != 1:
            raise TypeError(f"no option can be made of {hint}; one type, or one type and None, are understood")
        return kinds[0]
    return hint


def _click_type(field: dataclasses.Field[Any], kind: Any) -> click.ParamType[Any]:
    if "choices" in field.metadata:
        return click.Choice(list(field.metadata["choices"]))
    if typing.get_origin(kind) is Literal:
        return click.Choice([str(value) for value in typing.get_args(kind)])
    if isinstance(kind, click.ParamType):
        return kind
    if kind is Path:
        return PathThatIs(path_type=Path)
    if kind in (str, int, float):
        return {str: click.STRING, int: click.INT, float: click.FLOAT}[kind]
    raise TypeError(f"field {field.name!r}: no option can be made of {kind}")

"""Fields of settings dataclasses: one remark serves the reader, the command line and the docs.

A dataclass may hold others as groups: their fields are settings of the whole, by names that occur once in it.

Which training, which model and which other settings a setting is for stands at the field, so that the help and the
refusal of a setting that would do nothing come from one place: ``tasks``, ``models`` and ``needs`` of ``setting``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, Literal

from imago.core.plain_values import convert, field_types

GROUP = {"group": True}  # metadata of a field whose ``default_factory`` is such a dataclass
TASKS = ("semantic", "separation", "detection", "rcnn")  # what a training may be of, see imago.training.tasks
LABEL_MAPS = ("semantic", "separation")
NOT_RCNN = ("semantic", "separation", "detection")
# What a finished model gives (``ModelCard.model_type``): one soft mask; a class a pixel; objects grown from insides and
# borders; boxes; boxes with masks.
MODEL_TYPES = ("binary", "semantic", "separation", "boxes", "instances")
LABELS_PIXELS = ("binary", "semantic", "separation")
FINDS_OBJECTS = ("separation", "boxes", "instances")
GIVES_OUTLINES = ("binary", "semantic", "separation", "instances")
Axis = Literal["tasks", "models"]
AXES: dict[Axis, tuple[str, ...]] = {"tasks": TASKS, "models": MODEL_TYPES}


def setting(
    default: Any = MISSING,
    help: str = "",
    *,
    tasks: tuple[str, ...] = TASKS,
    models: tuple[str, ...] = MODEL_TYPES,
    why: str | Mapping[str, str] = "",
    needs: tuple[str, str] | None = None,
    **extra: Any,
) -> Any:
    """A dataclass field with its remark, which is also its help text on the command line.

    ``tasks``: those of ``TASKS`` that it applies to; ``models``: those of ``MODEL_TYPES``; ``why`` it says nothing to
    the others, one reason or one for each. ``needs``: a property of the dataclass without which it says nothing, and
    the reason in words. ``extra``: how it looks there (``short``, ``metavar``, ``name``, ``choices``, ``commas``,
    ``argument``).
    """
    metadata = {"help": help, **extra} if help else extra
    if tasks != TASKS:
        metadata |= {"tasks": tasks, "why": why}
    if models != MODEL_TYPES:
        metadata |= {"models": models, "why": why}
    if needs is not None:
        metadata |= {"needs": needs}
    return field(default=default, metadata=metadata)


def iter_settings(settings: type) -> Iterator[tuple[Field[Any], type]]:
    """The fields of a dataclass, with those of its groups, and the dataclass that each stands in."""
    for own in fields(settings):
        if "group" in own.metadata:
            assert isinstance(own.default_factory, type)
            yield from iter_settings(own.default_factory)
        else:
            yield own, settings


def flag(own: Field[Any]) -> str:
    """A setting as it is written on the command line."""
    return "--" + own.metadata.get("name", own.name.replace("_", "-"))


def find_inapplicable(settings: type, value: str, axis: Axis = "tasks") -> dict[str, str]:
    """Names of the settings that say nothing to ``value`` of ``axis`` (a task of training, or a type of model), and
    why."""
    found = {}
    for own, _ in iter_settings(settings):
        if value not in own.metadata.get(axis, AXES[axis]):
            why = own.metadata["why"]
            found[own.name] = why if isinstance(why, str) else why[value]
    return found


def find_needless(settings: Any, given: Collection[str]) -> dict[str, str]:
    """Names of those settings among ``given`` that say nothing beside the other ones, and why."""
    found = {}
    for own in fields(settings):
        need = own.metadata.get("needs")
        if own.name in given and need is not None and not getattr(settings, need[0]):
            found[own.name] = need[1]
    return found


def find_changed(settings: Any) -> set[str]:
    """Names of the fields that are not as they are by default."""
    usual = type(settings)()
    return {own.name for own in fields(settings) if getattr(settings, own.name) != getattr(usual, own.name)}


def check_values(settings: Any) -> None:
    """Raises ValueError for a field that does not hold what its type says (``plain_values.convert``): numbers are
    finite, words are those of their Literal. Lists become tuples, NumPy's numbers plain ones."""
    kind: Any = type(settings)
    for name, hint in field_types(kind).items():
        value = getattr(settings, name)
        if type(value).__module__ == "numpy" and hasattr(value, "item") and not value.shape:
            value = value.item()
        object.__setattr__(settings, name, convert(value, hint, name))


def describe_scope(own: Field[Any]) -> str:
    """For the help: the tasks of training, or the models, that a setting applies to; "" where it applies to all."""
    for axis, all_ in AXES.items():
        some = own.metadata.get(axis, all_)
        others = [value for value in all_ if value not in some]
        if others:
            what = "" if axis == "tasks" else "models: "
            return f"not {what}{others[0]}" if len(others) == 1 else f"only {what}{', '.join(some)}"
    return ""

"""Fields of settings dataclasses: one remark serves the reader, the command line and the docs.

A dataclass may hold others as groups: their fields are settings of the whole, by names that occur once in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any

GROUP = {"group": True}  # metadata of a field whose ``default_factory`` is such a dataclass
TASKS = ("semantic", "separation", "detection", "rcnn")  # what a training may be of, see imago.training.tasks
LABEL_MAPS = ("semantic", "separation")
NOT_RCNN = ("semantic", "separation", "detection")


def setting(
    default: Any = MISSING,
    help: str = "",
    *,
    tasks: tuple[str, ...] = TASKS,
    why: str | Mapping[str, str] = "",
    **extra: Any,
) -> Any:
    """A dataclass field with its remark, which is also its help text on the command line.

    ``tasks``: those of ``TASKS`` that it applies to; ``why`` it says nothing to the others, one reason or one a task.
    ``extra``: how it looks there (``short``, ``metavar``, ``name``, ``choices``, ``commas``, ``argument``).
    """
    metadata = {"help": help, **extra} if help else extra
    if tasks != TASKS:
        metadata |= {"tasks": tasks, "why": why}
    return field(default=default, metadata=metadata)


def iter_settings(settings: type) -> Iterator[tuple[Field[Any], type]]:
    """The fields of a dataclass, with those of its groups, and the dataclass that each stands in."""
    for own in fields(settings):
        if "group" in own.metadata:
            assert isinstance(own.default_factory, type)
            yield from iter_settings(own.default_factory)
        else:
            yield own, settings


def find_inapplicable(settings: type, task: str) -> dict[str, str]:
    """Names of the settings that say nothing to a training of ``task`` (one of ``TASKS``), and why."""
    found = {}
    for own, _ in iter_settings(settings):
        if task not in own.metadata.get("tasks", TASKS):
            why = own.metadata["why"]
            found[own.name] = why if isinstance(why, str) else why[task]
    return found


def describe_tasks(own: Field[Any]) -> str:
    """For the help: the tasks that a setting applies to, or the one that it does not; "" where it applies to all."""
    tasks = own.metadata.get("tasks", TASKS)
    others = [task for task in TASKS if task not in tasks]
    if not others:
        return ""
    return f"not {others[0]}" if len(others) == 1 else f"only {', '.join(tasks)}"

"""Groups of labels: fifty-nine garments become "person", or a dozen of them.

A grouping is written in a small TOML file or in one line on the command line:

    [groups]                                  --group "background=null; person=rest"
    background = ["null"]
    top = ["shirt", "blouse", "t-shirt"]
    person = ["rest"]         # every label not named elsewhere
    ignore = ["watch"]        # the reserved name: these pixels count for nothing

The order of the groups is the order of the new values; ``ignore`` gets none.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.labels import IGNORE, Labels

REST = "rest"
IGNORED = "ignore"


@dataclass(frozen=True)
class Grouping:
    """Group names, each with the labels it takes."""

    groups: tuple[tuple[str, tuple[str, ...]], ...]

    def labels(self) -> Labels:
        return Labels(names=tuple(name for name, _ in self.groups if name != IGNORED))

    def table(self, labels: Labels) -> np.ndarray:
        """uint8 (256,): old value -> new value. Raises DataError for labels that ``labels`` does not have."""
        known = {name: value for value, name in enumerate(labels.names)}
        unknown = [m for _, members in self.groups for m in members if m != REST and m not in known]
        if unknown:
            raise DataError(
                f"the grouping names labels that the data does not have: {', '.join(unknown)}. "
                f"It has: {', '.join(labels.names)}"
            )
        table = np.full(256, IGNORE, np.uint8)
        values = [name for name, _ in self.groups if name != IGNORED]
        new_value = {name: values.index(name) if name != IGNORED else IGNORE for name, _ in self.groups}
        for name, members in self.groups:  # "rest" first, so that what is named wins
            if REST in members:
                table[: len(labels)] = new_value[name]
        for name, members in self.groups:
            for member in members:
                if member != REST:
                    table[known[member]] = new_value[name]
        return table


def parse_grouping(text: str, least: int = 2) -> Grouping:
    """``text`` is the path of a TOML file, or groups in one line: ``background=null; person=rest``. ``least``: groups
    that there must be; one is enough for objects."""
    if text.endswith(".toml"):
        return _read_grouping(Path(text), least)
    groups = []
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, equals, members = part.partition("=")
        if not equals:
            raise DataError(f"grouping {part!r} has no '='; write it like: background=null; person=hair,skin,rest")
        groups.append((name.strip(), tuple(m.strip() for m in members.split(",") if m.strip())))
    return _check(groups, f"grouping {text!r}", least)


def _read_grouping(path: Path, least: int) -> Grouping:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: the grouping cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file ({error})") from error
    groups = values.get("groups")
    if not isinstance(groups, dict) or not all(isinstance(m, list) for m in groups.values()):
        raise DataError(f'{path}: expected a table [groups] with lines such as person = ["hair", "skin"]')
    return _check([(name, tuple(str(m) for m in members)) for name, members in groups.items()], str(path), least)


def _check(groups: list[tuple[str, tuple[str, ...]]], source: str, least: int) -> Grouping:
    kept = [name for name, _ in groups if name != IGNORED]
    if len(kept) < least or len(set(kept)) != len(kept):
        count = "two or more groups" if least == 2 else "groups"
        raise DataError(f"{source}: needs {count} of different names; got {', '.join(kept) or 'none'}")
    members = [m for _, ms in groups for m in ms]
    twice = sorted({m for m in members if members.count(m) > 1})
    if twice:
        raise DataError(f"{source}: these labels stand in two groups: {', '.join(twice)}")
    return Grouping(tuple(groups))

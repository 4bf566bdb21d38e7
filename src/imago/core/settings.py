"""Fields of settings dataclasses: one remark serves the reader, the command line and the docs."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any


def setting(default: Any = MISSING, help: str = "", **extra: Any) -> Any:
    """A dataclass field with its remark, which is also its help text on the command line.

    ``extra``: how it looks there (``short``, ``metavar``, ``name``, ``choices``, ``commas``, ``argument``).
    """
    return field(default=default, metadata={"help": help, **extra} if help else extra)

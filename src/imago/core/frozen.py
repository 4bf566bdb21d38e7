"""Values that nobody can write to: read-only views of arrays, alone or in the fields of a dataclass."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np

Whole = TypeVar("Whole")


def freeze_array(values: Any) -> Any:
    """An array that cannot be written to, over the same memory; None stays None."""
    if values is None:
        return None
    view = values.view()
    view.flags.writeable = False
    return view


def freeze(whole: Whole) -> Whole:
    """The same dataclass with arrays that cannot be written to, over the same memory; None stays None."""
    if whole is None:
        return whole
    values = {field.name: getattr(whole, field.name) for field in fields(whole)}  # type: ignore[arg-type]
    arrays = {name: freeze_array(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    return replace(whole, **arrays)  # type: ignore[type-var]

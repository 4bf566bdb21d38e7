"""Which class of a model is which class of the data: the one place where they are brought together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.text import plural


@dataclass(frozen=True)
class ClassMatch:
    """``values``: for each class of the model its value in the data, 0 where the data do not know it."""

    values: np.ndarray  # int64 (classes of the model,)
    note: str = ""  # what the user should know of it, one line

    @property
    def is_identity(self) -> bool:
        return np.array_equal(self.values, np.arange(len(self.values)))

    def rename(self, found: Instances) -> Instances:
        """The objects in the data's classes, without those that the data do not mark: these are no mistakes."""
        if self.is_identity:
            return found
        kept = found[self.values[found.classes] > 0]
        return replace(kept, classes=self.values[kept.classes])

    def relabel(self, label_map: np.ndarray) -> np.ndarray:
        """A label map (H, W) in the data's values; what the data do not mark becomes background."""
        return label_map if self.is_identity else self.values.astype(label_map.dtype)[label_map]


def match_classes(own: Labels, wanted: Labels, *, model: str, data: object = "") -> ClassMatch:
    """``own`` labels of the model ``model``, and the ``wanted`` ones of ``data`` (a folder, for the message).

    By their names, where the model knows all that are wanted: it may know more (one of COCO's 80 knows more than most
    data have), if both have the same background, which the rest can become. Else by their order, where there are as
    many, and ``note`` says so. Raises DataError where neither can be.
    """
    same = set(own.names) == set(wanted.names)
    rest = wanted.background
    alike = rest is not None and own.background is not None and own.names[own.background] == wanted.names[rest]
    if same or (alike and set(wanted.names) <= set(own.names)):
        table = [wanted.names.index(name) if name in wanted.names else rest for name in own.names]
        return ClassMatch(np.array(table, np.int64))
    if len(own) == len(wanted):
        return ClassMatch(
            np.arange(len(own)),
            f"the classes are matched by their order: {shorten_names(wanted.names)} in the data, "
            f"{shorten_names(own.names)} in the model",
        )
    raise DataError(
        (f"{data}: " if data else "")
        + f"the data has {plural(len(wanted), 'class')} ({shorten_names(wanted.names)}), but the model "
        f"{model!r} has {len(own)} ({shorten_names(own.names)}); "
        "both need the same number in one order, or "
        "the model all names of the data's: bring them together with --group"
    )


def shorten_names(names: tuple[str, ...], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more

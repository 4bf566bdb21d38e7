"""What is odd about the data of a run, said before the training: what cannot be learnt, or what no score can see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from imago.core.labels import IGNORE, Labels
from imago.training.sources import RunData

ClassesOf = Callable[[Any], Sequence[int]]  # a sample -> values of ``labels`` that it shows


def shown_in_label_map(sample: Any) -> list[int]:
    """Classes of a sample of pixels."""
    values = np.flatnonzero(np.bincount(sample.label_map().ravel(), minlength=IGNORE + 1))
    return [int(value) for value in values if value != IGNORE]


def shown_as_instances(sample: Any) -> list[int]:
    """Classes of a sample of objects."""
    return np.unique(sample.instances().classes).tolist()


def find_doubts(data: RunData[Any], classes_of: ClassesOf, first: int = 0) -> tuple[str, ...]:
    """A line each. Reads the truth of every photo. ``first``: the first value that can be learnt, 1 for objects."""
    training = [sample for source in data.train for sample in source.samples]
    trained, judged = (_count(samples, classes_of, data.labels) for samples in (training, data.val_samples))
    doubts = []
    shown = [name for name, count in zip(data.labels.names[first:], trained[first:], strict=True) if count]
    if len(shown) < 2 - first:
        what = f"the training photos show {shown[0]!r} alone" if shown else "no training photo shows any class"
        doubts.append(f"nothing is annotated that could be learnt: {what}; look at the masks with: imago data check")
    else:
        for value in range(first, len(data.labels)):
            name = data.labels.names[value]
            if not trained[value]:
                seen = f" (photos for validation that do: {judged[value]})" if judged[value] else ""
                doubts.append(f"class {name!r}: no training photo shows it{seen}; it cannot be learnt")
            elif not judged[value]:
                doubts.append(f"class {name!r}: no validation photo shows it; no score can tell how well it is learnt")
    own = {sample.image_path for sample in training}
    both = sum(sample.image_path in own for sample in data.val_samples)
    if both:
        doubts.append(
            f"validation photos that are trained on as well: {both} of {len(data.val_samples)}; the scores say how "
            "well they are known by heart, so keep some photos apart"
        )
    return tuple(doubts)


def with_doubts(data: RunData[Any], classes_of: ClassesOf, first: int = 0) -> RunData[Any]:
    """``data`` with what is odd about them among the notes, which are said before the training and in its report."""
    return replace(data, notes=(*data.notes, *find_doubts(data, classes_of, first)))


def _count(samples: Sequence[Any], classes_of: ClassesOf, labels: Labels) -> list[int]:
    """For each class how many of the samples show it."""
    counts = [0] * len(labels)
    for sample in samples:
        for value in classes_of(sample):
            counts[value] += 1
    return counts

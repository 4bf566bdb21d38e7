"""Classes of a model and of the data, brought together by name: one table for every task."""

from __future__ import annotations

import numpy as np
import pytest

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.evaluation.classes import match_classes, shorten_names


@pytest.mark.parametrize(
    ("own", "wanted", "values", "note"),
    [
        ("bg cat dog", "bg cat dog", [0, 1, 2], ""),
        ("bg cat dog", "bg dog cat", [0, 2, 1], ""),
        ("bg subject", "subject bg", [1, 0], ""),  # the same names, another order, background and all
        ("bg cat dog", "bg dog", [0, 0, 1], ""),  # what the data do not know becomes background
        ("bg cat dog cow", "bg cow cat", [0, 2, 0, 1], ""),
        ("bg subject", "ground disc", [0, 1], "matched by their order: ground, disc in the data, bg, subject in the"),
        ("cat dog", "cat cow", [0, 1], "matched by their order"),
        ("bg cat dog", "ground cat dog", [0, 1, 2], "matched by their order"),
    ],
)
def test_matches(own: str, wanted: str, values: list[int], note: str) -> None:
    match = match_classes(Labels(tuple(own.split())), Labels(tuple(wanted.split())), model="m")
    assert match.values.tolist() == values
    assert (note in match.note) if note else not match.note
    assert match.is_identity == (values == list(range(len(own.split()))))


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ("bg cat", "bg cat dog"),
        ("cat dog cow", "dog cow"),  # another first class: nothing that the cat could become
        ("bg cat dog", "bg cow"),
    ],
)
def test_what_cannot_be_matched_is_one_line(own: str, wanted: str) -> None:
    one, other = len(own.split()), len(wanted.split())
    with pytest.raises(
        DataError, match=rf"folder: the data has {other} classes .* model 'm' has {one} .* --group"
    ) as said:
        match_classes(Labels(tuple(own.split())), Labels(tuple(wanted.split())), model="m", data="folder")
    assert "\n" not in str(said.value)


def test_label_maps_and_objects_are_renamed() -> None:
    match = match_classes(Labels(("bg", "cat", "dog", "cow")), Labels(("bg", "cow", "cat")), model="m")
    label_map = np.array([[0, 1, 2, 3]], np.uint8)
    assert match.relabel(label_map).tolist() == [[0, 2, 0, 1]]
    assert match.relabel(label_map).dtype == np.uint8
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4]], np.float32)
    found = match.rename(Instances.make((8, 8), boxes, np.array([1, 2, 3])))
    assert found.classes.tolist() == [2, 1]  # the dog, which the data do not mark, is no mistake
    assert found.boxes.tolist() == boxes[[0, 2]].tolist()


def test_many_names_are_shortened() -> None:
    assert shorten_names(("a", "b", "c"), 2) == "a, b and 1 more"

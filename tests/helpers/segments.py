"""Segments for tests: made of small maps, at random, and counted by the reference's own procedure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from imago.core.panoptic import Panoptic, Segment

THINGS = (1, 2)  # of the classes 1 to 4


def segments(rows: Sequence[Sequence[int]], classes: Mapping[int, int], crowd: Sequence[int] = ()) -> Panoptic:
    """``rows``: ids; ``classes``: id -> class, 1 and 2 are things; ``crowd``: ids."""
    found = [Segment(number, value, value in THINGS, crowd=number in crowd) for number, value in classes.items()]
    return Panoptic.of(np.array(rows, np.int32), found)


@st.composite
def panoptics(draw: st.DrawFn, crowds: bool = False, void: bool = True, size: int = 6) -> Panoptic:
    """Up to six segments of four classes; of stuff one a class, of crowds one a class."""
    ids = [draw(st.integers(1, 1 << 17)) for _ in range(6)]
    classes: dict[int, int] = {}
    crowd: list[int] = []
    for number in dict.fromkeys(ids):
        value = draw(st.integers(1, 4))
        if value in THINGS or value not in classes.values():
            classes[number] = value
            has_crowd = any(classes[other] == value for other in crowd)
            if crowds and value in THINGS and not has_crowd and draw(st.booleans()):
                crowd.append(number)
    choices = [*([0] if void else []), *classes]
    cells = draw(st.lists(st.integers(0, len(choices) - 1), min_size=size * size, max_size=size * size))
    rows = np.array(choices, np.int32)[np.array(cells)].reshape(size, size)
    return segments(rows, classes, crowd)  # type: ignore[arg-type]


def count_as_panopticapi(found: Panoptic, truth: Panoptic, classes: int) -> np.ndarray:
    """float64 (classes, 4), step by step as ``pq_compute_single_core`` of panopticapi does it."""
    counts = np.zeros((classes, 4))
    wanted, got = ({each.id: each for each in side.segments} for side in (truth, found))
    pairs: dict[tuple[int, int], int] = {}
    for pair in zip(truth.id_map.ravel().tolist(), found.id_map.ravel().tolist(), strict=True):
        pairs[pair] = pairs.get(pair, 0) + 1
    true_matched, found_matched = set(), set()
    for (true_id, found_id), intersection in pairs.items():
        if true_id not in wanted or found_id not in got or wanted[true_id].crowd:
            continue
        if wanted[true_id].value != got[found_id].value:
            continue
        union = got[found_id].area + wanted[true_id].area - intersection - pairs.get((0, found_id), 0)
        if intersection / union > 0.5:
            counts[wanted[true_id].value, :2] += intersection / union, 1
            true_matched.add(true_id)
            found_matched.add(found_id)
    crowds = {}
    for true_id, segment in wanted.items():
        if true_id not in true_matched and segment.crowd:
            crowds[segment.value] = true_id
        elif true_id not in true_matched:
            counts[segment.value, 3] += 1
    for found_id, segment in got.items():
        if found_id not in found_matched:
            intersection = pairs.get((0, found_id), 0)
            if segment.value in crowds:
                intersection += pairs.get((crowds[segment.value], found_id), 0)
            counts[segment.value, 2] += intersection / segment.area <= 0.5
    return counts

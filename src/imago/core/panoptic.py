"""One image parted into segments: each object of a thing class by itself, each class of stuff in one.

Kirillov et al. 2019, "Panoptic Segmentation", arXiv:1801.00868. A pixel lies in one segment at most; those that lie in
none are void.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from imago.core.instances import CroppedMask, Instances
from imago.core.labels import Labels

VOID = 0  # the id of pixels in no segment
MOST_IDS = 1 << 24  # ids are stored in the three bytes of a colour


@dataclass(frozen=True)
class Segment:
    """An object, or all of an image that is of one class of stuff."""

    id: int  # its value in the id map, 1 and more
    value: int  # class: a value of ``Labels``, whose 0 is the background
    is_thing: bool
    area: int = 0  # pixels; ``Panoptic.of`` counts them
    score: float | None = None  # 0..1, of an object that a model found
    crowd: bool = False  # many objects that nobody outlined one by one


@dataclass(frozen=True, eq=False)
class Panoptic:
    """The segments of one image. Raises ValueError where map and segments do not belong together."""

    id_map: np.ndarray = field(repr=False)  # int32 (H, W): ids of the segments, 0 where there is none
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if self.id_map.dtype != np.int32 or self.id_map.ndim != 2:
            raise ValueError(f"an id map is int32 (H, W); got {self.id_map.dtype} {self.id_map.shape}")
        counts = count_ids(self.id_map)
        counts.pop(VOID, None)
        stated: dict[int, int] = {}
        for segment in self.segments:
            if not 0 < segment.id < MOST_IDS or segment.id in stated:
                raise ValueError(f"ids of segments are each another, from 1 to {MOST_IDS - 1}; got {segment.id}")
            if segment.value < 1:
                raise ValueError(f"segment {segment.id} is of class {segment.value}; classes of segments are 1 or more")
            stated[segment.id] = segment.area
        for number in sorted(counts.keys() | stated.keys()):
            if counts.get(number) != stated.get(number):
                raise ValueError(
                    f"segment {number} has {counts.get(number, 'no')} pixels in the map, and "
                    f"{stated.get(number, 'no')} by the list of segments"
                )

    @classmethod
    def of(cls, id_map: np.ndarray, segments: Iterable[Segment]) -> Panoptic:
        """The same with the areas counted in ``id_map``, int32 (H, W). Segments without a pixel are left out."""
        counts = count_ids(id_map)
        return cls(id_map, tuple(replace(each, area=counts[each.id]) for each in segments if each.id in counts))

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.id_map.shape[0], self.id_map.shape[1]

    def to_label_map(self) -> np.ndarray:
        """uint16 (H, W): the class of each pixel, 0 where no segment is."""
        return self.look_up(segment.value for segment in self.segments).astype(np.uint16)

    def look_up(self, values: Iterable[int]) -> np.ndarray:
        """int32 (H, W): for each pixel the value of its segment, of ``values`` in their order; 0 where none is."""
        ids = np.array([VOID, *(segment.id for segment in self.segments)], np.int64)
        table = np.array([0, *values], np.int32)
        if ids.max() < 1 << 16:
            whole = np.zeros(int(ids.max()) + 1, np.int32)
            whole[ids] = table
            return whole[self.id_map]
        order = np.argsort(ids)
        return table[order][np.searchsorted(ids[order], self.id_map)]

    def with_values(self, values: np.ndarray) -> Panoptic:
        """The same with ``values``, int64 (K,), in place of the classes 0 to K - 1; segments whose new class is 0 are
        gone."""
        kept = tuple(replace(each, value=int(values[each.value])) for each in self.segments if values[each.value] > 0)
        if len(kept) == len(self.segments):
            return replace(self, segments=kept)
        return Panoptic(self.look_up(each.id if values[each.value] > 0 else VOID for each in self.segments), kept)

    def shrink(self, size_hw: tuple[int, int]) -> Panoptic:
        """The same segments in an image of ``size_hw``, by the nearest pixel."""
        rows, columns = (
            np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
            for new, old in zip(size_hw, self.size_hw, strict=True)
        )
        return Panoptic.of(self.id_map[np.ix_(rows, columns)], self.segments)

    def boxes(self) -> np.ndarray:
        """int64 (K, 4): x1 y1 x2 y2 of each segment."""
        numbers = self.look_up(range(1, len(self.segments) + 1))
        spans = []
        for across in (numbers.T, numbers):  # columns, then rows
            across = np.ascontiguousarray(across)
            there = np.zeros((len(across), len(self.segments) + 1), bool)
            for index, line in enumerate(across):
                there[index, line] = True
            there = there[:, 1:]
            spans.append((there.argmax(axis=0), len(there) - there[::-1].argmax(axis=0)))
        (x1, x2), (y1, y2) = spans
        return np.stack([x1, y1, x2, y2], axis=1).astype(np.int64)

    def things(self) -> Instances:
        """The segments of things as objects, the best score first; their masks are the parts that can be seen."""
        boxes = self.boxes()
        chosen = [index for index, segment in enumerate(self.segments) if segment.is_thing]
        chosen.sort(key=lambda index: -self._score(index))
        masks = []
        for index in chosen:
            x1, y1, x2, y2 = (int(value) for value in boxes[index])
            masks.append(CroppedMask.from_mask(self.id_map[y1:y2, x1:x2] == self.segments[index].id, x1, y1))
        return Instances.make(
            self.size_hw,
            boxes[chosen],
            [self.segments[index].value for index in chosen],
            [self._score(index) for index in chosen],
            masks,
            [self.segments[index].crowd for index in chosen],
        )

    def _score(self, index: int) -> float:
        score = self.segments[index].score
        return 1.0 if score is None else score


def count_ids(id_map: np.ndarray) -> dict[int, int]:
    """Pixels of each id that is in an integer map (H, W)."""
    if not id_map.size:
        return {}
    if int(id_map.min()) >= 0 and int(id_map.max()) < 1 << 16:
        counts = np.bincount(id_map.ravel())
        ids = np.flatnonzero(counts)
        return dict(zip(ids.tolist(), counts[ids].tolist(), strict=True))
    ids, counts = np.unique(id_map, return_counts=True)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


def check_segments(panoptic: Panoptic, labels: Labels, size_hw: tuple[int, int]) -> None:
    """Raises ValueError for segments of another image, or of classes that there are not."""
    if panoptic.size_hw != size_hw:
        raise ValueError(f"the photo is {size_hw}, its segments are of an image of {panoptic.size_hw}")
    wrong = next((segment for segment in panoptic.segments if segment.value >= len(labels)), None)
    if wrong is not None:
        raise ValueError(f"segment {wrong.id} is of class {wrong.value}; the labels end at {len(labels) - 1}")


def ids_to_rgb(ids: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) of integer ids (H, W): red + 256 green + 256² blue, COCO's rule."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)


def rgb_to_ids(colors: np.ndarray) -> np.ndarray:
    """int32 (H, W) of uint8 (H, W, 3)."""
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return red + (green << 8) + (blue << 16)

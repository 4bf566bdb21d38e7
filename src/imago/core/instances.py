"""Objects in one image: boxes, classes, scores, and masks that are kept small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from imago.core import boxes as boxes_
from imago.core.rle import encode_rle


@dataclass(frozen=True)
class CroppedMask:
    """One object's mask: the bits of its own rectangle. Outside of that all is 0."""

    left: int  # pixels of the image
    top: int
    size_hw: tuple[int, int]  # of the rectangle
    bits: bytes = field(repr=False)  # row by row, eight pixels a byte (numpy.packbits)

    @classmethod
    def from_mask(cls, mask: np.ndarray, left: int = 0, top: int = 0) -> CroppedMask:
        """bool (h, w) whose corner lies at ``left``, ``top`` of the image; it is cut to what is set."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return cls(left, top, (0, 0), b"")
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        bits = np.packbits(np.asarray(part, bool)).tobytes()
        return cls(left + int(columns[0]), top + int(rows[0]), (part.shape[0], part.shape[1]), bits)

    @property
    def crop(self) -> np.ndarray:
        """bool (h, w) of the rectangle."""
        height, width = self.size_hw
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=height * width)
        return flat.reshape(height, width).astype(bool)

    @property
    def area(self) -> int:
        """Pixels that are set."""
        return int(np.unpackbits(np.frombuffer(self.bits, np.uint8)).sum(dtype=np.int64))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1 y1 x2 y2."""
        return self.left, self.top, self.left + self.size_hw[1], self.top + self.size_hw[0]

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle in an array of the image."""
        return slice(self.top, self.top + self.size_hw[0]), slice(self.left, self.left + self.size_hw[1])

    def iou(self, other: CroppedMask) -> float:
        """Pixels in both over pixels in either, 0..1; 1 where neither has any."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.box[2], other.box[2]), min(self.box[3], other.box[3])
        common = 0
        if left < right and top < bottom:
            first, second = (
                mask.crop[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]
                for mask in (self, other)
            )
            common = int((first & second).sum())
        either = self.area + other.area - common
        return common / either if either else 1.0

    def to_full(self, size_hw: tuple[int, int]) -> np.ndarray:
        """bool (H, W), the whole image."""
        whole = np.zeros(size_hw, bool)
        whole[self.slices] = self.crop
        return whole

    def to_rle(self, size_hw: tuple[int, int]) -> list[int]:
        """COCO's run lengths in the whole image."""
        width = self.size_hw[1]
        if not width:
            return encode_rle(np.zeros(size_hw, bool))
        # The columns that it lies in, then the empty ones beside them: 1,000 objects need not be drawn at full size.
        part = CroppedMask(0, self.top, self.size_hw, self.bits).to_full((size_hw[0], width))
        lengths = encode_rle(part)
        lengths[0] += self.left * size_hw[0]
        after = (size_hw[1] - self.left - width) * size_hw[0]
        if len(lengths) % 2:  # ends with zeros
            lengths[-1] += after
        elif after:
            lengths.append(after)
        return lengths


_COLUMNS = ("boxes", "classes", "scores", "crowd", "difficult", "stated_areas")  # arrays with a row for each object


@dataclass(frozen=True)
class Instances:
    """K objects of one image, the best score first where a model found them; of a data set in its order.

    ``classes`` are values of ``Labels``: 0 is the background, so an object's is 1 or more. ``crowd``: regions of many
    objects that nobody outlined one by one (COCO's iscrowd).
    """

    size_hw: tuple[int, int]
    boxes: np.ndarray  # float32 (K, 4) x1 y1 x2 y2, pixels of the image
    classes: np.ndarray  # int64 (K,)
    scores: np.ndarray  # float32 (K,), 0..1; 1 for annotations
    cropped: tuple[CroppedMask, ...] | None = None  # K masks, or None where there are boxes alone
    crowd: np.ndarray | None = None  # bool (K,); None is all False
    difficult: np.ndarray | None = None  # bool (K,): VOC's mark for objects that scores pass over; None is all False
    stated_areas: np.ndarray | None = None  # float64 (K,): a COCO file's "area", which tells small from large

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if self.boxes.shape != (count, 4):
            raise ValueError(f"boxes must be (K, 4); got {self.boxes.shape}")
        for name in _COLUMNS[1:]:
            values = getattr(self, name)
            if values is not None and values.shape != (count,):
                raise ValueError(f"boxes need as many {name}, here {count}; got shape {values.shape}")
        if self.cropped is not None and len(self.cropped) != count:
            raise ValueError(f"boxes need as many masks, here {count}; got {len(self.cropped)}")
        for index, mask in enumerate(self.cropped or ()):
            left, top, right, bottom = mask.box
            if left < 0 or top < 0 or right > self.size_hw[1] or bottom > self.size_hw[0]:
                raise ValueError(
                    f"mask {index} lies at {mask.box}, outside of the {self.size_hw[0]} x {self.size_hw[1]} image"
                )

    @classmethod
    def make(
        cls,
        size_hw: tuple[int, int],
        boxes: object = (),
        classes: object = (),
        scores: object | None = None,
        cropped: Sequence[CroppedMask] | None = None,
        crowd: object | None = None,
        difficult: object | None = None,
        stated_areas: object | None = None,
    ) -> Instances:
        """The same from lists; ``scores`` are 1 where there are none."""
        found = boxes_.as_boxes(boxes)

        def column(values: object, dtype: type) -> np.ndarray:
            return np.asarray(values, dtype).reshape(len(found))

        return cls(
            size_hw=(int(size_hw[0]), int(size_hw[1])),
            boxes=found,
            classes=column(classes, np.int64),
            scores=column(np.ones(len(found)) if scores is None else scores, np.float32),
            cropped=None if cropped is None else tuple(cropped),
            crowd=None if crowd is None else column(crowd, bool),
            difficult=None if difficult is None else column(difficult, bool),
            stated_areas=None if stated_areas is None else column(stated_areas, np.float64),
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: np.ndarray) -> Instances:
        """Those at the indices, or where a bool (K,) is True."""
        index = np.flatnonzero(chosen) if np.asarray(chosen).dtype == bool else np.asarray(chosen, np.int64)
        columns = {name: getattr(self, name) for name in _COLUMNS}
        kept: dict[str, Any] = {name: None if values is None else values[index] for name, values in columns.items()}
        return replace(self, cropped=None if self.cropped is None else tuple(self.cropped[i] for i in index), **kept)

    @property
    def masks(self) -> np.ndarray:
        """bool (K, H, W): all masks at full size; K * H * W bytes, so ask for it where that is little."""
        whole = np.zeros((len(self), *self.size_hw), bool)
        for index, mask in enumerate(self.cropped or ()):
            whole[index][mask.slices] = mask.crop
        if self.cropped is None and len(self):
            raise ValueError("these objects have boxes alone; ask a model that gives masks")
        return whole

    @property
    def areas(self) -> np.ndarray:
        """float64 (K,): pixels of the masks, or of the boxes where there are none."""
        if self.cropped is None:
            return boxes_.area(self.boxes).astype(np.float64)
        return np.array([mask.area for mask in self.cropped], np.float64)

    def to_label_image(self) -> np.ndarray:
        """uint16 (H, W): 0, or the number (1..K) of the object that is there; where several are, the first wins.
        Objects without masks are their boxes. Past 65,535 objects uint32."""
        whole = np.zeros(self.size_hw, np.uint16 if len(self) < 65_536 else np.uint32)
        for index in reversed(range(len(self))):
            where, crop = self.region(index)
            whole[where][crop] = index + 1
        return whole

    def region(self, index: int) -> tuple[tuple[slice, slice], np.ndarray]:
        """Where object ``index`` lies, and bool (h, w) of its pixels there."""
        if self.cropped is not None:
            return self.cropped[index].slices, self.cropped[index].crop
        x1, y1, x2, y2 = (round(float(v)) for v in boxes_.clip(self.boxes[index : index + 1], self.size_hw)[0])
        return (slice(y1, max(y1, y2)), slice(x1, max(x1, x2))), np.ones((max(0, y2 - y1), max(0, x2 - x1)), bool)

    def __iter__(self) -> Iterator[Instances]:
        """One object at a time."""
        return (self[np.array([index])] for index in range(len(self)))


def masks_to_boxes(masks: Sequence[CroppedMask]) -> np.ndarray:
    """float32 (K, 4): the rectangles of masks."""
    return boxes_.as_boxes([mask.box for mask in masks])

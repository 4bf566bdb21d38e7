"""Photos without a subject: a folder of photos alone, whose label maps are background everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.core.text import plural
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import require_folder
from imago.data.formats.pairing import find_places, index_by_stem
from imago.data.splits import NAMES, Splits, find_splits
from imago.files.images import SUFFIXES, image_size


@dataclass(frozen=True)
class EmptyReader:
    """The label map of a photo without a subject: zeros of its size."""

    path: Path

    def __call__(self) -> np.ndarray:
        return np.zeros(image_size(self.path), np.uint8)


def survey_empty(
    root: Path, labels: Labels, channels: int = 3, val: Sequence[str] = ()
) -> tuple[Dataset, tuple[str, ...]]:
    """The photos in ``root`` (and its sub-folders) as a data set of class 0 alone, and the faults of naming.

    ``labels``: the classes of the folders that it is trained with; the first must be the background. All photos are
    for training, unless ``val`` or a train.txt says otherwise. Raises DataError where nothing can be opened.
    """
    require_folder(root, "photos without a subject")
    if labels.background != 0:
        raise DataError(
            f"{root}: photos without a subject are background, but class 0 is {labels.names[0]!r}; "
            "group the other folders so that their first class is background"
        )
    if places := find_places(root):
        raise DataError(
            f"{root}: has masks in {places[0].masks.name}/, but empty means photos without any; leave out empty"
        )
    photos, faults = index_by_stem(root, SUFFIXES)
    if not photos:
        raise DataError(f"{root}: holds no photos (looked for {', '.join(sorted(SUFFIXES))})")
    names = sorted(photos)
    divided = Splits({"train": tuple(names), "val": ()})
    if any((root / f"{split}.txt").is_file() for split in NAMES):
        divided = find_splits(root, names)
    samples = {name: Sample(name, photos[name], channels, read_label_map=EmptyReader(photos[name])) for name in names}
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    dataset = Dataset(root, labels, splits, (f"{plural(len(names), 'photo')} without a subject", *divided.notes))
    faults += divided.faults
    if val:
        dataset, unknown = dataset.with_val(val)
        faults += unknown
    return dataset, tuple(faults)

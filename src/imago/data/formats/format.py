"""What a format is: how a folder of it is recognised and read, and what it cannot hold. The table is catalog.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.read_settings import ReadSettings
from imago.core.text import to_utf8
from imago.data.dataset import Dataset
from imago.files.writing import atomic_write

USUAL = ReadSettings()

Task = Literal["semantic", "detection"]
Truth = Literal["label maps", "objects"]


@dataclass(frozen=True)
class ReadOptions:
    """How a folder is read, whatever its format. Formats pass over what is not theirs."""

    channels: int = 3
    licenses: tuple[int, ...] = ()  # COCO: only photos whose licence id is one of these
    masks: bool | None = None  # of objects: True demands them, False takes boxes alone, None takes what there is
    reading: ReadSettings = USUAL

    @property
    def clip(self) -> bool:
        """Whether boxes that stick out of the photo are cut, however far they do."""
        return self.reading.faulty == "clip"


Found = tuple[Dataset, tuple[str, ...]]  # without what is damaged, and the faults, one line each
Read = Callable[[Path, ReadOptions], Found]


@dataclass(frozen=True)
class Format:
    """One format. ``read_maps`` and ``read_objects`` raise DataError where nothing can be opened at all; what one of
    them lacks is made of the other (``data.convert``)."""

    name: str  # in words
    layout: str  # what lies where, for messages
    recognize: Callable[[Path], tuple[Truth, ...]]  # what a folder holds in this format; empty: it is another one
    cannot_hold: str
    read_maps: Read | None = None
    read_objects: Read | None = None
    has_mask_values: bool = False  # its objects are read from masks whose values are classes
    writers: tuple[Callable[..., None], ...] = ()  # the module's functions that write files of it


@dataclass(frozen=True)
class ImageDetections:
    """The objects of one photo, and what a written file is to call it."""

    file_name: str
    instances: Instances


def require_photos(found: Found) -> Found:
    """``found``. Raises DataError where it holds no photo and no fault says why."""
    dataset, faults = found
    if not faults and not dataset.split("all"):
        raise DataError(f"{dataset.root}: holds no photo that can be used")
    return found


def write_text(path: Path, text: str, overwrite: bool = False) -> None:
    """``text`` as a file in UTF-8, whole or not at all."""
    with atomic_write(path, overwrite) as stream:
        stream.write(to_utf8(text))

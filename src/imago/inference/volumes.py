"""Label maps of slices put together again: NIfTI is answered by NIfTI, a DICOM series by a DICOM SEG."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imago.core.errors import ImagoError
from imago.core.labels import Labels
from imago.files.inputs import VOLUME_SUFFIXES, InputImage
from imago.files.medical import find_place, write_nifti, write_segmentation
from imago.files.medical_kind import MedicalKind, find_kind
from imago.files.writing import atomic_write, exists


@dataclass
class Volume:
    """One volume: its slices from the lowest to the highest, and where its answer is written."""

    kind: MedicalKind
    slices: list[InputImage]
    target: Path
    maps: dict[InputImage, np.ndarray] = field(default_factory=dict)

    @property
    def sources(self) -> list[Path]:
        return list(dict.fromkeys(image.path for image in self.slices))


class VolumeWriter:
    """Gathers the label maps of ``images`` and writes each volume when its last slice is there. Label maps may be added
    from several threads at once."""

    def __init__(self, images: Sequence[InputImage], out: Path | None, overwrite: bool) -> None:
        """``out``: a folder, or None for beside the files. Raises ImagoError for what is no volume, for two that would
        be written to one file, and for files that are there already."""
        self.overwrite = overwrite
        self.volumes = _group(images, out)
        self._of = {image: volume for volume in self.volumes for image in volume.slices}
        self._lock = threading.Lock()
        twice = [str(path) for path, count in Counter(volume.target for volume in self.volumes).items() if count > 1]
        if twice:
            raise ImagoError(f"{twice[0]}: would be written for two volumes; write them to two folders")
        for volume in self.volumes:
            if volume.target.exists() and not overwrite:
                raise exists(volume.target)

    def add(self, image: InputImage, label_map: np.ndarray) -> None:
        """uint8 or uint16 (H, W)."""
        with self._lock:
            self._of[image].maps[image] = label_map

    def finish(self, image: InputImage, labels: Labels, model: str) -> Path | None:
        """Writes the volume of ``image`` if all its slices are there, and gives its path. Raises ImagoError."""
        volume = self._of[image]
        with self._lock:
            if len(volume.maps) < len(volume.slices):
                return None
        maps = [volume.maps[one] for one in volume.slices]
        volume.maps.clear()
        sizes = {one.shape for one in maps}
        if len(sizes) > 1:
            raise ImagoError(f"{volume.target}: its slices have several sizes ({', '.join(map(str, sorted(sizes)))})")
        with atomic_write(volume.target, self.overwrite) as stream:
            if volume.kind == "NIfTI":
                write_nifti(stream, maps, volume.slices[0].path)
            else:
                write_segmentation(stream, maps, volume.sources, labels, model)
        return volume.target

    def unfinished(self) -> list[str]:
        """A line for each volume that lacks slices."""
        return [
            f"{volume.target}: is not written, for {len(volume.slices) - len(volume.maps)} of its "
            f"{len(volume.slices)} slices failed"
            for volume in self.volumes
            if volume.maps
        ]


def _group(images: Sequence[InputImage], out: Path | None) -> list[Volume]:
    volumes: dict[str, Volume] = {}
    placed: dict[str, list[tuple[float, int, InputImage]]] = {}
    for image in images:
        kind = None if image.piped else find_kind(image.path)
        if kind is None:
            raise ImagoError(f"{image.path}: is neither DICOM nor NIfTI; --save volume is for those, mask for others")
        folder = image.path.parent if out is None else Path(out) / image.relative.parent
        place = find_place(image.path) if kind == "DICOM" else None
        key = str(image.path) if place is None else place.series
        name = image.stem
        if place is not None and not image.page:
            name = f"{image.path.resolve().parent.name}.series{place.number or '0'}"
        volumes.setdefault(key, Volume(kind, [], folder / (name + VOLUME_SUFFIXES[kind])))
        placed.setdefault(key, []).append((place.position if place else 0.0, image.page, image))
    for key, volume in volumes.items():
        volume.slices = [image for _, _, image in sorted(placed[key], key=lambda one: one[:2])]
    return list(volumes.values())

"""A data set of objects on disk: its format is found by looking at the folder.

In this order: COCO (coco.py), Pascal VOC (voc.py), one file an object (mask_files.py), YOLO
(yolo.py), label images (label_images.py). Opening reads names and annotation texts; pixels are read when
asked for, and looked at all at once by check_detection.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.data.detection import DetectionDataset
from imago.data.formats.coco import is_coco, survey_coco
from imago.data.formats.label_images import find_pair, survey_label_images
from imago.data.formats.mask_files import photo_folders, survey_masks
from imago.data.formats.voc import is_voc, survey_voc
from imago.data.formats.yolo import survey_yolo
from imago.data.formats.yolo_layout import is_yolo


def open_detection(
    root: Path | str,
    channels: int = 3,
    licenses: tuple[int, ...] = (),
    masks: bool | None = None,
    leave_out: bool = False,
) -> DetectionDataset:
    """Opens the objects in ``root``. Raises DataError that says what was expected and lists all faults.

    ``licenses``: of COCO, only photos whose licence id is one of these. ``masks``: True demands them, False takes
    boxes alone, None takes what there is. ``leave_out``: go on without what is damaged, and note how much that was
    (COCO's own file of 2017 has two boxes of no width).
    """
    dataset, faults = survey_detection(Path(root), channels, licenses, masks)
    if not faults:
        return dataset
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    if not leave_out:
        raise DataError(f"{root}: {count} in the data set", faults)
    return replace(dataset, notes=(*dataset.notes, f"{count} left out, the first: {faults[0]}"))


def survey_detection(
    root: Path, channels: int = 3, licenses: tuple[int, ...] = (), masks: bool | None = None
) -> tuple[DetectionDataset, tuple[str, ...]]:
    """What can be opened in ``root``, without what is damaged, and the faults: missing photos, two photos of one name,
    boxes that are none, classes that are not listed, unreadable texts.

    Raises DataError where nothing can be opened at all.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of data")
    if is_coco(root):
        return _keep_with_photos(*survey_coco(root, channels, licenses, masks))
    if licenses:
        raise DataError(f"{root}: licences are known of COCO's photos alone, and there is no instances_*.json")
    if is_voc(root):
        return _keep_with_photos(*survey_voc(root, channels, masks))
    if photo_folders(root):
        return _keep_with_photos(*_keep_masks(survey_masks(root, channels), masks))
    if is_yolo(root):
        return _keep_with_photos(*survey_yolo(root, channels, masks))
    if find_pair(root):
        return _keep_with_photos(*_keep_masks(survey_label_images(root, channels), masks))
    raise DataError(
        f"{root}: no annotated objects found; expected COCO's annotations/instances_*.json, VOC's JPEGImages/ and "
        "Annotations/, YOLO's images/ and labels/ with data.yaml, NAME/images/ and NAME/masks/ with a file an object, "
        "or images/ and masks/ in which every value is an object"
    )


@dataclass(frozen=True)
class BoxesOnly:
    """Reads the objects and drops their masks: their rectangles stay."""

    read: Callable[[], Instances]

    def __call__(self) -> Instances:
        return replace(self.read(), cropped=None)


def _keep_masks(
    found: tuple[DetectionDataset, tuple[str, ...]], masks: bool | None
) -> tuple[DetectionDataset, tuple[str, ...]]:
    """For formats of masks, whose boxes come from them."""
    dataset, faults = found
    if masks is not False:
        return found
    splits = {
        split: tuple(replace(sample, read_instances=BoxesOnly(sample.read_instances)) for sample in samples)
        for split, samples in dataset.splits.items()
    }
    return replace(dataset, splits=splits, has_masks=False), faults


def _keep_with_photos(dataset: DetectionDataset, faults: tuple[str, ...]) -> tuple[DetectionDataset, tuple[str, ...]]:
    if not faults and not dataset.split("all"):
        raise DataError(f"{dataset.root}: holds no photo that can be used")
    return dataset, faults

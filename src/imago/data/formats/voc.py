"""Pascal VOC's objects (Everingham et al. 2010): boxes from ``Annotations/*.xml``, or masks.

    JPEGImages/NAME.jpg    Annotations/NAME.xml    SegmentationObject/NAME.png    SegmentationClass/NAME.png
    ImageSets/Main/train.txt, val.txt              ImageSets/Segmentation/train.txt, val.txt

VOC's boxes count pixels from 1 and hold their last one: xmin ymin xmax ymax becomes x1 = xmin - 1, y1 = ymin - 1, x2 =
xmax, y2 = ymax. What is marked ``difficult`` counts neither way when VOC scores, so it comes as a crowd region, which
training and scoring leave out. Parts of an object (head, hand, foot) are not objects.

A segmented photo has a value an object in one file and a value a class in the other, 255 is the void round the rims
and over difficult objects. Most of VOC's photos have boxes alone; so masks are taken where every photo with boxes has
one, or where they are asked for.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core import boxes
from imago.core.errors import DataError
from imago.core.instances import Instances, masks_to_boxes
from imago.data.detection import DetectionDataset, DetectionSample
from imago.data.formats.checks import find_box_fault, instance_labels, read_class_list
from imago.data.formats.label_images import split_label_image
from imago.data.formats.label_maps import read_mask
from imago.data.formats.layouts import MASK_SUFFIXES, index_by_stem
from imago.data.splits import Splits, find_splits, split_names
from imago.files.images import SUFFIXES, image_size

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOID = 255


@dataclass(frozen=True)
class VocBox:
    """One ``<object>``."""

    name: str
    box: tuple[float, float, float, float]  # x1 y1 x2 y2
    difficult: bool


@dataclass(frozen=True)
class BoxReader:
    """Reads one photo's boxes."""

    image_path: Path
    size_hw: tuple[int, int] | None  # as the XML says; None: the photo's own
    instances: tuple[VocBox, ...]
    names: tuple[str, ...]  # of the labels, background first

    def __call__(self) -> Instances:
        size_hw = self.size_hw or image_size(self.image_path)
        return Instances.make(
            size_hw,
            boxes.clip(boxes.as_boxes([instance.box for instance in self.instances]), size_hw),
            [self.names.index(instance.name) for instance in self.instances],
            crowd=[instance.difficult for instance in self.instances],
        )


@dataclass(frozen=True)
class MaskReader:
    """Reads one photo's masks."""

    object_path: Path
    class_path: Path
    classes: int  # with the background

    def __call__(self) -> Instances:
        objects, classes = read_mask(self.object_path), read_mask(self.class_path)
        if objects.shape != classes.shape:
            raise DataError(f"{self.object_path}: is {objects.shape}, but {self.class_path} {classes.shape}")
        masks, values = [], []
        for number, mask in split_label_image(np.where(objects == VOID, 0, objects)):
            inside = classes[mask.slices][mask.crop]
            inside = inside[(inside != VOID) & (inside != 0)]
            if not inside.size:
                raise DataError(f"{self.object_path}: object {number} has no class in {self.class_path}")
            values.append(int(np.bincount(inside).argmax()))
            if values[-1] >= self.classes:
                raise DataError(f"{self.class_path}: class {values[-1]} is out of range; there are {self.classes - 1}")
            masks.append(mask)
        return Instances.make(objects.shape, masks_to_boxes(masks), values, cropped=masks)


def is_voc(root: Path) -> bool:
    return (root / "JPEGImages").is_dir() and any((root / f).is_dir() for f in ("Annotations", "SegmentationObject"))


def survey_voc(root: Path, channels: int = 3, masks: bool | None = None) -> tuple[DetectionDataset, tuple[str, ...]]:
    """The data set without what is damaged, and the faults. ``masks``: None, take them where every photo has one."""
    photos, photo_faults = index_by_stem(root / "JPEGImages", SUFFIXES)
    described, xml_faults = index_by_stem(root / "Annotations", (".xml",))
    outlined, mask_faults = index_by_stem(root / "SegmentationObject", MASK_SUFFIXES)
    if masks and not outlined:
        raise DataError(f"{root}: SegmentationObject/ holds no masks; there are boxes alone (masks=False)")
    faults = [*photo_faults, *xml_faults, *mask_faults]
    if masks or (masks is None and outlined and described.keys() <= outlined.keys()):
        return _open_masks(root, channels, photos, outlined, faults)
    note = (f"masks of {len(outlined)} photos are there as well; ask for them with masks=True",) if outlined else ()
    if not described:
        raise DataError(f"{root / 'Annotations'}: holds no .xml")
    faults += [f"{photos[n]}: no annotation Annotations/{n}.xml" for n in sorted(photos.keys() - described.keys())]
    faults += [f"{described[n]}: no photo JPEGImages/{n}.*" for n in sorted(described.keys() - photos.keys())]
    names = sorted(photos.keys() & described.keys())
    read = {name: _read_xml(described[name], faults) for name in names}
    listed = root / "classes.txt"
    used = {instance.name for _, instances in read.values() for instance in instances}
    usual = list(CLASSES) if used <= set(CLASSES) else sorted(used)
    classes = read_class_list(listed) if listed.is_file() else usual
    for name, (size_hw, instances) in read.items():
        faults += [
            f"{described[name]}: class {instance.name!r} is not in {listed.name}"
            for instance in instances
            if instance.name not in classes
        ]
        read[name] = size_hw, tuple(instance for instance in instances if instance.name in classes)
    labels = instance_labels(classes, root)
    samples = {
        name: DetectionSample(name, photos[name], BoxReader(photos[name], *read[name], labels.names), channels)
        for name in names
    }
    divided = _read_splits(root, "Main", names, photos.keys() | described.keys())
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    return DetectionDataset(root, labels, splits, False, (*divided.notes, *note)), (*faults, *divided.faults)


def _open_masks(
    root: Path, channels: int, photos: dict[str, Path], outlined: dict[str, Path], faults: list[str]
) -> tuple[DetectionDataset, tuple[str, ...]]:
    """Photos without masks are left alone: VOC has many."""
    classes, class_faults = index_by_stem(root / "SegmentationClass", MASK_SUFFIXES)
    faults += class_faults
    faults += [f"{outlined[n]}: no photo JPEGImages/{n}.*" for n in sorted(outlined.keys() - photos.keys())]
    faults += [f"{outlined[n]}: no SegmentationClass/{n}.png" for n in sorted(outlined.keys() - classes.keys())]
    names = sorted(photos.keys() & outlined.keys() & classes.keys())
    listed = root / "classes.txt"
    labels = instance_labels(read_class_list(listed) if listed.is_file() else CLASSES, root)
    samples = {
        name: DetectionSample(name, photos[name], MaskReader(outlined[name], classes[name], len(labels)), channels)
        for name in names
    }
    divided = _read_splits(root, "Segmentation", names, set(outlined))
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    return DetectionDataset(root, labels, splits, True, divided.notes), (*faults, *divided.faults)


def _read_splits(root: Path, kind: str, names: list[str], known: set[str]) -> Splits:
    """From ``ImageSets/KIND``; a lone ``trainval.txt`` is divided."""
    folder = root / "ImageSets" / kind
    if (folder / "trainval.txt").is_file() and not (folder / "train.txt").is_file():
        words = (folder / "trainval.txt").read_text("utf-8").split()
        faults = tuple(
            f"{folder / 'trainval.txt'}: names {n!r}, of which there is no photo" for n in words if n not in known
        )
        there = set(names)
        train, val = split_names([name for name in words if name in there])
        note = f"no {kind}/train.txt: {len(val)} photos of trainval.txt kept for validation, by the hash of the name"
        return Splits({"train": train, "val": val}, (note,), faults)
    return find_splits(folder if folder.is_dir() else root, names, known)


def _read_xml(path: Path, faults: list[str]) -> tuple[tuple[int, int] | None, tuple[VocBox, ...]]:
    """(height, width) where it says so, and the objects; faults are added."""
    try:
        tree = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        faults.append(f"{path}: cannot be read as XML ({error})")
        return None, ()
    size = [tree.findtext(f"size/{side}", "0").strip() for side in ("height", "width")]
    size_hw = (int(size[0]), int(size[1])) if all(s.isdigit() and int(s) > 0 for s in size) else None
    instances = []
    for index, entry in enumerate(tree.findall("object"), 1):
        name = entry.findtext("name", "").strip()
        try:
            corners = [float(entry.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
        except ValueError:
            faults.append(f"{path}: object {index} ({name or 'no name'}) has no bndbox of four numbers")
            continue
        box = (corners[0] - 1, corners[1] - 1, corners[2], corners[3])
        fault = find_box_fault(box, size_hw or (float("inf"), float("inf")))
        if not name:
            faults.append(f"{path}: object {index} has no name")
        elif fault:
            faults.append(f"{path}: object {index} ({name}): {fault}")
        else:
            instances.append(VocBox(name, box, entry.findtext("difficult", "0").strip() == "1"))
    return size_hw, tuple(instances)

"""Pascal VOC (Everingham et al. 2010): boxes from ``Annotations/*.xml``, masks of classes and of objects.

    JPEGImages/NAME.jpg    Annotations/NAME.xml    SegmentationObject/NAME.png    SegmentationClass/NAME.png
    ImageSets/Main/train.txt, val.txt              ImageSets/Segmentation/train.txt, val.txt
    images/NAME.jpg        annotations/NAME.xml    the same boxes in other folders (PLACES), or XML files beside their
                                                   photos, also in train/ and the like (Roboflow)
    SegmentationClass/ of labelme's exporter may be NAME.npy, or SegmentationClassPNG/ or SegmentationClassNpy/

VOC's boxes count pixels from 1 and hold their last one: xmin ymin xmax ymax becomes x1 = xmin - 1, y1 = ymin - 1, x2 =
xmax, y2 = ymax. What is marked ``difficult`` counts neither way when VOC scores, so it comes as a crowd region, which
training and scoring leave out. Parts of an object (head, hand, foot) are not objects.

A segmented photo has a value an object in one file and a value a class in the other (or a colour: CVAT), 255 is the
void round the rims and over difficult objects. Most of VOC's photos have boxes alone; so masks of objects are taken
where every photo with boxes has one, or where they are asked for. Names of classes: voc_names.py.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imago.core import boxes
from imago.core.errors import DataError
from imago.core.instances import Instances, masks_to_boxes
from imago.core.labels import BACKGROUND_NAMES, IGNORE, Labels
from imago.core.palette import palette_bytes
from imago.core.read_settings import ReadSettings
from imago.core.text import escape, plural
from imago.data.classes import Classes
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import NO_OUTLINES, Outside, find_box_fault, instance_labels
from imago.data.formats.format import (
    Annotated,
    Format,
    Found,
    Losses,
    ReadOptions,
    Truth,
    WriteOptions,
    Writer,
    flatten_masks,
    write_png,
    write_text,
)
from imago.data.formats.label_images import split_label_image
from imago.data.formats.label_maps import Layout, read_layout
from imago.data.formats.pairing import MASK_SUFFIXES, index_by_stem
from imago.data.formats.voc_names import VOID_COLOR, VocBox, find_box_classes, find_mask_classes
from imago.data.mask_pixels import UNKNOWN, LabelReader, colors_in, read_mask
from imago.data.splits import find_splits, listed_names
from imago.files.clutter import glob_files
from imago.files.images import SUFFIXES, image_size

MASK_LISTS = ("ImageSets/Segmentation", "ImageSets/Main")
BOX_LISTS = ("ImageSets/Main",)
NUMBERED = Labels(tuple(map(str, range(UNKNOWN))))  # the colours of objects


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
    classes: LabelReader
    count: int  # of classes, with the background

    def __call__(self) -> Instances:
        objects, classes = read_object_numbers(self.object_path), self.classes()
        if objects.shape != classes.shape:
            raise DataError(f"{self.object_path}: is {objects.shape}, but {self.classes.path} {classes.shape}")
        masks, values = [], []
        for number, mask in split_label_image(objects):
            inside = classes[mask.slices][mask.crop]
            inside = inside[(inside != IGNORE) & (inside != 0)]
            if not inside.size:
                raise DataError(f"{self.object_path}: object {number} has no class in {self.classes.path}")
            values.append(int(np.bincount(inside).argmax()))
            if values[-1] >= self.count:
                known = self.count - 1
                raise DataError(f"{self.classes.path}: holds a value that is no class; there are {known}")
            masks.append(mask)
        return Instances.make(objects.shape, masks_to_boxes(masks), values, cropped=masks)


def read_object_numbers(path: Path) -> np.ndarray:
    """int (H, W): the number of the object, 0 for none and for void; in RGB files each colour is an object."""
    if (colors := colors_in(path)) is None:
        stored = read_mask(path)
        return np.where(stored == IGNORE, 0, stored)
    numbers = {color: number for number, color in enumerate(sorted(colors - {(0, 0, 0), VOID_COLOR}), 1)}
    if len(numbers) >= UNKNOWN:
        raise DataError(f"{path}: has {len(numbers)} colours; a mask of objects holds {UNKNOWN - 1} (is it smoothed?)")
    return read_mask(path, {**numbers, (0, 0, 0): 0, VOID_COLOR: 0})


# Where XML files and their photos lie, where it is not VOC's own place.
PLACES = (("images", "annotations"), ("images", "Annotations"), ("images", "labels"), ("images", "xmls"))
CLASS_FOLDERS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassNpy")
OBJECT_FOLDERS = ("SegmentationObject", "SegmentationObjectPNG", "SegmentationObjectNpy")


def _first_folder(root: Path, names: tuple[str, ...]) -> str:
    return next((name for name in names if (root / name).is_dir()), names[0])


def _find_xml(root: Path) -> tuple[str, str] | None:
    """The folders of photos and XML files, "" for the root; None where there are none."""
    if (root / "JPEGImages").is_dir():
        return "JPEGImages", "Annotations"
    for images, texts in PLACES:
        if (root / images).is_dir() and _is_voc(next(glob_files(root / texts, "**/*.xml"), None)):
            return images, texts
    for pattern in ("*.xml", "*/*.xml"):
        xml = next(glob_files(root, pattern), None)
        if xml and any(xml.with_suffix(suffix).is_file() for suffix in SUFFIXES) and _is_voc(xml):
            return "", ""
    return None


def _is_voc(path: Path | None) -> bool:
    """Whether the XML is VOC's: CVAT's and labelme's old ones have the same suffix."""
    try:
        root = ElementTree.parse(path).getroot() if path else None
    except (OSError, ElementTree.ParseError, ValueError, LookupError):
        return False
    return root is not None and root.tag == "annotation" and root.find("object/polygon") is None


def recognize(root: Path) -> tuple[Truth, ...]:
    if not (root / "JPEGImages").is_dir():
        return ("objects",) if root.is_dir() and _find_xml(root) else ()
    maps: tuple[Truth, ...] = ("label maps",) if any((root / name).is_dir() for name in CLASS_FOLDERS) else ()
    has_objects = any((root / folder).is_dir() for folder in ("Annotations", *OBJECT_FOLDERS))
    return (*maps, "objects") if has_objects else maps


@dataclass(frozen=True)
class _Folder:
    """The files of a data set by name, and the faults of naming."""

    root: Path
    photos: dict[str, Path]
    described: dict[str, Path]  # by XML
    classes: dict[str, Path]  # masks
    objects: dict[str, Path]  # masks
    faults: list[str]

    def find_classes(self, background: bool, reading: ReadSettings) -> Classes:
        """What the masks' values mean. Faults of the XML files are told where boxes are read."""
        unheard: list[str] = []
        masks = {name: path for name, path in sorted(self.classes.items()) if name in self.photos}
        read = {name: read_xml(self.described[name], unheard)[1] for name in masks if name in self.described}
        return find_mask_classes(self.root, masks, read, background, reading)


def _list_files(root: Path) -> _Folder:
    faults: list[str] = []

    def index(folder: str, suffixes: Iterable[str]) -> dict[str, Path]:
        found, wrong = index_by_stem(root / folder, suffixes)
        faults.extend(wrong)
        return found

    images, texts = _find_xml(root) or ("JPEGImages", "Annotations")
    photos = index(images, SUFFIXES)
    if not photos:
        raise DataError(f"{root / images}: holds no photos (looked for {', '.join(sorted(SUFFIXES))})")
    classes, objects = (index(_first_folder(root, names), MASK_SUFFIXES) for names in (CLASS_FOLDERS, OBJECT_FOLDERS))
    return _Folder(root, photos, index(texts, (".xml",)), classes, objects, faults)


def read_maps(root: Path, options: ReadOptions) -> Found:
    """``SegmentationClass/``. Photos without masks are left alone: VOC has many."""
    files = _list_files(root)
    if not files.classes:
        raise DataError(f"{root / 'SegmentationClass'}: holds no masks (looked for {', '.join(MASK_SUFFIXES)})")
    lone = [
        f"{files.classes[n]}: no photo JPEGImages/{n}.*" for n in sorted(files.classes.keys() - files.photos.keys())
    ]
    names = sorted(files.photos.keys() & files.classes.keys())
    divided = find_splits(root, names, files.photos.keys() | files.classes.keys(), MASK_LISTS)
    layout = Layout(
        files.photos, files.classes, (*files.faults, *lone), files.find_classes(False, options.reading), divided
    )
    dataset, faults = read_layout(root, layout, options)
    without = len(files.photos) - len(names)
    notes = (f"{plural(without, 'photo', 'have')} no mask in SegmentationClass/; not used",) if without else ()
    return replace(dataset, notes=(*dataset.notes, *notes)), faults


def read_objects(root: Path, options: ReadOptions) -> Found:
    """Boxes or masks, without what is damaged, and the faults."""
    files = _list_files(root)
    if options.masks and not files.objects:
        raise DataError(f"{root}: SegmentationObject/ holds no masks; {NO_OUTLINES}")
    outlined, described = files.objects.keys(), files.described.keys()
    if options.masks or (options.masks is None and outlined and described <= outlined):
        return _read_masks(files, options)
    if not described:
        raise DataError(f"{root / 'Annotations'}: holds no .xml")
    return _read_boxes(files, options)


def _read_boxes(files: _Folder, options: ReadOptions) -> Found:
    root, photos, described, faults = files.root, files.photos, files.described, files.faults
    images, texts = (f"{name}/" if name else "" for name in _find_xml(root) or ("JPEGImages", "Annotations"))
    bare, listed = photos.keys() - described.keys(), listed_names(root, BOX_LISTS)
    wanted = bare if listed is None else bare & listed
    faults += [f"{photos[n]}: no annotation {texts}{n}.xml" for n in sorted(wanted)]
    faults += [f"{described[n]}: no photo {images}{n}.*" for n in sorted(described.keys() - photos.keys())]
    names = sorted(photos.keys() & described.keys())
    read = {name: read_xml(described[name], faults, options.clip) for name in names}
    source, classes = find_box_classes(root, {one.name for _, found in read.values() for one in found})
    labels = instance_labels(classes, root)
    samples = {}
    for name, (size_hw, found) in read.items():
        faults += [
            f"{described[name]}: class {one.name!r} is not in {source}" for one in found if one.name not in classes
        ]
        kept = tuple(one for one in found if one.name in classes)
        reader = BoxReader(photos[name], size_hw, kept, labels.names)
        samples[name] = Sample(name, photos[name], options.channels, read_instances=reader)
    divided = find_splits(root, names, photos.keys() | described.keys(), BOX_LISTS)
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    count = len(files.objects)
    notes = [f"masks of {count} photos are there as well; nets that need masks (--objects) take those"] if count else []
    if unused := len(bare - wanted):
        notes.append(f"{plural(unused, 'photo', 'stand')} in no list and without an .xml; not used")
    return Dataset(root, labels, splits, (*divided.notes, *notes), has_masks=False), (*faults, *divided.faults)


def _read_masks(files: _Folder, options: ReadOptions) -> Found:
    """Photos without masks are left alone: VOC has many."""
    root, photos, outlined, classes, faults = files.root, files.photos, files.objects, files.classes, files.faults
    faults += [f"{outlined[n]}: no photo JPEGImages/{n}.*" for n in sorted(outlined.keys() - photos.keys())]
    faults += [f"{outlined[n]}: no SegmentationClass/{n}.png" for n in sorted(outlined.keys() - classes.keys())]
    names = sorted(photos.keys() & outlined.keys() & classes.keys())
    known = files.find_classes(True, options.reading)
    labels = instance_labels(known.labels.names[1:], root)
    samples = {}
    for name in names:
        reader = MaskReader(outlined[name], known.reader(classes[name]), len(labels))
        samples[name] = Sample(name, photos[name], options.channels, read_instances=reader)
    divided = find_splits(root, names, photos.keys() | outlined.keys(), MASK_LISTS)
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    return Dataset(root, labels, splits, divided.notes), (*faults, *divided.faults)


def read_xml(path: Path, faults: list[str], clip: bool = False) -> tuple[tuple[int, int] | None, tuple[VocBox, ...]]:
    """(height, width) where it says so, and the objects; faults are added. ``clip``: boxes that stick out stay."""
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
        elif isinstance(fault, Outside):
            faults.append(Outside(f"{path}: object {index} ({name}): {fault}"))
        elif fault:
            faults.append(f"{path}: object {index} ({name}): {fault}")
        if name and (not fault or (clip and isinstance(fault, Outside))):
            instances.append(VocBox(name, box, entry.findtext("difficult", "0").strip() == "1"))
    return size_hw, tuple(instances)


# Writing


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """XML of every photo, masks of classes and objects where there are masks, lists of names for both, and the names of
    the classes. Crowd regions are "difficult" boxes, and void in masks. Raises DataError for more than 254 classes."""
    if len(labels) > UNKNOWN:
        raise DataError(f"{len(labels) - 1} classes; masks of Pascal VOC hold {UNKNOWN - 1}: write another format")
    wrong = [name for name in labels.names[1:] if name in BACKGROUND_NAMES]
    if wrong:
        raise DataError(f"a class is called {wrong[0]!r}, which is read as the background; rename it")
    losses = Losses()
    lists: dict[str, list[str]] = {}
    palette = palette_bytes(labels)
    for photo in photos:
        lists.setdefault(photo.split, []).append(f"{photo.name}\n")
        write_text(folder / "Annotations" / f"{photo.name}.xml", to_xml(photo, labels, losses))
        if photo.instances.cropped is None:
            continue
        objects, classes = _paint_masks(photo.instances, losses)
        write_png(folder / "SegmentationObject" / f"{photo.name}.png", objects, palette_bytes(NUMBERED))
        write_png(folder / "SegmentationClass" / f"{photo.name}.png", classes, palette)
    has_masks = (folder / "SegmentationObject").is_dir()
    for place in MASK_LISTS if has_masks else BOX_LISTS:
        for split, names in lists.items():
            write_text(folder / place / f"{split}.txt", "".join(names))
    write_text(folder / "class_names.txt", "".join(f"{name}\n" for name in ("_background_", *labels.names[1:])))
    return losses


def _paint_masks(instances: Instances, losses: Losses) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (H, W) of objects and of classes. Crowd regions are void where no object is."""
    crowd = np.zeros(len(instances), bool) if instances.crowd is None else instances.crowd
    objects = flatten_masks(instances[~crowd], losses, UNKNOWN).astype(np.uint8)
    classes = np.concatenate([[0], instances[~crowd].classes]).astype(np.uint8)[objects]
    for index in np.flatnonzero(crowd):
        where, crop = instances.region(int(index))
        free = crop & (objects[where] == 0)
        objects[where][free] = classes[where][free] = IGNORE
    return objects, classes


def to_xml(photo: Annotated, labels: Labels, losses: Losses) -> str:
    """The file of one photo. Boxes are rounded to whole pixels, as other programs read them."""
    instances = photo.instances
    root = ElementTree.Element("annotation")
    add_text(root, "filename", Path(photo.photo).name)
    size = ElementTree.SubElement(root, "size")
    for side, pixels in (("width", photo.size_hw[1]), ("height", photo.size_hw[0]), ("depth", 3)):
        add_text(size, side, str(pixels))
    add_text(root, "segmented", str(int(instances.cropped is not None)))
    whole = np.round(instances.boxes)
    losses.count("rounded", int((whole != instances.boxes).any(axis=1).sum()))
    for index, value in enumerate(instances.classes):
        entry = ElementTree.SubElement(root, "object")
        difficult = any(marks is not None and marks[index] for marks in (instances.crowd, instances.difficult))
        words = {"name": labels.names[value], "pose": "Unspecified", "truncated": "0", "difficult": str(int(difficult))}
        for tag, text in words.items():
            add_text(entry, tag, text)
        x1, y1, x2, y2 = (int(v) for v in whole[index])
        box = ElementTree.SubElement(entry, "bndbox")
        for tag, corner in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", max(x2, x1 + 1)), ("ymax", max(y2, y1 + 1))):
            add_text(box, tag, str(corner))
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode") + "\n"


def add_text(parent: ElementTree.Element, tag: str, text: str) -> None:
    """A child ``tag`` that holds ``text``."""
    ElementTree.SubElement(parent, tag).text = escape(text)


FORMAT = Format(
    name="Pascal VOC",
    layout="VOC's JPEGImages/ with Annotations/ or SegmentationClass/, or XML files beside photos",
    recognize=recognize,
    read_maps=read_maps,
    read_objects=read_objects,
    has_mask_values=True,
    cannot_hold="objects that overlap, more than 254 of them in a photo",
    writer=Writer("objects", "JPEGImages/{name}", write),
)

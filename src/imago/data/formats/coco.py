"""COCO's annotations: boxes, classes, polygons or run lengths, crowd regions. One reader for every task.

``annotations/instances_train2017.json`` with photos in ``train2017/``, ``images/train2017/`` or ``images/``; or
``instances_train.json`` beside ``train/``; or ``train/_annotations.coco.json`` beside its photos (Roboflow); or one
``instances.json`` or any other name with ``images/`` and, where the photos are parted, lists or folders (splits.py).
``stuff_*.json`` is read where there is no other. Category ids may have gaps (COCO's own have): in their order they
become the classes 1 .. K; Roboflow's class 0, which is the name of the whole set and has no object, is left out. Where
no annotation has an outline the data set has boxes alone. Keypoints are not used.

https://cocodataset.org/#format-data (Lin et al. 2014, arXiv:1405.0312). Entries are read by coco_entries.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from imago.core import boxes
from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.polygons import join_rings, trace_parts
from imago.core.rle import pack_rle
from imago.core.text import to_json, to_utf8
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import NO_OUTLINES, instance_labels, read_annotations
from imago.data.formats.coco_entries import FileReader, read_id
from imago.data.formats.find_files import PhotoFinder, iter_annotations
from imago.data.formats.format import (
    Annotated,
    Format,
    Found,
    ImageDetections,
    Losses,
    ReadOptions,
    Truth,
    WriteOptions,
    Writer,
)
from imago.data.splits import Splits, find_splits, parse_split
from imago.files.clutter import glob_files
from imago.files.writing import atomic_write

ROBOFLOW = "_annotations.coco.json"
# The first pattern that finds a file counts.
PATTERNS = (
    "annotations/instances_*.json", "instances_*.json", "instances.json", f"*/{ROBOFLOW}", ROBOFLOW,
    "annotations/stuff_*.json",
)  # fmt: skip

Outlines = Literal["rle", "polygons", "auto"]


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if annotation_files(root) else ()


def annotation_files(root: Path) -> list[Path]:
    """Those with a usual name, else whatever holds COCO's keys (``result.json``, ``labels.json``)."""
    usual = next((found for pattern in PATTERNS if (found := list(glob_files(root, pattern)))), [])
    if usual or any(iter_annotations(root, "COCO panoptic")):  # whose lists of photos look alike
        return usual
    return list(iter_annotations(root, "COCO"))


def find_photo(finder: PhotoFinder, annotations: Path, file_name: str) -> Path | None:
    """Where the photo lies that ``annotations`` calls ``file_name``; None where it is missing."""
    beside = [annotations.parent] if annotations.name == ROBOFLOW else []
    which, root = annotations.stem.partition("_")[2], finder.root
    folders = (*beside, root / which, root / "images" / which, root / "images") if which else beside
    return finder.find(file_name, annotations.parent, folders)


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    contents: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in annotation_files(root):
        words = (path.parent.name, path.stem) if path.name == ROBOFLOW else (path.stem, path.parent.name)
        split = parse_split(words[0]) or (parse_split(words[1]) if path.parent != root else None) or "train"
        if split in contents:
            raise DataError(f"{root}: {path.name} and {contents[split][0].name} both hold {split!r}; take one away")
        contents[split] = path, read_content(path)
    faults: list[str] = []
    labels, values = _read_classes(root, [content for _, content in contents.values()])
    has_masks = options.masks is not False and any(
        instance.get("segmentation") for _, content in contents.values() for instance in content["annotations"]
    )
    if options.masks and not has_masks:
        raise DataError(f"{root}: no annotation has a segmentation; {NO_OUTLINES}")
    splits: dict[str, tuple[Sample, ...]] = {}
    finder = PhotoFinder(root)
    home: dict[Path, str] = {}
    for split, (path, content) in sorted(contents.items()):
        reader = FileReader(
            path, values, has_masks, options.licenses, faults, clip=options.clip, stuff=path.stem.startswith("stuff")
        )
        samples = []
        for entry, read in reader.read(content):
            image_path = find_photo(finder, path, entry.file_name)
            if image_path is None:
                faults.append(f"{path}: photo {entry.file_name} is missing")
            elif home.setdefault(image_path, split) != split:
                faults.append(f"{path}: photo {entry.file_name} stands in {home[image_path]!r} too")
            else:
                samples.append(Sample(entry.name, image_path, options.channels, read_instances=read))
        splits[split] = tuple(samples)
    splits, divided = divide_one(root, splits)
    notes = divided.notes
    if options.licenses:
        total = sum(len(content["images"]) for _, content in contents.values())
        notes += (f"{sum(map(len, splits.values()))} of {total} photos have a licence of {options.licenses}",)
    return Dataset(root, labels, splits, notes, has_masks), (*faults, *divided.faults)


def divide_one(root: Path, splits: dict[str, tuple[Sample, ...]]) -> tuple[dict[str, tuple[Sample, ...]], Splits]:
    """The photos of one file are parted by lists, folders or hash; several files are the splits already."""
    train = {sample.name: sample for sample in splits.get("train", ())}
    if "val" in splits or not train:
        return splits, Splits({})
    if len(splits) == 1:
        divided = find_splits(root, list(train))
    else:
        divided = Splits({"train": tuple(train)}).with_val_split("no instances_val*.json")
    parted = {split: tuple(train[name] for name in names) for split, names in divided.members.items()}
    return {**{split: found for split, found in splits.items() if split != "train"}, **parted}, divided


def read_content(path: Path) -> dict[str, Any]:
    """What stands in a JSON of COCO's. Raises DataError."""
    content = read_annotations(path)
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: not COCO's annotation format; expected a list of objects under {key!r}")
    return content


def _read_classes(root: Path, contents: Sequence[dict[str, Any]]) -> tuple[Labels, dict[int | str, int]]:
    """The labels, and category id -> class. Every file must name the same categories."""
    found: dict[int | str, str] | None = None
    for content in contents:
        try:
            named = {read_id(category["id"]): str(category["name"]) for category in content["categories"]}
        except KeyError as error:
            raise DataError(f"{root}: a category lacks its id or name ({error!r})") from error
        if len(named) < len(content["categories"]):
            raise DataError(f"{root}: two categories have the same id; give each its own")
        if found is not None and named != found:
            raise DataError(f"{root}: the files name different categories ({len(found)} and {len(named)}); join them")
        found = named
    if not found:
        raise DataError(f"{root}: no categories; COCO's file lists id and name of each class")
    whole = _find_whole(contents)
    if len(found) > 1 and whole in found:
        del found[whole]
    ids = sorted(found, key=lambda number: (isinstance(number, str), number))
    return instance_labels([found[i] for i in ids], root), {number: value for value, number in enumerate(ids, 1)}


def _find_whole(contents: Sequence[dict[str, Any]]) -> int | str | None:
    """The id of the class that is the name of Roboflow's whole set: all others are of it, and no object is."""
    categories = contents[0]["categories"]
    others = {str(one["supercategory"]) for one in categories if one.get("supercategory") not in (None, "", "none")}
    named = [one for one in categories if one.get("supercategory") == "none" and {str(one["name"])} == others]
    if len(named) != 1:
        return None
    whole = read_id(named[0]["id"])
    used = any(read_id(one.get("category_id")) == whole for content in contents for one in content["annotations"])
    return None if used else whole


# Writing


def to_coco(photos: Iterable[ImageDetections], labels: Labels, outlines: Outlines = "rle") -> dict[str, Any]:
    """COCO's annotation format; ids count from 1, category ids are the class values, boxes are x y width height.

    Masks become packed run lengths, which are exact, or polygons (see ``core.polygons``); "auto": polygons, but run
    lengths for masks with holes. Crowd regions and empty masks are run lengths always, as COCO has it. Every annotation
    carries its ``score``, 1 where people made it.
    """
    if outlines not in ("rle", "polygons", "auto"):
        raise ValueError(f"outlines are 'rle', 'polygons' or 'auto'; got {outlines!r}")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, photo in enumerate(photos, 1):
        images.append(_image_entry(number, photo.file_name, photo.instances.size_hw))
        for index in range(len(photo.instances)):
            entry = to_entry(photo.instances, index, outlines)
            entry["score"] = float(str(photo.instances.scores[index]))
            annotations.append({"id": len(annotations) + 1, "image_id": number, **entry})
    return {"images": images, "annotations": annotations, "categories": _categories(labels)}


def _image_entry(number: int, file_name: str, size_hw: tuple[int, int]) -> dict[str, Any]:
    return {"id": number, "file_name": file_name, "height": size_hw[0], "width": size_hw[1]}


def _categories(labels: Labels) -> list[dict[str, Any]]:
    return [{"id": value, "name": name} for value, name in enumerate(labels.names) if value > 0]


def to_entry(instances: Instances, index: int, outlines: Outlines, losses: Losses | None = None) -> dict[str, Any]:
    """One annotation, without ids; ``losses`` takes in how well polygons fit."""
    crowd = bool(instances.crowd is not None and instances.crowd[index])
    segmentation: Any = []
    area = float(boxes.area(instances.boxes[index : index + 1])[0])
    if instances.cropped is not None:
        mask = instances.cropped[index]
        area = float(mask.area)
        parts = trace_parts(mask) if outlines != "rle" and area and not crowd else []
        if parts and (outlines == "polygons" or all(len(rings) == 1 for rings in parts)):
            segmentation = [join_rings(rings).ravel().tolist() for rings in parts]
            if losses is not None:
                losses.measure(mask, segmentation, instances.size_hw)
                losses.count("joined", int(any(len(rings) > 1 for rings in parts)))
        else:
            segmentation = {"size": list(instances.size_hw), "counts": pack_rle(mask.to_rle(instances.size_hw))}
    if instances.stated_areas is not None:
        area = float(instances.stated_areas[index])
    x1, y1, x2, y2 = (float(str(v)) for v in instances.boxes[index])  # float32's own digits, not those of its double
    return {
        "category_id": int(instances.classes[index]),
        "iscrowd": int(crowd),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": area,
        "segmentation": segmentation,
    }


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``annotations/instances_SPLIT.json``; annotations go to the file as they come."""
    losses = Losses()
    for split, members in groupby(photos, lambda photo: photo.split):
        images: list[str] = []
        count = 0
        with atomic_write(folder / "annotations" / f"instances_{split}.json") as stream:
            stream.write(b'{"annotations": [')
            for number, photo in enumerate(members, 1):
                file_name = photo.photo.removeprefix(f"images/{split}/")
                images.append(to_json(_image_entry(number, file_name, photo.size_hw)))
                for index in range(len(photo.instances)):
                    entry = to_entry(photo.instances, index, options.outlines, losses)
                    count += 1
                    line = to_json({"id": count, "image_id": number, **entry})
                    stream.write(b",\n" * (count > 1) + to_utf8(line))
            stream.write(to_utf8(f'],\n"images": [{("," + chr(10)).join(images)}],\n'))
            stream.write(to_utf8(f'"categories": {to_json(_categories(labels))}}}\n'))
    return losses


FORMAT = Format(
    name="COCO's JSON",
    layout="COCO's annotations/instances_*.json",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="pixels that belong to no object (what is not outlined is background)",
    writer=Writer("objects", "images/{split}/{name}", write),
)

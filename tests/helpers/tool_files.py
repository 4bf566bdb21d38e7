"""The same three photos and two objects, as the tools of annotation write them: the smallest files that are whole."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE_HW = (10, 12)
NAMES = ("a", "b", "c")
# Two objects: class 1 in rows 1 to 4 of columns 2 to 7, class 2 in rows 6 to 8 of columns 1 to 3.
LABEL = np.zeros(SIZE_HW, np.uint8)
LABEL[1:5, 2:8], LABEL[6:9, 1:4] = 1, 2
CORNERS = ([2, 1, 8, 1, 8, 5, 2, 5], [1, 6, 4, 6, 4, 9, 1, 9])


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE_HW, 3), 90, np.uint8)).save(path)


def text(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


CLASSES = ("cat", "dog")
PAIRS = [list(zip(corners[::2], corners[1::2], strict=True)) for corners in CORNERS]


def write_via(root: Path) -> None:
    regions = [
        {"shape_attributes": {"name": "polygon", "all_points_x": corners[::2], "all_points_y": corners[1::2]},
         "region_attributes": {"kind": name}}
        for name, corners in zip(CLASSES, CORNERS, strict=True)
    ]  # fmt: skip
    for name in NAMES:
        photo(root / f"{name}.png")
    entries = {f"{name}.png-1": {"filename": f"{name}.png", "size": -1, "regions": regions} for name in NAMES}
    (root / "via.json").write_text(json.dumps(entries))


def write_labelme(root: Path) -> None:
    shapes = [{"label": name, "points": points} for name, points in zip(CLASSES, PAIRS, strict=True)]
    for name in NAMES:
        photo(root / f"{name}.png")
        (root / f"{name}.json").write_text(json.dumps({"imagePath": f"{name}.png", "shapes": shapes}))


def write_label_studio(root: Path) -> None:
    results = [
        {"original_width": 12, "original_height": 10,
         "value": {"points": [[x / 0.12, y / 0.1] for x, y in points], "polygonlabels": [name]}}
        for name, points in zip(CLASSES, PAIRS, strict=True)
    ]  # fmt: skip
    for name in NAMES:
        photo(root / "images" / f"{name}.png")
    tasks = [{"data": {"image": f"/data/upload/1/{n}.png"}, "annotations": [{"result": results}]} for n in NAMES]
    (root / "export.json").write_text(json.dumps(tasks))


def write_cvat(root: Path) -> None:
    shapes = "".join(
        f'<polygon label="{name}" points="{";".join(f"{x},{y}" for x, y in points)}"/>'
        for name, points in zip(CLASSES, PAIRS, strict=True)
    )
    for name in NAMES:
        photo(root / "images" / f"{name}.png")
    images = "".join(f'<image name="{name}.png" width="12" height="10">{shapes}</image>' for name in NAMES)
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{images}</annotations>")


def write_labelme_xml(root: Path) -> None:
    objects = "".join(
        f"<object><name>{name}</name><polygon>"
        + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
        + "</polygon></object>"
        for name, points in zip(CLASSES, PAIRS, strict=True)
    )
    for name in NAMES:
        photo(root / f"{name}.png")
        (root / f"{name}.xml").write_text(f"<annotation><filename>{name}.png</filename>{objects}</annotation>")


def run_lengths(value: int) -> dict[str, Any]:
    """COCO's, of one object."""
    flat = (value == LABEL).ravel(order="F")
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    return {"size": list(SIZE_HW), "counts": np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()}


def write_supervisely(root: Path) -> None:
    text(root / "meta.json", {"classes": [{"title": name} for name in CLASSES], "projectType": "images"})
    stream = io.BytesIO()
    Image.fromarray(np.ones((3, 3), bool)).save(stream, "PNG")
    bitmap = base64.b64encode(zlib.compress(stream.getvalue())).decode()
    objects = [
        {"classTitle": "cat", "geometryType": "polygon", "points": {"exterior": PAIRS[0], "interior": []}},
        {"classTitle": "dog", "geometryType": "bitmap", "bitmap": {"origin": [1, 6], "data": bitmap}},
    ]
    for name in NAMES:
        photo(root / "ds" / "img" / f"{name}.png")
        text(root / "ds" / "ann" / f"{name}.png.json", {"size": {"height": 10, "width": 12}, "objects": objects})


def write_segments_ai(root: Path) -> None:
    samples = []
    for name in NAMES:
        photo(root / f"{name}.png")
        Image.fromarray(np.stack([LABEL, 0 * LABEL, 0 * LABEL], axis=-1)).save(root / f"{name}_bitmap.png")
        annotations = [{"id": value, "category_id": value} for value in (1, 2)]
        said = {"annotations": annotations, "segmentation_bitmap": {"url": f"https://x.org/y/{name}_bitmap.png?z=1"}}
        image = {"image": {"url": f"https://x.org/{name}.png"}}
        samples.append({"name": name, "attributes": image, "labels": {"ground-truth": {"attributes": said}}})
    categories = [{"id": value, "name": name} for value, name in enumerate(CLASSES, 1)]
    content = {"task_attributes": {"categories": categories}, "labelsets": [], "samples": samples}
    text(root / "v1.json", {"dataset": content})


def write_labelbox(root: Path) -> None:
    rows = []
    for name in NAMES:
        photo(root / f"{name}.png")
        objects = [
            {"name": kind, "polygon": [{"x": x, "y": y} for x, y in points]}
            for kind, points in zip(CLASSES, PAIRS, strict=True)
        ]
        labels = [{"annotations": {"objects": objects}}]
        rows.append({"data_row": {"external_id": f"{name}.png"}, "projects": {"p": {"labels": labels}}})
    text(root / "export.ndjson", "\n".join(map(json.dumps, rows)))


def write_datumaro(root: Path) -> None:
    shapes = [
        {"id": 1, "type": "polygon", "group": 1, "label_id": 0, "points": CORNERS[0]},
        {"id": 1, "type": "bbox", "group": 1, "label_id": 0, "bbox": [2, 1, 6, 4]},
        {"id": 2, "type": "mask", "group": 2, "label_id": 1, "rle": run_lengths(2)},
    ]
    for name in NAMES:
        photo(root / "images" / "default" / f"{name}.png")
    items = [{"id": name, "annotations": shapes, "image": {"path": f"{name}.png", "size": [10, 12]}} for name in NAMES]
    labels = [{"name": name} for name in CLASSES]
    text(root / "annotations" / "default.json", {"categories": {"label": {"labels": labels}}, "items": items})


def write_sa1b(root: Path) -> None:
    for name in NAMES:
        photo(root / f"{name}.png")
        image = {"file_name": f"{name}.png", "height": 10, "width": 12}
        found = [{"id": value, "segmentation": run_lengths(value), "predicted_iou": 0.9} for value in (1, 2)]
        text(root / f"{name}.json", {"image": image, "annotations": found})


def write_dota(root: Path) -> None:
    lines = [f"{' '.join(map(str, corners))} {name} 0" for name, corners in zip(CLASSES, CORNERS, strict=True)]
    for name in NAMES:
        photo(root / "images" / f"{name}.png")
        text(root / "labelTxt" / f"{name}.txt", "\n".join(["imagesource:GoogleEarth", "gsd:0.1", *lines]))


def write_openimages(root: Path) -> None:
    rows = ["MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"]
    for name in NAMES:
        photo(root / "images" / f"{name}.png")
        for value in (1, 2):
            path = root / "masks" / f"{name}_{value}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(value == LABEL).save(path)
            rows.append(f"{path.name},{name},/m/{value},1,0,1,0,1,0.9,")
    text(root / "annotations" / "train-annotations-object-segmentation.csv", "\n".join(rows))
    text(root / "annotations" / "class-descriptions.csv", "/m/1,cat\n/m/2,dog\n")


TOOLS: dict[str, Callable[[Path], None]] = {
    "via": write_via, "labelme": write_labelme, "label_studio": write_label_studio, "cvat": write_cvat,
    "labelme_xml": write_labelme_xml, "supervisely": write_supervisely, "segments_ai": write_segments_ai,
    "labelbox": write_labelbox, "datumaro": write_datumaro, "sa1b": write_sa1b, "dota": write_dota,
    "openimages": write_openimages,
}  # fmt: skip

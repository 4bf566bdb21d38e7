"""A run folder or a checkpoint becomes an ``.onnx`` file, compared on photos that the model has not learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from imago.core.errors import DataError, ImageError, ModelError
from imago.core.input_spec import InputSpec
from imago.core.model_card import DETECTION_TASKS, ModelCard
from imago.data.open_dataset import OpenOptions, survey_dataset
from imago.export.detection import export_detection
from imago.export.semantic import ExportReport, export_onnx
from imago.files.images import read_image
from imago.files.inputs import find_images
from imago.files.model_file import read_safetensors_card
from imago.files.text import read_json
from imago.models import checkpoint
from imago.models.detection.base import DetectionModel

Item = TypeVar("Item")

BEST = "best.safetensors"  # the checkpoint of a run folder that is exported
SAMPLES = 4  # images to compare on; each costs one pass through the net in torch and one in ONNX Runtime


def export_run(
    run_or_checkpoint: Path | str,
    out: Path | str,
    *,
    half: bool = False,
    tolerance: float | None = None,
    samples: Path | str | None = None,
    overwrite: bool = False,
    name: str = "",
    license: str = "",
    note: str = "",
    thresholds: Mapping[str, float] | None = None,
    average: Sequence[Path | str] = (),
) -> ExportReport:
    """Export the best checkpoint of a run folder, or a ``.safetensors`` file. See ``export_onnx`` for the rest.

    ``samples``: an image or a folder of images to compare on; else the run's validation photos where they still are,
    else made-up images (the report says which). ``name``, ``license``, ``note`` go into the card where not empty.
    ``thresholds``: in place of the net's own ``score``, ``iou`` and ``most``, for one that finds objects; ``iou`` 1
    leaves all overlaps in, so that their suppression can be chosen at use. ``average``: further runs or checkpoints of
    the same net, whose weights are averaged with the first one's.
    """
    source, out = Path(run_or_checkpoint), Path(out)
    if out.suffix.lower() != ".onnx":
        raise ModelError(f"{out}: the exported file must end in .onnx, by which it is known again")
    path = find_checkpoint(source)
    card = read_safetensors_card(path)
    changes = {key: value for key, value in (("name", name), ("license", license), ("note", note)) if value}
    card = card.with_(**changes)
    if thresholds and card.task not in DETECTION_TASKS:
        raise ModelError(f"{path}: it finds no objects, and has no {', '.join(thresholds)} to set; leave them out")
    if samples is not None:
        images, described = read_samples(Path(samples), card.input), f"images of {samples}"
    else:
        images, described = read_validation_photos(path.parent, card), "validation photos of the run"
        if not images:
            images, described = make_images(card.input.channels), "made-up images (the run's photos are not there)"
    net, _ = checkpoint.load_average([path, *(find_checkpoint(Path(other)) for other in average)])
    if isinstance(net, DetectionModel):
        set_thresholds(net, thresholds or {})
        report = export_detection(net, card, out, samples=images, half=half, tolerance=tolerance, overwrite=overwrite)
    else:
        report = export_onnx(net, card, out, samples=images, half=half, tolerance=tolerance, overwrite=overwrite)
    return replace(report, samples=described)


def set_thresholds(net: DetectionModel, thresholds: Mapping[str, float]) -> None:
    """Raises ModelError for values that mean nothing."""
    for name, value in thresholds.items():
        if name == "detections_per_img" and (value < 1 or value != int(value)):
            raise ModelError(f"detections_per_img counts objects, 1 or more; got {value:g}")
        if name != "detections_per_img" and not 0 <= value <= 1:
            raise ModelError(f"{name} lies from 0 to 1; got {value:g}")
        setattr(net, name, int(value) if name == "detections_per_img" else float(value))


def find_checkpoint(source: Path) -> Path:
    """The ``.safetensors`` file that ``source``, a run folder or such a file, stands for."""
    if source.is_dir():
        if (source / BEST).is_file():
            return source / BEST
        raise ModelError(f"{source}: holds no {BEST}; expected a folder that imago train wrote and brought to an epoch")
    if source.suffix.lower() == ".safetensors" and source.is_file():
        return source
    if not source.exists():
        raise ModelError(f"{source}: there is no such run folder or .safetensors file")
    raise ModelError(f"{source}: expected a run folder or a .safetensors file")


def read_samples(folder: Path, spec: InputSpec) -> list[np.ndarray]:
    """A few images below ``folder``, or one file, uint8 (H, W, C) each. Raises ModelError where there are none."""
    found = [image.path for image in find_images([folder])]
    if not found:
        raise ModelError(f"{folder}: holds no images to compare on")
    return [read_image(path, channels=spec.channels, ranges=spec.ranges).pixels for path in pick_spread(found, SAMPLES)]


def read_validation_photos(run: Path, card: ModelCard) -> list[np.ndarray]:
    """A few photos of the val splits that the run's ``config.json`` names, uint8 (H, W, C) each; empty where they are
    no longer there."""
    try:
        values = read_json(run / "config.json")
        folders = [
            Path(values.get("root") or ".") / entry["path"] for entry in values["data"] if entry.get("validate", True)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # not a run folder of this version: the caller says on what it compared instead
    paths: list[Path] = []
    for folder in folders:
        try:
            dataset, _ = survey_dataset(folder, OpenOptions("detection" if card.finds_objects else "semantic"))
            paths += [sample.image_path for sample in dataset.splits.get("val", ())]
        except DataError:
            continue  # moved or deleted since
    images = []
    for path in pick_spread(paths, SAMPLES):
        try:
            images.append(read_image(path, channels=card.input.channels, ranges=card.input.ranges).pixels)
        except ImageError:
            continue
    return images


def pick_spread(items: Sequence[Item], count: int) -> list[Item]:
    """``count`` of ``items``, evenly from first to last; all where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def make_images(channels: int, count: int = SAMPLES) -> list[np.ndarray]:
    """uint8 (H, W, channels) images of soft shades and sharp discs, of several sizes, the same ones each time."""
    random = np.random.default_rng(0)
    images = []
    for _ in range(count):
        height, width = random.integers(200, 600, 2)
        y, x = np.mgrid[:height, :width]
        image = np.empty((height, width, channels), np.uint8)
        for channel in range(channels):
            waves = np.sin(x * random.uniform(0.005, 0.05)) + np.cos(y * random.uniform(0.005, 0.05))
            image[:, :, channel] = 128 + 50 * waves + random.normal(0, 6, (height, width)).clip(-20, 20)
        for _ in range(4):
            center_y, center_x = random.uniform(0, 1, 2) * (height, width)
            inside = (y - center_y) ** 2 + (x - center_x) ** 2 < (random.uniform(0.05, 0.3) * height) ** 2
            image[inside] = random.integers(0, 256, channels)
        images.append(image)
    return images

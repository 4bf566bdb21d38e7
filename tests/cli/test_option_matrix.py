"""Every option of the commands that use a model, with every type of model, on both engines: it changes something, or it
is refused in one line before anything is written. An option that is new fails here until it says how it is tried."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_finders import write_finder
from tiny_onnx import tiny_card, tiny_onnx

from imago.cli.main import group, run
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.settings import MODEL_TYPES

NAMES = Labels(("background", "disc", "box"))
WINDOW = InputSpec(rule="area", size_hw=(32, 32), multiple=8, mean=(0, 0, 0), std=(1, 1, 1))


@dataclass(frozen=True)
class Trial:
    """How an option is tried: ``given``, beside ``beside``, which stands in the other run too."""

    given: tuple[str, ...]
    beside: tuple[str, ...] = ()
    twice: bool = False  # what is compared is a second run over what the first one wrote


OBJECTS = {
    "score_thresh": Trial(("--score-thresh", "0.85")),
    "nms_thresh": Trial(("--nms-thresh", "0.3")),
    "nms": Trial(("--nms", "soft")),
    "class_agnostic": Trial(("--class-agnostic",)),
    "classes": Trial(("--classes", "disc")),
    "detections_per_img": Trial(("--detections-per-img", "1")),
}
LOOKS = {
    "flip": Trial(("--tta-flip",)),
    "scales": Trial(("--tta-scales", "0.5,1.5")),
    "zoom": Trial(("--tta-zoom",)),
    "slide": Trial(("--slide",)),
}
FILES = {
    "out": Trial(("--out", "elsewhere")),
    "recursive": Trial(("--no-recursive",)),
    "overwrite": Trial(("--overwrite",), twice=True),
    "skip_existing": Trial(("--skip-existing",), twice=True),
    "same_name": Trial(("--same-name", "skip")),
    "damaged": Trial(("--damaged", "use")),
    "strip_metadata": Trial(("--strip-metadata",)),
    "max_megapixels": Trial(("--max-megapixels", "0.0145")),
    "show_bands": Trial(("--show-bands", "3,2,1")),
    "quiet": Trial(("--quiet",)),
    "pages": Trial(("--pages", "1")),
    "window": Trial(("--window", "40,400")),  # refused for photos
}
TRIALS: dict[str, dict[str, Trial]] = {
    "cutout": FILES | OBJECTS | {
        "instances": Trial(("--instances",)),
        "crop": Trial(("--crop",)),
        "background": Trial(("--background", "blur")),
        "matting": Trial(("--matting",)),
    },
    "segment": FILES | OBJECTS | LOOKS | {
        "save": Trial(("--save", "json")),
        "append": Trial(("--append",), beside=("--save", "counts"), twice=True),
        "json": Trial(("--json",)),
        "crf": Trial(("--crf",)),
        "alpha_bits": Trial(("--alpha-bits", "16"), beside=("--save", "alpha")),
    },
    "panoptic": FILES | OBJECTS | LOOKS | {
        # What overlaps is left out all the same, unless that is put off.
        "nms_thresh": Trial(("--nms-thresh", "0.05"), beside=("--overlap-thresh", "0.99", "--class-agnostic")),
        "class_agnostic": Trial(("--class-agnostic",), beside=("--overlap-thresh", "0.99")),
        "save": Trial(("--save", "json")),
        "json": Trial(("--json",)),
        "overlap_thresh": Trial(("--overlap-thresh", "0.99")),
        "stuff_area_limit": Trial(("--stuff-area-limit", "0.9")),
        "stuff_classes": Trial(("--stuff-classes", "green")),
        "skip_existing": Trial(("--skip-existing",), beside=("--save", "overlay"), twice=True),
    },
}  # fmt: skip
NOT_TRIED = {"paths", "model", "debug", "things", "stuff"}  # what is read and by what


def paint(seed: int) -> np.ndarray:
    """uint8 (90, 150, 3): two blue rings on red, around a green and around a blue disc, and noise."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((90, 150, 3), np.float32)
    pixels[:] = 230, 10, 10
    for x, color in ((45, (10, 230, 10)), (103, (10, 10, 230))):
        cv2.circle(pixels, (x, 45), 24, (10, 10, 230), 3)
        cv2.circle(pixels, (x, 45), 19, color, -1)
    return (cv2.GaussianBlur(pixels, (0, 0), 0.7) + random.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each: in a sub-folder, of one stem, with EXIF, cut off, and a large one in which all that
    could be found lies in a corner."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    exif = Image.Exif()
    exif[271] = "maker"
    Image.fromarray(paint(0)).save(folder / "a.jpg", quality=95, exif=exif)
    Image.fromarray(paint(1)).save(folder / "a.png")
    Image.fromarray(paint(2)).save(folder / "below" / "b.png")
    corner = np.full((150, 220, 3), (230, 10, 10), np.uint8)
    corner[:80, :70] = paint(3)[5:85, 5:75]  # one of the rings
    Image.fromarray(corner).save(folder / "large.png")
    Image.fromarray(paint(4)).save(folder / "cut.jpg", quality=95)
    whole = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """By type and engine; of PyTorch one that labels pixels and one that finds boxes."""
    import torch

    from imago.core.model_card import ModelCard
    from imago.models import build, checkpoint

    folder = tmp_path_factory.mktemp("models")
    boxes = [(8, 18, 32, 42), (10, 20, 33, 43), (26, 18, 46, 38), (50, 28, 74, 52), (9, 18, 32, 44)]
    scores, classes = [0.95, 0.9, 0.8, 0.7, 0.6], [1, 1, 2, 1, 2]
    # It looks at the left neighbor, so that the mirror image is another one.
    looks = np.zeros((4, 3, 3, 3), np.float32)
    for value, channel in enumerate((0, None, 2, 1)):  # background is red, no border, disc is blue, box is green
        if channel is not None:
            looks[value, channel, 1, 0] = 1
    kinds = {
        "binary": (tiny_card(input=WINDOW), looks[2:3]),  # the disc
        "semantic": (tiny_card(3, labels=NAMES, input=WINDOW), looks[[0, 2, 3]]),
        "separation": (tiny_card(3, labels=Labels(("background", "border", "disc", "box")), objects=True), looks),
    }
    made = {}
    for name, (card, weights) in kinds.items():
        made[name] = folder / f"{name}.onnx"
        made[name].write_bytes(tiny_onnx(card, len(weights), weights=weights))
    for name in ("boxes", "instances"):
        made[name] = write_finder(
            folder / f"{name}.onnx", boxes, masks=name == "instances", labels=NAMES, value=classes, scores=scores
        )
    scene = tiny_card(3, labels=Labels(("background", "blue", "green")), input=WINDOW)
    (folder / "scene.onnx").write_bytes(tiny_onnx(scene, 3, weights=looks[[0, 2, 3]]))
    found = {(name, "onnx"): path for name, path in made.items()}
    torch.manual_seed(0)
    net = build("u2netp", classes=3, width=4)
    for layer in (each for each in net.modules() if isinstance(each, torch.nn.Conv2d) and each.out_channels == 3):
        torch.nn.init.normal_(layer.weight, std=2)
    card = ModelCard("torch", "u2netp", {"classes": 3, "width": 4}, "semantic", NAMES, WINDOW)
    checkpoint.save(net.eval(), card, folder / "torch.safetensors")
    found["semantic", "torch"] = folder / "torch.safetensors"
    return found


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def outcome(
    command: str, photos: Path, model: Path, arguments: Sequence[str], work: Path, twice: bool,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> tuple[int, str, dict[str, bytes]]:  # fmt: skip
    """Exit code, what is said without times, and all files afterwards."""
    shutil.copytree(photos, work / "photos")
    monkeypatch.chdir(work)
    pair = ["--things", str(model), "--stuff", str(model.with_name("scene.onnx"))]
    line = [command, "photos", *(pair if command == "panoptic" else ["--model", str(model)])]
    if twice:
        run([*line, *(part for part in arguments if part not in ("--overwrite", "--skip-existing"))])
    capfd.readouterr()
    code = run([*line, *arguments])
    said = capfd.readouterr()
    words = re.sub(r"in [\d.]+ s(, [\d.]+ images/s)?", "", "".join(sorted((said.out + said.err).splitlines(True))))
    return code, words, tree(work)


Outcome = tuple[int, str, dict[str, bytes]]
CELLS = [
    (command, name, kind, engine)
    for command, trials in TRIALS.items()
    for name in trials
    # What comes behind the engine is the same for both.
    for kind, engine in [*((kind, "onnx") for kind in MODEL_TYPES), ("semantic", "torch")]
    # Which models can be put together is tried in tests/inference/test_panoptic.py.
    if command != "panoptic" or kind == "instances"
    # What that net of chance finds fills every photo, so that it has nothing to look at again.
    if engine == "onnx" or name in {*OBJECTS, *LOOKS, "crf"} - {"zoom"}
]


@pytest.fixture(scope="module")
def usual() -> dict[object, Outcome]:
    """What comes without the option, for those that are tried beside the same."""
    return {}


@pytest.mark.parametrize(("command", "name", "kind", "engine"), CELLS)
def test_every_option_acts_or_is_refused(
    command: str, name: str, kind: str, engine: str, photos: Path, models: dict[tuple[str, str], Path],
    usual: dict[object, Outcome], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trial, model = TRIALS[command][name], models[kind, engine]

    def answer(place: str, *given: str) -> Outcome:
        (tmp_path / place).mkdir()
        return outcome(
            command, photos, model, [*trial.beside, *given], tmp_path / place, trial.twice, capfd, monkeypatch
        )

    key = (command, model, trial.beside, trial.twice)
    if key not in usual:
        usual[key] = answer("without")
    _, words, files = usual[key]
    code, said, after = answer("with", *trial.given)
    if code and after == tree_before(photos) and "imago: " in said and "photos/" not in said:
        assert len(said.splitlines()) == 1, said
        assert trial.given[0] in said, said
    else:
        assert (words, files) != (said, after), f"{command} {' '.join(trial.given)} does nothing"


def tree_before(photos: Path) -> dict[str, bytes]:
    return {f"photos/{name}": content for name, content in tree(photos).items()}


@pytest.mark.parametrize("command", TRIALS)
def test_no_option_is_left_out(command: str) -> None:
    found = group.get_command(click.Context(group), command)
    assert found is not None
    assert {parameter.name for parameter in found.params} - NOT_TRIED == set(TRIALS[command])

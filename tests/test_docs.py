"""The documents are true: every command and every Python block in them runs, every link leads somewhere.

Commands stand in ``console`` blocks behind ``$ ``; the commands of one document run one after another, in a folder
that holds what the documents speak of (``prepare``). ``docs/reference/cli.md`` and ``python.md`` are made by running
this file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))  # where it is run as a program

from cells import write_cells
from click.testing import CliRunner
from conftest import ROOT, TINY_COLORS, TINY_NAMES, draw_scene, write_tiny_dataset
from PIL import Image
from python_reference import render_reference
from scenes import write_park
from tiny_onnx import write_tiny

from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.model_card import ModelCard

LABELS = Labels(TINY_NAMES, TINY_COLORS)  # those of ``shapes``
DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    if "models" not in path.relative_to(ROOT).parts[:2]  # model cards name the commands of long trainings
]
SLOW = (
    "docs/how-to/train.md",
    "docs/how-to/export.md",
    "docs/how-to/compare.md",
    "docs/how-to/objects.md",
    "docs/how-to/panoptic.md",
)  # torch traces a net in 4 s or more
SKETCHES = ("docs/architecture.md",)  # its Python is a picture of the joints, not a program
NOT_RUN = {  # beginnings of commands, and why
    "pip install": "changes the environment",
    "pytest": "would run itself",
    "git clone": "needs a network",
    "cd ": "the next commands run where this one leads already",
    "python -m venv": "changes the environment",
    "imago models download": "needs a network; tests/files/test_download.py has a server of its own",
}
CLI = ROOT / "docs" / "reference" / "cli.md"
PYTHON = ROOT / "docs" / "reference" / "python.md"
COMMANDS = (
    "cutout", "segment", "panoptic", "models", "models show", "models download", "data", "data check", "data anchors",
    "train", "compare", "evaluate", "export",
)  # fmt: skip


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands(document: str) -> list[str]:
    found = []
    for block in blocks(document, "console"):
        joined = block.replace("\\\n", " ")
        # "pip install . && imago ..." is what newcomers type; here it is installed already.
        found += [
            re.sub(r"^pip install \S+ && ", "", line[2:]) for line in joined.splitlines() if line.startswith("$ ")
        ]
    return [command for command in found if not command.startswith(tuple(NOT_RUN))]


def prepare(folder: Path) -> dict[str, str]:
    """All files that the documents name, and the environment in which their commands run."""
    for name in ("photo.jpg", "beach.jpg", "photos/one.jpg", "photos/trip/two.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_scene(len(name), (96, 128))[0]).save(path, quality=92)
    if (ROOT / "samples").is_dir():
        written = shutil.ignore_patterns(
            "*.cutout.*", "*.mask.*", "*.overlay.*", "counts.csv"
        )  # by the README's reader
        shutil.copytree(ROOT / "samples", folder / "samples", ignore=written)
    Image.fromarray(draw_scene(1, (40, 60))[0]).save(
        folder / "stack.tif", save_all=True, append_images=[Image.fromarray(draw_scene(2, (40, 60))[0])] * 5
    )
    prepare_scans(folder)
    write_tiny_dataset(folder / "shapes")
    write_cells(folder / "blobs")
    (folder / "products").mkdir()
    for number in range(3):  # a thing on a plain background each
        product = np.full((90, 120, 3), 235, np.uint8)
        product[20 : 60 + number, 30:90] = (180, 60, 40)
        Image.fromarray(product).save(folder / "products" / f"p{number}.jpg", quality=95)
    cells = sorted((folder / "blobs" / "images").glob("*"))[0]
    shutil.copy(cells, folder / "cells.png")
    (folder / "slides").mkdir()
    shutil.copy(cells, folder / "slides")
    shutil.copytree(folder / "slides", folder / "more")
    write_cells(folder / "cells")
    write_park(folder / "park")
    write_tiny(folder / "mine.onnx", 3, labels=LABELS)
    write_tiny(folder / "cutter.onnx")
    home = folder / "home"
    named = {"subject": 1, "clothes": 3, "u2netp": 1, "lraspp-mobilenetv3-voc": 3}
    for name, classes in named.items():  # where the shipped ones are not there yet, and for those to be downloaded
        write_tiny(home / "models" / f"{name}.onnx", classes)
    cells = Labels(("background", "border", "cell"))
    write_tiny(home / "models" / "maskrcnn-resnet50-coco.onnx", 3, labels=cells, objects=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "IMAGO_HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def prepare_scans(folder: Path) -> None:
    """A volume, a series and a map."""
    import rasterio
    from scans import write_ct, write_nifti

    values = np.random.default_rng(0).integers(0, 4000, (24, 20, 6)).astype(np.uint16)
    write_nifti(folder / "scan.nii.gz", values.astype(np.int16))
    (folder / "CT").mkdir()
    for index in range(3):
        write_ct(folder / "CT" / f"{index}", values[:, :, index], 2.5 * index)
    with rasterio.open(
        folder / "map.tif", "w", driver="GTiff", width=60, height=40, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5.5e6), photometric="RGB",
    ) as target:  # fmt: skip
        target.write(draw_scene(3, (40, 60))[0].transpose(2, 0, 1))


def prepare_run(folder: Path) -> None:
    """What a training on ``shapes`` leaves in ``runs/shapes``, as far as the export looks at it."""
    import torch

    from imago.models import build, checkpoint

    run = folder / "runs" / "shapes"
    run.mkdir(parents=True)
    torch.manual_seed(0)
    spec = InputSpec("area", (64, 64), multiple=16)
    card = ModelCard("shapes", "unet", {"classes": 3, "width": 4}, "semantic", LABELS, spec, output="logit")
    for checkpoint_name in ("best.safetensors", "last.safetensors"):
        checkpoint.save(build("unet", classes=3, width=4).eval(), card, run / checkpoint_name)
    (run / "config.json").write_text(json.dumps({"root": str(folder), "data": [{"path": "shapes"}]}))


@pytest.mark.skipif(sys.platform == "win32", reason="the documents' commands are written for a POSIX shell")
@pytest.mark.parametrize(
    "document",
    [
        pytest.param(document, marks=pytest.mark.slow if document in SLOW else ())
        for document in DOCUMENTS
        if document not in SKETCHES and (blocks(document, "console") or blocks(document, "python"))
    ],
)
def test_commands_and_python_blocks_run(document: str, tmp_path: Path) -> None:
    environment = prepare(tmp_path)
    if any("runs/shapes" in command for command in commands(document)):
        prepare_run(tmp_path)
    for command in commands(document):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    program = "\n".join(blocks(document, "python"))
    if program:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{program}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    missing = [target for target in targets if target and not ((ROOT / document).parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if document != "docs/reference/cli.md"])
def test_commands_that_are_not_run_use_real_options_too(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    unknown = []
    for line in re.findall(r"imago (?:cutout|segment|panoptic|train|evaluate|export|models)\b[^\n`]*", text):
        words = re.sub(r"[^\w -]", " ", line).split()
        known = options_of(help_of(words[1]))
        if words[1] == "models" and len(words) > 2 and words[2] in ("show", "download"):
            known |= options_of(help_of(f"models {words[2]}"))
        unknown += [f"{words[1]} {option}" for option in sorted(options_of(line) - known)]
    assert unknown == []


def help_of(command: str) -> str:
    from imago.cli.main import group

    arguments = [*command.split(), "--help"]
    result = CliRunner().invoke(group, arguments, prog_name="imago", terminal_width=100, max_content_width=100)
    assert result.exit_code == 0, f"imago {' '.join(arguments)}: {result.output}{result.exception}"
    return click.unstyle(result.output)


def options_of(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_reference_has_the_options_that_there_are(command: str) -> None:
    written = dict(
        re.findall(r"^## imago ([a-z ]+)\n(.*?)(?=^## |\Z)", CLI.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
    assert command in written, f"no section; write it anew with: python {Path(__file__).relative_to(ROOT)}"
    assert options_of(written[command]) == options_of(help_of(command)), (
        f"write the reference anew with: python {Path(__file__).relative_to(ROOT)}"
    )


def test_the_python_reference_is_what_the_package_says() -> None:
    """All of it, so that no net, option or argument is forgotten."""
    assert PYTHON.read_text("utf-8") == render_reference(), (
        f"write the reference anew with: python {Path(__file__).relative_to(ROOT)}"
    )


def write_reference() -> None:
    parts = [
        "# Command line\n",
        "What `imago COMMAND --help` prints, written by `python tests/test_docs.py`.\n",
        "Exit codes: 0 all is well; 1 something failed, and a line says what; 2 the command line is wrong; 130 stopped "
        "with\nCtrl-C. Results go to standard output, messages to standard error.\n",
    ]
    for command in COMMANDS:
        parts.append(f"## imago {command}\n\n```text\n{help_of(command).strip()}\n```\n")
    CLI.write_text("\n".join(parts), "utf-8")
    PYTHON.write_text(render_reference(), "utf-8")


def test_architecture_names_what_is_there() -> None:
    """``room.module.name`` is a module of the package, or what one of them defines or gives on."""
    package = ROOT / "src" / "imago"
    rooms = "|".join(sorted(path.name for path in package.iterdir() if path.is_dir()))
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    missing = []
    for found in sorted(set(re.findall(rf"\b(?:{rooms})(?:\.\w+)+", text))):
        place, names = package, found.split(".")
        while names and (place / names[0]).is_dir():
            place /= names.pop(0)
        if names and (place / f"{names[0]}.py").is_file():
            place /= f"{names.pop(0)}.py"
        source = (place / "__init__.py" if place.is_dir() else place).read_text("utf-8")
        missing += [found] if any(not re.search(rf"\b{name}\b", source) for name in names) else []
    assert not missing


if __name__ == "__main__":
    write_reference()

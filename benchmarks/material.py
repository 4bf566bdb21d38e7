"""What the benchmarks run on: photos of a given size, and a U2-Net-p with random weights that both tools are given."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import whole_process

ROOT = Path(__file__).resolve().parents[1]
JPEG_QUALITY = 92
NOISE = 3.0  # spread, of 255: an enlarged photo is smooth, and PNG would pack it better than a real one


def data_root() -> Path:
    """The folder of the annotated photos: $IMAGO_DATA, or shared/data beside the repository."""
    return Path(os.environ.get("IMAGO_DATA") or ROOT.parent / "shared" / "data")


def sample_photo(given: Path | None) -> Path:
    """``given``, else the first street photo of the data folder."""
    if given is not None:
        return given
    found = sorted((data_root() / "people" / "images").glob("*.jpg"))
    if not found:
        raise SystemExit("there is no photo to start from; give one with --photo FILE")
    return found[0]


def make_photo(sample: Path, megapixels: float, path: Path, seed: int = 0) -> Path:
    """``sample`` at ``megapixels``, its aspect kept, with slight noise, as JPEG. Written strip by strip of 512 rows."""
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(sample) as opened:
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    factor = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
    photo = photo.resize((round(photo.width * factor), round(photo.height * factor)), Image.Resampling.BICUBIC)
    random = np.random.default_rng(seed)
    strip = 512
    for top in range(0, photo.height, strip):
        box = (0, top, photo.width, min(top + strip, photo.height))
        pixels = np.asarray(photo.crop(box), np.float32)
        pixels = pixels + NOISE * random.standard_normal(pixels.shape, np.float32)
        photo.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), box[:2])
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, quality=JPEG_QUALITY)
    return path


def make_model(path: Path, sample: Path) -> Path:
    """A U2-Net-p with random weights, seed 0, prepared and stretched as the official one, by Imago's own export."""
    import numpy as np
    import torch
    from PIL import Image

    from imago import models
    from imago.core.input_spec import InputSpec
    from imago.core.labels import binary_labels
    from imago.core.model_card import ModelCard
    from imago.export.semantic import export_onnx

    torch.manual_seed(0)
    net = models.build("u2netp")
    card = ModelCard(
        name="random", architecture="u2netp", options={"classes": 1, "in_channels": 3}, task="binary",
        labels=binary_labels(), input=InputSpec(rule="resize", size_hw=(320, 320), scale="max"), minmax_normalize=True,
        license="none", note="random weights, to measure speed",
    )  # fmt: skip
    with Image.open(sample) as opened:
        image = np.asarray(opened.convert("RGB"))
    path.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(net, card, path, samples=[image], overwrite=True)
    return path


def model_for(given: Path | None, folder: Path, sample: Path) -> Path:
    """The file that both tools are given, in ``folder``: rembg reads models only from the folder in U2NET_HOME."""
    target = folder / "models" / "net.onnx"
    if given is None:
        return make_model(target, sample)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(given, target)
    return target


def add_tools(parser: argparse.ArgumentParser, rembg: bool = True) -> None:
    """The options that say which programs are measured."""
    parser.add_argument("--imago", type=Path, help="the imago command (default: that of this Python's environment)")
    if rembg:
        parser.add_argument(
            "--rembg", type=Path, help="rembg's command, in an environment of its own; without: left out"
        )


def imago_command(given: Path | None) -> Path:
    return given or whole_process.beside_python("imago")


def cutout_words(given: Path | None, photos: Path, model: Path | str, out: Path) -> list[str | Path]:
    return [imago_command(given), "cutout", photos, "--model", model, "--out", out]


def rembg_environment(model: Path) -> dict[str, str]:
    # Both go without ONNX Runtime's telemetry, which takes time.
    return {"U2NET_HOME": str(model.parent), "ORT_DISABLE_TELEMETRY": "1"}


def rembg_words(model: Path) -> list[str]:
    """The options that give rembg this model."""
    return ["-m", "u2net_custom", "-x", json.dumps({"model_path": str(model)})]

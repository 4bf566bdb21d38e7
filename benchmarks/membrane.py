"""A membrane model on the slices kept for validation, at full resolution, beside the figures of the U-Net paper.

    python benchmarks/membrane.py --model runs/membrane/model.onnx --data /path/to/data

V_Rand and V_Info (see imago.metrics.rand) are means over slices at the one threshold that is best for all of them. It
is chosen on the slices that are measured, as in the challenge.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from material import ROOT, data_root
from report import machine, say, table

if TYPE_CHECKING:
    import numpy as np

    from imago.data.dataset import Sample
    from imago.inference.predictor import Predictor

RECIPE = ROOT / "recipes" / "membrane.toml"
MEMBRANE, CELL = "membrane", "cell"

# Ronneberger et al. 2015 (arXiv:1505.04597), table 1: the challenge's 30 hidden slices; U-Net is the mean over 7 turned
# copies. Columns: pixel error, Rand error. The warping error (0.000353 for U-Net) is not measured here.
PAPER = {"U-Net, 2015, 30 hidden slices": (0.0611, 0.0382)}
CAVEAT = """\
The paper's figures are of 30 other slices, whose truth was never given out, for a net trained on all 30 training
slices; here 15 of 20 trained it, and the five measured come next in the same stack. They are only roughly comparable.
The challenge's errors are 1 - F: pixels at the best threshold, pairs of pixels (Rand) without thinning of borders."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Pixel, membrane, Rand and information scores of a membrane model.")
    parser.add_argument("--model", default="runs/membrane/model.onnx", help="name or file (default %(default)s)")
    parser.add_argument("--data", type=Path, default=data_root(), help="folder that holds membrane/")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="whose val and group are used")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    from imago.core.errors import ImagoError
    from imago.inference.load import load

    try:
        samples = validation(options.recipe, options.data)
        model = load(options.model)
        if model.card.labels.names != (MEMBRANE, CELL):
            names = ", ".join(model.card.labels.names)
            raise SystemExit(f"{options.model}: expected the classes {MEMBRANE}, {CELL}; it has {names}")
        report(model, samples)
    except ImagoError as error:
        raise SystemExit(str(error)) from error


def validation(recipe: Path, data: Path) -> tuple[Sample, ...]:
    """The slices that the recipe keeps back."""
    from imago.data.grouping import parse_grouping
    from imago.data.open_dataset import open_dataset

    entry = tomllib.loads(recipe.read_text("utf-8"))["data"][0]
    return open_dataset(
        data / entry["path"], grouping=parse_grouping(entry["group"]), channels=1, val=entry["val"]
    ).split("val")


def probability(model: Predictor, image: np.ndarray) -> np.ndarray:
    """float32 (H, W) of "cell", at the photo's own size."""
    import cv2

    answer = model(image)
    if answer.scores is None:
        return answer.alpha
    height, width = answer.size_hw
    plane = answer.scores[model.card.labels.names.index(CELL)]
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)


def report(model: Predictor, samples: tuple[Sample, ...]) -> None:
    import numpy as np

    from imago.metrics.confusion import ConfusionMatrix
    from imago.metrics.rand import F, best_threshold, pixel_error, score_curves
    from imago.metrics.soft import soft_scores

    rows = [["slice", "pixel error", "IoU of membrane"]]
    total = ConfusionMatrix(2)
    errors, pixels, thinned, plain = [], [], [], []
    for sample in samples:
        say(f"slice {sample.name}")
        truth, cells = sample.label_map(), probability(model, sample.image())
        predicted = (cells >= 0.5).astype(np.uint8)
        matrix = ConfusionMatrix(2).update(predicted, truth)
        total += matrix
        errors.append(pixel_error(predicted, truth))
        pixels.append(soft_scores(cells, truth, beta_squared=1.0).f_beta)
        thinned.append(score_curves(cells, truth))
        plain.append(score_curves(cells, truth, thin=False))
        rows.append([sample.name, f"{errors[-1]:.4f}", f"{matrix.iou()[0]:.4f}"])
    rows.append(["**all**", f"**{np.mean(errors):.4f}**", f"**{total.iou()[0]:.4f}**"])
    print(table(rows), end="\n\n")

    rows = [["score", "F", "merge", "split", "threshold"]]
    for name, curves in (("thinned", thinned), ("not thinned", plain)):
        for kind, title in (("rand", "V_Rand"), ("info", "V_Info")):
            threshold, (merge, split, f) = best_threshold(np.stack([getattr(curve, kind) for curve in curves]))
            rows.append([f"{title}, {name}", f"{f:.4f}", f"{merge:.4f}", f"{split:.4f}", f"{threshold:.1f}"])
    print(table(rows), end="\n\n")

    rand_error = 1 - best_threshold(np.stack([curve.rand for curve in plain]))[1][F]
    pixel_f = 1 - float(np.mean(pixels, axis=0).max())
    rows = [["the challenge's errors", "pixels, 1 - F", "Rand, 1 - F"]]
    rows.append([f"{model.card.name}, {len(samples)} slices", f"{pixel_f:.4f}", f"{rand_error:.4f}"])
    rows += [[who, f"{pixel:.4f}", f"{rand:.4f}"] for who, (pixel, rand) in PAPER.items()]
    print(table(rows), end=f"\n\n{CAVEAT}\n")


if __name__ == "__main__":
    main()

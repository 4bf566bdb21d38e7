"""R-CNN after fine-tuning: features of every box of every photo, from them the SVMs, and the box regressors.

    features     RUN/features/*.npz      one file a photo (VGG-16: 16 MB); gone when the regressors are solved
    SVMs         RUN/stages/svms-*.npz
    regressors   RUN/stages/boxes-*.npz

Each file is named after all that it depends on, and is there whole or not at all. A run that is stopped or killed goes
on at the first photo, or the first stage, whose file is not there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imago.core.errors import DataError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.data.array_cache import Arrays, load_or_make, make_key
from imago.data.crops import crop_boxes
from imago.data.dataset import Sample
from imago.inference.detection import CROPS
from imago.models.detection.rcnn import RCNN
from imago.training.interrupt import Interrupt
from imago.training.rcnn.options import RcnnStages
from imago.training.rcnn.rois import Rois
from imago.training.rcnn.solve import solve_boxes, solve_svms

Say = Callable[[str], None]


@dataclass(frozen=True)
class Solver:
    """One training's later stages. ``regions``: one for each of ``samples``; ``net``: fine-tuned, on its device."""

    net: RCNN
    spec: InputSpec
    stages: RcnnStages
    samples: Sequence[Sample]
    rois: Sequence[Rois]
    labels: Labels
    seed: int
    folder: Path
    say: Say
    interrupt: Interrupt

    def solve(self) -> None:
        """Fills the net's SVMs and regressors."""
        body = make_key(*[part for name, value in self.net.body.state_dict().items() for part in (name, _bytes(value))])
        boxes = [one.boxes.tobytes() + one.names.tobytes() for one in self.rois]
        key = make_key(body, *boxes, asdict(self.stages), str(self.seed))
        stored = self.folder / "stages"

        def read(number: int) -> Arrays:
            return self.features(number, body)

        def svms() -> Arrays:
            self.all_features(read)
            return solve_svms(
                read, self.rois, self.labels, self.stages, seed=self.seed, say=self.say, interrupt=self.interrupt
            )

        def regressors() -> Arrays:
            return solve_boxes(read, self.rois, self.labels, self.stages, self.say, self.interrupt)

        for name, layer, work in (("svms", self.net.svm, svms), ("boxes", self.net.boxes, regressors)):
            found = load_or_make(stored / f"{name}-{key}.npz", ("weights", "offsets"), work)
            layer.weight.data.copy_(torch.from_numpy(found["weights"]))
            layer.bias.data.copy_(torch.from_numpy(found["offsets"]))
        shutil.rmtree(self.folder / "features", ignore_errors=True)

    def all_features(self, read: Callable[[int], Arrays]) -> None:
        for number in range(len(self.samples)):
            self.interrupt.check()
            read(number)
            if (number + 1) % max(1, len(self.samples) // 20) == 0:
                self.say(f"features: {number + 1} of {len(self.samples)} photos")

    def features(self, number: int, body: str) -> Arrays:
        """Of one photo: float16 "features" (n, D) of all boxes, and "places" (m, P) of those that regressors learn
        from. ``body``: a key of the weights that they are made with."""
        sample, one = self.samples[number], self.rois[number]
        settings = {"crop": self.net.crop, "padding": self.stages.padding, "near": self.stages.near}
        key = make_key(body, sample.image_path.read_bytes(), one.boxes.tobytes(), settings)
        return load_or_make(
            self.folder / "features" / f"{key}.npz", ("features", "places"), lambda: self._features(sample, one)
        )

    def _features(self, sample: Sample, one: Rois) -> Arrays:
        near = one.near(self.stages.near)
        body = self.net.body
        features, places = [np.zeros((0, body.features), np.float32)], [np.zeros((0, body.pool5_width), np.float32)]
        for start, (some, where) in self._extract_features(sample.image(), one.boxes):
            features.append(some.cpu().numpy())
            inside = near[(near >= start) & (near < start + len(some))] - start
            places.append(where[torch.from_numpy(inside).to(where.device)].cpu().numpy())
        found = {"features": np.concatenate(features), "places": np.concatenate(places)}
        largest = max((float(np.abs(values).max()) for values in found.values() if values.size), default=0.0)
        if not largest < np.finfo(np.float16).max:
            raise DataError(
                f"{sample.image_path}: the CNN's features reach {largest:g}, past what float16 holds; it has exploded "
                "in fine-tuning. Try a smaller --lr"
            )
        return {name: values.astype(np.float16) for name, values in found.items()}

    @torch.no_grad()
    def _extract_features(self, image: np.ndarray, boxes: np.ndarray) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
        """Number of the first box, and features and places of ``CROPS`` boxes from it on."""
        device = next(self.net.parameters()).device
        for start in range(0, len(boxes), CROPS):
            crops = crop_boxes(image, boxes[start : start + CROPS], self.spec, self.stages.padding)
            yield start, self.net.extract_features(torch.from_numpy(crops).to(device))


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().numpy().tobytes()

"""R-CNN's training, which is four trainings one after the other (Girshick et al. 2014, section 2.3 and appendix C).

    1 proposals    selective search of every image         proposals/*.npz
    2 fine-tuning  the CNN learns crops by a softmax       finetune.state.safetensors, then 1-finetuned.safetensors
    3 features     of every box of every image             features/*.npz
    4 SVMs         one a class, hard negatives mined       2-svms.safetensors
    5 regressors   one a class                             3-boxes.safetensors
    the model      all of it and its card                  model.safetensors

Each stage's result is a file in the run's folder. ``train_rcnn`` called again with the same folder goes on at the first
stage whose file is not there (of proposals and features: at the first image), in fine-tuning at the last saved step.
Other options or another data set than the folder was begun with are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.data.array_cache import Arrays, key_of, load_or_make
from imago.data.things import ThingSample
from imago.files.writing import atomic_write
from imago.models.rcnn import RCNN, build_rcnn, features_of
from imago.models.rcnn_file import RcnnCard, read_tensors, save_rcnn, write_tensors
from imago.training.device import choose_device
from imago.training.interrupt import Interrupt
from imago.training.rcnn_finetune import finetune
from imago.training.rcnn_options import RcnnOptions
from imago.training.rcnn_regions import Regions, collect_regions
from imago.training.rcnn_solve import ReadFeatures, solve_boxes, solve_svms

Say = Callable[[str], None]

OPTIONS, STATE, MODEL = "options.json", "finetune.state.safetensors", "model.safetensors"
FINETUNED, SVMS, BOXES = "1-finetuned.safetensors", "2-svms.safetensors", "3-boxes.safetensors"


def train_rcnn(
    samples: Sequence[ThingSample], labels: Labels, folder: Path, options: RcnnOptions | None = None,
    say: Say = print,
) -> Path:  # fmt: skip
    """Trains on ``samples`` (classes are values of ``labels``, 0 the background); the path of the model file.

    ``say`` is told of the progress, a line at a time. Ctrl-C stops at the next safe moment (Stopped is raised).
    Raises DataError for a folder of another training, for data without objects, and where learning fails.
    """
    options = options or RcnnOptions()
    samples = tuple(samples)
    _claim(folder, samples, labels, options)
    if (folder / MODEL).is_file():
        say(f"{folder / MODEL} is there already: all stages are done")
        return folder / MODEL
    with Interrupt() as interrupt:
        regions = collect_regions(samples, options.proposals, folder / "proposals", say, interrupt)
        net = _fresh(labels, options).to(choose_device(options.device))

        def stage(name: str, work: Callable[[], None]) -> None:
            _stage(net, folder / name, work, say)

        stage(FINETUNED, lambda: finetune(net, samples, regions, options, folder / STATE, say, interrupt))
        read = _features(net, samples, regions, options, folder, say, interrupt)
        stage(SVMS, lambda: solve_svms(net, read, regions, labels, options, say, interrupt))
        stage(BOXES, lambda: solve_boxes(net, read, regions, labels, options, say, interrupt))
        card = RcnnCard(
            options.name, labels, options.net_options(), options.input_spec(), options.padding, options.proposals,
            options.data, options.licence,
        )  # fmt: skip
        save_rcnn(net, card, folder / MODEL)
    say(f"written: {folder / MODEL}")
    return folder / MODEL


def _claim(folder: Path, samples: tuple[ThingSample, ...], labels: Labels, options: RcnnOptions) -> None:
    """Writes down what the folder's training depends on; refuses a folder that was begun otherwise."""
    asked = json.dumps(
        {
            "options": options.deciding(),
            "classes": list(labels.names),
            "images": key_of(*[f"{sample.name} {sample.image_path.name}" for sample in samples]),
        },
        indent=1,
    )
    path = folder / OPTIONS
    if not path.is_file():
        with atomic_write(path) as stream:
            stream.write(asked.encode())
        return
    before, now = json.loads(path.read_text("utf-8")), json.loads(asked)
    if before == now:
        return
    changed = sorted(name for name in now["options"] if before["options"].get(name) != now["options"][name])
    changed += [name for name in ("classes", "images") if before[name] != now[name]]
    raise DataError(
        f"{folder}: a training with other settings was begun there ({', '.join(changed)}); choose another folder, or "
        "delete this one"
    )


def _fresh(labels: Labels, options: RcnnOptions) -> RCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return build_rcnn(len(labels), pretrained=options.pretrained, **options.net_options())


def _stage(net: RCNN, path: Path, work: Callable[[], None], say: Say) -> None:
    """The net as it is after a stage: read from its file, or worked for and written there."""
    if path.is_file():
        tensors, _ = read_tensors(path)
        net.load_state_dict(tensors)
        say(f"{path.name} is there already")
        return
    work()
    write_tensors(path, net.state_dict(), {})


def _features(
    net: RCNN, samples: tuple[ThingSample, ...], regions: Sequence[Regions], options: RcnnOptions, folder: Path,
    say: Say, interrupt: Interrupt,
) -> ReadFeatures:  # fmt: skip
    """Makes the features of all images that have none yet; the function that reads those of an image."""
    weights = key_of((folder / FINETUNED).read_bytes())
    settings = {"crop": options.crop, "padding": options.padding, "near": options.near}
    paths = [
        folder / "features" / f"{key_of(weights, sample.image_path.read_bytes(), one.boxes.tobytes(), settings)}.npz"
        for sample, one in zip(samples, regions, strict=True)
    ]

    def read(number: int) -> Arrays:
        return load_or_make(
            paths[number],
            ("features", "places"),
            lambda: _features_of_image(net, samples[number], regions[number], options),
        )

    if not (folder / BOXES).is_file():
        for number in range(len(samples)):
            interrupt.check()
            read(number)
            if (number + 1) % max(1, len(samples) // 20) == 0:
                say(f"features: {number + 1} of {len(samples)} images")
    return read


def _features_of_image(net: RCNN, sample: ThingSample, regions: Regions, options: RcnnOptions) -> Arrays:
    """float16: features of all boxes, places of those that the regressors learn from."""
    near = regions.near(options.near)
    features, places, start = [], [], 0
    for some, where in features_of(
        net, sample.image(), regions.boxes, options.input_spec(), options.padding, options.batch
    ):
        features.append(some.cpu().numpy())
        inside = near[(near >= start) & (near < start + len(some))] - start
        places.append(where[torch.from_numpy(inside).to(where.device)].cpu().numpy())
        start += len(some)
    found = {
        "features": np.concatenate([*features, np.zeros((0, net.body.features), np.float32)]),
        "places": np.concatenate([*places, np.zeros((0, net.body.places), np.float32)]),
    }
    largest = max((float(np.abs(values).max()) for values in found.values() if values.size), default=0.0)
    if not largest < np.finfo(np.float16).max:
        raise DataError(
            f"{sample.image_path}: the CNN's features reach {largest:g}, past what float16 holds; it has exploded in "
            "fine-tuning. Try a smaller lr, or clip=10"
        )
    return {name: values.astype(np.float16) for name, values in found.items()}

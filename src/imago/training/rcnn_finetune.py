"""R-CNN's first learning (section 2.3): the CNN tells crops of the classes and of background apart, by a softmax.

Each step draws 32 proposals of things (overlap of 0.5 or more with a true box, whose class they take; the true boxes
are among them) and 96 of background, from all images alike. What step n draws hangs on the seed and n alone, and the
state is saved now and then, so a killed training goes on as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imago.core.errors import DataError
from imago.data.things import ThingSample
from imago.models.rcnn import RCNN, warp_crop, with_surroundings
from imago.models.rcnn_file import read_tensors, write_tensors
from imago.training.interrupt import Interrupt
from imago.training.rcnn_options import RcnnOptions
from imago.training.rcnn_regions import Regions

MOMENTUM = "momentum/"  # before the names of SGD's averages in the state file


def windows_of(regions: Sequence[Regions], positive_from: float) -> tuple[np.ndarray, np.ndarray]:
    """int64 (P, 3) and (M, 3): image, row of its boxes, class; first those of things, then those of background.

    Raises DataError where one of the two is empty.
    """
    positives, negatives = [], []
    for number, one in enumerate(regions):
        shows = one.best >= positive_from
        rows = np.flatnonzero(shows)
        positives.append(_windows(number, rows, one.names[one.which[rows]]))
        rows = np.flatnonzero(~shows & ~one.crowded)
        negatives.append(_windows(number, rows, np.zeros(len(rows), np.int64)))
    positive, negative = np.concatenate(positives), np.concatenate(negatives)
    if not len(positive) or not len(negative):
        raise DataError(
            f"fine-tuning needs boxes of things and of background; there are {len(positive)} and {len(negative)}"
        )
    return positive, negative


def _windows(number: int, rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.stack([np.full(len(rows), number, np.int64), rows, classes], axis=1)


def draw(positive: np.ndarray, negative: np.ndarray, options: RcnnOptions, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows of a step, int64 (positives + negatives, 3), and bool: which of them are mirrored."""
    random = np.random.default_rng([options.seed, step])
    chosen = np.concatenate(
        [
            positive[random.integers(len(positive), size=options.positives)],
            negative[random.integers(len(negative), size=options.negatives)],
        ]
    )
    return chosen, random.random(len(chosen)) < (0.5 if options.mirror else 0.0)


def finetune(
    net: RCNN, samples: Sequence[ThingSample], regions: Sequence[Regions], options: RcnnOptions, state: Path,
    say: Callable[[str], None], interrupt: Interrupt,
) -> None:  # fmt: skip
    """Moves the weights of ``net``. Goes on from the file ``state`` where there is one, and writes it now and then."""
    positive, negative = windows_of(regions, options.positive_from)
    say(f"fine-tuning: {len(positive)} boxes of things, {len(negative)} of background")
    learned = {name: p for name, p in net.named_parameters() if name.startswith(("body.", "softmax."))}
    optimiser = torch.optim.SGD(
        learned.values(), lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay
    )
    first = _load_state(net, optimiser, learned, state) if state.is_file() else 0
    device = next(net.parameters()).device
    spec = options.input_spec()
    photo = lru_cache(maxsize=options.cache_photos)(lambda number: samples[number].image())
    smooth = float("nan")
    for step in range(first, options.steps):
        chosen, mirrored = draw(positive, negative, options, step)
        crops = np.empty((len(chosen), 3, options.crop, options.crop), np.float32)
        for place in np.argsort(chosen[:, 0], kind="stable"):  # image by image, so that few are decoded twice
            number, row, _ = chosen[place]
            region = with_surroundings(regions[number].boxes[row : row + 1], options.crop, options.padding)[0]
            crops[place] = spec.normalise(
                warp_crop(photo(int(number)), region, options.crop, spec, bool(mirrored[place]))
            )
        loss = _step(net, optimiser, torch.from_numpy(crops).to(device), torch.from_numpy(chosen[:, 2]).to(device),
                     options, step)  # fmt: skip
        smooth = loss if np.isnan(smooth) else 0.95 * smooth + 0.05 * loss
        done = step + 1
        if done % max(1, options.steps // 20) == 0:
            say(f"fine-tuning: step {done} of {options.steps}, loss {smooth:.4f}")
        if (done % options.save_steps == 0 and done < options.steps) or interrupt.asked:
            _save_state(net, optimiser, learned, done, state)
            interrupt.check()


def _step(
    net: RCNN, optimiser: torch.optim.Optimizer, crops: Tensor, classes: Tensor, options: RcnnOptions, step: int
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = options.lr * 0.1 ** (step // options.drop_after)
    net.train()
    with torch.random.fork_rng(devices=[crops.device] if crops.is_cuda else []):
        torch.manual_seed(options.seed * 1_000_003 + step)  # of the dropout
        features, _ = net(crops)
        loss = F.cross_entropy(net.softmax(features).float(), classes)
    if not torch.isfinite(loss):
        raise DataError(f"fine-tuning: the loss is {loss.item()} at step {step + 1}; try a smaller lr, or clip=10")
    optimiser.zero_grad()
    loss.backward()
    if options.clip:
        torch.nn.utils.clip_grad_norm_(net.parameters(), options.clip)
    optimiser.step()
    return loss.item()


def _save_state(
    net: RCNN, optimiser: torch.optim.Optimizer, learned: dict[str, torch.nn.Parameter], done: int, path: Path
) -> None:
    tensors = dict(net.state_dict())
    for name, parameter in learned.items():
        average = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if average is not None:
            tensors[MOMENTUM + name] = average
    write_tensors(path, tensors, {"step": str(done)})


def _load_state(net: RCNN, optimiser: torch.optim.Optimizer, learned: dict[str, torch.nn.Parameter], path: Path) -> int:
    """The number of steps that are done."""
    tensors, metadata = read_tensors(path)
    net.load_state_dict({name: value for name, value in tensors.items() if not name.startswith(MOMENTUM)})
    for name, parameter in learned.items():
        if MOMENTUM + name in tensors:
            optimiser.state[parameter]["momentum_buffer"] = tensors[MOMENTUM + name].to(parameter.device)
    return int(metadata["step"])

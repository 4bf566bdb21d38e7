"""The training loop: ``setup`` gathers the outer world, ``build`` makes objects, ``fit`` loops, ``finish`` reports."""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

import imago
from imago import losses, models
from imago.core.card import ModelCard
from imago.core.errors import DataError, ImagoError
from imago.core.labels import Labels
from imago.core.spec import InputSpec
from imago.models import checkpoint
from imago.models.base import SegmentationNet, Target
from imago.training.config import TrainConfig
from imago.training.device import build_fabric, channels_last_is_faster, choose_device, choose_precision
from imago.training.optim import MovingAverage, build_optimiser, rate_factor
from imago.training.pictures import BatchPlan, PhotoCache, Pictures, class_frequencies, frames_of
from imago.training.progress import Display
from imago.training.sources import RunData, open_sources
from imago.training.state import load_state, save_state
from imago.training.validate import NetEngine, Validation, validate

STATE = "resume.safetensors"
BEST = "best.safetensors"
LAST = "last.safetensors"


@dataclass
class Progress:
    """Where a run stands. Saved with the state, as JSON."""

    epoch: int = 0  # epochs done
    step_in_epoch: int = 0
    step: int = 0  # steps done in all
    seconds: float = 0.0  # time spent, over all sittings
    best: float = -1.0
    best_epoch: int = 0
    side_px: int = 0  # of the frames of the epoch under way
    loss_sum: float = 0.0  # of the epoch under way
    history: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False


@dataclass
class Run:
    """All objects of one training."""

    config: TrainConfig
    folder: Path
    fabric: Fabric
    data: RunData
    net: SegmentationNet
    module: nn.Module  # the net as Fabric wraps it
    optimiser: torch.optim.Optimizer
    average: MovingAverage | None
    plan: BatchPlan
    loader: DataLoader
    card: ModelCard
    progress: Progress
    display: Display

    @property
    def spec(self) -> InputSpec:
        return self.card.input


def train(config: TrainConfig, root: Path, resume: bool = False, say: Callable[[str], None] = print) -> Path:
    """Trains as ``config`` says, data paths seen from ``root``; returns the run's folder.

    The folder holds config.json, metrics.csv, best.safetensors, last.safetensors, resume.safetensors while it runs,
    report.html and model.onnx at the end. Raises ImagoError where the folder is in use, or the data is faulty.
    """
    from imago.training.finish import finish

    run = build(config, root, resume, say)
    if not run.progress.done:
        fit(run)
    if run.fabric.is_global_zero:
        finish(run.config, run.folder, run.data, run.progress.history, say)
    return run.folder


def setup(config: TrainConfig, resume: bool) -> Path:
    """The run's folder. Refuses to write over another run."""
    folder = Path(config.out)
    stored = folder / "config.json"
    if resume:
        if not (folder / STATE).is_file():
            raise ImagoError(f"{folder}: there is no run to resume (no {STATE}); start it without --resume")
    elif stored.is_file():
        raise ImagoError(f"{folder}: holds a run already; go on with --resume, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(config: TrainConfig, root: Path, resume: bool, say: Callable[[str], None]) -> Run:
    from imago.data.check import check_samples

    folder = setup(config, resume)
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    fabric = build_fabric(config, device, precision)
    fabric.launch()
    speak = say if fabric.is_global_zero else (lambda text: None)
    fabric.seed_everything(config.seed, verbose=False)

    data = open_sources(config, root)
    for note in data.notes:
        speak(note)
    if not resume:
        samples = [sample for dataset in data.datasets for sample in dataset.split("all")]
        faults = check_samples(samples, data.labels) if fabric.is_global_zero else ()
        if faults:
            raise DataError(f"{len(faults)} faults in the data; nothing was trained", faults)
    net = build_net(config, data.labels)
    net.criterion = build_criterion(config, data)
    card = build_card(config, net, data.labels, folder)
    if config.init and not resume:
        fresh = checkpoint.load_matching(net, Path(config.init))
        speak(f"started from {config.init}; fresh: {', '.join(fresh) or 'nothing'}")
    if channels_last_is_faster(device):
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(net, config)
    module, optimiser = fabric.setup(net, optimiser)
    module.mark_forward_method("loss")
    average = MovingAverage(net, config.ema) if config.ema else None

    sources = list(data.train)
    plan = BatchPlan(
        sources, frames_of(card.input, config.shapes), config.batch, config.epoch_photos, config.seed,
        fabric.global_rank, fabric.world_size,
    )  # fmt: skip
    workers = config.workers if config.workers >= 0 else max(1, min(8, len(os.sched_getaffinity(0)) - 1))
    pictures = Pictures(PhotoCache(sources, config.cache_gb), card.input)
    loader = DataLoader(
        pictures, batch_sampler=plan, num_workers=workers, worker_init_fn=quiet_worker,
        pin_memory=device == "cuda", prefetch_factor=3 if workers else None,
    )  # fmt: skip
    progress = Progress()
    if resume:
        notes = load_state(folder / STATE, net, optimiser, average)
        progress = Progress(**notes)
        speak(f"goes on after epoch {progress.epoch}, step {progress.step}")
    elif fabric.is_global_zero:
        write_settings(folder, config, root, data)
    photos = sum(len(s.samples) for s in sources)
    speak(
        f"{config.model}{':' + config.encoder if config.encoder else ''}, "
        f"{sum(p.numel() for p in net.parameters()):,} parameters, {len(data.labels)} classes; "
        f"{photos} photos to train on, {len(data.val_samples)} for validation; {device}, {precision}"
    )
    display = Display(enabled=fabric.is_global_zero, tensorboard=folder / "tensorboard" if config.tensorboard else None)
    return Run(config, folder, fabric, data, net, module, optimiser, average, plan, loader, card, progress, display)


def build_net(config: TrainConfig, labels: Labels) -> SegmentationNet:
    binary = config.head == "sigmoid" or (config.head == "auto" and len(labels) == 2)
    if binary and len(labels) != 2:
        raise ImagoError(f"a sigmoid head needs two classes; the data has {len(labels)}. Group them, or use softmax")
    try:
        options = config.net_options()
    except ValueError as error:
        raise ImagoError(str(error)) from error
    return models.build(config.model, classes=1 if binary else len(labels), in_channels=config.channels, **options)


def build_criterion(config: TrainConfig, data: RunData) -> losses.Criterion:
    binary = len(data.labels) == 2 and config.head != "softmax"
    formula = config.loss if config.loss != "auto" else ("bce+dice" if binary else "ce+dice")
    weights = None
    if config.class_weights == "median":
        frequency = class_frequencies([s for source in data.train for s in source.samples], len(data.labels))
        present = sorted(f for f in frequency if f > 0)
        weights = [present[len(present) // 2] / f if f > 0 else 0.0 for f in frequency]
    return losses.build(formula, classes=1 if binary else len(data.labels), class_weights=weights)


def build_card(config: TrainConfig, net: SegmentationNet, labels: Labels, folder: Path) -> ModelCard:
    return ModelCard(
        name=config.name or folder.name,
        architecture=config.model,
        options={"classes": net.classes, "in_channels": net.in_channels, **config.net_options()},
        task="binary" if net.classes == 1 else "semantic",
        labels=labels,
        input=config.input_spec(net.multiple),
        output="logit",
        data=tuple(f"{Path(d.path).name}: {d.about}" if d.about else Path(d.path).name for d in config.data),
        licence=config.licence,
        note=config.note,
    )


def write_settings(folder: Path, config: TrainConfig, root: Path, data: RunData) -> None:
    """config.json, and the split of each folder as it was used."""
    settings = {**json.loads(config.to_json()), "root": str(root.resolve()), "imago": imago.__version__}
    (folder / "config.json").write_text(json.dumps(settings, indent=1), "utf-8")
    splits = {str(d.root): {name: [s.name for s in samples] for name, samples in d.splits.items()} for d in data.datasets}
    (folder / "splits.json").write_text(json.dumps(splits, indent=1), "utf-8")


def quiet_worker(index: int) -> None:
    """Worker processes share the cores with the net: one thread each."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def fit(run: Run) -> None:
    """Epochs until the budget is spent or the score stands still."""
    config, progress = run.config, run.progress
    clock = Clock(progress.seconds)
    if progress.step == 0 and run.fabric.is_global_zero:
        first = {name: samples[:2] for name, samples in run.data.val.items()}
        look(run, first)  # what would break after an hour breaks now
    last_saved = time.monotonic()
    while progress.epoch < config.epochs and not out_of_time(config, clock):
        run.net.train()
        if not progress.step_in_epoch:
            progress.side_px = config.side_at(training_share(run, clock))
        run.plan.epoch, run.plan.start = progress.epoch, progress.step_in_epoch
        run.plan.frames = frames_of(config.input_spec(run.net.multiple, progress.side_px), config.shapes)
        # The loader's own draws are fixed too; the pictures do not depend on them.
        generator_seed = config.seed * 1_000_003 + progress.epoch
        torch.manual_seed(generator_seed)
        for batch in run.loader:
            loss = take_step(run, batch, training_share(run, clock))
            progress.seconds = clock.seconds
            run.display.step(progress, run.plan.steps, loss, training_share(run, clock), clock.seconds)
            if config.save_minutes * 60 <= time.monotonic() - last_saved:
                save_resume(run)
                last_saved = time.monotonic()
            if out_of_time(config, clock):
                break
        progress.seconds = clock.seconds
        close_epoch(run, clock)
        save_resume(run)
        last_saved = time.monotonic()
        if config.patience and progress.epoch - progress.best_epoch >= config.patience:
            run.display.say(f"no better score for {config.patience} epochs; stopped")
            break
    progress.done = True
    save_resume(run)
    run.display.close()


class Clock:
    """Seconds spent on the run, over all its sittings."""

    def __init__(self, before: float) -> None:
        self.start = time.monotonic() - before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start


def out_of_time(config: TrainConfig, clock: Clock) -> bool:
    return bool(config.minutes) and clock.seconds >= config.minutes * 60


def training_share(run: Run, clock: Clock) -> float:
    """How much of the budget is spent, 0..1: of the minutes where they are given, else of the steps."""
    done = run.progress.step / (run.config.epochs * run.plan.steps)
    return max(done, clock.seconds / (run.config.minutes * 60)) if run.config.minutes else done


def take_step(run: Run, batch: list[torch.Tensor], share: float) -> float:
    """One forward and backward pass; the weights move at every ``accumulate``-th. Returns the loss."""
    config, progress = run.config, run.progress
    images, labels, weights = (run.fabric.to_device(part) for part in batch)
    if channels_last_is_faster(images.device.type):
        images = images.contiguous(memory_format=torch.channels_last)
    moves = (progress.step_in_epoch + 1) % config.accumulate == 0 or progress.step_in_epoch + 1 == run.plan.steps
    # Dropout and the like draw from a seed of their own for each step, so that a resumed run draws the same.
    torch.manual_seed((config.seed * 7_919 + progress.step * run.fabric.world_size + run.fabric.global_rank) % 2**63)
    with run.fabric.no_backward_sync(run.module, enabled=not moves):
        terms = run.module.loss(images, Target(labels, weights))
        loss = sum(terms.values(), torch.zeros((), device=images.device))
        run.fabric.backward(loss / config.accumulate)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ImagoError(
            f"the loss became {value} at step {progress.step}; lower --lr (now {config.lr}) or use --precision 32"
        )
    if moves:
        for group in run.optimiser.param_groups:
            group["lr"] = config.lr * rate_factor(share, config)
        if config.clip:
            run.fabric.clip_gradients(run.module, run.optimiser, max_norm=config.clip, error_if_nonfinite=False)
        run.optimiser.step()
        run.optimiser.zero_grad(set_to_none=True)
        if run.average:
            run.average.update(run.net, progress.step)
    progress.step += 1
    progress.step_in_epoch += 1
    progress.loss_sum += value
    return value


def look(run: Run, folders: dict[str, Any]) -> Validation:
    """Validates the averaged weights (the net's own where there is no average)."""
    kept = {name: value.clone() for name, value in run.net.state_dict().items()} if run.average else None
    if run.average:
        run.net.load_state_dict(run.average.values)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(str(run.fabric._precision.precision))
    engine = NetEngine(run.net, run.card, run.fabric.device, dtype)
    try:
        return validate(engine, folders, run.display.validation)
    finally:
        if kept is not None:
            run.net.load_state_dict(kept)
        run.net.train()


def close_epoch(run: Run, clock: Clock) -> None:
    """Validation, metrics.csv, checkpoints."""
    config, progress = run.config, run.progress
    steps = max(1, progress.step_in_epoch)
    row: dict[str, Any] = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "seconds": round(clock.seconds, 1),
        "lr": run.optimiser.param_groups[0]["lr"],
        "train_loss": progress.loss_sum / steps,
    }
    progress.epoch += 1
    progress.step_in_epoch = 0
    progress.loss_sum = 0.0
    last = progress.epoch >= config.epochs or out_of_time(config, clock)
    if last or progress.epoch % config.validate_every == 0:
        if run.fabric.is_global_zero:
            most = None if last or not config.validate_photos else config.validate_photos
            seen = look(run, {name: samples[:most] for name, samples in run.data.val.items()})
            row |= {"val_loss": seen.loss, "score": seen.score}
            row |= {f"score/{name}": value for name, value in seen.by_folder.items()}
        # Every process needs the score for the early stop.
        row["score"] = run.fabric.broadcast(row.get("score", 0.0))
        better = row["score"] > progress.best
        if better:
            progress.best, progress.best_epoch = row["score"], progress.epoch
        if run.fabric.is_global_zero:
            save_models(run, row["score"], better)
    progress.history.append(row)
    if run.fabric.is_global_zero:
        write_metrics(run.folder / "metrics.csv", progress.history)
        run.display.epoch(row)
    run.fabric.barrier()


def save_models(run: Run, score: float, better: bool) -> None:
    """last.safetensors, and best.safetensors where the score is the best so far: the averaged weights."""
    card = run.card.with_(scores={"val": score})
    kept = {name: value.clone() for name, value in run.net.state_dict().items()} if run.average else None
    if run.average:
        run.net.load_state_dict(run.average.values)
    checkpoint.save(run.net, card, run.folder / LAST)
    if better:
        checkpoint.save(run.net, card, run.folder / BEST)
    if kept is not None:
        run.net.load_state_dict(kept)


def save_resume(run: Run) -> None:
    if run.fabric.is_global_zero:
        save_state(run.folder / STATE, run.net, run.optimiser, run.average, vars(run.progress))
    run.fabric.barrier()


def write_metrics(path: Path, history: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in history for name in row))
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(history)
    os.replace(beside, path)

"""A training from settings to a finished run: ``setup`` gathers the outer world, ``build`` makes objects; the loop is
in ``loop``, what comes after it in ``finish``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

import imago
from imago.core.errors import DataError, ImagoError
from imago.export.export import BEST
from imago.files.model_file import find_safetensors_card
from imago.models.encoders import find_normalization
from imago.models.matching import load_matching
from imago.models.memory_format import channels_last_is_faster
from imago.models.pretrained import WeightsUnavailable
from imago.training.config import TrainConfig
from imago.training.dataset import ProcessInfo, measure_aspects
from imago.training.depthwise import speed_up_depthwise
from imago.training.device import build_fabric, choose_device, choose_precision, worker_count
from imago.training.interrupt import ignore_in_worker
from imago.training.loop import fit
from imago.training.optim import MovingAverage, build_optimizer
from imago.training.presets.choices import CHOICES
from imago.training.presets.resolve import names_a_net, resolve_preset
from imago.training.progress import Display
from imago.training.run import LAST, STATE, Progress, Run
from imago.training.sources import RunData
from imago.training.state import load_state
from imago.training.tasks.base import FinishedRun, Net, Task, choose_task

__all__ = ["BEST", "LAST", "STATE", "Progress", "Run", "build", "fit", "setup", "train"]

SETTINGS = "config.json"
VERSION = 2  # of config.json; see imago.core.upgrade
SPLITS = "splits.json"


def train(
    config: TrainConfig,
    root: Path,
    resume: bool = False,
    say: Callable[[str], None] = print,
    given: Collection[str] = (),
) -> Path:
    """Trains as ``config`` says, data paths seen from ``root``; returns the run's folder. With ``config.preset`` the
    fields that are not in ``given`` are chosen first, and preset.json says why.

    The folder holds config.json, splits.json, metrics.csv, best.safetensors, last.safetensors and resume.safetensors
    while it runs, report.html and model.onnx at the end. With ``resume`` a run that is done gets these anew.
    Raises ImagoError where the folder is in use, or the data is faulty.
    """
    run = build(config, root, resume, say, given)
    if not run.progress.done:
        fit(run)
    if run.fabric.is_global_zero:
        run.task.finish(FinishedRun(run.config, run.folder, run.data, run.progress.history, say))
    return run.folder


def setup(config: TrainConfig, resume: bool) -> Path:
    """The run's folder. Refuses to write over another run."""
    folder = Path(config.out)
    begun = (folder / SETTINGS).is_file()
    if resume and not begun:
        raise ImagoError(f"{folder}: there is no run to resume (no {SETTINGS}); start it without --resume")
    if begun and not resume:
        raise ImagoError(f"{folder}: holds a run already; go on with --resume, or choose another --out")
    if folder.exists() and not folder.is_dir():
        raise ImagoError(f"{folder}: is a file; --out names the folder of the run")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(
    config: TrainConfig, root: Path, resume: bool, say: Callable[[str], None], given: Collection[str] = ()
) -> Run:
    choosing = config.preset != "none" and not resume
    if not choosing or names_a_net(config, set(given)):
        choose_task(config).refuse(config)
    folder = setup(config, resume)
    goes_on = resume and (folder / STATE).is_file()  # a run killed before its first state begins again
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    fabric = build_fabric(config, device, precision)
    fabric.launch()
    speak = say if fabric.is_global_zero else (lambda text: None)
    fabric.seed_everything(config.seed, verbose=False)
    display = Display(fabric.is_global_zero)
    choices = ""
    if choosing:  # measured once, or processes would go apart
        config, choices = fabric.broadcast(
            resolve_preset(config, root, set(given), speak) if fabric.is_global_zero else (config, "")
        )
    kind = choose_task(config)
    kind.refuse(config)
    data = open_checked(kind, config, root, fabric, display, check=not goes_on)
    for note in data.notes:
        speak(note)
    if goes_on:
        config = replace(config, pretrained=False)  # the run's own weights are loaded further down
    try:
        net = kind.build_net(config, data)
    except WeightsUnavailable as error:
        speak(f"{error}; trained from scratch")
        config = replace(config, pretrained=False)
        net = kind.build_net(config, data)
    config = with_normalization(config, net)
    card = kind.build_card(config, net, data, folder, root)
    if config.weights and not goes_on:
        speak(f"started from {config.weights}: {load_matching(net, Path(config.weights))}")
    if channels_last_is_faster(device):
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device == "cpu" and precision == "bf16":
        speed_up_depthwise(net)
    optimizer = build_optimizer(net, config)
    module, optimizer = fabric.setup(net, optimizer)
    module.mark_forward_method("loss")
    average = MovingAverage(net, config.ema) if config.ema else None
    progress = Progress()
    if goes_on:
        notes = load_state(folder / STATE, net, optimizer, average)
        fabric.strategy.precision.load_state_dict(notes.pop("precision", {}))
        progress = Progress(**notes)
        speak(f"goes on after epoch {progress.epoch}, step {progress.step}" if not progress.done else "already trained")
    if config.tensorboard and not progress.done:
        display.log_to(folder / "tensorboard", progress.step)

    sources = list(data.train)
    aspects = measure_aspects([sample for source in sources for sample in source.samples])
    share = ProcessInfo(fabric.global_rank, fabric.world_size)
    plan = kind.build_sampler(config, card, data, aspects, share)
    if fabric.is_global_zero:  # from here on the run counts as begun, and goes on with --resume
        if resume and split_has_changed(folder, data):
            speak("the data has changed since the run began: other photos than in splits.json")
        if not goes_on:
            write_settings(folder, config, root, data)
        if choices:
            write_text(folder / CHOICES, choices)
    if not progress.done:
        kind.prepare(config, card, data, folder, share, display.stage)
    fabric.barrier()
    workers = worker_count(config)
    # Decoded before the workers are forked, so that they share the photos. Nothing is needed of a run that is done.
    pictures = kind.build_dataset(config, card, data, folder, 0.0 if progress.done else config.cache_gb)
    loader: DataLoader[Any] = DataLoader(
        pictures, batch_sampler=plan, collate_fn=kind.collate, num_workers=workers, worker_init_fn=quiet_worker,
        pin_memory=device == "cuda", prefetch_factor=3 if workers else None,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )  # fmt: skip
    photos = sum(len(s.samples) for s in sources)
    speak(
        f"{config.model}{':' + config.encoder if config.encoder else ''}, "
        f"{sum(p.numel() for p in net.parameters()):,} parameters, {len(data.labels)} classes; "
        f"{photos} photos to train on, {len(data.val_samples)} for validation; {device}, {precision}"
    )
    return Run(
        kind,
        config,
        folder,
        fabric,
        data,
        net,
        module,
        optimizer,
        average,
        plan,
        loader,
        card,
        progress,
        display,
        aspects,
    )


def with_normalization(config: TrainConfig, net: Net) -> TrainConfig:
    """``config`` with the mean and spread that the net's weights want: they stand in config.json, so that a resumed run
    prepares its photos alike. What the user gave stays."""
    if config.mean or config.std:
        return config
    wanted = find_normalization(net)
    if wanted is None and config.weights.endswith(".safetensors"):
        card = find_safetensors_card(Path(config.weights))
        if card is not None and card.input.channels == config.channels:
            wanted = card.input.mean, card.input.std
    return config if wanted is None else replace(config, mean=wanted[0], std=wanted[1])


def open_checked(
    task: Task, config: TrainConfig, root: Path, fabric: Fabric, display: Display, check: bool
) -> RunData[Any]:
    """The data. With ``check`` the first process looks at every pixel, while the others wait for its word."""
    data, problem = None, None
    if fabric.is_global_zero:
        try:
            data = task.open_data(config, root, display.checking if check else None)
        except DataError as error:
            problem = error
    if fabric.broadcast(problem is not None):
        raise problem or DataError("the data is faulty; the first process says how")
    return data or task.open_data(config, root)


def write_settings(folder: Path, config: TrainConfig, root: Path, data: RunData[Any]) -> None:
    """config.json, and the split of each folder as it was used. The run counts as begun when the first is there."""
    settings = {
        **json.loads(config.to_json()),
        "root": str(root.resolve()),
        "imago": imago.__version__,
        "version": VERSION,
    }
    if config.weights:
        settings["weights"] = str(Path(config.weights).resolve())  # the run may be resumed from another folder
    if config.proposals:
        settings["proposals"] = str(Path(config.proposals).resolve())
    for entry in settings["data"]:
        if entry["group"].endswith(".toml"):
            entry["group"] = str(Path(entry["group"]).resolve())
    write_text(folder / SPLITS, json.dumps(describe_splits(data), indent=1))
    write_text(folder / SETTINGS, json.dumps(settings, indent=1))


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)


def describe_splits(data: RunData[Any]) -> dict[str, dict[str, list[str]]]:
    """Folder -> split -> names of the photos."""
    return {str(d.root): {name: [s.name for s in samples] for name, samples in d.splits.items()} for d in data.datasets}


def split_has_changed(folder: Path, data: RunData[Any]) -> bool:
    try:
        stored = json.loads((folder / SPLITS).read_text("utf-8"))
    except (OSError, ValueError):
        return True
    return list(stored.values()) != list(describe_splits(data).values())  # the folder itself may have been moved


def quiet_worker(index: int) -> None:
    """Worker processes share the cores with the net: one thread each. Ctrl-C is the main process's affair."""
    ignore_in_worker()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

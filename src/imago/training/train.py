"""A training from settings to a finished run: ``setup`` gathers the outer world, ``build`` makes objects; the loop is
in ``loop``, what comes after it in ``finish``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

import imago
from imago.core.errors import DataError, ImagoError, ModelError
from imago.core.text import plural, to_utf8
from imago.export.export import BEST
from imago.files.text import read_json
from imago.files.writing import atomic_write
from imago.models.matching import load_matching
from imago.models.memory_format import channels_last_is_faster
from imago.models.pretrained import WeightsUnavailable
from imago.training.config import TrainConfig
from imago.training.dataset import ProcessInfo, choose_frames, measure_aspects
from imago.training.depthwise import speed_up_depthwise
from imago.training.device import build_fabric, choose_precision, worker_count
from imago.training.dry_run import check_frames
from imago.training.finish import finish
from imago.training.interrupt import ignore_in_worker
from imago.training.loop import fit
from imago.training.optim import MovingAverage, build_optimizer
from imago.training.presets.choices import CHOICES
from imago.training.presets.resolve import names_a_net, resolve_preset
from imago.training.progress import Display
from imago.training.run import LAST, STATE, Run
from imago.training.sources import RunData
from imago.training.state import Progress, load_state, read_notes
from imago.training.tasks.base import Say, Task
from imago.training.tasks.catalog import choose_task

__all__ = ["BEST", "LAST", "STATE", "Run", "build", "fit", "setup", "train"]

SETTINGS = "config.json"
VERSION = 2  # of config.json; see imago.core.upgrade
SPLITS = "splits.json"


def train(
    config: TrainConfig,
    root: Path,
    resume: bool = False,
    say: Say = print,
    given: Collection[str] = (),
) -> Path:
    """Trains as ``config`` says, data paths seen from ``root``; returns the run's folder. With a preset the settings
    that are not in ``given`` are chosen first, and preset.json says why.

    The folder holds config.json, splits.json, metrics.csv, best.safetensors, last.safetensors and resume.safetensors
    while it runs, report.html and model.onnx at the end. With ``resume`` a run that is done gets these anew.
    Raises ImagoError where the folder is in use, or the data is faulty.
    """
    run = build(config, root, resume, say, given)
    if not run.progress.done:
        fit(run)
    if run.fabric.is_global_zero:
        finish(run.task, run.progress.history, say)
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


def build(config: TrainConfig, root: Path, resume: bool, say: Say, given: Collection[str] = ()) -> Run:
    """All objects of a run, and its folder. Raises ImagoError, and DataError with all faults of the data."""
    choosing = config.preset != "none" and not resume
    if not choosing or names_a_net(config, set(given)):
        choose_task(config).refuse(config)
    folder = setup(config, resume)
    goes_on = resume and (folder / STATE).is_file()  # a run killed before its first state begins again
    fabric = build_fabric(config.runtime)
    fabric.launch()
    speak = say if fabric.is_global_zero else (lambda text: None)
    fabric.seed_everything(config.runtime.seed, verbose=False)
    display = Display(fabric.is_global_zero)
    choices = ""
    if choosing:  # measured once, or processes would go apart
        config, choices = fabric.broadcast(
            resolve_preset(config, root, set(given), speak) if fabric.is_global_zero else (config, "")
        )
    kind = choose_task(config)
    kind.refuse(config)
    data = open_data(kind, config, root, fabric, display, check=not goes_on)
    for note in data.notes:
        speak(note)
    task = build_task(kind, config.with_(pretrained=False) if goes_on else config, data, folder, root, say=speak)
    run = build_model(task, fabric, display, say=speak, fresh=not goes_on)
    if not (goes_on or getattr(run.net, "crop", False)):  # crops come in batches of their own
        check_frames(run.net, list_frames(run), config.optimization.batch_size, config.net.model)
    if goes_on:
        restore(run, speak)
    elif fabric.is_global_zero:
        check_space(folder, run.net)
    if config.runtime.tensorboard and not run.progress.done:
        display.log_to(folder / "tensorboard", run.progress.step)
    if fabric.is_global_zero:  # from here on the run counts as begun, and goes on with --resume
        if resume and split_has_changed(folder, data):
            speak("the data has changed since the run began: other photos than in splits.json")
        if not goes_on:
            write_settings(task, root)
        if choices:
            write_text(folder / CHOICES, choices)
    if not run.progress.done:
        task.prepare(ProcessInfo(fabric.global_rank, fabric.world_size), display.stage)
    fabric.barrier()
    run.loader = build_loader(run)
    speak(describe_run(run))
    return run


def open_data(
    kind: type[Task], config: TrainConfig, root: Path, fabric: Fabric, display: Display, *, check: bool
) -> RunData[Any]:
    """The data. With ``check`` the first process looks at every pixel, while the others wait for its word."""
    data, problem = None, None
    if fabric.is_global_zero:
        try:
            data = kind.open_data(config, root, display.checking if check else None)
        except DataError as error:
            problem = error
    if fabric.broadcast(problem is not None):
        raise problem or DataError("the data is faulty; the first process says how")
    return data or kind.open_data(config, root)


def build_task(
    kind: type[Task], config: TrainConfig, data: RunData[Any], folder: Path, root: Path, *, say: Say
) -> Task:
    """With fresh weights where published ones are wanted and not to be had."""
    try:
        return kind(config, data, folder, root)
    except WeightsUnavailable as error:
        say(f"{error}; trained from scratch")
        return kind(config.with_(pretrained=False), data, folder, root)


def build_model(task: Task, fabric: Fabric, display: Display, *, say: Say, fresh: bool) -> Run:
    """The net on its device, with what moves its weights; ``fresh``: from ``--weights``, where they are given."""
    config, net = task.config, task.net
    if config.net.weights and fresh:
        say(f"started from {config.net.weights}: {load_matching(net, Path(config.net.weights))}")
    device = fabric.device.type
    if channels_last_is_faster(device):
        net = net.to(memory_format=torch.channels_last)
    if device == "cpu" and choose_precision(config.runtime.precision, device) == "bf16":
        speed_up_depthwise(net)
    module, optimizer = fabric.setup(net, build_optimizer(net, config.optimization))
    module.mark_forward_method("loss")
    aspects = measure_aspects([sample for source in task.data.train for sample in source.samples])
    return Run(
        task=task,
        fabric=fabric,
        module=module,
        optimizer=optimizer,
        average=MovingAverage(net, config.optimization.ema) if config.optimization.ema else None,
        sampler=task.build_sampler(aspects, ProcessInfo(fabric.global_rank, fabric.world_size)),
        progress=Progress(),
        display=display,
        aspects=aspects,
    )


def list_frames(run: Run) -> list[tuple[int, int]]:
    """Sizes of the frames that it trains on, the smallest side first."""
    config, sides = run.config.input, [run.config.input.size]
    sides = [config.start_size or sides[0], *sides] if not config.multiscale else [round(0.75 * sides[0]), *sides]
    frames = [choose_frames(config.build_spec(run.net.multiple, side), config.shapes, run.aspects) for side in sides]
    return list(dict.fromkeys(frame for some in frames for frame in some))


def check_space(folder: Path, net: torch.nn.Module) -> None:
    """Raises ImagoError where the disk has no room for what a run keeps: weights and their average, what the optimizer
    knows of each, two checkpoints and the model; the state twice, because a new one is written beside the old."""
    weights = sum(value.nbytes for value in net.state_dict().values())
    needed, free = 11 * weights + 20_000_000, shutil.disk_usage(folder).free
    if free < needed:
        raise ImagoError(
            f"{folder}: the run wants about {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free there; "
            "make room, or choose another --out"
        )


def restore(run: Run, say: Say) -> None:
    """Puts the run back to where it was saved. Raises ModelError where the state does not fit, or the classes are
    others."""
    before = read_notes(run.folder / STATE).pop("labels", None)
    if before is not None and tuple(before) != run.data.labels.names:
        raise ModelError(
            f"{run.folder}: was begun with the classes {', '.join(before)}, and the data has "
            f"{', '.join(run.data.labels.names)} now; put the old classes back, or start anew with another --out"
        )
    notes = load_state(run.folder / STATE, run.net, run.optimizer, run.average)
    notes.pop("labels", None)
    try:
        run.fabric.strategy.precision.load_state_dict(notes.pop("precision", {}))
        run.progress = Progress(**notes)
    except (AttributeError, TypeError) as error:
        path = run.folder / STATE
        raise ModelError(f"{path}: the run cannot be resumed from it ({error}); start anew without --resume") from error
    epoch, step = run.progress.epoch, run.progress.step
    say("already trained" if run.progress.done else f"goes on after epoch {epoch}, step {step}")


def build_loader(run: Run) -> DataLoader[Any]:
    """What brings the batches, in processes of their own."""
    workers = worker_count(run.config.runtime)
    # Decoded before the workers are forked, so that they share the photos. Nothing is needed of a run that is done.
    pictures = run.task.build_dataset(0.0 if run.progress.done else run.config.runtime.cache_gb)
    return DataLoader(
        pictures, batch_sampler=run.sampler, collate_fn=run.task.collate, num_workers=workers,
        worker_init_fn=quiet_worker, pin_memory=run.fabric.device.type == "cuda",
        prefetch_factor=3 if workers else None,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )  # fmt: skip


def describe_run(run: Run) -> str:
    """A line on net, data and device."""
    settings, device = run.config.net, run.fabric.device.type
    photos = sum(len(source.samples) for source in run.data.train)
    return (
        f"{settings.model}{':' + settings.encoder if settings.encoder else ''}, "
        f"{sum(p.numel() for p in run.net.parameters()):,} parameters, {plural(len(run.data.labels), 'class')}; "
        f"{plural(photos, 'photo')} to train on, {len(run.data.val_samples)} for validation; "
        f"{device}, {choose_precision(run.config.runtime.precision, device)}"
    )


def write_settings(task: Task, root: Path) -> None:
    """config.json, and the split of each folder as it was used. The run counts as begun when the first is there."""
    settings = {
        **json.loads(task.config.to_json()),
        "root": str(root.resolve()),
        "imago": imago.__version__,
        "version": VERSION,
    }
    for name in ("weights", "proposals"):
        if settings[name]:
            settings[name] = str(Path(settings[name]).resolve())  # the run may be resumed from another folder
    for entry in settings["data"]:
        if entry["group"].endswith(".toml"):
            entry["group"] = str(Path(entry["group"]).resolve())
    write_text(task.folder / SPLITS, json.dumps(describe_splits(task.data), indent=1))
    write_text(task.folder / SETTINGS, json.dumps(settings, indent=1))


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    with atomic_write(path, overwrite=True) as stream:
        stream.write(to_utf8(text))


def describe_splits(data: RunData[Any]) -> dict[str, dict[str, list[str]]]:
    """Folder -> split -> names of the photos. A folder that a recipe uses again is called ``FOLDER (2)``."""
    described: dict[str, dict[str, list[str]]] = {}
    for dataset in data.datasets:
        root = str(dataset.root)
        count = sum(other == root or other.startswith(f"{root} (") for other in described)
        splits = {name: [sample.name for sample in samples] for name, samples in dataset.splits.items()}
        described[f"{root} ({count + 1})" if count else root] = splits
    return described


def split_has_changed(folder: Path, data: RunData[Any]) -> bool:
    try:
        stored = read_json(folder / SPLITS)
    except (OSError, ValueError):
        return True
    if not isinstance(stored, dict):
        return True
    return list(stored.values()) != list(describe_splits(data).values())  # the folder itself may have been moved


def quiet_worker(index: int) -> None:
    """Worker processes share the cores with the net: one thread each. Ctrl-C is the main process's affair."""
    ignore_in_worker()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

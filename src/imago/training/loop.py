"""The loop: epochs of steps, each epoch validated and saved, until the budget is spent or the score stands still."""

from __future__ import annotations

import csv
import io
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from imago.core.errors import ImagoError
from imago.core.text import escape, to_utf8
from imago.export.export import BEST
from imago.files.writing import atomic_write
from imago.models import checkpoint
from imago.training.dataset import choose_frames
from imago.training.interrupt import Interrupt, Stopped
from imago.training.optim import rate_factor
from imago.training.run import LAST, STATE, Clock, Run
from imago.training.state import Progress, save_state
from imago.training.tasks.base import Validation


def fit(run: Run) -> None:
    """Trains until the run is done. Ctrl-C saves the state first; then Stopped, a KeyboardInterrupt, is raised."""
    clock = Clock(run)
    try:
        with Interrupt() as interrupt:
            if run.progress.step == 0 and run.fabric.is_global_zero:
                validate(run, {name: samples[:2] for name, samples in run.data.val.items()}, interrupt)
                # What would break after an hour breaks now.
            while not run.progress.done:
                run_steps(run, clock, interrupt)
                close_epoch(run, clock, interrupt)
                save_resume(run, clock)
    except Stopped:
        save_resume(run, clock)
        run.display.say(f"stopped after step {run.progress.step}; go on with: imago train --resume --out {run.folder}")
        raise
    finally:
        run.display.close()


def run_steps(run: Run, clock: Clock, interrupt: Interrupt) -> None:
    """The steps of the epoch under way that are still to be done."""
    config, progress = run.config, run.progress
    if clock.over and progress.step_in_epoch:
        return  # resumed when the time was up: what is left is to close the epoch
    run.net.train()
    if not progress.step_in_epoch:
        progress.side_px = config.input.side_at(clock.share, progress.epoch, config.runtime.seed)
    frames = choose_frames(
        config.input.build_spec(run.net.multiple, progress.side_px), config.input.shapes, run.aspects
    )
    run.sampler.begin(progress.epoch, progress.step_in_epoch, frames)
    # The loader's own draws are fixed too; the pictures do not depend on them.
    torch.manual_seed(config.runtime.seed * 1_000_003 + progress.epoch)
    for batch in run.loader:
        loss, moved = take_step(run, batch, clock.share)
        clock.tick()
        run.display.step(progress, run.sampler.steps, loss, clock.share, clock.seconds)
        if moved:  # between two moves there are gradients, which are not saved
            if clock.save_is_due():
                save_resume(run, clock)
            interrupt.check()
        if clock.over:
            break


def take_step(run: Run, batch: Any, share: float) -> tuple[float, bool]:
    """One forward and backward pass; the weights move at each ``grad_accum_steps``-th. Gives the loss, and whether
    they did."""
    settings, seed, progress = run.config.optimization, run.config.runtime.seed, run.progress
    done = progress.step_in_epoch + 1
    moves = done % settings.grad_accum_steps == 0 or done == run.sampler.steps
    # Dropout and the like draw from a seed of their own for each step, so that a resumed run draws the same.
    torch.manual_seed((seed * 7_919 + progress.step * run.fabric.world_size + run.fabric.global_rank) % 2**63)
    with run.fabric.no_backward_sync(run.module, enabled=not moves):  # type: ignore[arg-type]
        # Fabric enters the precision for marked methods only where it wraps the net (DDP); on one device it would not.
        with run.fabric.autocast():
            terms = run.task.loss(run.module, batch, run.fabric.device)
        loss = sum(terms.values(), torch.zeros((), device=run.fabric.device))
        run.fabric.backward(loss / settings.grad_accum_steps)
    value = float(loss.detach())
    refuse_non_finite("loss", value, progress.step, settings.lr)
    if moves:
        progress.lr = settings.lr * rate_factor(share, settings)
        for group in run.optimizer.param_groups:
            group["lr"] = progress.lr
        if settings.grad_clip:
            norm = run.fabric.clip_gradients(
                run.module, run.optimizer, max_norm=settings.grad_clip, error_if_nonfinite=False
            )
            if not scales_gradients(run):  # else the scaler passes over such a step and tries a smaller scale
                refuse_non_finite("gradient's norm", float(norm), progress.step, settings.lr)  # type: ignore[arg-type]
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        if run.average:
            run.average.update(run.net, progress.step)
    progress.step += 1
    progress.step_in_epoch += 1
    progress.loss_sum += value
    return value, moves


def refuse_non_finite(what: str, value: float, step: int, lr: float) -> None:
    if not math.isfinite(value):
        raise ImagoError(f"the {what} became {value} at step {step}; lower --lr (now {lr}) or use --precision 32")


def scales_gradients(run: Run) -> bool:
    return run.fabric.strategy.precision.precision == "16-mixed"


def validate(run: Run, folders: Mapping[str, Sequence[Any]], interrupt: Interrupt) -> Validation:
    """Validates the averaged weights (the net's own where there is no average)."""

    def shown(done: int, total: int) -> None:
        run.display.count("validation", done, total)
        interrupt.check()

    with averaged(run), refusing_nan(run):
        try:
            run.net.eval()
            seen = run.task.validate(folders, run.fabric.device, run.autocast, shown)
        finally:
            run.net.train()
    if seen.loss is not None and not math.isfinite(seen.loss):
        raise no_number(run, f"the loss of the validation photos is {seen.loss}")
    return seen


@contextmanager
def refusing_nan(run: Run) -> Iterator[None]:
    """Inside, an answer of the net that holds NaN ends the run: no later epoch would mend it."""

    def look(module: torch.nn.Module, images: Any, outputs: Any) -> None:
        tensors = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        if any(isinstance(t, torch.Tensor) and t.is_floating_point() and t.isnan().any() for t in tensors):
            raise no_number(run, "the net answers with NaN")

    handle = run.net.register_forward_hook(look)
    try:
        yield
    finally:
        handle.remove()


def no_number(run: Run, what: str) -> ImagoError:
    progress, settings = run.progress, run.config.optimization
    kept = f"; {BEST} holds epoch {progress.best_epoch}" if progress.best_epoch else ""
    return ImagoError(
        f"validation after step {progress.step}: {what}. Lower --lr (now {settings.lr}), or use --precision 32{kept}"
    )


@contextmanager
def averaged(run: Run) -> Any:
    """Inside, the net has the averaged weights; afterwards its own again."""
    if run.average is None:
        yield
        return
    kept = {name: value.clone() for name, value in run.net.state_dict().items()}
    run.net.load_state_dict(run.average.values)
    try:
        yield
    finally:
        run.net.load_state_dict(kept)


def close_epoch(run: Run, clock: Clock, interrupt: Interrupt) -> None:
    """Validation, metrics.csv, checkpoints; decides whether the run is done. The progress moves after the validation,
    so that a run stopped in the midst of it does it again."""
    settings, progress = run.config.evaluation, run.progress
    clock.tick()
    epoch = progress.epoch + 1
    row: dict[str, Any] = {
        "epoch": epoch,
        "step": progress.step,
        "seconds": round(clock.seconds, 1),
        "lr": progress.lr,
        "train_loss": progress.loss_sum / max(1, progress.step_in_epoch),
    }
    done = epoch >= run.config.optimization.most_epochs or clock.over
    validated = done or epoch % settings.validate_every == 0
    if validated:
        if run.fabric.is_global_zero:
            # The same photos each time, so that the best is the best.
            most = settings.validate_photos or None
            seen = validate(run, {name: samples[:most] for name, samples in run.data.val.items()}, interrupt)
            row |= {} if seen.loss is None else {"val_loss": seen.loss}
            row["score"] = select_score(seen, settings.select)
            row |= {f"score/{escape(name)}": value for name, value in seen.by_folder.items()}
        # Every process needs them for the early stop.
        row["score"], loss = run.fabric.broadcast((row.get("score", 0.0), row.get("val_loss")))
        better = is_better(row["score"], loss, progress)
        if better:
            progress.best, progress.best_loss, progress.best_epoch = row["score"], loss, epoch
        if run.fabric.is_global_zero:
            save_models(run, row["score"], better)
        clock.tick()  # the time may have run out meanwhile: no epoch is begun then
    progress.epoch, progress.step_in_epoch, progress.loss_sum = epoch, 0, 0.0
    progress.history.append(row)
    progress.done = done or (validated and clock.over)
    if run.fabric.is_global_zero:
        with no_room(run.folder):
            write_metrics(run.folder / "metrics.csv", progress.history)
        run.display.epoch(row)
    if validated and not progress.done and settings.patience and epoch - progress.best_epoch >= settings.patience:
        run.display.say(f"no better score for {epoch - progress.best_epoch} epochs; stopped")
        progress.done = True


def select_score(seen: Validation, select: str) -> float:
    """What the best epoch is chosen by. A folder that has no score (no object in it) does not count."""
    known = [score for score in seen.by_folder.values() if math.isfinite(score)]
    if select == "worst" and known:
        return min(known)
    return seen.score if math.isfinite(seen.score) else 0.0


def is_better(score: float, loss: float | None, progress: Progress) -> bool:
    """Whether this validation beats the best so far: by its score; among equals, such as the zeros of first epochs, by
    its loss."""
    if score != progress.best or loss is None or progress.best_loss is None:
        return score > progress.best
    return loss < progress.best_loss


def save_models(run: Run, score: float, better: bool) -> None:
    """last.safetensors, and best.safetensors where the score is the best so far: the averaged weights."""
    card = run.card.with_(scores={"val": score})
    with averaged(run), no_room(run.folder):
        checkpoint.save(run.net, card, run.folder / LAST)
        if better:
            checkpoint.save(run.net, card, run.folder / BEST)


def save_resume(run: Run, clock: Clock) -> None:
    """The first process writes; the others go on, and wait for it at the next gradient at the latest."""
    if run.fabric.is_global_zero:
        notes = {
            **vars(run.progress),
            "labels": run.data.labels.names,
            "precision": run.fabric.strategy.precision.state_dict(),
        }
        with no_room(run.folder):
            save_state(run.folder / STATE, run.net, run.optimizer, run.average, notes)
    clock.saved = time.monotonic()


@contextmanager
def no_room(folder: Path) -> Iterator[None]:
    """What cannot be written (a full disk) ends the run with how to go on; what was written before is whole."""
    try:
        yield
    except (OSError, ImagoError) as error:
        free = shutil.disk_usage(folder).free / 1e6
        raise ImagoError(
            f"{error} ({free:,.0f} MB are free there). The last state that was saved is whole: make room, and go on "
            f"with imago train --resume --out {folder}"
        ) from error


def write_metrics(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(history)
    with atomic_write(path, overwrite=True) as stream:
        stream.write(to_utf8(text.getvalue()))

"""What a training shows: a line that moves on a terminal, a line an epoch in a file."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from imago.core.errors import ImagoError
from imago.core.text import printable
from imago.training.state import Progress


class Display:
    """Loss, score and time left. Plain text on standard error; TensorBoard where asked for."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.moving = enabled and sys.stderr.isatty()
        self.writer: Any = None
        self.smooth: float | None = None

    def log_to(self, folder: Path, step: int) -> None:
        """TensorBoard from here on. What a killed run logged after ``step`` is forgotten."""
        if not self.enabled:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise ImagoError("--tensorboard needs the package tensorboard; run: pip install tensorboard") from error
        self.writer = SummaryWriter(str(folder), purge_step=step or None)

    def say(self, text: str) -> None:
        if self.enabled:
            print(("\r\x1b[K" if self.moving else "") + printable(text), file=sys.stderr, flush=True)

    def step(self, progress: Progress, steps: int, loss: float, share: float, seconds: float) -> None:
        self.smooth = loss if self.smooth is None else 0.95 * self.smooth + 0.05 * loss
        if self.writer:
            self.writer.add_scalar("loss/step", loss, progress.step)
        if not self.moving:
            return
        left = seconds * (1 - share) / share if share > 0.001 else float("nan")
        best = f"  best {progress.best:.4f}" if progress.best >= 0 else ""
        text = (
            f"epoch {progress.epoch + 1}  {progress.step_in_epoch}/{steps}  loss {self.smooth:.4f}{best}"
            f"  {progress.step / max(seconds, 1e-9):.1f} steps/s  left {clock_text(left)}"
        )
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def count(self, what: str, done: int, total: int) -> None:
        if self.moving:
            print(f"\r\x1b[K{what} {done}/{total}", end="", file=sys.stderr, flush=True)

    def stage(self, what: str, done: int, total: int) -> None:
        """Something that may last, before or after the steps: in a file a line each tenth of it."""
        self.count(what, done, total)
        if self.moving and done == total:
            self._wipe()
        elif not self.moving and (done * 10 // total > (done - 1) * 10 // total):
            self.say(f"{what}: {done} of {total}")

    def checking(self, done: int, total: int) -> None:
        self.count("checking the data", done, total)
        if done == total and self.moving:
            self._wipe()

    def _wipe(self) -> None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def epoch(self, row: dict[str, Any]) -> None:
        parts = [f"epoch {row['epoch']}", f"loss {row['train_loss']:.4f}"]
        if "val_loss" in row:
            parts.append(f"val {row['val_loss']:.4f}")
        folders = [f"{name[6:]} {value:.4f}" for name, value in row.items() if name.startswith("score/")]
        if folders:
            parts.append(f"score {row['score']:.4f}")
            if len(folders) > 1:
                parts.append(f"({', '.join(folders)})")
        parts.append(clock_text(row["seconds"]))
        self.say("  ".join(parts))
        if self.writer:
            for name, value in row.items():
                if name not in ("epoch", "step"):
                    self.writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        if self.writer:
            self.writer.close()


def clock_text(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""What a command says while it works: a bar on a terminal, nothing but problems in a pipe. All on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from imago.cli.console import echo
from imago.core.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress

FEW = 3  # photos up to which no bar is worth its while


class _Shown:
    """A bar that is there between ``with`` and its end, where somebody sees it."""

    _bar: Progress | None = None

    def _show(self, bar: Progress, total: int, **fields: Any) -> None:
        self._bar = bar
        bar.start()
        self._task = bar.add_task("", total=total, **fields)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


class Meter(_Shown):
    """Counts photos. Use as a context manager; ``say`` writes a line that a bar does not tear."""

    def __init__(self, total: int, unit: str = "images", shown: bool = True) -> None:
        self.shown = shown  # whether a bar may be
        self.total = total
        self.unit = unit
        self.start_s = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start_s

    def __enter__(self) -> Meter:
        if self.shown and self.total > FEW and sys.stderr.isatty():
            self._show(_rich_bar(), self.total, rate="")
        return self

    def advance(self) -> None:
        if self._bar is not None:
            done = self._bar.tasks[0].completed + 1
            self._bar.update(self._task, advance=1, rate=f"{done / max(self.seconds, 1e-3):.1f} {self.unit}/s")

    def say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        else:
            echo(line, err=True)


class ByteMeter(_Shown):
    """A download: a bar on a terminal, nothing in a pipe."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def __enter__(self) -> ByteMeter:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

            columns = (self.name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            self._show(Progress(*columns, console=Console(stderr=True)), self.size)
        return self

    def update(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)


def _rich_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
    )

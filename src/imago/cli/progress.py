"""What a command says while it works: a bar on a terminal, nothing but problems in a pipe. All on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress

FEW = 3  # photos up to which no bar is worth its while


class Meter:
    """Counts photos. Use as a context manager; ``say`` writes a line that a bar does not tear."""

    def __init__(self, total: int, unit: str = "images") -> None:
        self.total = total
        self.unit = unit
        self.start_s = time.monotonic()
        self._bar: Progress | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start_s

    def __enter__(self) -> Meter:
        if self.total > FEW and sys.stderr.isatty():
            self._bar = _rich_bar(self.unit)
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        if self._bar is not None:
            done = self._bar.tasks[0].completed + 1
            self._bar.update(self._task, advance=1, rate=f"{done / max(self.seconds, 1e-3):.1f} {self.unit}/s")

    def say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(line, err=True)


class ByteMeter:
    """A download: a bar on a terminal, nothing in a pipe."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self._bar: Progress | None = None

    def __enter__(self) -> ByteMeter:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

            columns = (self.name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task("", total=self.size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)


def _rich_bar(unit: str) -> Progress:
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

"""Ctrl-C in a training: it waits for a moment at which the state is whole."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from imago.files.stopping import is_watching, note_stop


class Stopped(KeyboardInterrupt):
    """Raised at a safe moment after Ctrl-C or a polite kill: all weights belong to the same step."""


class Interrupt:
    """While it is entered, Ctrl-C and SIGTERM only make ``check`` raise ``Stopped``; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if not is_watching():  # who does, ends at once
                raise KeyboardInterrupt
            return
        self.asked = True
        note_stop()
        os.write(2, b"\nstopping after this step (once more to stop at once) ...\n")

    def check(self) -> None:
        if self.asked:
            raise Stopped


def ignore_in_worker() -> None:
    """A terminal sends Ctrl-C to worker processes too, a cluster its polite kill; they go on until the main process,
    which saves the state first, ends them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

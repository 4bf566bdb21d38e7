"""Ctrl-C and polite kills of a process that is Imago's own: the first one stops it in good order, the second at once.

The first raises KeyboardInterrupt in the main thread (a training waits for the end of its step). The second is heard by
a thread, since the main one may be in a long calculation or wait for others; it removes files that are not whole.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

STOPPED = 130  # exit code
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))
_ONE_S = 0.1  # a launcher and a terminal both tell a process: within this time they are one
_LOCK = threading.Lock()  # held while a part is begun, and for ever once the process ends at once
_PARTS: set[Path] = set()
_seen: list[float] = []  # when the first signal came
_watching: list[socket.socket] = []


@contextlib.contextmanager
def part_file(part: Path) -> Iterator[Path]:
    """A file that is written beside its target and renamed: removed at the end of the block if it is still there, and
    when the process is ended at once."""
    with _LOCK:
        _PARTS.add(part)
    try:
        yield part
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            part.unlink()
        _PARTS.discard(part)


def watch_signals() -> None:
    """From now on signals do what this module says. For programs of Imago's own, in their main thread; a signal that
    is ignored (a shell's background job) stays so."""
    if _watching:
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _watching.extend((ours, theirs))
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave)
    atexit.register(_ignore_signals)  # first in, last out: until then a second signal still ends at once
    threading.Thread(target=_listen, args=(ours,), name="imago-signals", daemon=True).start()


def is_watching() -> bool:
    return bool(_watching)


def is_stopping() -> bool:
    """Whether a signal has asked the process to stop. Never of a process that is somebody else's: a training that was
    stopped in a notebook is over, the notebook goes on."""
    return bool(_seen) and is_watching()


def note_stop() -> None:
    """The process is about to stop: a further signal raises nothing."""
    if not _seen:
        _seen.append(time.monotonic())


def _ignore_signals() -> None:
    """At the very end Python takes its handlers away; a signal that comes then must not change the exit code."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _leave() -> None:
    """A forked worker is told by its parent."""
    with contextlib.suppress(ValueError):  # forked from another thread, where Python allows it not
        signal.set_wakeup_fd(-1)
    _watching.clear()


def _stop(number: int, frame: FrameType | None) -> None:
    if not _seen:
        note_stop()
        raise KeyboardInterrupt


def _listen(ours: socket.socket) -> None:
    first_s: float | None = None
    while True:
        for number in ours.recv(64):
            if number not in _SIGNALS:
                continue
            if first_s is None:
                first_s = time.monotonic()
            elif time.monotonic() - first_s > _ONE_S:
                _end_at_once()


def _end_at_once() -> None:
    _LOCK.acquire(timeout=1)  # never given back: no part is begun any more
    for part in list(_PARTS):
        with contextlib.suppress(OSError):
            part.unlink()
    children = multiprocessing.active_children()
    for again in (False, True) if children else ():  # a training in a process of its own: its second ends it at once
        if again:
            time.sleep(1.5 * _ONE_S)
        for child in children:
            with contextlib.suppress(OSError, ValueError):
                (child.kill if child.daemon else child.terminate)()
    with contextlib.suppress(OSError):
        shows = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar has hidden the cursor
        os.write(2, f"{shows}\nimago: stopped at once\n".encode())
    os._exit(STOPPED)

"""What libjpeg and libtiff say on the C library's standard error, caught while an image is decoded, and told per image.

OpenCV lets libjpeg write its warnings to file descriptor 2, without the file's name; so does Pillow with libtiff. While
at least one image is being decoded, that descriptor leads to a file in memory. Several threads may decode at once; then
a warning cannot be told to belong to one of them, so each that may be meant decodes once more, alone. Whole images pay
nothing but two system calls. What others write to descriptor 2 in the meantime is passed on as soon as the image is
decoded.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

# The beginnings of libjpeg's warnings (jerror.h), and libtiff's (Pillow calls every file tempfile.tif, else a function
# is named): they end with the line.
_WARNING = re.compile(
    rb"(?:Corrupt JPEG data: |Premature end of JPEG file|Inconsistent progression sequence |Invalid SOS parameters "
    rb"|Warning: unknown JFIF revision |Unknown Adobe color transform |Application transferred too many scanlines"
    rb"|tempfile\.tif: |(?:_?TIFF|LZW|ZIP|ZSTD|LZMA|PackBits|Fax|JPEG)\w*: )"
    rb"[^\n]*\n?"
)


class _Call:
    """One decoding that is going on."""

    def __init__(self, start: int) -> None:
        self.start = start  # in the file that descriptor 2 leads to
        self.shared = False  # whether another one ran at the same time


class _Listener:
    """Descriptor 2 while images are decoded."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.calls: list[_Call] = []
        self.alone = False  # whether the one that runs must be the only one
        self.real = -1  # the descriptor that 2 was
        self.file = -1
        self.passed_on = 0  # bytes of the file

    def begin(self, alone: bool) -> _Call:
        with self.changed:
            self.changed.wait_for(lambda: not self.alone and not (alone and self.calls))
            if not self.calls:
                self._open()
            self.alone = alone
            call = _Call(os.fstat(self.file).st_size)
            for other in self.calls:
                other.shared = call.shared = True
            self.calls.append(call)
            return call

    def end(self, call: _Call) -> list[str]:
        """The warnings since ``call`` began."""
        with self.changed:
            size = os.fstat(self.file).st_size
            heard = os.pread(self.file, size - call.start, call.start)
            self._pass_on(size)
            self.calls.remove(call)
            self.alone = False
            if not self.calls:
                self._close()
            self.changed.notify_all()
        return [line.decode("ascii", "replace").strip() for line in _WARNING.findall(heard)]

    def _open(self) -> None:
        self.file, self.passed_on = _memory_file(), 0
        try:
            self.real = os.dup(2)
            os.dup2(self.file, 2)
        except OSError:
            os.close(self.file)
            raise

    def _pass_on(self, size: int) -> None:
        others = _WARNING.sub(b"", os.pread(self.file, size - self.passed_on, self.passed_on))
        self.passed_on = size
        while others:
            others = others[os.write(self.real, others) :]

    def _close(self) -> None:
        os.dup2(self.real, 2)
        os.close(self.real)
        os.close(self.file)
        self.real = self.file = -1

    def reset(self) -> None:
        """In a forked child: the threads that were decoding are not in it."""
        if self.calls:
            self._close()
        self.__init__()  # type: ignore[misc]


_LISTENER = _Listener()
_AT_FORK = threading.Event()  # set once the child's way out is arranged


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("imago-decoder")
    with tempfile.TemporaryFile(buffering=0) as file:  # deleted already; lives as long as the copy
        return os.dup(file.fileno())


def decode_listening(decode: Callable[[], Answer]) -> tuple[Answer, list[str]]:
    """What ``decode`` answers, and the libraries' warnings about it, none of which reach the standard error.

    ``decode`` may be called twice. On Windows, and where there is no standard error, nothing is heard.
    """
    if not hasattr(os, "pread"):
        return decode(), []
    if not _AT_FORK.is_set():
        _AT_FORK.set()
        os.register_at_fork(after_in_child=_LISTENER.reset)
    for alone in (False, True):
        try:
            call = _LISTENER.begin(alone)
        except OSError:  # descriptor 2 is closed, as in a service: there is nothing to keep clean
            return decode(), []
        warnings: list[str] = []
        try:
            answer = decode()
        finally:
            warnings = _LISTENER.end(call)
        if not (warnings and call.shared):
            break
    return answer, warnings
